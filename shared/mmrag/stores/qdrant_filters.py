"""The filter tree in Qdrant's words: one walk for Edge and for the client, whose classes agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from mmrag.filters import And, Eq, Exists, Filter, In, Not, Or, Range, Scalar
from mmrag.stores.payload import payload_path

__all__ = ["FilterTranslator", "json_path"]

# Up to here a double holds every integer, so that a range can stand for equality.
_EXACT = 2**53


def json_path(key: str) -> str:
    """A filter's key as Qdrant's JSON path; quotes let any character but themselves through."""
    return ".".join(f'"{name}"' for name in payload_path(key))


class FilterTranslator:
    """Translates for one dialect.

    ``models`` is ``qdrant_edge`` or ``qdrant_client.models``, ``range_type`` its class of numeric
    ranges, and ``boolean`` what makes a bool that its ``MatchValue`` does not take for a number.
    """

    def __init__(
        self, models: Any, range_type: Callable[..., Any], boolean: Callable[[bool], Any]
    ) -> None:
        self._models, self._range, self._boolean = models, range_type, boolean

    def __call__(self, where: Filter) -> Any:
        """The dialect's ``Filter``.

        Raises:
            InputError: a key cannot be expressed.
        """
        if isinstance(where, And):
            return self._models.Filter(must=[self(c) for c in where.conditions])
        if isinstance(where, Or):
            return self._any([self(c) for c in where.conditions])
        if isinstance(where, Not):
            return self._models.Filter(must_not=[self(where.condition)])
        return self._leaf(where, json_path(where.key))

    def _leaf(self, where: Eq | In | Range | Exists, path: str) -> Any:
        if isinstance(where, Eq):
            return self._any(self._one_of(path, (where.value,)))
        if isinstance(where, In):
            return self._any(self._one_of(path, where.values))
        if isinstance(where, Exists):
            empty = self._models.FieldCondition(key=path, is_empty=True)
            return self._models.Filter(must_not=[empty])
        bounds = {"gt": where.gt, "gte": where.gte, "lt": where.lt, "lte": where.lte}
        return self._models.Filter(must=[self._between(path, **bounds)])

    def _any(self, conditions: list[Any]) -> Any:
        """At least one condition; an empty ``should`` would match everything."""
        new = self._models.Filter
        return new(should=conditions) if conditions else new(must_not=[new()])

    def _one_of(self, path: str, values: Sequence[Scalar]) -> list[Any]:
        """Conditions of which one holds if the value is among ``values``, type for type.

        Numbers are compared by range, so that 1 equals 1.0 but not True, which the engine's
        ``MatchValue`` holds to be three different things (and Edge's binding to be one).
        """
        m = self._models
        texts = [v for v in values if isinstance(v, str)]
        conditions = [m.FieldCondition(key=path, match=m.MatchAny(any=texts))] if texts else []
        for value in values:
            if isinstance(value, bool):
                match = m.MatchValue(value=self._boolean(value))
                conditions.append(m.FieldCondition(key=path, match=match))
            elif isinstance(value, int) and abs(value) >= _EXACT:
                if -(2**63) <= value < 2**63:
                    conditions.append(m.FieldCondition(key=path, match=m.MatchValue(value=value)))
            elif isinstance(value, int | float) and math.isfinite(value):
                conditions.append(self._between(path, gte=float(value), lte=float(value)))
        return conditions

    def _between(self, path: str, **bounds: float | None) -> Any:
        return self._models.FieldCondition(key=path, range=self._range(**bounds))
