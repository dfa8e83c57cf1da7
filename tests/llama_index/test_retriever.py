"""MultimodalRetriever over an index: what is found, what is kept, and what is never touched."""

from __future__ import annotations

import asyncio
import base64
import copy
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.base_multi_modal_retriever import MultiModalRetriever
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.schema import (
    ImageDocument,
    ImageNode,
    IndexNode,
    MetadataMode,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters
from PIL import Image
from pydantic import Field

from llama_index_mm import MultimodalRetriever, MultimodalVectorStore
from llama_index_mm.convert import CAPTION_KEY, TRACE_KEY, node_to_record
from mmrag import Caption, Eq, MultimodalIndex, Record, rrf
from mmrag.errors import InputError, SourceError, UnknownName
from mmrag.media import load
from mmrag.testing import FakeEncoder
from mmrag.types import ImageRef, Locator

RED, BLUE = (220, 30, 30), (20, 40, 220)


def painted(path: Path, colour: tuple[int, int, int]) -> Path:
    Image.new("RGB", (40, 30), colour).save(path)
    return path


def reference(path: Path) -> ImageRef:
    picture = load(path)
    return ImageRef(str(path), picture.sha256, picture.mime, picture.width, picture.height)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("retriever")


@pytest.fixture(scope="module")
def index(folder: Path) -> Iterator[MultimodalIndex]:
    """Two texts and two pictures, a red one with a caption and a blue one with a text."""
    red, blue = painted(folder / "red.png", RED), painted(folder / "blue.png", BLUE)
    encoder = FakeEncoder()
    with MultimodalIndex.open(folder / "kb", text_encoder=encoder, image_encoder=encoder) as index:
        index.add(
            [
                Record("router", "reset the router", metadata={"lang": "en"}),
                Record("bread", "bake bread slowly", source="bread.md", locator=Locator(page=2)),
                Record("red", image=reference(red), caption=Caption("a kettle", "a red kettle")),
                Record("blue", "the blue lake", reference(blue), metadata={"lang": "en"}),
            ]
        )
        yield index


@pytest.fixture
def retriever(index: MultimodalIndex) -> MultimodalRetriever:
    return MultimodalRetriever(index)


def ids(nodes: list[NodeWithScore]) -> list[str]:
    return [n.node_id for n in nodes]


def test_words_find_texts_and_pictures_in_one_ranking(
    index: MultimodalIndex, retriever: MultimodalRetriever
) -> None:
    nodes = retriever.retrieve("reset the red kettle")
    hits = index.search("reset the red kettle")
    assert ids(nodes) == [hit.record.id for hit in hits]
    assert [n.score for n in nodes] == [hit.score for hit in hits]
    assert {"router", "red"} == set(ids(nodes[:2]))
    kinds = {n.node_id: type(n.node) for n in nodes}
    assert (kinds["router"], kinds["red"]) == (TextNode, ImageNode)


def test_it_is_a_multi_modal_retriever(retriever: MultimodalRetriever) -> None:
    assert isinstance(retriever, MultiModalRetriever)


def test_a_vector_store_serves_as_well_as_an_index(index: MultimodalIndex) -> None:
    through = MultimodalRetriever(MultimodalVectorStore(index))
    assert through.index is index
    assert ids(through.retrieve("bake")) == ids(MultimodalRetriever(index).retrieve("bake"))


def test_a_captioned_picture_is_one_node_with_one_fused_score(
    retriever: MultimodalRetriever,
) -> None:
    """Not, as in two concatenated lists, one score for its words and another for its pixels."""
    nodes = retriever.retrieve("a red kettle")
    assert ids(nodes).count("red") == 1
    assert ids(nodes)[0] == "red"
    scores = [n.score or 0 for n in nodes]
    assert scores == sorted(scores, reverse=True)


def test_an_image_only_bundle_finds_what_looks_alike(
    retriever: MultimodalRetriever, folder: Path
) -> None:
    bundle = QueryBundle("", image_path=str(painted(folder / "scarlet.png", (200, 40, 40))))
    nodes = retriever.retrieve(bundle)
    assert ids(nodes)[0] == "red"
    assert {vote["route"] for vote in nodes[0].metadata[TRACE_KEY]} == {"image->image"}


def test_words_and_a_picture_are_searched_together(
    retriever: MultimodalRetriever, folder: Path
) -> None:
    nodes = retriever.retrieve(QueryBundle("bake bread", image_path=str(folder / "blue.png")))
    assert set(ids(nodes)[:2]) == {"bread", "blue"}
    routes = {vote["route"] for n in nodes for vote in n.metadata[TRACE_KEY]}
    assert {"text->text", "image->image", "keywords"} <= routes


WAYS: dict[str, tuple[str, set[str]]] = {
    "text_retrieve": ("text", {"router", "bread"}),
    "text_to_image_retrieve": ("text", {"red", "blue"}),
    "image_to_image_retrieve": ("image", {"red", "blue"}),
    "image_to_text_retrieve": ("image", {"router", "bread"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_finds_its_kind_of_node_only(
    retriever: MultimodalRetriever, folder: Path, way: str
) -> None:
    part, kind = WAYS[way]
    query = "reset a kettle" if part == "text" else str(folder / "red.png")
    nodes = getattr(retriever, way)(query)
    assert ids(nodes)
    assert set(ids(nodes)) <= kind
    both = QueryBundle("reset a kettle", image_path=str(folder / "red.png"))
    assert getattr(retriever, way)(both) == nodes  # it uses its own part of the query only
    assert asyncio.run(getattr(retriever, f"a{way}")(query)) == nodes


def test_a_picture_is_found_by_its_caption_and_by_its_text(retriever: MultimodalRetriever) -> None:
    assert ids(retriever.text_to_image_retrieve("kettle"))[0] == "red"
    assert ids(retriever.text_to_image_retrieve("lake"))[0] == "blue"


def test_the_private_ways_of_the_base_classes_agree(
    retriever: MultimodalRetriever, folder: Path
) -> None:
    words, picture = QueryBundle("lake"), QueryBundle("", image_path=str(folder / "blue.png"))
    for bundle, way in ((words, "text_to_image"), (picture, "image_to_image")):
        found = getattr(retriever, f"{way}_retrieve")(bundle)
        assert getattr(retriever, f"_{way}_retrieve")(bundle) == found
        assert asyncio.run(getattr(retriever, f"_a{way}_retrieve")(bundle)) == found


def test_the_bundle_is_never_written_to(retriever: MultimodalRetriever, folder: Path) -> None:
    bundle = QueryBundle("kettle", str(folder / "red.png"), ["a kettle", "tea"], [0.5] * 7)
    before = copy.deepcopy(bundle)
    for way in ("retrieve", *WAYS):
        getattr(retriever, way)(bundle)
        asyncio.run(getattr(retriever, f"a{way}")(bundle))
        assert bundle == before


def test_a_foreign_embedding_is_ignored(retriever: MultimodalRetriever) -> None:
    for foreign in ([0.0] * 64, [1.0], FakeEncoder().encode_texts(["bread"], "query")[0].tolist()):
        nodes = retriever.retrieve(QueryBundle("kettle", embedding=foreign))
        assert nodes == retriever.retrieve("kettle")


def test_custom_embedding_strings_are_searched_for_in_place_of_the_query(
    retriever: MultimodalRetriever,
) -> None:
    asked = QueryBundle("what is there to eat?", custom_embedding_strs=["bake", "bread"])
    assert retriever.retrieve(asked) == retriever.retrieve("bake\nbread")
    for nothing in ([], [""], [" "]):
        blank = QueryBundle("bake bread", custom_embedding_strs=nothing)
        assert retriever.retrieve(blank) == retriever.retrieve("bake bread")


def test_the_trace_says_why_and_is_shown_to_no_model(retriever: MultimodalRetriever) -> None:
    for found in retriever.retrieve("reset the blue router lake"):
        votes = found.metadata[TRACE_KEY]
        assert sum(vote["contribution"] for vote in votes) == pytest.approx(found.score)
        assert all(set(v) == {"route", "rank", "score", "contribution"} for v in votes)
        for mode in (MetadataMode.EMBED, MetadataMode.LLM):
            assert TRACE_KEY not in found.node.get_content(mode)


def test_the_nodes_are_fresh(retriever: MultimodalRetriever) -> None:
    first = retriever.retrieve("kettle")
    before = copy.deepcopy(first)
    for found in first:
        found.score = 0
        found.node.set_content("changed")
        found.node.metadata.clear()
    assert retriever.retrieve("kettle") == before


def test_caption_place_and_true_type_come_with_the_node(retriever: MultimodalRetriever) -> None:
    by_id = {n.node_id: n.node for n in retriever.retrieve("red kettle, bread, router")}
    assert by_id["red"].metadata[CAPTION_KEY]["detailed"] == "a red kettle"
    assert by_id["bread"].metadata["page_label"] == "2"
    picture = by_id["red"]
    assert isinstance(picture, ImageNode)
    assert picture.image_mimetype == "image/png"
    assert Path(picture.image_path or "").is_file()


def test_bytes_that_a_node_held_come_back_with_it(tmp_path: Path) -> None:
    data = base64.b64encode(painted(tmp_path / "red.png", RED).read_bytes()).decode()
    encoder = FakeEncoder()
    with MultimodalIndex.open(tmp_path / "kb", text_encoder=encoder, image_encoder=encoder) as kb:
        MultimodalVectorStore(kb).add([ImageNode(id_="held", text="kettle", image=data)])
        (found,) = MultimodalRetriever(kb).retrieve("kettle")
    assert isinstance(found.node, ImageNode)
    assert found.node.image == data


def test_similarity_top_k(index: MultimodalIndex) -> None:
    retriever = MultimodalRetriever(index, similarity_top_k=1)
    assert len(retriever.retrieve("the")) == 1
    retriever.similarity_top_k = 3
    assert len(retriever.retrieve("the reset bread")) == 3
    retriever.similarity_top_k = 0
    with pytest.raises(InputError, match="limit"):
        retriever.retrieve("the")


def test_routes_are_those_asked_for_where_the_query_has_the_part(
    index: MultimodalIndex, folder: Path
) -> None:
    retriever = MultimodalRetriever(index, routes=["keywords", "image->image"])
    words, picture = QueryBundle("lake"), QueryBundle("", image_path=str(folder / "red.png"))
    for bundle, route in ((words, "keywords"), (picture, "image->image")):
        votes = [v for n in retriever.retrieve(bundle) for v in n.metadata[TRACE_KEY]]
        assert {vote["route"] for vote in votes} == {route}
    with pytest.raises(InputError, match=r"none of .* takes this query: image->image"):
        MultimodalRetriever(index, routes=["image->image"]).retrieve("lake")


def test_the_fusion_is_the_one_asked_for(index: MultimodalIndex) -> None:
    by_name = MultimodalRetriever(index, fusion="rrf").retrieve("lake")
    assert by_name == MultimodalRetriever(index, fusion=rrf).retrieve("lake")
    assert by_name[0].score == sum(1 / (60 + v["rank"]) for v in by_name[0].metadata[TRACE_KEY])


def filters(key: str, value: Any) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value)])


@pytest.mark.parametrize("where", [filters("lang", "en"), {"lang": "en"}, Eq("lang", "en")])
def test_filters_of_llama_index_and_our_own(index: MultimodalIndex, where: Any) -> None:
    retriever = MultimodalRetriever(index, filters=where)
    assert set(ids(retriever.retrieve("the red router bread"))) == {"router", "blue"}
    assert ids(retriever.text_retrieve("the red router bread")) == ["router"]
    assert ids(retriever.text_to_image_retrieve("the red router bread")) == ["blue"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"routes": ["text->sound"]}, UnknownName),
        ({"fusion": "magic"}, UnknownName),
        ({"filters": {"lang": object()}}, InputError),
        ({"filters": "lang"}, InputError),
        ({"similarity_top_k": 0}, InputError),
        ({"similarity_top_k": "3"}, InputError),
        ({"index": "kb"}, InputError),
    ],
)
def test_what_cannot_be_understood_is_refused_at_once(
    index: MultimodalIndex, options: dict[str, Any], error: type
) -> None:
    with pytest.raises(error):
        MultimodalRetriever(**{"index": index, **options})


