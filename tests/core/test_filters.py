"""The filter tree: how it is written, and how a mapping is read."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mmrag.errors import InputError
from mmrag.filters import And, Eq, Exists, In, Not, Or, Range, parse_filter
from mmrag.stores.payload import payload_path


def test_operators_build_the_tree() -> None:
    assert (Eq("a", 1) & Eq("b", 2)) == And((Eq("a", 1), Eq("b", 2)))
    assert (Eq("a", 1) | Eq("b", 2)) == Or((Eq("a", 1), Eq("b", 2)))
    assert ~Exists("a") == Not(Exists("a"))
    assert Eq("a", 1) & Eq("b", 2) | ~In("c", (3,)) == Or(
        (And((Eq("a", 1), Eq("b", 2))), Not(In("c", (3,))))
    )


def test_a_mapping_means_that_all_its_items_hold() -> None:
    assert parse_filter({"a": 1, "b": ["x", 2.5, True]}) == And(
        (Eq("a", 1), In("b", ("x", 2.5, True)))
    )
    assert parse_filter({"a": []}) == And((In("a", ()),))
    assert parse_filter({}) is None
    assert parse_filter(None) is None
    assert parse_filter(Eq("a", 1)) == Eq("a", 1)


@pytest.mark.parametrize(
    "where", [{"a": None}, {"a": {"b": 1}}, {"a": [None]}, {"": 1}, {1: 1}, "a", 3, [("a", 1)]]
)
def test_what_cannot_be_compared_is_refused(where: Any) -> None:
    with pytest.raises(InputError):
        parse_filter(where)


@pytest.mark.parametrize("bounds", [{}, {"gt": math.nan}, {"gte": 1, "lt": math.inf}])
def test_a_range_needs_a_finite_bound(bounds: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Range("a", **bounds)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("page", ("page",)),
        ("year", ("metadata", "year")),
        ("a.b", ("metadata", "a", "b")),
        ("metadata.page", ("metadata", "page")),
        ("metadata", ("metadata", "metadata")),
        ('"a.b".c d', ("metadata", "a.b", "c d")),
        ("page.x", ("metadata", "page", "x")),
    ],
)
def test_where_a_key_leads(key: str, path: tuple[str, ...]) -> None:
    assert payload_path(key) == path
