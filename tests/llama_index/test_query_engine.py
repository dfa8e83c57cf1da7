"""What LlamaIndex's stock query engine and OpenAI client really send of our nodes to a model."""

from __future__ import annotations

import asyncio
import base64
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import CitationQueryEngine, RetrieverQueryEngine
from llama_index.core.query_engine.citation_query_engine import CITATION_CHAT_CONTENT_QA_TEMPLATE
from llama_index.core.schema import (
    BaseNode,
    ImageDocument,
    ImageNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from llama_index.llms.openai import OpenAI
from PIL import Image

from llama_index_mm import MultimodalRetriever, NumberSources
from llama_index_mm.convert import CAPTION_KEY, TRACE_KEY, node_to_record
from mmrag import MultimodalIndex
from mmrag.testing import FakeEncoder

from ..chat_server import ChatServer, chat_server

pytestmark = pytest.mark.usefixtures("loopback")

CAPTION = {
    "brief": "a kettle on a stove",
    "detailed": "a red kettle of one litre",
    "keywords": ["kettle"],
    "text_content": "STOP AT 100",
    "data_points": {"price": "39"},
}


@pytest.fixture
def chat(loopback: None) -> Iterator[ChatServer]:
    with chat_server("It boils [1].") as server:
        yield server


@pytest.fixture
def index(tmp_path: Path) -> Iterator[MultimodalIndex]:
    """A text, a captioned PNG that is named .jpg, and a WebP with a text of its own."""
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "kettle.jpg", "PNG")
    Image.new("RGB", (30, 40), (30, 30, 200)).save(tmp_path / "plan.webp", "WEBP")
    nodes = [
        TextNode(id_="text", text="how to boil water", metadata={"file_name": "tea.md"}),
        ImageNode(
            id_="kettle",
            image_path=str(tmp_path / "kettle.jpg"),
            metadata={CAPTION_KEY: CAPTION, "file_name": "kettle.jpg"},
        ),
        ImageDocument(id_="plan", text="a kitchen plan", image_path=str(tmp_path / "plan.webp")),
        ImageNode(id_="label", text="boiling label", image_path=str(tmp_path / "plan.webp")),
    ]
    encoder = FakeEncoder()
    with MultimodalIndex.open(tmp_path / "kb", text_encoder=encoder, image_encoder=encoder) as kb:
        kb.add([node_to_record(node) for node in nodes])
        yield kb


def engine(index: MultimodalIndex, chat: ChatServer, **options: Any) -> RetrieverQueryEngine:
    return RetrieverQueryEngine.from_args(
        MultimodalRetriever(index),
        **{
            "llm": OpenAI(model="gpt-4o-mini", api_base=chat.url, api_key="none", max_retries=0),
            "multimodal": True,
            "node_postprocessors": [NumberSources()],
            **options,
        },
    )


def sent(chat: ChatServer) -> str:
    """The last prompt, with each picture as its type in angle brackets."""
    return " ".join(p if kind == "text" else f"<{p[0]}>" for kind, p in chat.parts())


def context(prompt: str) -> str:
    """What stands between the two rules of LlamaIndex's prompt, blanks and line ends as one."""
    return " ".join(prompt.split("---------------------")[1].split())


def test_captions_texts_and_pictures_are_sent_numbered_in_the_order_of_their_ranks(
    index: MultimodalIndex, chat: ChatServer
) -> None:
    query = "a kitchen plan with a red kettle of one litre to boil water"
    response = engine(index, chat).query(query)
    assert str(response) == "It boils [1]."
    shown = {
        "text": "file_name: tea.md how to boil water",
        "kettle": "image_caption: a kettle on a stove a red kettle of one litre kettle "
        "STOP AT 100 price: 39 file_name: kettle.jpg <image/png>",
        "plan": "a kitchen plan <image/webp>",
        "label": "image_text: boiling label <image/webp>",
    }
    ranked = [n.node_id for n in MultimodalRetriever(index).retrieve(query)]
    assert len(ranked) == 4
    assert context(sent(chat)) == " ".join(
        f"source_number: {number} {shown[name]}" for number, name in enumerate(ranked, 1)
    )
    assert len(chat.bodies) == 1


