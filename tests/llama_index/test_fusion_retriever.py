"""Any retrievers fused by rank: arithmetic, identity, isolation, and sync as async."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import (
    BaseNode,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)

from llama_index_mm import MultimodalRetriever
from llama_index_mm.convert import TRACE_KEY
from llama_index_mm.fusion_retriever import FusionRetriever
from mmrag.errors import InputError, UnknownName


class Listed(BaseRetriever):
    """Gives the nodes that it was made with, and keeps the bundles that it was asked with."""

    def __init__(self, *nodes: BaseNode | NodeWithScore, scores: Sequence[float | None] = ()):
        given_scores = [*scores, *[None] * (len(nodes) - len(scores))]
        self.nodes = [
            n if isinstance(n, NodeWithScore) else NodeWithScore(node=n, score=s)
            for n, s in zip(nodes, given_scores, strict=True)
        ]
        self.asked: list[QueryBundle] = []
        self.threads: set[int] = set()
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.asked.append(query_bundle)
        self.threads.add(threading.get_ident())
        return self.nodes


class Failing(BaseRetriever):
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        raise ConnectionError("the store is down")


def text(name: str, content: str = "") -> TextNode:
    return TextNode(id_=name, text=content or name)


def ids(nodes: list[NodeWithScore]) -> list[str]:
    return [n.node_id for n in nodes]


def both_ways(retriever: BaseRetriever, query: str | QueryBundle = "q") -> list[NodeWithScore]:
    """Retrieve in sync and async, show that they agree, and return what they found."""
    nodes = retriever.retrieve(query)
    again = asyncio.run(retriever.aretrieve(query))
    assert [n.to_dict() for n in again] == [n.to_dict() for n in nodes]
    return nodes


def test_ranks_are_summed_from_one() -> None:
    a, b, c = text("a"), text("b"), text("c")
    fused = both_ways(FusionRetriever({"x": Listed(a, b), "y": Listed(b, c)}))
    assert ids(fused) == ["b", "a", "c"]
    assert [n.score for n in fused] == [1 / 62 + 1 / 61, 1 / 61, 1 / 62]
    assert fused[0].metadata[TRACE_KEY] == [
        {"route": "x", "rank": 2, "score": None, "contribution": 1 / 62},
        {"route": "y", "rank": 1, "score": None, "contribution": 1 / 61},
    ]


def test_k_and_top_k() -> None:
    parts = {"x": Listed(text("a"), text("b"))}
    (only,) = both_ways(FusionRetriever(parts, k=0, similarity_top_k=1))
    assert (only.node_id, only.score) == ("a", 1.0)


def test_from_retrievers_makes_one() -> None:
    made = MultimodalRetriever.from_retrievers(
        {"x": Listed(text("a")), "y": Listed(text("b"))},
        weights={"y": 3},
        k=1,
        key=lambda node: "same",
        similarity_top_k=1,
    )
    assert isinstance(made, FusionRetriever)
    (node,) = both_ways(made)
    assert node.score == 1 / 2 + 3 / 2


def test_issue_21444_weights_count_in_reciprocal_rank_fusion() -> None:
    parts = {"x": Listed(text("a")), "y": Listed(text("b"))}
    assert ids(both_ways(FusionRetriever(parts, weights={"x": 2}))) == ["a", "b"]
    assert ids(both_ways(FusionRetriever(parts, weights={"x": 0.5}))) == ["b", "a"]
    silent = both_ways(FusionRetriever(parts, weights={"x": 0}))
    assert [(n.node_id, n.score) for n in silent] == [("b", 1 / 61), ("a", 0)]


def test_issue_15172_nodes_of_one_text_and_different_ids_stay_two() -> None:
    one, two = text("1", "same words"), text("2", "same words")
    assert one.hash == two.hash
    fused = both_ways(FusionRetriever({"x": Listed(one), "y": Listed(two)}))
    assert ids(fused) == ["1", "2"]


def test_two_pages_of_one_file_stay_two() -> None:
    one, two = (ImageNode(id_=i, image_path="manual.pdf", metadata={"page": i}) for i in ("1", "2"))
    assert one.hash == two.hash
    fused = both_ways(FusionRetriever({"x": Listed(one, two), "y": Listed(two)}))
    assert ids(fused) == ["2", "1"]


def test_a_node_of_one_id_and_different_content_is_one() -> None:
    before, after = text("a", "old words"), text("a", "new words")
    assert len(both_ways(FusionRetriever({"x": Listed(before), "y": Listed(after)}))) == 1


def test_a_node_that_is_twice_in_a_list_counts_once_at_its_best_rank() -> None:
    a, b = text("a"), text("b")
    (first, second) = both_ways(FusionRetriever({"x": Listed(b, a, b, b)}))
    assert (first.node_id, first.score) == ("b", 1 / 61)
    assert (second.node_id, second.score) == ("a", 1 / 62)


@pytest.mark.parametrize(
    "picture",
    [
        ImageNode(id_="p", image_path="cat.jpg", metadata={"file": "cat.jpg"}),
        Node(id_="p", image_resource=MediaResource(path="c.jpg"), metadata={"file": "cat.jpg"}),
        ImageDocument(
            id_="p", image_resource=MediaResource(data=b"x"), metadata={"file": "cat.jpg"}
        ),
    ],
)
def test_a_caption_and_its_picture_count_as_one_with_a_key(picture: BaseNode) -> None:
    caption = TextNode(id_="c", text="a cat", metadata={"file": "cat.jpg"})
    other = TextNode(id_="o", text="a dog", metadata={"file": "dog.jpg"})
    parts = {"text": Listed(caption, other), "image": Listed(other, picture)}
    fused = both_ways(FusionRetriever(parts, key=lambda node: node.metadata["file"]))
    assert ids(fused) == ["p", "o"]
    assert fused[0].score == fused[1].score == 1 / 61 + 1 / 62
    assert type(fused[0].node) is type(picture)


def test_of_nodes_with_one_key_and_no_picture_the_best_ranked_comes_back() -> None:
    parts = {"x": Listed(text("z"), text("a1")), "y": Listed(text("a2"))}
    fused = both_ways(FusionRetriever(parts, key=lambda node: node.node_id[0]))
    assert ids(fused) == ["a2", "z"]


def test_pr_22386_none_scores_mix_with_others() -> None:
    mixed = Listed(text("a"), text("b"), text("c"), scores=[0.9, None, 0.2])
    fused = both_ways(FusionRetriever({"x": mixed, "y": Listed(text("b"))}))
    assert ids(fused) == ["b", "a", "c"]
    assert [vote["score"] for n in fused for vote in n.metadata[TRACE_KEY]] == [
        None,
        None,
        0.9,
        0.2,
    ]


def test_a_list_counts_in_its_own_order_whatever_its_scores() -> None:
    distances = Listed(text("near"), text("far"), scores=[0.1, 7.0])
    assert ids(both_ways(FusionRetriever({"x": distances}))) == ["near", "far"]


def test_what_the_retrievers_hold_is_not_changed() -> None:
    node = TextNode(
        id_="a",
        text="a",
        metadata={"k": [1]},
        excluded_llm_metadata_keys=["k"],
        excluded_embed_metadata_keys=["k"],
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc")},
    )
    part = Listed(node, scores=[0.7])
    before = copy.deepcopy(part.nodes)
    (fused,) = both_ways(FusionRetriever({"x": part, "y": part}))
    fused.node.metadata["new"] = 1
    fused.node.metadata["k"].append(2)
    fused.node.excluded_llm_metadata_keys.append("new")
    fused.node.relationships.clear()
    fused.node.set_content("changed")
    assert part.nodes == before
    assert part.nodes[0].node is node


def test_neither_the_model_nor_the_embedding_is_shown_the_trace() -> None:
    node = TextNode(id_="a", text="words", metadata={"lang": "en"})
    (fused,) = both_ways(FusionRetriever({"x": Listed(node)}))
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert fused.node.get_content(mode) == "lang: en\n\nwords"
    (twice,) = both_ways(FusionRetriever({"outer": Listed(fused)}))
    assert twice.node.excluded_llm_metadata_keys == [TRACE_KEY]
    assert [vote["route"] for vote in twice.metadata[TRACE_KEY]] == ["outer"]


def test_each_retriever_gets_a_query_of_its_own_without_a_vector() -> None:
    x, y = Listed(text("a")), Listed(text("b"))
    bundle = QueryBundle("q", "p.jpg", custom_embedding_strs=["r"], embedding=[1.0, 2.0])
    before = copy.deepcopy(bundle)
    both_ways(FusionRetriever({"x": x, "y": y}), bundle)
    assert bundle == before
    for asked in [*x.asked, *y.asked]:
        assert asked == QueryBundle("q", "p.jpg", custom_embedding_strs=["r"])
        assert asked is not bundle
        assert asked.custom_embedding_strs is not bundle.custom_embedding_strs
    assert x.asked[0] is not y.asked[0]


class Letters(BaseEmbedding):
    """A text's vector is that of its first letter, in an order that differs between models."""

    order: str

    def _get_text_embedding(self, text: str) -> list[float]:
        return [float(letter == text[0]) for letter in self.order]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


