"""What a store keeps of what is written to it."""
# ruff: noqa: S101, D102  # tests: they assert, and their names say what

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mmrag.errors import InputError, UnknownName, VectorError
from mmrag.filters import Eq
from mmrag.protocols import FieldQuery, Point, Store
from mmrag.testing.points import found, point, state, vector
from mmrag.types import Caption, ImageRef, Locator, Record, key_of

__all__ = ["FULL_RECORD", "WriteContract"]

_IDS = ["a", " ", "é\n\t", "如何", "x" * 10_000, "7b0d7c52-1b5e-4c3f-9d39-1f6c1e0f7c11", "a/b?c#d"]

FULL_RECORD = Record(
    id="full",
    text="Text, 文字, \x00 and 🚲",
    image=ImageRef("media/a b.png", "ab" * 32, "image/png", 640, 480),
    caption=Caption("brief", "detailed", ("k1", "k2"), "text in it", {"2020": "1.5"}),
    source="/files/报告.pdf",
    locator=Locator(page=3, bbox=(0.1, 0.25, 1.0, 1 / 3), start_s=0.0, end_s=1.5),
    metadata={
        "none": None,
        "flags": [True, False],
        "numbers": [0, -1, 1.0, 0.1, 1e300, 2**63 - 1, -(2**63)],
        "nested": {"空 key": {"list": [{"a": []}, {}]}, "": "empty key"},
        "id": "the metadata's own",
    },
    extra={"_node_content": "{}", "_node_type": "ImageNode", "ref_doc_id": None},
)
"""A record with everything set."""


class WriteContract:
    """The writing part of :class:`mmrag.testing.StoreContract`."""

    def test_a_record_comes_back_exactly(self, ready: Store) -> None:
        bare = Record(id="bare")
        blank = Record(id="blank", caption=Caption())
        ready.upsert([Point(FULL_RECORD), Point(bare), Point(blank)])
        keys = [key_of(i) for i in ("full", "bare", "blank", "unknown")]
        assert ready.get(keys) == dict(zip(keys, [FULL_RECORD, bare, blank], strict=False))
        (back,) = ready.get(keys[:1]).values()
        kinds = [type(n) for n in back.metadata["numbers"]]
        assert kinds == [int, int, float, float, float, int, int]
        assert isinstance(back.locator.bbox, tuple)

    def test_any_string_is_an_id_but_the_empty_one(self, ready: Store) -> None:
        ready.upsert([point(i, text=[1, 0, 0]) for i in _IDS])
        assert {r.id for r in ready.get([key_of(i) for i in _IDS]).values()} == set(_IDS)
        with pytest.raises(InputError):
            ready.upsert([point("", text=[1, 0, 0])])
        assert ready.count() == len(_IDS)

    def test_writing_twice_gives_the_same_state(self, ready: Store) -> None:
        points = [point("a", "one", text=[1, 0, 0]), point("b", "two", image=[0, 1])]
        for _ in range(2):
            ready.upsert(points)
            assert state(ready) == {"a": {"text", "keywords"}, "b": {"image", "keywords"}}

    def test_of_one_id_twice_in_a_call_the_last_counts(self, ready: Store) -> None:
        ready.upsert([point("a", text=[1, 0, 0]), point("a", "new", image=[0, 1])])
        assert state(ready) == {"a": {"image", "keywords"}}

    def test_an_upsert_replaces_the_whole_point(self, ready: Store) -> None:
        ready.upsert([Point(Record("a", "old", metadata={"k": 1}), {"text": vector([1, 0, 0])})])
        ready.upsert([Point(Record("a", "new"), {"image": vector([0, 1])}, "new")])
        assert state(ready) == {"a": {"image", "keywords"}}
        assert ready.get([key_of("a")])[key_of("a")] == Record("a", "new")

    def test_an_update_keeps_the_other_fields(self, ready: Store) -> None:
        ready.upsert([point("a", "old words", text=[1, 0, 0], image=[0, 1])])
        captioned = Record("a", caption=Caption("a dog"), metadata={"k": 2})
        ready.update([Point(captioned, {"image": vector([1, 0])})])
        assert state(ready) == {"a": {"text", "image", "keywords"}}
        assert ready.get([key_of("a")]) == {key_of("a"): captioned}
        np.testing.assert_allclose(ready.sample("image", 1), [[1, 0]], atol=1e-6)
        np.testing.assert_allclose(ready.sample("text", 1), [[1, 0, 0]], atol=1e-6)
        assert found(ready, "words") == ["a"]
        ready.update([Point(captioned, {}, "fresh")])
        assert (found(ready, "words"), found(ready, "fresh")) == ([], ["a"])

    def test_an_update_of_what_is_missing_does_nothing(self, ready: Store) -> None:
        ready.upsert([point("a", text=[1, 0, 0])])
        ready.update([point("b", "word", text=[1, 0, 0]), point("a", image=[0, 1])])
        assert state(ready) == {"a": {"text", "image"}}
        ready.update([])

    def test_deleting(self, ready: Store) -> None:
        ready.upsert([point(i, text=[1, 0, 0]) for i in "abc"])
        ready.delete([key_of("a"), key_of("unknown")])
        ready.delete([])
        ready.delete_where(Eq("id", "b"))
        assert state(ready) == {"c": {"text"}}

    @pytest.mark.parametrize(
        "bad", [[math.nan, 0, 0], [math.inf, 0, 0], [0, 0, 0], [1, 0], [[1, 0, 0]], [1e-30, 0, 0]]
    )
    def test_an_unfit_vector_is_refused_and_nothing_written(self, ready: Store, bad: Any) -> None:
        ready.upsert([point("a", "old", text=[1, 0, 0])])
        batch = [point("b", text=[1, 0, 0]), Point(Record("a", "new"), {"text": vector(bad)})]
        for write in (ready.upsert, ready.update):
            with pytest.raises(VectorError, match="'a'"):
                write(batch)
        with pytest.raises(VectorError):
            ready.search([FieldQuery("text", vector(bad))], 5)
        assert ready.get([key_of("a"), key_of("b")]) == {key_of("a"): Record("a", "old")}

    def test_an_unknown_field_is_refused(self, ready: Store) -> None:
        with pytest.raises(UnknownName):
            ready.upsert([point("a", caption=[1, 0])])
        with pytest.raises(UnknownName):
            ready.search([FieldQuery("caption", vector([1, 0]))], 5)
        with pytest.raises(VectorError):
            ready.search([FieldQuery("keywords", vector([1, 0]))], 5)
        assert ready.count() == 0

    @pytest.mark.parametrize(
        "value", [math.nan, b"bytes", {1: "key"}, object(), 2**63, "\ud800", [[[math.inf]]]]
    )
    def test_metadata_that_is_not_json_is_refused_by_name(self, ready: Store, value: Any) -> None:
        good, bad = point("good"), Point(Record("bad", metadata={"outer": {"inner": value}}))
        with pytest.raises(InputError, match="inner"):
            ready.upsert([good, bad])
        assert ready.count() == 0

    def test_extra_cannot_hide_our_own_keys(self, ready: Store) -> None:
        with pytest.raises(InputError, match="page_content"):
            ready.upsert([Point(Record("a", extra={"page_content": "x"}))])