def test_a_query_with_nothing_to_search_for_is_refused(retriever: MultimodalRetriever) -> None:
    for nothing in ("", " \n", QueryBundle(""), QueryBundle("", image_path="")):
        with pytest.raises(InputError, match="no text and no image"):
            retriever.retrieve(nothing)
    with pytest.raises(InputError, match="no image"):
        retriever.image_to_image_retrieve(QueryBundle("words alone"))
    with pytest.raises(InputError, match="no text"):
        retriever.text_retrieve(QueryBundle("", image_path="p.png"))


def test_a_picture_that_cannot_be_opened_is_an_error(
    retriever: MultimodalRetriever, folder: Path
) -> None:
    with pytest.raises(SourceError):
        retriever.image_to_image_retrieve(str(folder / "missing.png"))
    with pytest.raises(InputError):
        retriever.image_to_image_retrieve("https://example.org/x.png")


def test_async_does_not_block_the_loop(index: MultimodalIndex) -> None:
    threads = set()

    def noting(rankings: Any) -> Any:
        threads.add(threading.get_ident())
        return rrf(rankings)

    asyncio.run(MultimodalRetriever(index, fusion=noting).aretrieve("lake"))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


@pytest.fixture
def linked(tmp_path: Path) -> Iterator[MultimodalIndex]:
    """An index of one IndexNode, which points to "more", and one TextNode."""
    encoder = FakeEncoder()
    with MultimodalIndex.open(tmp_path / "kb", text_encoder=encoder, image_encoder=encoder) as kb:
        nodes = [
            IndexNode(id_="pointer", text="summary of lakes", index_id="more"),
            TextNode(id_="plain", text="summary of roads"),
        ]
        kb.add([node_to_record(node) for node in nodes])
        yield kb