def test_issue_20242_no_space_is_searched_with_a_vector_of_another() -> None:
    """Two models of one dimension: with the first one's vector, the second finds "c" for "a"."""
    parts = {
        order: VectorStoreIndex(
            [text(f"{order}-{letter}", f"{letter} word") for letter in "abc"],
            embed_model=Letters(order=order),
        ).as_retriever(similarity_top_k=1)
        for order in ("abc", "cba")
    }
    assert set(ids(both_ways(FusionRetriever(parts), "a question"))) == {"abc-a", "cba-a"}


def test_an_error_of_a_retriever_is_raised_as_it_is() -> None:
    retriever = FusionRetriever({"good": Listed(text("a")), "bad": Failing()})
    with pytest.raises(ConnectionError, match="the store is down"):
        retriever.retrieve("q")
    with pytest.raises(ConnectionError, match="the store is down"):
        asyncio.run(retriever.aretrieve("q"))


class Slow(BaseRetriever):
    """Async lets all others run first."""

    finished = False

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return []

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        for _ in range(100):
            await asyncio.sleep(0)
        self.finished = True
        return []


class FailingAtOnce(Failing):
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._retrieve(query_bundle)


def test_no_search_is_left_running_behind_an_error() -> None:
    slow = Slow()

    async def ask() -> bool:
        with pytest.raises(ConnectionError):
            await FusionRetriever({"bad": FailingAtOnce(), "slow": slow}).aretrieve("q")
        return slow.finished

    assert asyncio.run(ask())


