"""CrossModalReranker: mixed nodes, queries in words and pictures, nothing of the input changed."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import (
    Document,
    ImageDocument,
    ImageNode,
    MediaResource,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)

import mmrag
from llama_index_mm import CrossModalReranker, MultimodalReader, MultimodalRetriever
from llama_index_mm.convert import CAPTION_KEY, TRACE_KEY
from llama_index_mm.reader import DIGEST_KEY
from mmrag.encoders.bundled import BundledEncoder
from mmrag.errors import InputError, UnreadableSource
from mmrag.media import ImageInput, data_url
from mmrag.rerank import EncoderReranker
from mmrag.testing import FakeEncoder, FakeReranker
from mmrag.types import ImageRef, Record

from .listening import Callbacks, listening
from .nodes import base64_of, dump, opened, painted, png, samples

PICTURES = Path(mmrag.__file__).parent / "sample" / "pictures"
BUNDLED = EncoderReranker(BundledEncoder())


def scored(*nodes: Any, score: float | None = 0.5) -> list[NodeWithScore]:
    return [NodeWithScore(node=node, score=score) for node in nodes]


def faked(**options: Any) -> CrossModalReranker:
    return CrossModalReranker(reranker=FakeReranker(), **options)


def ids(found: Sequence[NodeWithScore]) -> list[str]:
    return [hit.node.node_id for hit in found]


def everything(nodes: Sequence[NodeWithScore]) -> list[Any]:
    return [(hit.score, dump(hit.node)) for hit in nodes]


MIXED = [
    TextNode(id_="sleep", text="Cats sleep up to sixteen hours a day."),
    ImageNode(id_="cat", image_path=str(PICTURES / "chelsea.jpg")),
    Document(id_="coffee", text="How to brew an espresso at home"),
    ImageDocument(id_="cup", image_path=str(PICTURES / "espresso.jpg")),
    TextNode(id_="report", text="Quarterly report of the company"),
    Node(id_="wall", image_resource=MediaResource(path=PICTURES / "brick-wall.jpg")),
]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (QueryBundle("a cat"), {"sleep", "cat"}),
        (QueryBundle("一杯咖啡"), {"coffee", "cup"}),
        (QueryBundle("", image_path=str(PICTURES / "kitten-and-yarn.jpg")), {"cat"}),
        (QueryBundle("a cat", image_path=str(PICTURES / "brick-wall.jpg")), {"wall"}),
    ],
)
def test_texts_and_pictures_come_in_one_order(query: QueryBundle, expected: set[str]) -> None:
    reranker = CrossModalReranker(reranker=BUNDLED, top_n=len(expected))
    found = reranker.postprocess_nodes(scored(*MIXED), query)
    assert set(ids(found)) == expected
    assert all(0 <= hit.get_score(raise_error=True) <= 1 for hit in found)


def test_it_works_as_it_comes() -> None:
    found = CrossModalReranker().postprocess_nodes(scored(*MIXED), query_str="a wall of bricks")
    assert ids(found)[0] == "wall"
    assert len(found) == 5


def test_issue_20742_pictures_are_looked_at() -> None:
    """LlamaIndex's rerankers take an image node for its text, and so for nothing."""
    cat, wall = MIXED[1], MIXED[5]
    for query, best in (("a cat", "cat"), ("a wall of bricks", "wall")):
        reranker = CrossModalReranker(reranker=BUNDLED, top_n=1)
        assert ids(reranker.postprocess_nodes(scored(cat, wall), query_str=query)) == [best]


def test_the_input_is_not_changed(tmp_path: Path) -> None:
    nodes = scored(*samples(tmp_path).values(), score=0.25)
    query = QueryBundle("a red field", image_path=str(painted(tmp_path / "q.png", "green")))
    before = everything(nodes), QueryBundle(**query.to_dict())
    found = faked(top_n=50).postprocess_nodes(nodes, query)
    assert (everything(nodes), query) == before
    assert {id(hit.node) for hit in found} == {id(hit.node) for hit in nodes}, "ids and metadata"
    assert not {id(hit) for hit in found} & {id(hit) for hit in nodes}


def test_scores_are_sorted_and_equals_keep_their_order() -> None:
    nodes = [TextNode(id_=str(n), text=t) for n, t in enumerate(["x", "a", "x", "a b", "a"])]
    found = faked(top_n=9).postprocess_nodes(scored(*nodes), query_str="a b")
    assert [(hit.node.node_id, hit.score) for hit in found] == [
        *(("3", 1.0), ("1", 0.5), ("4", 0.5), ("0", 0.0), ("2", 0.0))
    ]
    assert ids(faked(top_n=2).postprocess_nodes(scored(*nodes), query_str="a b")) == ["3", "1"]


