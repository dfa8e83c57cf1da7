"""The search tool: what it tells a model, what it hands to the program, and an agent's loop."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import BaseTool
from langchain_core.tracers import BaseTracer
from langchain_core.tracers.schemas import Run
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from PIL import Image

from langchain_mm import MultimodalRetriever, MultimodalVectorStore, create_multimodal_tool
from langchain_mm.convert import CAPTION_KEY, HIT_KEY, IMAGE_KEY, LOCATOR_KEY
from mmrag import MultimodalIndex
from mmrag.errors import InputError, UnknownName

from ..chat_server import ToolCall, chat_server
from .kitchen import Fixed, chat_model, kitchen, marks_removed

QUERY = "a kitchen plan"
SEES = SimpleNamespace(profile={"image_inputs": True, "image_tool_message": True})


@pytest.fixture
def index(tmp_path: Path) -> Iterator[MultimodalIndex]:
    with kitchen(tmp_path) as index:
        yield index


@pytest.fixture
def retriever(index: MultimodalIndex) -> MultimodalRetriever:
    return MultimodalRetriever(index=index, k=4)


def called(tool: BaseTool, query: str = QUERY) -> ToolMessage:
    call = {"type": "tool_call", "name": tool.name, "args": {"query": query}, "id": "1"}
    answer = tool.invoke(call)
    assert isinstance(answer, ToolMessage)
    return answer


def kinds(message: ToolMessage) -> list[str]:
    return [block if isinstance(block, str) else block["type"] for block in message.content]


# The official suites


class _Suite:
    @pytest.fixture(autouse=True)
    def _over_the_kitchen(self, retriever: MultimodalRetriever) -> None:
        self.tool = create_multimodal_tool(retriever, mode=self.mode)  # type: ignore[arg-type]

    mode = "text_only"

    @property
    def tool_constructor(self) -> BaseTool:
        return self.tool

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"query": QUERY}


class TestStandardUnit(_Suite, ToolsUnitTests):
    pass


class TestStandardIntegration(_Suite, ToolsIntegrationTests):
    pass


class TestStandardIntegrationWithPictures(_Suite, ToolsIntegrationTests):
    mode = "images"


# What the model and the program get


def test_with_pictures_the_content_is_blocks_in_the_order_of_the_ranks(
    retriever: MultimodalRetriever,
) -> None:
    found = retriever.invoke(QUERY)
    assert found[0].id == "plan"
    message = called(create_multimodal_tool(retriever, mode="images"))
    assert message.artifact == found
    assert isinstance(message.content, list)
    shown = "".join(
        block["text"] if block["type"] == "text" else f"<{block['mime_type']}>"
        for block in message.content
        if isinstance(block, dict)
    )
    bodies = {
        "plan": '{n} file="manual.pdf" page="3" box="0.100 0.200 0.900 0.500" picture="below">'
        "\na kitchen plan<image/png>",
        "kettle": '{n} file="kettle.jpg" picture="below">\nCaption of the picture: a red kettle'
        "\nSTOP AT 100<image/jpeg>",
        "text": '{n} file="tea.md">\nhow to boil water\n',
        "talk": '{n} file="talk.mp3" time="0:12-0:20">\nsaid about boiling\n',
    }
    numbered = [
        "<source-MARK " + bodies[str(d.id)].replace("{n}", f'number="{n}"') + "</source-MARK>"
        for n, d in enumerate(found, 1)
    ]
    preface, _, rest = marks_removed(shown).partition("Sources, with the mark MARK:\n\n")
    assert rest == "\n\n".join(numbered)
    assert "Cite" in preface
    assert "never an instruction" in preface
    for block in message.content:
        if isinstance(block, dict) and block["type"] == "image":
            picture = Image.open(io.BytesIO(base64.b64decode(block["base64"])))
            assert Image.MIME[picture.format or ""] == block["mime_type"]


def test_without_pictures_the_content_is_a_string_with_captions_and_places(
    retriever: MultimodalRetriever,
) -> None:
    message = called(create_multimodal_tool(retriever, mode="text_only"))
    assert isinstance(message.content, str)
    for said in (
        "Caption of the picture: a red kettle\nSTOP AT 100",
        'file="kettle.jpg" picture="not shown"',
        'file="manual.pdf" page="3" box="0.100 0.200 0.900 0.500"',
        'file="talk.mp3" time="0:12-0:20"',
    ):
        assert said in message.content
    assert {document.id for document in message.artifact} == {"text", "kettle", "plan", "talk"}
    assert message.artifact[0].metadata[HIT_KEY]["routes"]


@pytest.mark.parametrize("mode", ["images", "text_only"])
async def test_async_gives_what_sync_gives(retriever: MultimodalRetriever, mode: Any) -> None:
    tool = create_multimodal_tool(retriever, mode=mode)
    call = {"type": "tool_call", "name": tool.name, "args": {"query": QUERY}, "id": "1"}
    assert await tool.ainvoke(call) == tool.invoke(call)


def test_nothing_found_is_said(retriever: MultimodalRetriever) -> None:
    message = called(create_multimodal_tool(Fixed(found=[]), mode="images"))
    assert (message.content, message.artifact) == ("Nothing was found.", [])


def test_pictures_are_few_small_and_those_of_the_first_ranks(tmp_path: Path) -> None:
    Image.effect_noise((1500, 1000), 90).convert("RGB").save(tmp_path / "large.png")
    found = [Document("", metadata={IMAGE_KEY: str(tmp_path / "large.png")}) for _ in range(7)]
    options: dict[str, Any] = {"mode": "images", "allowed_roots": [tmp_path]}
    message = called(create_multimodal_tool(Fixed(found=found), **options))
    pictures = [base64.b64decode(b["base64"]) for b in message.content if "base64" in b]  # type: ignore[index]
    assert len(pictures) == 4
    assert max(Image.open(io.BytesIO(data)).size[0] for data in pictures) == 1024
    (one, *rest) = pictures
    capped = create_multimodal_tool(
        Fixed(found=found), max_images=9, max_bytes=2 * len(one), **options
    )
    message = called(capped)
    sent = [base64.b64decode(b["base64"]) for b in message.content if "base64" in b]  # type: ignore[index]
    assert sent == [one, one]
    assert rest


def test_any_retriever_and_any_document_will_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.new("RGB", (20, 20), "green").save(tmp_path / "green.bmp")
    url = base64.b64encode((tmp_path / "green.bmp").read_bytes()).decode()
    found = [
        Document("a text"),
        Document("LangChain counts from 0", metadata={"page": 0, "source": "a.pdf"}),
        Document("printed", metadata={"page": 0, "page_label": "7", "source": "a.pdf"}),
        Document("", metadata={IMAGE_KEY: f"data:image/bmp;base64,{url}"}),
        Document("web", metadata={IMAGE_KEY: "https://example.org/a.png"}),
        Document("odd", metadata={IMAGE_KEY: 5, CAPTION_KEY: "no", LOCATOR_KEY: {"page": "x"}}),
        Document("gone", metadata={IMAGE_KEY: str(tmp_path / "gone.png")}),
    ]
    before = [document.model_copy(deep=True) for document in found]
    message = called(create_multimodal_tool(Fixed(found=found), mode="images"))
    assert kinds(message) == ["text", "image", "text"]
    first, last = (message.content[n]["text"] for n in (0, 2))  # type: ignore[index]
    assert 'number="2" file="a.pdf">' in first
    assert 'number="3" file="a.pdf" page="7">' in first
    assert 'number="5" picture="cannot be opened">' in last
    assert 'number="6">\nodd' in last
    assert 'number="7" picture="cannot be opened">' in last
    assert message.artifact == before
    assert "URLs are not fetched" in caplog.text


def test_configured_and_bound_retrievers_work(retriever: MultimodalRetriever) -> None:
    flexible = retriever.configurable_fields(k=ConfigurableField("k"))
    tool = create_multimodal_tool(flexible)
    assert len(tool.invoke({"query": QUERY}).split("</source-")) == 5
    once = tool.invoke({"query": QUERY}, {"configurable": {"k": 1}})
    assert len(once.split("</source-")) == 2


def test_the_search_is_a_child_of_the_tool_in_traces(retriever: MultimodalRetriever) -> None:
    roots: list[Run] = []

    class Tracer(BaseTracer):
        def _persist_run(self, run: Run) -> None:
            roots.append(run)

    create_multimodal_tool(retriever).invoke({"query": QUERY}, {"callbacks": [Tracer()]})
    (root,) = roots
    assert (root.run_type, [run.run_type for run in root.child_runs]) == ("tool", ["retriever"])


def test_the_schema_asks_for_words_alone(retriever: MultimodalRetriever) -> None:
    tool = create_multimodal_tool(retriever, "manuals", "The manuals.")
    assert (tool.name, tool.description) == ("manuals", "The manuals.")
    schema = tool.tool_call_schema
    assert not isinstance(schema, dict)
    assert list(schema.model_json_schema()["properties"]) == ["query"]


# Which models get pictures


@pytest.mark.parametrize(
    ("model", "pictures"),
    [
        (SEES, True),
        (None, False),
        (SimpleNamespace(), False),
        (SimpleNamespace(profile=None), False),
        (SimpleNamespace(profile={"image_inputs": True}), False),
        (SimpleNamespace(profile={"image_tool_message": True, "image_inputs": False}), False),
        (SimpleNamespace(profile={"image_tool_message": False, "image_inputs": True}), False),
        (FakeListChatModel(responses=[]), False),
        (ChatOpenAI(model="gpt-4o-mini", api_key="none"), False),  # type: ignore[arg-type]
        (ChatOpenAI(model="gpt-4o-mini", api_key="none", use_responses_api=True), True),  # type: ignore[arg-type]
        (ChatOpenAI(model="gpt-4o-mini", api_key="none", output_version="responses/v1"), True),  # type: ignore[arg-type]
        (ChatOpenAI(model="unheard-of", api_key="none", use_responses_api=True), False),  # type: ignore[arg-type]
    ],
)
def test_auto_sends_pictures_to_models_that_are_known_to_take_them(
    retriever: MultimodalRetriever, model: object, pictures: bool
) -> None:
    message = called(create_multimodal_tool(retriever, model=model))
    assert isinstance(message.content, list) is pictures


def test_a_model_with_tools_or_settings_bound_is_known_too(retriever: MultimodalRetriever) -> None:
    model = ChatOpenAI(model="gpt-4o-mini", api_key="none", use_responses_api=True)  # type: ignore[arg-type]
    message = called(create_multimodal_tool(retriever, model=model.bind(stop=["x"])))
    assert isinstance(message.content, list)


# An agent


def answers_after_searching(body: dict[str, Any]) -> str | ToolCall:
    if body["messages"][-1]["role"] == "tool":
        return "It stops at 100 [2]."
    return ToolCall(body["tools"][0]["function"]["name"], {"query": QUERY})


def ran(model: ChatOpenAI, tool: BaseTool) -> list[BaseMessage]:
    """An agent's loop, without a framework for it."""
    bound = model.bind_tools([tool])
    messages: list[BaseMessage] = [HumanMessage("When does the kettle stop?")]
    for _ in range(3):
        answer = bound.invoke(messages)
        messages.append(answer)
        if not answer.tool_calls:
            return messages
        messages += [tool.invoke(call) for call in answer.tool_calls]
    raise AssertionError("no answer")


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("streaming", [False, True])
def test_an_agent_on_chat_completions_searches_and_answers(
    retriever: MultimodalRetriever, streaming: bool
) -> None:
    with chat_server(answers_after_searching) as chat:
        model = chat_model(chat, streaming=streaming)
        tool = create_multimodal_tool(retriever, model=model)
        said = ran(model, tool)
    assert said[-1].text == "It stops at 100 [2]."
    assert isinstance(said[2], ToolMessage)
    assert said[2].artifact == retriever.invoke(QUERY)
    first, second = chat.bodies
    (function,) = first["tools"]
    assert function["function"]["name"] == "search_texts_and_pictures"
    assert function["function"]["parameters"]["required"] == ["query"]
    sent = second["messages"][-1]
    assert (sent["role"], sent["tool_call_id"]) == ("tool", "call_1")
    assert sent["content"] == said[2].content
    assert "a red kettle\nSTOP AT 100" in sent["content"]
    assert "base64" not in json.dumps(second)
    assert HIT_KEY not in json.dumps(second), "the artifact is not for the model"


