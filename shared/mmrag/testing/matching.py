"""What a filter means, in Python: the yardstick for each engine's translation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmrag.filters import And, Eq, Exists, Filter, Not, Or, Range
from mmrag.stores.payload import payload_path
from mmrag.types import Json

__all__ = ["matches"]


def matches(where: Filter, payload: Mapping[str, Json]) -> bool:
    """Whether a record's payload fulfils the filter."""
    if isinstance(where, And):
        return all(matches(c, payload) for c in where.conditions)
    if isinstance(where, Or):
        return any(matches(c, payload) for c in where.conditions)
    if isinstance(where, Not):
        return not matches(where.condition, payload)
    value = _value(payload, payload_path(where.key))
    if isinstance(where, Exists):
        return value is not None and value != []
    items = value if isinstance(value, list) else [value]
    if isinstance(where, Range):
        return any(_within(item, where) for item in items)
    wanted = (where.value,) if isinstance(where, Eq) else where.values
    return any(_equal(item, other) for item in items for other in wanted)


def _value(payload: Json, path: tuple[str, ...]) -> Json:
    for name in path:
        payload = payload.get(name) if isinstance(payload, Mapping) else None
    return payload


def _equal(value: Any, other: Any) -> bool:
    number = int | float
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    if isinstance(value, number) and isinstance(other, number):
        return value == other
    return isinstance(value, str) and value == other


def _within(value: Any, bounds: Range) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (bounds.gt is None or value > bounds.gt)
        and (bounds.gte is None or value >= bounds.gte)
        and (bounds.lt is None or value < bounds.lt)
        and (bounds.lte is None or value <= bounds.lte)
    )