class Meeting(BaseRetriever):
    """Async only returns once all that share the barrier have been asked."""

    def __init__(self, node: BaseNode, waiting: list[Any], all_of: int) -> None:
        self.node, self.waiting, self.all_of = node, waiting, all_of
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=self.node)]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        event = asyncio.Event()
        self.waiting.append(event)
        if len(self.waiting) == self.all_of:
            for other in self.waiting:
                other.set()
        await asyncio.wait_for(event.wait(), timeout=10)
        return self._retrieve(query_bundle)


def test_async_asks_all_at_once_and_gives_the_order_of_sync() -> None:
    waiting: list[Any] = []
    parts = {name: Meeting(text(name), waiting, 3) for name in ("c", "a", "b")}
    assert ids(both_ways(FusionRetriever(parts))) == ["a", "b", "c"]


def test_a_retriever_without_async_does_not_block_the_loop() -> None:
    part = Listed(text("a"))
    asyncio.run(FusionRetriever({"x": part}).aretrieve("q"))
    assert threading.get_ident() not in part.threads


def test_callbacks_and_the_object_map_work_as_in_any_retriever() -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    part = Listed(IndexNode(id_="i", text="see", index_id="more"))
    retriever = FusionRetriever(
        {"x": part},
        callback_manager=CallbackManager([debug]),
        object_map={"more": Listed(text("a"), text("b"))},
    )
    assert ids(both_ways(retriever)) == ["a", "b"]
    assert len(debug.get_event_pairs(CBEventType.RETRIEVE)) == 2


def test_nothing_found_is_an_empty_list() -> None:
    assert both_ways(FusionRetriever({"x": Listed(), "y": Listed()})) == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"retrievers": {}}, InputError),
        ({"retrievers": [Listed()]}, InputError),
        ({"retrievers": {"x": "a store"}}, InputError),
        ({"weights": {"z": 1}}, UnknownName),
        ({"weights": {"x": -1}}, InputError),
        ({"weights": {"x": float("nan")}}, InputError),
        ({"k": -1}, InputError),
        ({"similarity_top_k": 0}, InputError),
    ],
)
def test_unfit_arguments_are_refused_at_once(options: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        FusionRetriever(**{"retrievers": {"x": Listed()}, **options})


NAMES = st.lists(st.sampled_from("abcdef"), max_size=6, unique=True)


@given(NAMES, NAMES, st.floats(0, 3), st.integers(0, 100))
def test_any_lists_give_the_sum_of_their_reciprocal_ranks(
    xs: list[str], ys: list[str], weight: float, k: int
) -> None:
    parts = {"x": Listed(*map(text, xs)), "y": Listed(*map(text, ys))}
    fused = FusionRetriever(parts, weights={"x": weight}, k=k).retrieve("q")
    expected = {
        name: (weight / (k + xs.index(name) + 1) if name in xs else 0)
        + (1 / (k + ys.index(name) + 1) if name in ys else 0)
        for name in {*xs, *ys}
    }
    assert {n.node_id: n.score for n in fused} == pytest.approx(expected)
    assert [(-(n.score or 0), n.node_id) for n in fused] == sorted(
        (-(n.score or 0), n.node_id) for n in fused
    )
