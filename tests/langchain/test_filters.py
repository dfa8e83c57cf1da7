"""Filters: the operators that LangChain's users know, and what an index itself takes."""

from __future__ import annotations

import math
import operator as comparing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from PIL import Image

from langchain_mm import MultimodalVectorStore
from langchain_mm.filters import where_of
from mmrag import And, Eq, MultimodalIndex
from mmrag.errors import InputError
from mmrag.filters import Exists, In, Not, Or, Range
from mmrag.stores.payload import to_payload
from mmrag.testing import FakeEncoder
from mmrag.testing.matching import matches
from mmrag.types import Record

METADATA: dict[str, dict[str, Any]] = {
    "one": {"n": 1, "lang": "en", "tags": ["a", "b"], "ok": True, "source": "mine"},
    "two": {"n": 2, "lang": "de", "tags": ["b"], "ok": False, "dc.title": "T"},
    "half": {"n": 0.5, "lang": "fr", "tags": [], "deep": {"a": {"b": "x"}}, "modality": "loud"},
    "none": {"n": None, "lang": "", "page": 7, "$odd": 1},
    "bare": {},
}
ALL = set(METADATA)

CASES: list[tuple[Any, set[str]]] = [
    # What MultimodalIndex.search takes.
    (None, ALL),
    ({}, ALL),
    ({"lang": "en"}, {"one"}),
    ({"lang": ["en", "de"]}, {"one", "two"}),
    ({"lang": ("en", "de")}, {"one", "two"}),
    ({"lang": []}, set()),
    ({"lang": "en", "n": 2}, set()),
    ({"lang": "en", "n": 1}, {"one"}),
    ({"ok": True}, {"one"}),
    ({"ok": 1}, set()),
    ({"n": True}, set()),
    (Eq("lang", "en") | Eq("n", 2), {"one", "two"}),
    (Range("n", gte=1), {"one", "two"}),
    # Operators, as in Chroma, PGVector, Pinecone.
    ({"n": {"$eq": 1}}, {"one"}),
    ({"n": {"$eq": 1.0}}, {"one"}),
    ({"n": {"$ne": 1}}, ALL - {"one"}),
    ({"n": {"$gt": 1}}, {"two"}),
    ({"n": {"$gte": 1}}, {"one", "two"}),
    ({"n": {"$lt": 1}}, {"half"}),
    ({"n": {"$lte": 1}}, {"one", "half"}),
    ({"n": {"$gt": 0.5, "$lt": 2}}, {"one"}),
    ({"lang": {"$in": ["en", "de"]}}, {"one", "two"}),
    ({"lang": {"$in": []}}, set()),
    ({"lang": {"$nin": ["en", "de"]}}, ALL - {"one", "two"}),
    ({"lang": {"$nin": []}}, ALL),
    ({"n": {"$exists": True}}, {"one", "two", "half"}),
    ({"n": {"$exists": False}}, {"none", "bare"}),
    ({"n": {"$not": {"$gt": 1}}}, ALL - {"two"}),
    ({"n": {"$not": 1}}, ALL - {"one"}),
    ({"tags": "b"}, {"one", "two"}),
    ({"tags": {"$in": ["a", "z"]}}, {"one"}),
    ({"tags": {"$ne": "a"}}, ALL - {"one"}),
    ({"$and": [{"tags": "a"}, {"tags": "b"}]}, {"one"}),
    ({"$or": [{"lang": "en"}, {"n": {"$lt": 1}}]}, {"one", "half"}),
    ({"$or": [{"lang": "en", "n": 2}, {"ok": False}]}, {"two"}),
    ({"$not": {"lang": "en"}}, ALL - {"one"}),
    ({"$not": {"$or": [{"lang": "en"}, {"n": 2}]}}, ALL - {"one", "two"}),
    ({"$or": [{"n": 1}, {"n": 2}], "ok": True}, {"one"}),
    ({"$and": [Eq("lang", "en"), {"n": 1}]}, {"one"}),
    # The document's own metadata, whatever mmrag's records have under this name.
    ({"source": "mine"}, {"one"}),
    ({"page": 7}, {"none"}),
    ({"modality": "loud"}, {"half"}),
    # A dot may be a part of a key, or lead into a nested dict.
    ({"dc.title": "T"}, {"two"}),
    ({"deep.a.b": "x"}, {"half"}),
    ({"deep.a.b": {"$ne": "x"}}, ALL - {"half"}),
    ({"deep.a.b": {"$exists": True}}, {"half"}),
    ({"nowhere": "x"}, set()),
    ({"nowhere": {"$ne": "x"}}, ALL),
]


