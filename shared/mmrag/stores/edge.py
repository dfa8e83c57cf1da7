"""The embedded store: Qdrant Edge, Qdrant's own engine in this process, in one folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import qdrant_edge as qe

from mmrag.filters import Filter
from mmrag.pipeline import batched
from mmrag.protocols import FieldQuery, Point, Ranking
from mmrag.stores.edge_files import check_room, has_room, read_dims
from mmrag.stores.edge_folder import EdgeFolder
from mmrag.stores.edge_forms import (
    dense_and_sparse,
    footprint,
    having_filter,
    held_filter,
    named,
    query_vector,
    translate,
)
from mmrag.stores.edge_indexes import missing_indexes
from mmrag.stores.payload import from_payload, to_payload
from mmrag.stores.vectors import (
    best_first,
    check_field,
    check_limit,
    check_points,
    dense,
    missing_fields,
)
from mmrag.types import Json, Record, key_of

if TYPE_CHECKING:
    from mmrag.protocols import Matrix, Vector

__all__ = ["EdgeStore"]

_BATCH = 500
# How many candidates a graph, once built, is walked with: on 100,000 vectors 256 finds 97 of the
# true best 50 in 100, the engine's own 100 only 81.
_EF = 256


class EdgeStore(EdgeFolder):
    """A store in the folder ``path``: the engine's files in ``edge``, and ``manifest.json``.

    One process holds it open at a time; its threads may share it. Searches look at every vector,
    which is exact, until :meth:`optimize` is called.

    Raises:
        StoreLocked: this or another process has the folder open already.
        NotAnIndex: the folder holds something else, a part of it is missing, or it holds nothing
            and ``create`` is false.
        StoreError: the folder is damaged.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        super().__init__(path, create)
        self._dims = read_dims(self._path)
        with self._engine() as shard:
            self._indexed = frozenset(shard.info().payload_schema)

    def prepare(self, dims: Mapping[str, int]) -> None:
        """Create the dense fields that are missing; idempotent.

        Raises:
            VectorError: a field exists already with another dimension.
        """
        with self._writing, self._engine() as shard:
            missing = missing_fields(self._dims, dims)
            for name, dim in missing.items():
                shard.update(qe.UpdateOperation.create_dense_vector(name, dim, qe.Distance.Cosine))
            shard.flush()
            self._dims = {**self._dims, **missing}
        self._index_for(None)

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert or wholly replace points; returns once the engine has acknowledged them.

        Raises:
            VectorError: a vector is NaN, infinite, zero or of the wrong length; nothing is
                written.
            DiskFull: the disk is nearly full; points before the batch that failed are written.
        """
        check_points(points, self._dims)
        new = {key_of(point.record.id): point for point in points}
        payloads = {key: to_payload(point.record) for key, point in new.items()}
        with self._writing:
            self._write(payloads, ((key, dense_and_sparse(p)) for key, p in new.items()))

    def update(self, points: Sequence[Point]) -> None:
        """Replace the payload and the given fields of points that exist, and keep their other
        fields. Payload and vectors of a point change in one step: it is never half new.
        """
        check_points(points, self._dims)
        new = {key_of(point.record.id): point for point in points}
        payloads = {key: to_payload(point.record) for key, point in new.items()}
        vectors = {key: dense_and_sparse(point) for key, point in new.items()}
        with self._writing:
            with self._engine() as shard:
                found = shard.retrieve(list(vectors), with_payload=False, with_vector=True)
            old = {str(point.id): named(point.vector) for point in found}
            self._write(payloads, ((key, {**old[key], **vectors[key]}) for key in old))

    def delete(self, keys: Sequence[str]) -> None:
        """Delete points; unknown keys are no error."""
        if keys:
            with self._writing, self._engine() as shard:
                shard.update(qe.UpdateOperation.delete_points(list(keys)))

    def delete_where(self, where: Filter) -> None:
        """Delete the points that match."""
        operation = qe.UpdateOperation.delete_points_by_filter(translate(where))
        self._index_for(where)
        with self._writing, self._engine() as shard:
            shard.update(operation)

    def get(self, keys: Sequence[str]) -> dict[str, Record]:
        """The records of those keys that exist, exactly as they were given."""
        with self._engine() as shard:
            found = shard.retrieve(list(keys), True, False)
        return {str(point.id): from_payload(point.payload or {}) for point in found}

    def vectors(self, keys: Sequence[str]) -> dict[str, dict[str, Vector]]:
        """The dense unit vectors by field of those keys that exist."""
        with self._engine() as shard:
            found = shard.retrieve(list(keys), with_payload=False, with_vector=list(self._dims))
        return {str(point.id): dense(point.vector, self._dims) for point in found}

    def search(
        self, queries: Sequence[FieldQuery], limit: int, where: Filter | None = None
    ) -> list[Ranking]:
        """One ranking a query, in the order of the queries, in one pass over the shard.

        Raises:
            VectorError: a query vector is unfit, or the limit is not positive.
        """
        check_limit(limit)
        condition = self._condition(where)
        vectors = [query_vector(query, self._dims) for query in queries]
        requests = [
            qe.QueryRequest(
                limit=limit,
                query=qe.Query.Nearest(vector, using=query.field),
                params=qe.SearchParams(hnsw_ef=max(_EF, 2 * limit)),
                filter=condition,
                with_payload=False,
            )
            for query, vector in zip(queries, vectors, strict=True)
            if vector is not None
        ]
        with self._engine() as shard:
            answers = iter(shard.query_batch(qe.QueryBatchRequest(requests)))
        return [
            Ranking((), ())
            if v is None
            else best_first((str(p.id), p.score) for p in next(answers))
            for v in vectors
        ]

    def sample(self, name: str, size: int) -> Matrix:
        """The unit vectors of the ``size`` lowest keys that have the dense field ``name``."""
        dim = check_field(name, self._dims)
        request = qe.ScrollRequest(
            limit=size, filter=self._condition(None, name), with_payload=False, with_vector=[name]
        )
        with self._engine() as shard:
            points, _ = shard.scroll(request)
        rows = [named(point.vector)[name] for point in points]
        return np.array(rows, dtype=np.float32).reshape(len(rows), dim)

    def count(self, where: Filter | None = None, *, having: str | None = None) -> int:
        """How many points match, optionally only those that have the field ``having``."""
        request = qe.CountRequest(exact=True, filter=self._condition(where, having))
        with self._engine() as shard:
            return shard.count(request)

    def scan(self, where: Filter | None = None, batch: int = 1000) -> Iterator[list[Record]]:
        """All matching records in the order of their keys, in batches."""
        check_limit(batch)
        condition = self._condition(where)
        offset: Any = None
        while True:
            request = qe.ScrollRequest(
                offset=offset, limit=batch, filter=condition, with_payload=True
            )
            with self._engine() as shard:
                points, offset = shard.scroll(request)
            if points:
                yield [from_payload(point.payload or {}) for point in points]
            if offset is None:
                return

    def _condition(self, where: Filter | None, having: str | None = None) -> qe.Filter | None:
        condition = having_filter(where, having)
        self._index_for(where)
        return condition

    def _index_for(self, where: Filter | None) -> None:
        """Create the payload indexes that a filter needs and that are not there yet."""
        if not self._missing(where) or not has_room(self._path):
            return  # without an index a filter is slow, on a full disk it still works
        with self._writing, self._engine() as shard:
            for path, kind in self._missing(where).items():
                shard.update(qe.UpdateOperation.create_field_index(path, kind))
            self._indexed = frozenset(shard.info().payload_schema)

    def _missing(self, where: Filter | None) -> dict[str, qe.PayloadSchemaType]:
        return missing_indexes(self._indexed, where, self._held)

    def _held(self, path: str) -> bool:
        """Whether a point has something at this path of its payload."""
        request = qe.ScrollRequest(limit=1, filter=held_filter(path), with_payload=False)
        with self._engine() as shard:
            return bool(shard.scroll(request)[0])

    def _write(
        self,
        payloads: Mapping[str, dict[str, Json]],
        rows: Iterable[tuple[str, dict[str, Any]]],
    ) -> None:
        """Write a point for each row, its key and its vectors, which are made a batch at a time;
        the caller holds the lock."""
        with self._engine() as shard:
            for batch in batched(rows, _BATCH):
                check_room(self._path, sum(footprint(payloads[k], v) for k, v in batch))
                points = [qe.Point(key, vectors, payloads[key]) for key, vectors in batch]
                shard.update(qe.UpdateOperation.upsert_points(points))
