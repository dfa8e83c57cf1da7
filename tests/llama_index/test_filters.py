"""MetadataFilters: every operator that an index can express means what it means in LlamaIndex."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.schema import ImageNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn
from pydantic import ValidationError

from llama_index_mm import MultimodalVectorStore
from llama_index_mm.filters import narrowed, where_of
from mmrag import And
from mmrag.errors import InputError
from mmrag.testing.matching import matches

from .nodes import opened, painted

METADATA: dict[str, dict[str, Any]] = {
    "one": {"n": 1, "lang": "en", "tags": ["a", "b"], "ok": True, "source": "mine"},
    "two": {"n": 2, "lang": "de", "tags": ["b"], "ok": False, "dc.title": "T"},
    "half": {"n": 0.5, "lang": "True", "tags": [], "deep": {"a": {"b": "x"}}},
    "none": {"n": None, "lang": "", "page": 7},
    "bare": {},
}
ALL = set(METADATA)
Op = FilterOperator

CASES: list[tuple[str, FilterOperator, Any, set[str]]] = [
    ("n", Op.EQ, 1, {"one"}),
    ("n", Op.EQ, 1.0, {"one"}),
    ("n", Op.NE, 1, ALL - {"one"}),
    ("n", Op.GT, 1, {"two"}),
    ("n", Op.GTE, 1, {"one", "two"}),
    ("n", Op.LT, 1, {"half"}),
    ("n", Op.LTE, 1, {"one", "half"}),
    ("n", Op.IN, [1, 2, 3], {"one", "two"}),
    ("n", Op.IN, [], set()),
    ("n", Op.NIN, [1, 2], ALL - {"one", "two"}),
    ("n", Op.NIN, [], ALL),
    ("lang", Op.EQ, "en", {"one"}),
    ("lang", Op.NE, "en", ALL - {"one"}),
    ("lang", Op.IN, ["en", "de"], {"one", "two"}),
    ("tags", Op.ANY, ["a", "z"], {"one"}),
    ("tags", Op.ANY, ["b"], {"one", "two"}),
    ("tags", Op.ALL, ["a", "b"], {"one"}),
    ("tags", Op.CONTAINS, "b", {"one", "two"}),
    ("tags", Op.IS_EMPTY, None, {"half", "none", "bare"}),
    ("lang", Op.IS_EMPTY, None, {"none", "bare"}),
    ("n", Op.IS_EMPTY, None, {"none", "bare"}),
    # A boolean cannot be the value of a MetadataFilter; its name can.
    ("ok", Op.EQ, "true", {"one"}),
    ("ok", Op.EQ, "False", {"two"}),
    ("ok", Op.NE, "true", ALL - {"one"}),
    ("ok", Op.IN, ["true", "false"], {"one", "two"}),
    ("ok", Op.EQ, 1, set()),
    ("lang", Op.EQ, "True", {"half"}),
    # The node's own metadata, whatever mmrag's records have under this name.
    ("source", Op.EQ, "mine", {"one"}),
    ("page", Op.EQ, 7, {"none"}),
    # A dot may be a part of a key, or lead into a nested dict.
    ("dc.title", Op.EQ, "T", {"two"}),
    ("deep.a.b", Op.EQ, "x", {"half"}),
    ("deep.a.b", Op.NE, "x", ALL - {"half"}),
    ("deep.a.b", Op.IS_EMPTY, None, ALL - {"half"}),
    ("nowhere", Op.EQ, "x", set()),
    ("nowhere", Op.NE, "x", ALL),
]


def one(key: str, operator: FilterOperator, value: Any) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, operator=operator, value=value)])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MultimodalVectorStore]:
    with opened(tmp_path_factory.mktemp("filters") / "kb") as index:
        store = MultimodalVectorStore(index)
        store.add([TextNode(id_=i, text=i, metadata=m) for i, m in METADATA.items()])
        yield store


def found(store: MultimodalVectorStore, filters: MetadataFilters) -> set[str]:
    return {node.node_id for node in store.get_nodes(filters=filters)}


@pytest.mark.parametrize(("key", "operator", "value", "expected"), CASES)
def test_operator(
    store: MultimodalVectorStore,
    key: str,
    operator: FilterOperator,
    value: Any,
    expected: set[str],
) -> None:
    assert found(store, one(key, operator, value)) == expected


def test_conditions_and_nesting(store: MultimodalVectorStore) -> None:
    english = MetadataFilter(key="lang", value="en")
    small = MetadataFilter(key="n", operator=Op.LT, value=1)
    two = MetadataFilter(key="n", value=2)

    def group(condition: FilterCondition | None, *filters: Any) -> MetadataFilters:
        return MetadataFilters(filters=list(filters), condition=condition)

    either = group(FilterCondition.OR, english, small)
    neither = group(FilterCondition.NOT, english, small)
    assert found(store, either) == {"one", "half"}
    assert found(store, neither) == {"two", "none", "bare"}
    assert found(store, group(FilterCondition.AND, either, english)) == {"one"}
    assert found(store, group(None, english, small)) == set()
    assert found(store, group(FilterCondition.OR, two, group(FilterCondition.AND, either))) == {
        "one",
        "two",
        "half",
    }
    assert found(store, group(FilterCondition.NOT, neither)) == {"one", "half"}


def test_filters_without_conditions_are_none(store: MultimodalVectorStore) -> None:
    empty = MetadataFilters(filters=[])
    assert where_of(None) is None and where_of(empty) is None
    assert where_of(MetadataFilters(filters=[empty], condition=FilterCondition.OR)) is None
    assert found(store, empty) == ALL
    assert narrowed(None) is None and narrowed(empty, None, None) is None


@pytest.mark.parametrize("operator", [Op.TEXT_MATCH, Op.TEXT_MATCH_INSENSITIVE])
def test_an_operator_that_cannot_be_expressed_is_named(
    store: MultimodalVectorStore, operator: FilterOperator
) -> None:
    with pytest.raises(InputError, match=rf"'lang'.*{operator.name}\b"):
        store.get_nodes(filters=one("lang", operator, "e"))


@pytest.mark.parametrize(
    ("operator", "value", "wanted"),
    [
        (Op.EQ, None, "one value"),
        (Op.NE, ["a"], "one value"),
        (Op.CONTAINS, ["a"], "one value"),
        (Op.GT, "2024-01-01", "a number"),
        (Op.LTE, [1], "a number"),
        (Op.IN, "a,b", "a list"),
        (Op.NIN, 1, "a list"),
        (Op.ANY, "a", "a list"),
        (Op.ALL, None, "a list"),
    ],
)
def test_a_value_that_does_not_fit_its_operator(
    operator: FilterOperator, value: Any, wanted: str
) -> None:
    with pytest.raises(InputError, match=f"'key': .* with {wanted}, not with"):
        where_of(one("key", operator, value))


def test_llama_index_refuses_booleans_and_mmrags_own_filters_take_them(
    store: MultimodalVectorStore,
) -> None:
    with pytest.raises(ValidationError):
        MetadataFilter(key="ok", value=True)  # type: ignore[arg-type]
    assert store.index.count({"ok": True}) == 1


def test_the_fields_of_the_record_and_the_document(tmp_path: Path) -> None:
    with opened(tmp_path / "kb") as index:
        store = MultimodalVectorStore(index)
        source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="d1")}
        store.add(
            [
                TextNode(id_="a", text="x", relationships=source, metadata={"page_label": "3"}),
                TextNode(id_="b", text="x", metadata={"doc_id": "mine", "file_path": "b.txt"}),
                ImageNode(id_="c", image_path=str(painted(tmp_path / "c.png"))),
            ]
        )
        assert found(store, one("mmrag.modality", Op.EQ, "image")) == {"c"}
        assert found(store, one("mmrag.modality", Op.NE, "image")) == {"a", "b"}
        assert found(store, one("mmrag.page", Op.GTE, 3)) == {"a"}
        assert found(store, one("mmrag.source", Op.EQ, "b.txt")) == {"b"}
        assert found(store, one("mmrag.id", Op.IN, ["a", "c"])) == {"a", "c"}
        for key in ("ref_doc_id", "doc_id", "document_id"):
            assert found(store, one(key, Op.EQ, "d1")) == {"a"}
        assert found(store, one("doc_id", Op.EQ, "mine")) == {"b"}
        assert found(store, one("ref_doc_id", Op.EQ, "b")) == {"b"}  # it is its own document


def test_a_key_that_cannot_be_expressed_is_an_error(store: MultimodalVectorStore) -> None:
    for key in ('a"b', "a\\b", ""):
        with pytest.raises(InputError):
            store.get_nodes(filters=one(key, Op.EQ, 1))


def test_ids_and_documents_narrow_the_filters() -> None:
    where = narrowed(one("n", Op.GT, 1), ["a"], ["d"])
    assert isinstance(where, And) and len(where.conditions) == 3
    assert narrowed(None, []) is not None  # no ids at all match nothing


scalars = st.sampled_from([0, 1, 2, 1.5, "a", "b", "en"])
lists = st.lists(st.sampled_from(["a", "b"]), max_size=2) | st.lists(st.integers(0, 2), max_size=2)
leaves = st.one_of(
    st.tuples(st.sampled_from([Op.EQ, Op.NE]), scalars),
    st.tuples(st.sampled_from([Op.GT, Op.GTE, Op.LT, Op.LTE]), st.sampled_from([0, 1, 1.5])),
    st.tuples(st.sampled_from([Op.IN, Op.NIN]), lists),
    st.tuples(st.just(Op.IS_EMPTY), st.none()),
)


@given(
    st.lists(st.tuples(st.sampled_from("xyz"), leaves), min_size=1, max_size=3),
    st.sampled_from(FilterCondition),
    st.dictionaries(st.sampled_from("xyz"), scalars | st.just("") | st.none()),
)
def test_filters_mean_what_llama_index_says_they_mean(
    parts: list[tuple[str, tuple[FilterOperator, Any]]],
    condition: FilterCondition,
    metadata: dict[str, Any],
) -> None:
    filters = MetadataFilters(
        filters=[MetadataFilter(key=k, operator=o, value=v) for k, (o, v) in parts],
        condition=condition,
    )
    try:
        expected = build_metadata_filter_fn(lambda _: metadata, filters)("")
    except TypeError:  # LlamaIndex fails where a word is compared with a number
        return
    where = where_of(filters)
    assert where is not None
    assert matches(where, {"metadata": metadata}) == expected
