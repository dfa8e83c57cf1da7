"""Points, queries and fields in the forms that ``qdrant_client.models`` has for them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmrag.errors import StoreError
from mmrag.filters import Filter
from mmrag.keywords import SparseVector, encode_document, encode_query
from mmrag.protocols import FieldQuery, Point
from mmrag.stores.qdrant_filters import FilterTranslator
from mmrag.stores.vectors import check_query, query_text
from mmrag.types import Json

__all__ = ["QdrantForms", "sparse_names"]

# A server refuses requests of more than 32 MB.
_BATCH, _BATCH_BYTES = 500, 8 << 20


class QdrantForms:
    """Makes the models of the module ``models``, which is imported by who needs it."""

    def __init__(self, models: Any) -> None:
        self._m = models
        self._translate = FilterTranslator(models, models.Range, bool)

    def collection(self, dims: Mapping[str, int]) -> dict[str, Any]:
        """The arguments that create a collection of these dense fields and ``keywords``."""
        m = self._m
        cosine = m.Distance.COSINE
        return {
            "vectors_config": {n: m.VectorParams(size=d, distance=cosine) for n, d in dims.items()},
            "sparse_vectors_config": {"keywords": m.SparseVectorParams(modifier=m.Modifier.IDF)},
        }

    def new_fields(self, dims: Mapping[str, int], has_keywords: bool) -> dict[str, Any]:
        """What an existing collection lacks: a configuration for each new field."""
        m = self._m
        fields = {
            name: m.DenseVectorNameConfig(
                dense=m.DenseVectorConfig(size=dim, distance=m.Distance.COSINE)
            )
            for name, dim in dims.items()
        }
        if not has_keywords:
            sparse = m.SparseVectorConfig(modifier=m.Modifier.IDF)
            fields["keywords"] = m.SparseVectorNameConfig(sparse=sparse)
        return fields

    def dims(self, params: Any) -> dict[str, int]:
        """The dense fields of a collection.

        Raises:
            StoreError: its vector has no name, or another distance than the cosine.
        """
        vectors = params.vectors or {}
        if not isinstance(vectors, Mapping):
            raise StoreError("the collection keeps one vector without a name: take a new one")
        for name, vector in vectors.items():
            if vector.distance != self._m.Distance.COSINE:
                raise StoreError(f"field {name!r} is not compared by cosine: take a new collection")
        return {name: vector.size for name, vector in vectors.items()}

    def point(self, key: str, payload: dict[str, Json], point: Point) -> Any:
        """A point with the named vectors it has; ``keywords`` only if a token is left of them."""
        vectors: dict[str, Any] = {
            name: np.asarray(vector, dtype=np.float32).tolist()
            for name, vector in point.vectors.items()
        }
        if sparse := encode_document(point.keywords):
            vectors["keywords"] = self._sparse(sparse)
        return self._m.PointStruct(id=key, vector=vectors, payload=payload)

    def updates(self, points: Sequence[Any]) -> list[Any]:
        """The operations that give existing points these vectors and exactly this payload."""
        m = self._m
        vectors = [m.PointVectors(id=p.id, vector=p.vector) for p in points if p.vector]
        operations = [
            m.OverwritePayloadOperation(
                overwrite_payload=m.SetPayload(payload=p.payload, points=[p.id])
            )
            for p in points
        ]
        if vectors:
            change = m.UpdateVectors(points=vectors)
            operations.insert(0, m.UpdateVectorsOperation(update_vectors=change))
        return operations

    def request(
        self, query: FieldQuery, dims: Mapping[str, int], limit: int, condition: Any
    ) -> Any | None:
        """A query for ids and scores; None if no token is left of its text."""
        vector: Any
        if query.field == "keywords":
            sparse = encode_query(query_text(query))
            if not sparse:
                return None
            vector = self._sparse(sparse)
        else:
            vector = check_query(query, dims).tolist()
        return self._m.QueryRequest(
            query=vector, using=query.field, filter=condition, limit=limit, with_payload=False
        )

    def filter(self, where: Filter | None, having: str | None = None) -> Any | None:
        """What matches ``where`` and has the field ``having``, each if given."""
        conditions = [] if having is None else [self._m.HasVectorCondition(has_vector=having)]
        if where is not None:
            conditions.append(self._translate(where))
        return self._m.Filter(must=conditions) if conditions else None

    def batches(self, points: Sequence[Any]) -> Iterator[list[Any]]:
        """The points in requests that a server takes."""
        batch: list[Any] = []
        size = 0
        for point in points:
            # A number takes some 12 characters of JSON.
            numbers = sum(12 * len(v) for v in point.vector.values() if isinstance(v, list))
            more = numbers + len(json.dumps(point.payload))
            if batch and (len(batch) == _BATCH or size + more > _BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(point)
            size += more
        if batch:
            yield batch

    def _sparse(self, sparse: SparseVector) -> Any:
        return self._m.SparseVector(indices=list(sparse.indices), values=list(sparse.values))


def sparse_names(params: Any) -> set[str]:
    """The names of a collection's sparse fields."""
    return set(params.sparse_vectors or {})
