"""What every store has to make of a filter: one table of filters and the records they match."""
# ruff: noqa: S101, D102  # tests: they assert, and their names say what

from __future__ import annotations

import pytest

from mmrag.errors import InputError
from mmrag.filters import And, Eq, Exists, Filter, In, Not, Or, Range
from mmrag.protocols import FieldQuery, Point, Store
from mmrag.types import ImageRef, Json, Locator, Record, key_of

__all__ = ["FilterContract"]

_METADATA: dict[str, dict[str, Json]] = {
    "int": {"k": 1, "lang": "en", "a": {"b": {"c": 5}}},
    "true": {"k": True, "lang": "de", "a b": "x", 'it"s': 1},
    "float": {"k": 1.0, "lang": "en", "键": "值", "a.b": "flat"},
    "text": {"k": "1", "lang": "En"},
    "list": {"k": [1, 2, "x"], "page": 7},
    "null": {"k": None},
    "empty": {"k": []},
    "false": {"k": False},
    "zero": {"k": 0, "big": 2**60},
    "third": {"k": 0.1, "big": 2**60 + 1},
    "dict": {"k": {"b": 1}},
    "missing": {},
}
_NUMBER_1, _ALL = {"int", "float", "list"}, set(_METADATA)

_CASES: list[tuple[Filter, set[str]]] = [
    (Eq("k", 1), _NUMBER_1),
    (Eq("k", 1.0), _NUMBER_1),
    (Eq("k", True), {"true"}),
    (Eq("k", False), {"false"}),
    (Eq("k", 0), {"zero"}),
    (Eq("k", 0.1), {"third"}),
    (Eq("k", "1"), {"text"}),
    (Eq("k", "x"), {"list"}),
    (Eq("k", ""), set()),
    (Eq("k", float("nan")), set()),
    (Eq("k", 2**70), set()),
    (Eq("big", 2**60), {"zero"}),
    (Eq("lang", "en"), {"int", "float"}),
    (Eq("nowhere", 1), set()),
    (Not(Eq("k", 1)), _ALL - _NUMBER_1),
    (Not(Eq("nowhere", 1)), _ALL),
    (In("k", (1, "1", True)), _NUMBER_1 | {"text", "true"}),
    (In("k", (0.1, 2)), {"third", "list"}),
    (In("k", ()), set()),
    (Not(In("k", ())), _ALL),
    (Range("k", gt=0), _NUMBER_1 | {"third"}),
    (Range("k", gte=0, lt=0.5), {"zero", "third"}),
    (Range("k", gt=1, lte=2), {"list"}),
    (Exists("k"), _ALL - {"null", "empty", "missing"}),
    (Not(Exists("k")), {"null", "empty", "missing"}),
    (And(()), _ALL),
    (Or(()), set()),
    (Not(Or(())), _ALL),
    (Eq("lang", "en") & Eq("k", 1), {"int", "float"}),
    (Eq("lang", "de") | Eq("k", "1"), {"true", "text"}),
    (~(Eq("lang", "en") | Exists("k")), {"null", "empty", "missing"}),
    (Eq("a.b.c", 5), {"int"}),
    (Eq("k.b", 1), {"dict"}),
    (Eq("a b", "x"), {"true"}),
    (Eq("键", "值"), {"float"}),
    (Eq('"a.b"', "flat"), {"float"}),
    (Eq("metadata.page", 7), {"list"}),
    (Eq("metadata.lang", "de"), {"true"}),
]


class FilterContract:
    """The filters of :class:`mmrag.testing.StoreContract`."""

    @pytest.fixture
    def filterable(self, store: Store) -> Store:
        """A store with one record for each row of the table."""
        store.prepare({"text": 3, "image": 2})
        records = [Record(id=name, metadata=metadata) for name, metadata in _METADATA.items()]
        store.upsert([Point(record, {}, "word") for record in records])
        return store

    def test_each_filter_of_the_table_matches_what_it_says(self, filterable: Store) -> None:
        for where, expected in _CASES:
            found = {record.id for batch in filterable.scan(where) for record in batch}
            assert found == expected, where
            assert filterable.count(where) == len(expected), where

    def test_a_search_sees_only_what_matches(self, filterable: Store) -> None:
        query = FieldQuery("keywords", "word")
        (ranking,) = filterable.search([query], 20, Eq("lang", "en"))
        assert set(ranking.keys) == {key_of("int"), key_of("float")}
        assert filterable.search([query], 20, Or(()))[0].keys == ()

    def test_delete_where_deletes_what_matches(self, filterable: Store) -> None:
        filterable.delete_where(Exists("k"))
        left = {record.id for batch in filterable.scan() for record in batch}
        assert left == {"null", "empty", "missing"}
        filterable.delete_where(In("k", ()))
        assert filterable.count() == 3

    def test_the_keys_of_the_record_itself(self, store: Store) -> None:
        store.prepare({"text": 3})
        picture = ImageRef("a.png", "0" * 64, "image/png", 1, 1)
        clip = Locator(start_s=1.5, end_s=3.0)
        store.upsert(
            [
                Point(Record("a", source="a.pdf", locator=Locator(page=1))),
                Point(Record("b", source="a.pdf", locator=Locator(page=2), image=picture)),
                Point(
                    Record(
                        "c",
                        source="c.mp4",
                        locator=clip,
                        metadata={"source": "x", "extra": {"owner": "m"}},
                        extra={"owner": "me", "node": {"files": ["a", "b"]}},
                    )
                ),
            ]
        )
        cases: list[tuple[Filter, set[str]]] = [
            (Eq("id", "a"), {"a"}),
            (Eq("source", "a.pdf"), {"a", "b"}),
            (Eq("source", "x"), set()),
            (Eq("metadata.source", "x"), {"c"}),
            (Eq("extra.owner", "me"), {"c"}),
            (Eq("owner", "me"), set()),
            (Eq("extra.node.files", "b"), {"c"}),
            (Eq("metadata.extra.owner", "m"), {"c"}),
            (Eq("modality", "image"), {"b"}),
            (Range("page", gte=2), {"b"}),
            (In("page", (1, 2)), {"a", "b"}),
            (Exists("page"), {"a", "b"}),
            (Range("start_s", lte=1.5) & Range("end_s", gt=1.5), {"c"}),
            (Not(Eq("source", "a.pdf")), {"c"}),
        ]
        for where, expected in cases:
            found = {record.id for batch in store.scan(where) for record in batch}
            assert found == expected, where

    @pytest.mark.parametrize(
        "key", ["", ".", "a..b", "a.", 'a"b', "back\\slash", '""', "extra.image"]
    )
    def test_a_key_that_cannot_be_expressed_is_refused(self, store: Store, key: str) -> None:
        store.prepare({"text": 3})
        store.upsert([Point(Record("a"))])
        with pytest.raises(InputError):
            store.count(Eq(key, 1))