def test_pr_22386_nodes_without_scores_are_no_error() -> None:
    nodes = [*scored(TextNode(id_="a", text="a"), score=None), *scored(TextNode(id_="b"))]
    assert ids(faked().postprocess_nodes(nodes, query_str="a")) == ["a", "b"]


def test_a_query_may_be_a_picture_alone(tmp_path: Path) -> None:
    red, blue = painted(tmp_path / "red.png", "red"), painted(tmp_path / "blue.png", "blue")
    nodes = scored(
        TextNode(id_="text", text="red"),
        ImageNode(id_="blue", image_path=str(blue)),
        ImageNode(id_="red", image=base64_of(red.read_bytes())),
    )
    found = faked().postprocess_nodes(nodes, QueryBundle("", image_path=str(red)))
    assert [(hit.node.node_id, hit.score) for hit in found] == [
        *(("red", 1.0), ("text", 0.0), ("blue", 0.0))
    ]


def test_captions_count(tmp_path: Path) -> None:
    path = str(painted(tmp_path / "a.png"))
    told = ImageNode(id_="told", image_path=path, metadata={CAPTION_KEY: {"brief": "a zebra"}})
    nodes = scored(ImageNode(id_="silent", image_path=path), told)
    assert ids(faked().postprocess_nodes(nodes, query_str="zebra")) == ["told", "silent"]


def test_what_is_asked_for_wrongly() -> None:
    nodes = scored(TextNode(text="a"))
    with pytest.raises(ValueError, match="needs the query"):
        faked().postprocess_nodes(nodes)
    with pytest.raises(ValueError, match="Cannot specify both"):
        faked().postprocess_nodes(nodes, QueryBundle("a"), query_str="a")
    with pytest.raises(InputError, match="empty query"):
        faked().postprocess_nodes(nodes, QueryBundle(" "))
    with pytest.raises(UnreadableSource):
        faked().postprocess_nodes(nodes, QueryBundle("", image_path="/nowhere/gone.png"))
    for top_n in (0, -1):
        with pytest.raises(ValueError, match="top_n"):
            faked(top_n=top_n)
    with pytest.raises(ValueError, match="Reranker"):
        CrossModalReranker(reranker="cross-encoder/ms-marco")
    assert faked().postprocess_nodes([], query_str="a") == []


def test_a_picture_that_cannot_be_opened_counts_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = ImageNode(id_="gone", image_path=str(tmp_path / "gone.png"), text="a zebra")
    web = ImageNode(id_="web", image_url="https://example.org/a.png", text="zebra")
    path = ImageNode(id_="path", image_path="https://example.org/a.png", text="zebra")
    torn = ImageNode(id_="torn", image="no base64!", text="zebra")
    nodes = [TextNode(id_="b", text="b"), gone, web, path, torn]
    reranker = CrossModalReranker(reranker=EncoderReranker(FakeEncoder()))
    with caplog.at_level(logging.WARNING, "mmrag"):
        found = reranker.postprocess_nodes(scored(*nodes), query_str="zebra")
    said = [record.getMessage() for record in caplog.records]
    assert {message.split("'")[1] for message in said} == {"gone", "path", "torn"}
    texts = [TextNode(id_=node.node_id, text=node.text) for node in nodes]
    bare = reranker.postprocess_nodes(scored(*texts), query_str="zebra")
    assert [(hit.node.node_id, hit.score) for hit in found] == [
        (hit.node.node_id, hit.score) for hit in bare
    ]
    assert ids(found)[:3] == ["web", "path", "torn"]


def test_pictures_are_left_to_the_reranker_to_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given: list[ImageRef | None] = []

    class Given(FakeReranker):
        def rerank(
            self, text: str | None, image: ImageInput | None, records: Sequence[Record]
        ) -> list[float]:
            given.extend(record.image for record in records)
            return super().rerank(text, image, records)

    path = str(tmp_path / "gone.png")
    nodes = scored(
        ImageNode(image_path=path),
        ImageNode(image=base64_of(png())),
        Node(image_resource=MediaResource(path=tmp_path / "gone.png")),
        ImageNode(image_path=path, metadata={DIGEST_KEY: "12ab"}),
        TextNode(text="x"),
    )
    CrossModalReranker(reranker=Given()).postprocess_nodes(nodes, query_str="x")
    bare = ImageRef(path, "", "", 0, 0)
    held = ImageRef(data_url(png(), "image/png"), "", "image/png", 0, 0)
    assert given == [bare, held, bare, ImageRef(path, "12ab", "", 0, 0), None]
    assert caplog.messages == []


def test_a_picture_that_was_replaced_since_it_was_read_counts_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, query = painted(tmp_path / "a.png"), str(painted(tmp_path / "q.png"))
    nodes = scored(*MultimodalReader().load_data([str(path)]), TextNode(id_="x", text="x"))
    asked = QueryBundle("", image_path=query)
    assert [hit.score for hit in faked().postprocess_nodes(nodes, asked)] == [1.0, 0.0]
    painted(path, "blue")
    assert [hit.score for hit in faked().postprocess_nodes(nodes, asked)] == [0.0, 0.0]
    assert "the file was replaced" in caplog.text


