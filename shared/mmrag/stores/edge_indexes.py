"""Payload indexes. Without one a filter reads every payload from disk: half a second for 100,000
points, against a millisecond. Nobody knows beforehand which metadata will be filtered on, so a key
is indexed when a filter first names it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import qdrant_edge as qe

from mmrag.filters import And, Eq, Exists, Filter, In, Not, Or, Range, Scalar
from mmrag.stores.qdrant_filters import json_path

__all__ = ["missing_indexes"]

# Each index costs time at every write: keys beyond these are left to reading payloads.
_MOST = 24

_Kind = qe.PayloadSchemaType
_OWN = {"source": _Kind.Keyword, "modality": _Kind.Keyword, "page": _Kind.Integer}


def missing_indexes(
    known: Iterable[str], where: Filter | None, held: Callable[[str], bool]
) -> dict[str, _Kind]:
    """The indexes to create before this filter is used, beside those that are ``known``.

    A key has one index, of the kind that its first filter needs; conditions of another kind on
    the same key stay correct and slow. A key that no record has, of whose path ``held`` says so,
    gets none: a misspelt one would take the place of a real one for good.
    """
    own = {json_path(name): kind for name, kind in _OWN.items()}
    wanted = dict(own)
    for key, kind in _uses(where):
        wanted.setdefault(json_path(key), kind)
    # The engine quotes a path only where it must, so paths are compared without their quotes.
    have = {path.replace('"', "") for path in known}
    missing = ((p, kind) for p, kind in wanted.items() if p.replace('"', "") not in have)
    needed = ((p, kind) for p, kind in missing if p in own or held(p))
    return dict(islice(needed, max(0, _MOST - len(have))))


def _uses(where: Filter | None) -> Iterator[tuple[str, _Kind]]:
    if isinstance(where, And | Or):
        for condition in where.conditions:
            yield from _uses(condition)
    elif isinstance(where, Not):
        yield from _uses(where.condition)
    elif isinstance(where, Range):
        yield where.key, _Kind.Float
    elif isinstance(where, Eq):
        yield where.key, _kind(where.value)
    elif isinstance(where, In) and where.values:
        yield where.key, _kind(where.values[0])
    elif isinstance(where, Exists):
        yield where.key, _Kind.Keyword


def _kind(value: Scalar) -> _Kind:
    if isinstance(value, bool):
        return _Kind.Bool
    return _Kind.Keyword if isinstance(value, str) else _Kind.Float