@pytest.mark.parametrize("given", ["object_map", "objects"])
def test_issue_22080_index_nodes_lead_to_their_objects(linked: MultimodalIndex, given: str) -> None:
    lake = TextNode(id_="lake", text="a deep lake")
    options: dict[str, Any] = {
        "object_map": {"more": lake},
        "objects": [IndexNode(text="", index_id="more", obj=lake)],
    }
    retriever = MultimodalRetriever(linked, **{given: options[given]})
    for ask in (retriever.retrieve, retriever.text_retrieve):
        assert set(ids(ask("summary"))) == {"lake", "plain"}
    assert set(ids(asyncio.run(retriever.aretrieve("summary")))) == {"lake", "plain"}
    unlinked = MultimodalRetriever(linked).retrieve("summary of lakes")
    assert isinstance(unlinked[0].node, IndexNode)
    assert unlinked[0].node.index_id == "more"


def test_an_index_node_may_lead_to_another_retriever(
    linked: MultimodalIndex, index: MultimodalIndex
) -> None:
    within = MultimodalRetriever(index, similarity_top_k=1)
    retriever = MultimodalRetriever(linked, object_map={"more": within})
    assert set(ids(retriever.retrieve("summary lake"))) == {"blue", "plain"}


class Seen(BaseEventHandler):
    events: list[Any] = Field(default_factory=list)

    def handle(self, event: Any, **_: Any) -> None:
        if isinstance(event, RetrievalStartEvent | RetrievalEndEvent):
            self.events.append(event)