def test_the_source_nodes_are_those_that_the_answer_cites(
    index: MultimodalIndex, chat: ChatServer
) -> None:
    response = engine(index, chat).query("boil water")
    numbers = [n.metadata["source_number"] for n in response.source_nodes]
    assert numbers == list(range(1, len(numbers) + 1))
    by_id = {n.node_id: n for n in response.source_nodes}
    assert type(by_id["kettle"].node) is ImageNode
    assert by_id["kettle"].metadata[CAPTION_KEY] == CAPTION
    assert by_id["text"].metadata[TRACE_KEY]
    assert response.source_nodes[0].score


def test_a_png_named_jpg_is_sent_as_png_with_the_bytes_of_its_file(
    index: MultimodalIndex, chat: ChatServer, tmp_path: Path
) -> None:
    engine(index, chat).query("red kettle")
    pictures = [part for kind, part in chat.parts() if kind == "image"]
    kettle = (tmp_path / "kettle.jpg").read_bytes()
    assert kettle.startswith(b"\x89PNG")
    assert ("image/png", kettle) in pictures
    assert ("image/webp", (tmp_path / "plan.webp").read_bytes()) in pictures


def test_without_numbers_pictures_and_captions_are_sent_all_the_same(
    index: MultimodalIndex, chat: ChatServer
) -> None:
    engine(index, chat, node_postprocessors=[]).query("red kettle")
    prompt = sent(chat)
    assert "a red kettle of one litre" in prompt
    assert prompt.count("<image/") == 3
    assert TRACE_KEY not in prompt


class Reversed(BaseNodePostprocessor):
    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return nodes[::-1]


def test_numbers_follow_a_reranker(index: MultimodalIndex, chat: ChatServer) -> None:
    ranked = [n.node_id for n in MultimodalRetriever(index).retrieve("red kettle")]
    response = engine(index, chat, node_postprocessors=[Reversed(), NumberSources()]).query(
        "red kettle"
    )
    assert [n.node_id for n in response.source_nodes] == ranked[::-1]
    assert [n.metadata["source_number"] for n in response.source_nodes] == [1, 2, 3, 4][
        : len(ranked)
    ]


def test_async_sends_the_same(index: MultimodalIndex, chat: ChatServer) -> None:
    async def ask() -> str:
        return str(await engine(index, chat).aquery("red kettle"))

    assert str(engine(index, chat).query("red kettle")) == asyncio.run(ask())
    one, two = (body["messages"] for body in chat.bodies)
    assert one == two


def test_answers_stream(index: MultimodalIndex, chat: ChatServer) -> None:
    streaming = engine(index, chat, streaming=True)

    async def ask() -> list[str]:
        response = await streaming.aquery("red kettle")
        return [piece async for piece in response.async_response_gen()]  # type: ignore[union-attr]

    pieces = list(streaming.query("red kettle").response_gen)  # type: ignore[union-attr]
    assert "".join(pieces) == "It boils [1]."
    assert asyncio.run(ask()) == pieces
    one, two = chat.bodies
    assert one["stream"] is two["stream"] is True
    assert one["messages"] == two["messages"]


def test_llama_indexs_citation_prompt_goes_with_the_numbers(
    index: MultimodalIndex, chat: ChatServer
) -> None:
    template = {"chat_content_qa_template": CITATION_CHAT_CONTENT_QA_TEMPLATE}
    engine(index, chat, **template).query("red kettle")
    prompt = sent(chat)
    assert "cite the appropriate source(s) using their corresponding numbers" in prompt
    assert prompt.index("source_number: 1") < prompt.index("source_number: 2")


def test_the_citation_query_engine_works_on_our_retriever(
    index: MultimodalIndex, chat: ChatServer
) -> None:
    llm = OpenAI(model="gpt-4o-mini", api_base=chat.url, api_key="none", max_retries=0)
    citing = CitationQueryEngine(
        MultimodalRetriever(index, similarity_top_k=1),
        llm=llm,
        multimodal=True,
        metadata_mode=MetadataMode.LLM,
        node_postprocessors=[NumberSources()],
    )
    assert str(citing.query("red kettle")) == "It boils [1]."
    assert "a red kettle of one litre" in sent(chat)
    assert [part[0] for kind, part in chat.parts() if kind == "image"] == ["image/png"]


