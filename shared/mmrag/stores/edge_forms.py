"""Points, queries and filters in the forms that Qdrant Edge takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import qdrant_edge as qe

from mmrag.filters import Filter
from mmrag.keywords import SparseVector, encode_document, encode_query
from mmrag.protocols import FieldQuery, Point
from mmrag.stores.qdrant_filters import FilterTranslator
from mmrag.stores.vectors import check_query, query_text
from mmrag.types import Json

__all__ = [
    "dense_and_sparse",
    "footprint",
    "having_filter",
    "held_filter",
    "named",
    "query_vector",
    "translate",
]

# The binding takes a Python bool for the number 1; numpy's it takes for what it is.
translate = FilterTranslator(qe, qe.RangeFloat, np.bool_)


def dense_and_sparse(point: Point) -> dict[str, Any]:
    """The named vectors of a point; ``keywords`` only if a token is left of them."""
    # As lists: the binding takes those four times as fast as arrays.
    vectors: dict[str, Any] = {
        name: np.asarray(vector, dtype=np.float32).tolist()
        for name, vector in point.vectors.items()
    }
    if sparse := encode_document(point.keywords):
        vectors["keywords"] = _sparse(sparse)
    return vectors


def footprint(payload: Mapping[str, Json], vectors: Mapping[str, Any]) -> int:
    """About how many bytes a point takes, in the log and in the files together."""
    numbers = sum(4 * len(v) if isinstance(v, list) else 4096 for v in vectors.values())
    return 2 * numbers + 4 * len(repr(payload))


def query_vector(query: FieldQuery, dims: Mapping[str, int]) -> Any:
    """The vector of a query; None if no token is left of its text."""
    if query.field != "keywords":
        return check_query(query, dims).tolist()
    sparse = encode_query(query_text(query))
    return _sparse(sparse) if sparse else None


def having_filter(where: Filter | None, having: str | None) -> qe.Filter | None:
    """What matches ``where`` and has the field ``having``, each if given."""
    conditions: list[Any] = [] if having is None else [qe.HasVectorCondition(having)]
    if where is not None:
        conditions.append(translate(where))
    return qe.Filter(must=conditions) if conditions else None


def held_filter(path: str) -> qe.Filter:
    """What has a value at a path of the payload."""
    return qe.Filter(must_not=[qe.FieldCondition(key=path, is_empty=True)])


def named(vector: Any) -> dict[str, Any]:
    """The named vectors of a point that was read, which may have none."""
    return vector or {}


def _sparse(sparse: SparseVector) -> qe.SparseVector:
    return qe.SparseVector(list(sparse.indices), list(sparse.values))