def test_a_reranker_that_gives_too_few_scores_is_an_error() -> None:
    class Short(FakeReranker):
        def rerank(
            self, text: str | None, image: ImageInput | None, records: Sequence[Record]
        ) -> list[float]:
            return super().rerank(text, image, records)[:-1]

    with pytest.raises(InputError, match="0 scores for 1 nodes"):
        CrossModalReranker(reranker=Short()).postprocess_nodes(
            scored(TextNode(text="a")), query_str="a"
        )


class Watched(FakeReranker):
    def __init__(self, meet: int = 1) -> None:
        self.sizes: list[int] = []
        self.barrier = threading.Barrier(meet)

    def rerank(
        self, text: str | None, image: ImageInput | None, records: Sequence[Record]
    ) -> list[float]:
        self.sizes.append(len(records))
        self.barrier.wait(10)
        return super().rerank(text, image, records)


def test_all_nodes_are_judged_in_one_call() -> None:
    watched = Watched()
    CrossModalReranker(reranker=watched).postprocess_nodes(scored(*MIXED * 20), query_str="a")
    assert watched.sizes == [120]


def test_async_gives_the_same_and_does_not_block_the_event_loop() -> None:
    watched = Watched(meet=2)
    reranker = CrossModalReranker(reranker=watched)

    async def run() -> list[NodeWithScore]:
        task = asyncio.create_task(reranker.apostprocess_nodes(scored(*MIXED), query_str="a day"))
        while watched.barrier.n_waiting == 0:
            await asyncio.sleep(0)
        watched.barrier.wait(10)
        return await task

    found = asyncio.run(run())
    expected = faked().postprocess_nodes(scored(*MIXED), query_str="a day")
    assert [(hit.node.node_id, hit.score) for hit in found] == [
        (hit.node.node_id, hit.score) for hit in expected
    ]


def test_it_reranks_what_our_retriever_finds(tmp_path: Path) -> None:
    with opened(tmp_path / "kb") as index:
        index.add([Record("a", "a red kettle"), Record("b", "a red house and a kettle")])
        engine = RetrieverQueryEngine.from_args(
            MultimodalRetriever(index),
            llm=MockLLM(),
            node_postprocessors=[faked(top_n=1)],
        )
        response = engine.query("red house")
    (hit,) = response.source_nodes
    assert (hit.node.node_id, hit.score) == ("b", 1.0)
    assert hit.node.metadata[TRACE_KEY], "what the routes said is still there"


# Serialisation


def test_the_settings_survive_a_round_trip() -> None:
    data = CrossModalReranker(reranker=BUNDLED, top_n=3).to_dict()
    assert data["class_name"] == "CrossModalReranker"
    assert CrossModalReranker.from_dict(data).to_dict() == data
    with pytest.raises(ValueError, match="pass reranker="):
        CrossModalReranker.from_dict(faked().to_dict())
    assert pickle.loads(pickle.dumps(faked(top_n=2))).top_n == 2
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(CrossModalReranker(reranker=Watched()))


# Events


@pytest.mark.parametrize("use_async", [False, True])
def test_events_name_the_nodes_without_their_bytes(tmp_path: Path, use_async: bool) -> None:
    callbacks = Callbacks()
    reranker = faked(top_n=2, callback_manager=CallbackManager([callbacks]))
    nodes = scored(*samples(tmp_path).values())
    query = QueryBundle("bread")
    with listening(ReRankStartEvent, ReRankEndEvent) as events:
        if use_async:
            found = asyncio.run(reranker.apostprocess_nodes(nodes, query))
        else:
            found = reranker.postprocess_nodes(nodes, query)
    start, end = events
    assert (start.query, start.top_n, start.model_name) == (query, 2, "fake reranker 1")
    assert ids(start.nodes) == ids(nodes)
    assert ids(end.nodes) == ids(found)
    assert [hit.score for hit in end.nodes] == [hit.score for hit in found] == [1.0, 0.0]
    ((kind, asked),), ((_, given),) = callbacks.starts, callbacks.ends
    assert kind == CBEventType.RERANKING
    assert asked[EventPayload.QUERY_STR] == "bread"
    assert asked[EventPayload.TOP_K] == 2
    assert asked[EventPayload.MODEL_NAME] == "fake reranker 1"
    assert ids(given[EventPayload.NODES]) == ids(found)
    pictures = [base64_of(png(colour)) for colour in ("green", "blue", "yellow")]
    for seen in (start.nodes, end.nodes, asked[EventPayload.NODES], given[EventPayload.NODES]):
        written = str([dump(hit.node) for hit in seen])
        assert not any(picture in written for picture in pictures)