def test_a_model_that_reads_texts_only_gets_captions_and_numbers(
    index: MultimodalIndex, chat: ChatServer
) -> None:
    engine(index, chat, multimodal=False).query("red kettle")
    prompt = sent(chat)
    assert "a red kettle of one litre" in prompt
    assert "source_number: 1" in prompt
    assert "<image" not in prompt


def test_nothing_found_asks_no_model(index: MultimodalIndex, chat: ChatServer) -> None:
    retriever = MultimodalRetriever(index, filters={"lang": "none"})
    made = RetrieverQueryEngine.from_args(
        retriever,
        llm=OpenAI(model="gpt-4o-mini", api_base=chat.url, api_key="none", max_retries=0),
        multimodal=True,
        node_postprocessors=[NumberSources()],
    )
    assert str(made.query("red kettle")) == "Empty Response"
    assert chat.bodies == []


def test_numbering_changes_nothing_that_it_is_given() -> None:
    nodes = [
        NodeWithScore(node=TextNode(text="a", metadata={"k": 1}), score=0.5),
        NodeWithScore(
            node=ImageNode(text="b", image_path="b.png", metadata={CAPTION_KEY: CAPTION})
        ),
    ]
    before = copy.deepcopy(nodes)
    numbered = NumberSources().postprocess_nodes(nodes)
    assert nodes == before
    for old, new in zip(before, numbered, strict=True):
        assert new.score == old.score
        assert new.node_id == old.node_id
        assert type(new.node) is type(old.node)
        assert old.metadata.items() <= new.metadata.items()
        embedded = MetadataMode.EMBED
        assert new.node.get_content(embedded) == old.node.get_content(embedded)


def test_numbering_again_counts_anew() -> None:
    nodes = [NodeWithScore(node=TextNode(id_=name, text=name)) for name in "ab"]
    numbers = NumberSources()
    again = numbers.postprocess_nodes(numbers.postprocess_nodes(nodes)[::-1])
    assert [(n.node_id, n.metadata["source_number"]) for n in again] == [("b", 1), ("a", 2)]
    assert again[0].node.get_content(MetadataMode.LLM) == "source_number: 1\n\nb"


def test_a_caption_may_be_partial_or_empty() -> None:
    captions = [{"brief": "a cat", "text_content": "MEOW"}, {"text_content": " "}, {}, None]
    nodes = [
        NodeWithScore(node=ImageNode(image_path="c.png", metadata={CAPTION_KEY: caption}))
        for caption in captions
    ]
    shown = [n.metadata.get("image_caption") for n in NumberSources().postprocess_nodes(nodes)]
    assert shown == ["a cat\nMEOW", None, None, None]


def test_pictures_of_any_node_get_their_true_type(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "gif.jpg", "GIF")
    path, data = str(tmp_path / "gif.jpg"), (tmp_path / "gif.jpg").read_bytes()
    wrong = "image/jpeg"
    nodes: list[BaseNode] = [
        ImageNode(image_path=path),
        ImageNode(image=base64.b64encode(data).decode(), image_mimetype=wrong),
        ImageDocument(image_path=path),
        Node(image_resource=MediaResource(data=data, mimetype=wrong)),
        ImageNode(image_path=str(tmp_path / "gone.jpg")),
        ImageNode(image_url="https://example.org/x.jpg", image_mimetype=wrong),
    ]
    numbered = NumberSources().postprocess_nodes([NodeWithScore(node=n) for n in nodes])
    types = [
        n.node.image_resource.mimetype if isinstance(n.node, Node) else n.node.image_mimetype
        for n in numbered
    ]
    assert types == ["image/gif"] * 4 + [wrong] * 2
    assert nodes[0].image_mimetype == nodes[3].image_resource.mimetype == wrong


def test_it_round_trips_as_a_component() -> None:
    made = NumberSources()
    assert made.to_dict()["class_name"] == "NumberSources"
    assert NumberSources.from_dict(made.to_dict()).to_dict() == made.to_dict()
