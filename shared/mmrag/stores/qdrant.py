"""A Qdrant server, cluster or local client: the same fields and payload as the embedded store."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from mmrag.errors import DiskFull, MissingExtra, MmragError, StoreError
from mmrag.filters import Filter
from mmrag.protocols import FieldQuery, Point, Ranking
from mmrag.stores.payload import from_payload, to_payload
from mmrag.stores.qdrant_forms import QdrantForms, sparse_names
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
    from qdrant_client import QdrantClient

    from mmrag.protocols import Matrix, Vector

__all__ = ["QdrantStore"]

_INDEXES = {"source": "keyword", "modality": "keyword", "page": "integer"}
_MANIFEST = "mmrag"


class QdrantStore:
    """A store in the collection of a ready ``QdrantClient``; ``prepare`` creates the collection.

    The client stays the caller's: closing the store leaves it open. A local client, which is not
    made for threads, is used by one at a time.

    Raises:
        MissingExtra: ``qdrant-client`` is not installed.
        StoreError: the collection is not one of named vectors under the cosine distance.
    """

    def __init__(self, client: QdrantClient, collection: str) -> None:
        try:
            from qdrant_client import models
        except ImportError as error:
            raise MissingExtra("QdrantStore", "qdrant") from error
        self._client, self._collection = client, collection
        self._forms = QdrantForms(models)
        options = client.init_options
        self._local = bool(options.get("path")) or options.get("location") == ":memory:"
        self._turn: Any = threading.RLock() if self._local else nullcontext()
        self._writing = threading.Lock()
        self._closed = False
        self._dims = self._read_dims()

    def prepare(self, dims: Mapping[str, int]) -> None:
        """Create the collection, or the fields it lacks; idempotent.

        Raises:
            VectorError: a field exists already with another dimension.
        """
        with self._writing, self._engine() as client:
            missing = missing_fields(self._dims, dims)
            if not client.collection_exists(self._collection):
                client.create_collection(self._collection, **self._forms.collection(missing))
                for name, kind in () if self._local else _INDEXES.items():
                    client.create_payload_index(self._collection, name, kind)
            else:
                params = client.get_collection(self._collection).config.params
                fields = self._forms.new_fields(missing, "keywords" in sparse_names(params))
                for name, config in fields.items():
                    client.create_vector_name(self._collection, name, config)
            self._dims = {**self._dims, **missing}

    def manifest(self) -> dict[str, Json] | None:
        """What ``save_manifest`` kept in the collection's metadata; None if nothing was."""
        with self._engine() as client:
            if not client.collection_exists(self._collection):
                return None
            kept = client.get_collection(self._collection).config.metadata or {}
            # As one string: the engine merges an update into the old metadata, key by key.
            manifest: dict[str, Json] | None = json.loads(kept.get(_MANIFEST, "null"))
            return manifest

    def save_manifest(self, manifest: Mapping[str, Json]) -> None:
        """Keep what the index says of itself; needs a Qdrant of version 1.16 or later."""
        text = json.dumps(dict(manifest), ensure_ascii=False)
        with self._writing, self._engine() as client:
            client.update_collection(self._collection, metadata={_MANIFEST: text})

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert or wholly replace points; returns once the engine has acknowledged them.

        Raises:
            VectorError: a vector is NaN, infinite, zero or of the wrong length; nothing is
                written.
        """
        check_points(points, self._dims)
        new = {key_of(p.record.id): (to_payload(p.record), p) for p in points}
        structs = [self._forms.point(key, payload, p) for key, (payload, p) in new.items()]
        with self._writing:
            for batch in self._forms.batches(structs):
                with self._engine() as client:
                    client.upsert(self._collection, batch, wait=True)

    def update(self, points: Sequence[Point]) -> None:
        """Replace the payload and the given fields of points that exist, and keep their other
        fields: payload and vectors of one call travel in one request."""
        check_points(points, self._dims)
        new = {key_of(p.record.id): (to_payload(p.record), p) for p in points}
        with self._writing, self._engine() as client:
            found = client.retrieve(self._collection, list(new), with_payload=False)
            keys = [str(point.id) for point in found]
            structs = [self._forms.point(key, *new[key]) for key in keys]
            for batch in self._forms.batches(structs):
                operations = self._forms.updates(batch)
                client.batch_update_points(self._collection, operations, wait=True)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete points; unknown keys are no error."""
        if keys:
            with self._writing, self._engine() as client:
                client.delete(self._collection, list(keys), wait=True)

    def delete_where(self, where: Filter) -> None:
        """Delete the points that match."""
        selector = self._forms.filter(where)
        with self._writing, self._engine() as client:
            client.delete(self._collection, selector, wait=True)

    def get(self, keys: Sequence[str]) -> dict[str, Record]:
        """The records of those keys that exist, exactly as they were given."""
        if not keys:
            return {}
        with self._engine() as client:
            found = client.retrieve(self._collection, list(keys), with_payload=True)
        return {str(point.id): from_payload(point.payload or {}) for point in found}

    def vectors(self, keys: Sequence[str]) -> dict[str, dict[str, Vector]]:
        """The dense unit vectors by field of those keys that exist."""
        if not keys:
            return {}
        with self._engine() as client:
            found = client.retrieve(
                self._collection, list(keys), with_payload=False, with_vectors=list(self._dims)
            )
        return {str(point.id): dense(point.vector, self._dims) for point in found}

    def search(
        self, queries: Sequence[FieldQuery], limit: int, where: Filter | None = None
    ) -> list[Ranking]:
        """One ranking a query, in the order of the queries, in one round trip.

        Raises:
            InputError: a query vector is unfit, or the limit is not positive.
        """
        check_limit(limit)
        condition = self._forms.filter(where)
        requests = [self._forms.request(q, self._dims, limit, condition) for q in queries]
        asked = [request for request in requests if request is not None]
        answers: Iterator[Any] = iter(())
        with self._engine() as client:
            if asked:
                answers = iter(client.query_batch_points(self._collection, asked))
        found = [[] if request is None else next(answers).points for request in requests]
        return [best_first((str(point.id), point.score) for point in points) for points in found]

    def sample(self, name: str, size: int) -> Matrix:
        """The unit vectors of the ``size`` lowest keys that have the dense field ``name``."""
        dim = check_field(name, self._dims)
        condition = self._forms.filter(None, name)
        with self._engine() as client:
            points, _ = client.scroll(
                self._collection, condition, size, with_payload=False, with_vectors=[name]
            )
        rows = [point.vector[name] for point in points]
        return np.array(rows, dtype=np.float32).reshape(len(rows), dim)

    def count(self, where: Filter | None = None, *, having: str | None = None) -> int:
        """How many points match, optionally only those that have the field ``having``."""
        condition = self._forms.filter(where, having)
        with self._engine() as client:
            if not client.collection_exists(self._collection):
                return 0  # not prepared yet
            return int(client.count(self._collection, condition, exact=True).count)

    def scan(self, where: Filter | None = None, batch: int = 1000) -> Iterator[list[Record]]:
        """All matching records in the order of their keys, in batches."""
        check_limit(batch)
        condition = self._forms.filter(where)
        offset: Any = None
        while True:
            with self._engine() as client:
                points, offset = client.scroll(self._collection, condition, batch, offset=offset)
            if points:
                yield [from_payload(point.payload or {}) for point in points]
            if offset is None:
                return

    def optimize(self) -> None:
        """Nothing to do: the server optimises by itself."""

    def flush(self) -> None:
        """Nothing to do: the server has logged what it acknowledged."""
        with self._engine():
            pass

    def close(self) -> None:
        """Stop using the client, which stays open; idempotent."""
        self._closed = True

    @contextmanager
    def _engine(self) -> Iterator[QdrantClient]:
        if self._closed:
            raise StoreError(f"the store of collection {self._collection!r} was closed")
        try:
            with self._turn:
                yield self._client
        except MmragError:
            raise
        except Exception as error:
            full = "No space left" in str(error) or "os error 28" in str(error)
            kind = DiskFull if full else StoreError
            raise kind(f"collection {self._collection!r}: {error}") from error

    def _read_dims(self) -> dict[str, int]:
        with self._engine() as client:
            if not client.collection_exists(self._collection):
                return {}
            return self._forms.dims(client.get_collection(self._collection).config.params)