def opened(path: Path) -> MultimodalIndex:
    encoder = FakeEncoder()
    return MultimodalIndex.open(path, text_encoder=encoder, image_encoder=encoder)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MultimodalVectorStore]:
    with opened(tmp_path_factory.mktemp("filters") / "kb") as index:
        store = MultimodalVectorStore(index)
        store.add_texts(["tea"] * len(METADATA), list(METADATA.values()), ids=list(METADATA))
        yield store


def found(store: MultimodalVectorStore, filter: Any) -> set[str]:  # noqa: A002
    return {str(document.id) for document in store.similarity_search("tea", 10, filter)}


@pytest.mark.parametrize(("filter", "expected"), CASES)
def test_filter(store: MultimodalVectorStore, filter: Any, expected: set[str]) -> None:  # noqa: A002
    assert found(store, filter) == expected


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        (lambda document: True, "a dict.*not function"),
        ("lang = 'en'", "a dict.*not str"),
        ([{"lang": "en"}], "a dict.*not list"),
        (True, "a dict.*not bool"),
        ({1: "x"}, "key is a non-empty string, not 1"),
        ({"": "x"}, "non-empty string"),
        ({"lang": {"$like": "e%"}}, r"'lang' has no '\$like'.*\$nin"),
        ({"deep": {"a": 1}}, r"'deep' has no 'a'.*with a dot"),
        ({"lang": {}}, "'lang' is empty"),
        ({"lang": None}, r"'lang'.*\$exists"),
        ({"lang": {"$eq": None}}, r"'lang'.*\$exists"),
        ({"lang": {"$eq": ["en"]}}, r"'lang': \$eq takes a string"),
        ({"lang": {"$in": "en"}}, r"'lang': \$in takes a list"),
        ({"lang": [["en"]]}, r"'lang': \$in takes a string"),
        ({"n": {"$gt": "1"}}, r"'n': \$gt takes a number"),
        ({"n": {"$gt": True}}, r"'n': \$gt takes a number"),
        ({"n": {"$lt": math.nan}}, "finite"),
        ({"n": {"$exists": "yes"}}, r"'n': \$exists takes True or False"),
        ({"n": {"$exists": 1}}, r"'n': \$exists takes True or False"),
        ({"when": b"x"}, r"'when': \$eq takes a string"),
        ({"$nor": [{"n": 1}]}, r"no '\$nor'.*\$and"),
        ({"$and": []}, r"\$and takes a list of one or more"),
        ({"$and": {"n": 1}}, r"\$and takes a list"),
        ({"$or": [{}]}, r"\$or needs filters"),
        ({"$or": [None]}, r"\$or needs filters"),
        ({"$or": ["n"]}, "a dict.*not str"),
        ({"$not": {}}, r"\$not needs"),
        ({"a\\b": 1}, "cannot express"),
    ],
)
def test_what_cannot_be_a_filter_is_an_error(
    store: MultimodalVectorStore,
    filter: Any,  # noqa: A002
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        store.similarity_search("tea", filter=filter)


def test_the_tree() -> None:
    assert where_of(None) is None and where_of({}) is None
    assert where_of({"n": {"$gte": 1, "$lt": 5}}) == And(
        (And((Range('metadata."n"', gte=1), Range('metadata."n"', lt=5))),)
    )
    assert where_of({"a.b": ["x"]}) == And(
        (Or((In('metadata."a.b"', ("x",)), In("metadata.a.b", ("x",)))),)
    )
    assert where_of({"mmrag.page": {"$exists": False}}) == And((Not(Exists("page")),))
    tree = Eq("anything", 1) & Exists("page")
    assert where_of(tree) is tree


def test_fields_of_the_record(tmp_path: Path) -> None:
    picture = tmp_path / "red.png"
    Image.new("RGB", (40, 30), "red").save(picture)
    (tmp_path / "notes.txt").write_text("notes on tea")
    with opened(tmp_path / "kb") as index:
        store = MultimodalVectorStore(index)
        manual = {"source": "manual.pdf", "page": 0, "page_label": "1"}
        store.add_documents(
            [
                Document("tea", id="text", metadata=manual),
                Document("tea", id="image", metadata={"mmrag_image": str(picture)}),
                Document("tea", id="clip", metadata={"mmrag_locator": {"start_s": 5.0}}),
            ]
        )
        index.add([Record("record", "tea", source="elsewhere")])
        assert found(store, {"mmrag.modality": "image"}) == {"image"}
        assert found(store, {"mmrag.page": 1}) == {"text"}
        assert found(store, {"mmrag.start_s": {"$lt": 6}}) == {"clip"}
        assert found(store, {"mmrag.id": ["clip", "text"]}) == {"clip", "text"}
        assert found(store, {"mmrag.source": "manual.pdf"}) == {"text"}
        # What mmrag read itself shows its source in the metadata, and is found by it.
        index.add_files([tmp_path / "notes.txt"])
        (notes,) = store.similarity_search("notes", k=1)
        assert notes.metadata["source"] == str(tmp_path / "notes.txt")
        assert found(store, {"source": notes.metadata["source"]}) == {notes.id}
        assert found(store, {"source": "elsewhere"}) == {"record"}
        assert found(store, {"source": "manual.pdf"}) == {"text"}
        assert notes.id not in found(store, {"source": {"$ne": notes.metadata["source"]}})


keys = st.sampled_from(["n", "lang", "tags", "ok", "deep.a.b", "gone"])
scalars = st.sampled_from([0.5, 1, 2, True, False, "en", "de", "a", "b", "x", ""])
operators = st.one_of(
    st.builds(lambda o, v: {o: v}, st.sampled_from(["$eq", "$ne"]), scalars),
    st.builds(lambda o, v: {o: v}, st.sampled_from(["$in", "$nin"]), st.lists(scalars)),
    st.builds(
        lambda o, v: {o: v}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), st.floats(-3, 3)
    ),
    st.builds(lambda v: {"$exists": v}, st.booleans()),
)
leaves = st.builds(lambda k, v: {k: v}, keys, operators | scalars)
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda p: {"$and": p}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda p: {"$or": p}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda p: {"$not": p}, inner),
    ),
    max_leaves=6,
)