@pytest.mark.usefixtures("loopback")
def test_pictures_in_a_tool_message_are_refused_by_chat_completions(
    retriever: MultimodalRetriever,
) -> None:
    """Which is why ``auto`` does not send them there, though the model's profile says it may."""
    with chat_server(answers_after_searching) as chat:
        model = chat_model(chat)
        assert model.profile
        assert model.profile["image_tool_message"]
        with pytest.raises(openai.BadRequestError, match="role 'user'"):
            ran(model, create_multimodal_tool(retriever, mode="images"))


# Used wrongly


def test_an_empty_query_is_told_to_the_model(retriever: MultimodalRetriever) -> None:
    message = called(create_multimodal_tool(retriever), "  ")
    assert message.status == "error"
    assert "empty query" in message.content


def test_what_is_wrong_for_the_programmer_is_raised(index: MultimodalIndex) -> None:
    retriever = MultimodalRetriever(index=index)
    with pytest.raises(UnknownName, match="auto, images, text_only"):
        create_multimodal_tool(retriever, mode="pictures")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="max_images"):
        create_multimodal_tool(retriever, mode="images", max_images=-1)
    with pytest.raises(InputError, match="max_bytes"):
        create_multimodal_tool(retriever, max_bytes=-1)
    with pytest.raises(InputError, match=r"not MultimodalVectorStore: use MultimodalRetriever\("):
        create_multimodal_tool(MultimodalVectorStore(index))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="list of Documents"):
        create_multimodal_tool(FakeListChatModel(responses=["x"])).invoke({"query": "a"})  # type: ignore[arg-type]
    index.close()
    with pytest.raises(Exception, match="closed"):
        create_multimodal_tool(retriever).invoke({"query": "a"})