@pytest.fixture
def seen() -> Iterator[Seen]:
    handler, root = Seen(), get_dispatcher()
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)


@pytest.mark.parametrize("way", ["retrieve", *WAYS])
def test_callbacks_and_events_of_every_way(
    index: MultimodalIndex, folder: Path, way: str, seen: Seen
) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    retriever = MultimodalRetriever(index, callback_manager=CallbackManager([debug]))
    bundle = QueryBundle("lake", image_path=str(folder / "red.png"))
    calls: list[Callable[[], Any]] = [
        lambda: getattr(retriever, way)(bundle),
        lambda: asyncio.run(getattr(retriever, f"a{way}")(bundle)),
    ]
    for call in calls:
        seen.events.clear()
        debug.flush_event_logs()
        nodes = call()
        ((start, end),) = debug.get_event_pairs(CBEventType.RETRIEVE)
        assert start.payload == {EventPayload.QUERY_STR: "lake"}
        assert end.payload == {EventPayload.NODES: nodes}
        assert [type(e) for e in seen.events] == [RetrievalStartEvent, RetrievalEndEvent]
        assert seen.events[1].nodes == nodes


def test_pages_of_one_picture_and_one_text_stay_two(tmp_path: Path) -> None:
    """LlamaIndex's own hash cannot tell them apart."""
    page = str(painted(tmp_path / "scan.png", RED))
    nodes = [
        ImageDocument(id_=f"p{n}", text="chapter", image_path=page, metadata={"page_label": str(n)})
        for n in (1, 2)
    ]
    encoder = FakeEncoder()
    with MultimodalIndex.open(tmp_path / "kb", text_encoder=encoder, image_encoder=encoder) as kb:
        kb.add([node_to_record(node) for node in nodes])
        found = MultimodalRetriever(kb).retrieve("chapter")
    assert sorted(ids(found)) == ["p1", "p2"]
    assert {n.metadata["page_label"] for n in found} == {"1", "2"}


def test_or_filters_are_translated(index: MultimodalIndex) -> None:
    either = MetadataFilters(
        filters=[
            MetadataFilter(key="lang", value="en"),
            MetadataFilter(key="mmrag.page", value=2, operator=FilterOperator.GTE),
        ],
        condition="or",
    )
    found = MultimodalRetriever(index, filters=either).retrieve("the red router bread")
    assert set(ids(found)) == {"router", "blue", "bread"}