def holds(condition: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """What a filter means, in Python's own words."""
    ((key, value),) = condition.items()
    if key == "$and":
        return all(holds(part, metadata) for part in value)
    if key == "$or":
        return any(holds(part, metadata) for part in value)
    if key == "$not":
        return not holds(value, metadata)
    there: Any = metadata
    for step in key.split("."):
        there = there.get(step) if isinstance(there, dict) else None
    items = there if isinstance(there, list) else [] if there is None else [there]
    ((operator, operand),) = value.items() if isinstance(value, dict) else [("$eq", value)]
    if operator == "$exists":
        return bool(items) is operand
    if operator in ("$ne", "$nin"):
        other = {"$ne": "$eq", "$nin": "$in"}[operator]
        return not holds({key: {other: operand}}, metadata)
    if operator in ("$eq", "$in"):
        wanted = [operand] if operator == "$eq" else operand
        return any(
            isinstance(i, bool) == isinstance(w, bool) and i == w for i in items for w in wanted
        )
    numbers = [i for i in items if isinstance(i, int | float) and not isinstance(i, bool)]
    name = {"$gt": "gt", "$gte": "ge", "$lt": "lt", "$lte": "le"}[operator]
    return any(getattr(comparing, name)(number, operand) for number in numbers)


@given(filters)
def test_filters_mean_what_they_say(condition: dict[str, Any]) -> None:
    tree = where_of(condition)
    assert tree is not None
    for name, metadata in METADATA.items():
        assert matches(tree, to_payload(Record(name, metadata=metadata))) == holds(
            condition, metadata
        )
