"""Short ways to make points and to look into a store, for the contracts."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmrag.filters import Eq
from mmrag.protocols import FieldQuery, Point, Store
from mmrag.types import Record

__all__ = ["found", "point", "state", "vector"]


def vector(values: Any) -> Any:
    """A float32 vector."""
    return np.array(values, dtype=np.float32)


def point(record_id: str, keywords: str = "", **vectors: Any) -> Point:
    """A point of a record that has its keywords for a text."""
    fields = {name: vector(values) for name, values in vectors.items()}
    return Point(Record(record_id, text=keywords), fields, keywords)


def state(store: Store) -> dict[str, set[str]]:
    """Which fields each record has."""
    records = [record for batch in store.scan() for record in batch]
    fields = ("text", "image", "keywords")
    return {
        r.id: {name for name in fields if store.count(Eq("id", r.id), having=name)} for r in records
    }


def found(store: Store, text: str) -> list[str]:
    """The ids that a keyword search finds, best first."""
    (ranking,) = store.search([FieldQuery("keywords", text)], 10)
    records = store.get(ranking.keys)
    return [records[key].id for key in ranking.keys]
