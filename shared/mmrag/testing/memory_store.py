"""A store of plain dicts: exact, slow, and the yardstick that engines are compared with."""

from __future__ import annotations

import copy
import math
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmrag.errors import StoreError
from mmrag.filters import Filter
from mmrag.keywords import SparseVector, encode_document, encode_query
from mmrag.protocols import FieldQuery, Point, Ranking
from mmrag.stores.payload import from_payload, to_payload
from mmrag.stores.vectors import (
    best_first,
    check_field,
    check_limit,
    check_points,
    check_query,
    missing_fields,
    query_text,
)
from mmrag.testing.matching import matches
from mmrag.types import Json, Record, key_of

if TYPE_CHECKING:
    from mmrag.protocols import Matrix, Vector

__all__ = ["MemoryStore"]


@dataclass
class _Row:
    payload: dict[str, Json]
    vectors: dict[str, Vector]
    keywords: SparseVector


class MemoryStore:
    """A :class:`mmrag.protocols.Store` in memory, lost when it is gone."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._rows: dict[str, _Row] | None = {}
        self._dims: dict[str, int] = {}
        self._manifest: dict[str, Json] | None = None

    def prepare(self, dims: Mapping[str, int]) -> None:
        """Remember the dimensions."""
        with self._lock:
            self._dims |= missing_fields(self._dims, dims)

    def manifest(self) -> dict[str, Json] | None:
        """What ``save_manifest`` kept."""
        return copy.deepcopy(self._manifest)

    def save_manifest(self, manifest: Mapping[str, Json]) -> None:
        """Keep a copy."""
        self._manifest = copy.deepcopy(dict(manifest))

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert or wholly replace points, all or none."""
        new = self._checked(points)
        with self._lock:
            self._live().update(new)

    def update(self, points: Sequence[Point]) -> None:
        """Replace payloads and given fields of what exists."""
        new = self._checked(points)
        with self._lock:
            rows = self._live()
            for key in new.keys() & rows.keys():
                old, row = rows[key], new[key]
                vectors = {**old.vectors, **row.vectors}
                rows[key] = _Row(row.payload, vectors, row.keywords or old.keywords)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete points; unknown keys are no error."""
        with self._lock:
            for key in keys:
                self._live().pop(key, None)

    def delete_where(self, where: Filter) -> None:
        """Delete the points that match."""
        with self._lock:
            self.delete(list(self._matching(where)))

    def get(self, keys: Sequence[str]) -> dict[str, Record]:
        """The records of those keys that exist."""
        with self._lock:
            rows = self._live()
            return {key: _record(rows[key]) for key in keys if key in rows}

    def vectors(self, keys: Sequence[str]) -> dict[str, dict[str, Vector]]:
        """The dense unit vectors by field of those keys that exist."""
        with self._lock:
            rows = self._live()
            return {key: dict(rows[key].vectors) for key in keys if key in rows}

    def search(
        self, queries: Sequence[FieldQuery], limit: int, where: Filter | None = None
    ) -> list[Ranking]:
        """One exact ranking a query, ties by key."""
        check_limit(limit)
        with self._lock:
            rows = self._matching(where)
            scores = [self._scores(query, rows) for query in queries]
        return [_first(best_first(by_key.items()), limit) for by_key in scores]

    def sample(self, name: str, size: int) -> Matrix:
        """The unit vectors of the ``size`` lowest keys that have the dense field ``name``."""
        dim = check_field(name, self._dims)
        with self._lock:
            rows = self._matching(None)
            vectors = [row.vectors[name] for row in rows.values() if name in row.vectors]
        return np.array(vectors[:size], dtype=np.float32).reshape(-1, dim)

    def count(self, where: Filter | None = None, *, having: str | None = None) -> int:
        """How many points match, optionally only those that have the field ``having``."""
        with self._lock:
            rows = self._matching(where).values()
            return sum(having is None or having in _fields(row) for row in rows)

    def scan(self, where: Filter | None = None, batch: int = 1000) -> Iterator[list[Record]]:
        """All matching records in the order of their keys, in batches."""
        check_limit(batch)
        with self._lock:
            records = [_record(row) for row in self._matching(where).values()]
        for start in range(0, len(records), batch):
            yield records[start : start + batch]

    def optimize(self) -> None:
        """Nothing to do: there is no graph."""

    def flush(self) -> None:
        """Nothing here outlives the process."""
        self._live()

    def close(self) -> None:
        """Forget everything; idempotent."""
        with self._lock:
            self._rows = None

    def _live(self) -> dict[str, _Row]:
        if self._rows is None:
            raise StoreError("the store was closed")
        return self._rows

    def _checked(self, points: Sequence[Point]) -> dict[str, _Row]:
        check_points(points, self._dims)
        rows = [
            _Row(
                copy.deepcopy(to_payload(p.record)),
                {name: _unit(vector) for name, vector in p.vectors.items()},
                encode_document(p.keywords),
            )
            for p in points
        ]
        return {key_of(p.record.id): row for p, row in zip(points, rows, strict=True)}

    def _matching(self, where: Filter | None) -> dict[str, _Row]:
        found = sorted(self._live().items())
        return {k: row for k, row in found if where is None or matches(where, row.payload)}

    def _scores(self, query: FieldQuery, rows: Mapping[str, _Row]) -> dict[str, float]:
        if query.field == "keywords":
            return self._bm25(query_text(query), rows)
        vector = _unit(check_query(query, self._dims))
        return {
            key: float(row.vectors[query.field] @ vector)
            for key, row in rows.items()
            if query.field in row.vectors
        }

    def _bm25(self, text: str, rows: Mapping[str, _Row]) -> dict[str, float]:
        """Qdrant's IDF: over all points, whatever the filter."""
        everything = [row.keywords for row in self._live().values() if row.keywords]
        frequency = Counter(index for sparse in everything for index in sparse.indices)
        idf = {
            index: math.log1p((len(everything) - frequency[index] + 0.5) / (frequency[index] + 0.5))
            for index in encode_query(text).indices
        }
        return {
            key: sum(idf[i] * v for i, v in pairs if i in idf)
            for key, pairs in ((k, _pairs(row.keywords)) for k, row in rows.items())
            if any(i in idf for i, _ in pairs)
        }


def _pairs(sparse: SparseVector) -> list[tuple[int, float]]:
    return list(zip(sparse.indices, sparse.values, strict=True))


def _fields(row: _Row) -> set[str]:
    return set(row.vectors) | ({"keywords"} if row.keywords else set())


def _record(row: _Row) -> Record:
    return from_payload(copy.deepcopy(row.payload))


def _unit(vector: Vector) -> Vector:
    wide = np.asarray(vector, dtype=np.float64)
    unit: Vector = (wide / np.linalg.norm(wide)).astype(np.float32)
    return unit


def _first(ranking: Ranking, limit: int) -> Ranking:
    return Ranking(ranking.keys[:limit], ranking.scores[:limit])
