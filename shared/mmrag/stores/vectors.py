"""Vectors are checked before they reach an engine: engines store NaN without a word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmrag.errors import InputError, UnknownName, VectorError
from mmrag.protocols import FieldQuery, Point, Ranking

if TYPE_CHECKING:
    from mmrag.protocols import Vector

__all__ = [
    "best_first",
    "check_field",
    "check_limit",
    "check_points",
    "check_query",
    "dense",
    "missing_fields",
    "query_text",
]

# Outside these lengths float32 squares overflow or vanish, and a cosine means nothing.
_SHORTEST, _LONGEST = 1e-15, 1e15


def missing_fields(old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    """Those dense fields of ``new`` that are not in ``old`` yet.

    Raises:
        VectorError: a field has another dimension already, or a dimension is not positive.
        UnknownName: ``keywords`` is among them, which is sparse.
    """
    for name, dim in new.items():
        if name == "keywords":
            raise UnknownName("dense field", name, [*old, *(n for n in new if n != name)])
        if dim < 1:
            raise VectorError(f"field {name!r} needs a positive dimension, not {dim}")
        if old.get(name, dim) != dim:
            raise VectorError(f"field {name!r} has {old[name]} dimensions already, not {dim}")
    return {name: dim for name, dim in new.items() if name not in old}


def check_field(name: str, dims: Mapping[str, int]) -> int:
    """The dimension of a dense field.

    Raises:
        UnknownName: it is not among ``dims``.
    """
    if name not in dims:
        raise UnknownName("dense field", name, dims)
    return dims[name]


def check_limit(limit: int) -> None:
    """Raises InputError unless ``limit`` is positive."""
    if limit < 1:
        raise InputError(f"a limit is at least 1, not {limit}")


def check_points(points: Sequence[Point], dims: Mapping[str, int]) -> None:
    """Refuse the whole batch if one vector in it is unfit.

    Raises:
        UnknownName: a field is not among ``dims``.
        VectorError: a vector is NaN, infinite, zero or of the wrong length.
    """
    fields: dict[str, list[tuple[str, Vector]]] = {}
    for point in points:
        for name, vector in point.vectors.items():
            fields.setdefault(name, []).append((f"record {point.record.id!r}", vector))
    for name, rows in fields.items():
        _check(name, rows, dims)


def check_query(query: FieldQuery, dims: Mapping[str, int]) -> Vector:
    """The vector of a query on a dense field, checked as :func:`check_points` does."""
    _check(query.field, [("the query", query.value)], dims)  # type: ignore[list-item]
    return np.asarray(query.value, dtype=np.float32)


def query_text(query: FieldQuery) -> str:
    """The text of a query on ``keywords``.

    Raises:
        VectorError: it is not a text.
    """
    if not isinstance(query.value, str):
        raise VectorError("a query on keywords is a text, not a vector")
    return query.value


def best_first(scores: Iterable[tuple[str, float]]) -> Ranking:
    """The ranking of these keys. Engines leave ties in no order; here they go by key."""
    pairs = sorted((-score, key) for key, score in scores)
    return Ranking(tuple(key for _, key in pairs), tuple(-score for score, _ in pairs))


def dense(read: Any, dims: Mapping[str, int]) -> dict[str, Vector]:
    """The dense vectors of a point as an engine gives it, which may have none."""
    named = (read or {}).items()
    return {name: np.asarray(row, dtype=np.float32) for name, row in named if name in dims}


def _check(name: str, rows: list[tuple[str, Vector]], dims: Mapping[str, int]) -> None:
    dim = check_field(name, dims)
    for owner, vector in rows:
        shape = np.shape(vector)
        if shape != (dim,):
            raise VectorError(f"{owner}: field {name!r} takes {dim} dimensions, not {list(shape)}")
    try:
        matrix = np.stack([vector for _, vector in rows]).astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise VectorError(f"field {name!r} takes numbers: {error}") from error
    lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
    unfit = ~((lengths > _SHORTEST) & (lengths < _LONGEST))
    if unfit.any():
        row = int(unfit.argmax())
        finite = bool(np.isfinite(matrix[row]).all())
        reason = f"a length of {lengths[row]:g}" if finite else "a NaN or an infinity"
        raise VectorError(f"{rows[row][0]}: field {name!r} has a vector with {reason}")
