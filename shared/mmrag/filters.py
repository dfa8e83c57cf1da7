"""One small filter tree, which each store translates into its engine's own language.

>>> (Eq("lang", "en") | In("year", (2020, 2021))) & ~Exists("draft")
And(conditions=(Or(conditions=(Eq(key='lang', value='en'), In(key='year', values=(2020, 2021)))), \
Not(condition=Exists(key='draft'))))
>>> parse_filter({"modality": "image", "year": [2020, 2021]})
And(conditions=(Eq(key='modality', value='image'), In(key='year', values=(2020, 2021))))

A key names a field of the record (see :data:`RECORD_KEYS`) or else a key of its metadata; dots
reach into nested metadata. ``metadata.page`` is the metadata's own ``page``, ``extra.owner`` the
``owner`` of what an adapter keeps beside the record. A record that lacks the key matches none of
``Eq``, ``In``, ``Range`` and ``Exists``, and so matches their ``Not``. A list matches when any of
its items does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmrag.errors import InputError
from mmrag.types import Json

__all__ = [
    "RECORD_KEYS",
    "And",
    "Eq",
    "Exists",
    "Filter",
    "In",
    "Not",
    "Or",
    "Range",
    "Scalar",
    "Where",
    "parse_filter",
]

Scalar = str | int | float | bool

RECORD_KEYS = ("id", "source", "modality", "page", "start_s", "end_s")
"""The keys that name a field of the record itself; every other key is one of its metadata."""


class _Operators:
    __slots__ = ()

    def __and__(self, other: Filter) -> And:
        return And((self, other))  # type: ignore[arg-type]

    def __or__(self, other: Filter) -> Or:
        return Or((self, other))  # type: ignore[arg-type]

    def __invert__(self) -> Not:
        return Not(self)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Eq(_Operators):
    """The value under ``key`` equals ``value``; ``True`` is not ``1``."""

    key: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class In(_Operators):
    """The value under ``key`` is one of ``values``; none matches when there are none."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Range(_Operators):
    """The number under ``key`` lies within the bounds that are given."""

    key: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None

    def __post_init__(self) -> None:
        bounds = [b for b in (self.gt, self.gte, self.lt, self.lte) if b is not None]
        if not bounds or not all(math.isfinite(b) for b in bounds):
            raise InputError(f"a range on {self.key!r} needs at least one finite bound")


@dataclass(frozen=True, slots=True)
class Exists(_Operators):
    """There is a value under ``key`` (not missing, not null, not an empty list)."""

    key: str


@dataclass(frozen=True, slots=True)
class And(_Operators):
    """All of the conditions hold; true when there are none."""

    conditions: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or(_Operators):
    """At least one of the conditions holds; false when there are none."""

    conditions: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not(_Operators):
    """The condition does not hold."""

    condition: Filter


Filter = Eq | In | Range | Exists | And | Or | Not
Where = Filter | Mapping[str, Json] | None
"""What a caller may pass: a filter, or a mapping of keys to a value or to a list of values."""


def parse_filter(where: Where) -> Filter | None:
    """The filter that ``where`` means; a mapping means that all its items hold.

    Raises:
        InputError: a key is not a string, or a value is none that can be compared.
    """
    if where is None or isinstance(where, _Operators):
        return where
    if not isinstance(where, Mapping):
        raise InputError(
            f"a filter is a mapping or an mmrag.filters tree, not {type(where).__name__}"
        )
    if not where:
        return None
    return And(tuple(_item(key, value) for key, value in where.items()))


def _item(key: object, value: object) -> Filter:
    if not isinstance(key, str) or not key:
        raise InputError(f"a filter's key is a non-empty string, not {key!r}")
    if isinstance(value, str | int | float | bool):
        return Eq(key, value)
    if isinstance(value, Sequence) and all(isinstance(v, str | int | float | bool) for v in value):
        return In(key, tuple(value))
    raise InputError(f"a filter compares {key!r} with a string, a number, a bool or a list of them")
