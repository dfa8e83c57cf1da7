"""The chain: what is searched, what the model is sent, what comes back, and in which order."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from langchain_core.language_models import FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import (
    AddableDict,
    ConfigurableField,
    Runnable,
    RunnableLambda,
    RunnablePassthrough,
)
from langchain_core.tracers import BaseTracer
from langchain_core.tracers.schemas import Run
from langsmith._internal._serde import dumps_json
from PIL import Image

from langchain_mm import (
    MultimodalRetriever,
    MultimodalVectorStore,
    create_multimodal_rag_chain,
)
from langchain_mm.chain import RagAnswer
from langchain_mm.convert import HIT_KEY, IMAGE_KEY
from mmrag import MultimodalIndex
from mmrag.answer import INSTRUCTIONS
from mmrag.errors import DamagedSource, InputError, UnreadableSource
from mmrag.sources import Budget

from ..chat_server import ChatServer, chat_server
from .kitchen import BOX, Fixed, chat_model, kitchen, marks_removed

QUESTION = "a kitchen plan"
ANSWER = "See the plan [1], 第三页【1】, and [7]; it was said [{talk}]."


@pytest.fixture
def index(tmp_path: Path) -> Iterator[MultimodalIndex]:
    with kitchen(tmp_path) as index:
        yield index


@pytest.fixture
def retriever(index: MultimodalIndex) -> MultimodalRetriever:
    return MultimodalRetriever(index=index, k=4)


@pytest.fixture
def chat(loopback: None) -> Iterator[ChatServer]:
    with chat_server("It boils [1].") as server:
        yield server


def says(*answers: str) -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter([AIMessage(answer) for answer in answers]))


class Listening(GenericFakeChatModel):
    """Keeps what it is asked."""

    heard: list[list[BaseMessage]]

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        self.heard.append(messages)
        return super()._generate(messages, *args, **kwargs)


def listening() -> Listening:
    return Listening(messages=iter([AIMessage("yes [1]")] * 9), heard=[])


def sent(chat: ChatServer) -> str:
    """The user's message, with each picture as its type in angle brackets."""
    parts = chat.parts()
    return "".join(p if kind == "text" else f"<{p[0]}>" for kind, p in parts)


# What the real client sends


def test_the_model_is_sent_numbered_sources_pictures_and_the_question_in_order(
    retriever: MultimodalRetriever, chat: ChatServer, tmp_path: Path
) -> None:
    found = retriever.invoke(QUESTION)
    answer = create_multimodal_rag_chain(retriever, chat_model(chat)).invoke(QUESTION)
    assert answer["answer"] == "It boils [1]."
    assert answer["documents"] == found
    (body,) = chat.bodies
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][0]["content"] == INSTRUCTIONS
    bodies = {
        "plan": '{n} file="manual.pdf" page="3" box="0.100 0.200 0.900 0.500" picture="below">'
        "\na kitchen plan<image/png>",
        "kettle": '{n} file="kettle.jpg" picture="below">\nCaption of the picture: a red kettle'
        "\nSTOP AT 100<image/jpeg>",
        "text": '{n} file="tea.md">\nhow to boil water\n',
        "talk": '{n} file="talk.mp3" time="0:12-0:20">\nsaid about boiling\n',
    }
    assert marks_removed(sent(chat)) == "\n\n".join(
        [
            "Sources, with the mark MARK:",
            *(
                f"<source-MARK {bodies[str(d.id)].format(n=f'number={chr(34)}{n}{chr(34)}')}"
                "</source-MARK>"
                for n, d in enumerate(found, 1)
            ),
            f"The question: {QUESTION}",
        ]
    )
    for mime, data in (picture for kind, picture in chat.parts() if kind == "image"):
        assert Image.MIME[Image.open(io.BytesIO(data)).format or ""] == mime
    assert HIT_KEY not in json.dumps(body)
    assert str(tmp_path) not in json.dumps(body)


def test_a_picture_is_searched_by_and_sent_before_the_question(
    retriever: MultimodalRetriever, chat: ChatServer, tmp_path: Path
) -> None:
    asked = {"question": "What is it?", "image": tmp_path / "kettle.jpg"}
    answer = create_multimodal_rag_chain(retriever, chat_model(chat)).invoke(asked)
    assert answer["documents"] == retriever.invoke("What is it?", image=tmp_path / "kettle.jpg")
    assert sent(chat).endswith("The picture of the question:<image/jpeg>The question: What is it?")
    *_, (kind, (_, data)), _ = chat.parts()
    assert kind == "image"
    red, green, blue = Image.open(io.BytesIO(data)).convert("RGB").getpixel((5, 5))  # type: ignore[misc]
    assert red > 150 > green + blue


def test_a_picture_alone_is_a_question(
    retriever: MultimodalRetriever, chat: ChatServer, tmp_path: Path
) -> None:
    chain = create_multimodal_rag_chain(retriever, chat_model(chat))
    answer = chain.invoke({"image": tmp_path / "kettle.jpg"})
    assert answer["documents"][0].id == "kettle"
    assert answer["citations"][0]["document"] is answer["documents"][0]
    assert sent(chat).endswith("The question: What do the sources say of this picture?")


@pytest.mark.parametrize("kind", ["str", "bytes", "file", "pil", "blob", "block", "pipe"])
def test_any_kind_of_picture_will_do(
    retriever: MultimodalRetriever, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "kettle.jpg"
    data = path.read_bytes()

    class Pipe(io.BytesIO):
        """It can be read once."""

        def seekable(self) -> bool:
            return False

    given = {
        "str": str(path),
        "bytes": data,
        "file": io.BytesIO(data),
        "pil": Image.open(path),
        "blob": Blob(data=data),
        "block": {"type": "image", "base64": base64.b64encode(data).decode()},
        "pipe": Pipe(data),
    }[kind]
    model = listening()
    answer = create_multimodal_rag_chain(retriever, model).invoke({"image": given})
    assert answer["documents"][0].id == "kettle"
    ((_, user),) = model.heard
    assert [block["type"] for block in user.content if isinstance(block, dict)][-2:] == [
        "image",
        "text",
    ]


def test_the_blocks_are_langchains_standard_ones_and_always_the_same(
    retriever: MultimodalRetriever,
) -> None:
    model = listening()
    chain = create_multimodal_rag_chain(retriever, model)
    chain.invoke(QUESTION)
    chain.invoke(QUESTION)
    first, second = model.heard
    assert first[1].content == second[1].content
    assert first[1].content_blocks == first[1].content
    assert {tuple(block) for block in first[1].content_blocks} == {
        ("type", "text"),
        ("type", "base64", "mime_type"),
    }


def test_a_model_that_cannot_see_gets_a_string(
    retriever: MultimodalRetriever, tmp_path: Path
) -> None:
    model = listening()
    chain = create_multimodal_rag_chain(retriever, model, budget=Budget(max_images=0))
    chain.invoke({"question": QUESTION, "image": tmp_path / "kettle.jpg"})
    ((_, user),) = model.heard
    assert isinstance(user.content, str)
    assert "a red kettle\nSTOP AT 100" in user.content
    assert "The question has a picture, which is not shown." in user.content


def test_pictures_of_documents_stay_within_the_budget(retriever: MultimodalRetriever) -> None:
    model = listening()
    create_multimodal_rag_chain(retriever, model, budget=Budget(max_images=1)).invoke(QUESTION)
    ((_, user),) = model.heard
    kinds = [block["type"] for block in user.content_blocks]
    assert kinds.count("image") == 1
    assert str(user.content).count('picture="not shown"') == 1


# What comes back


def test_citations_say_document_page_box_and_time(retriever: MultimodalRetriever) -> None:
    ids = [document.id for document in retriever.invoke(QUESTION)]
    talk = ids.index("talk") + 1
    model = says(ANSWER.format(talk=talk))
    answer: RagAnswer = create_multimodal_rag_chain(retriever, model).invoke(QUESTION)
    assert set(answer) == {"documents", "answer", "citations", "invented"}
    plan, said = answer["citations"]
    assert plan == {
        "number": 1,
        "document": answer["documents"][0],
        "source": "manual.pdf",
        "page": 3,
        "bbox": tuple(BOX),
        "start_s": None,
        "end_s": None,
    }
    assert (said["number"], said["document"].id) == (talk, "talk")
    assert (said["page"], said["start_s"], said["end_s"]) == (None, 12.5, 20)
    assert answer["invented"] == [7]
    assert answer["documents"][0].metadata[HIT_KEY]["routes"]


def test_the_stream_is_documents_then_pieces_then_citations(
    retriever: MultimodalRetriever, chat: ChatServer
) -> None:
    chat.answer = "It boils at [1] and [9]."
    chain = create_multimodal_rag_chain(retriever, chat_model(chat))
    chunks = list(chain.stream(QUESTION))
    assert [list(chunk) for chunk in chunks if chunk.get("answer") != ""] == [
        ["documents"],
        *[["answer"]] * 6,
        ["citations", "invented"],
    ]
    assert chat.bodies[-1]["stream"] is True
    total = AddableDict()
    for chunk in chunks:
        total = total + chunk
    assert total == chain.invoke(QUESTION)
    assert not chat.bodies[-1].get("stream"), "invoke is one request, not a stream put together"


async def test_what_a_model_thinks_aloud_is_no_part_of_its_answer(
    retriever: MultimodalRetriever, chat: ChatServer
) -> None:
    chat.answer = "<think>Is it [2] or [9]?</think>\n\nIt boils [1]."
    chain = create_multimodal_rag_chain(retriever, chat_model(chat))
    pieces = [chunk.get("answer", "") for chunk in chain.stream(QUESTION)]
    apieces = [chunk.get("answer", "") async for chunk in chain.astream(QUESTION)]
    assert "".join(pieces) == "".join(apieces) == "It boils [1]."
    for answer in (chain.invoke(QUESTION), await chain.ainvoke(QUESTION)):
        assert answer["answer"] == "It boils [1]."
        assert [cited["number"] for cited in answer["citations"]] == [1]
        assert answer["invented"] == []


def test_the_documents_come_before_the_model_has_said_a_word(index: MultimodalIndex) -> None:
    """And each piece before the next is there."""
    trail: list[str] = []

    class Slow(GenericFakeChatModel):
        def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
            for piece in ("one", "two"):
                trail.append(f"model says {piece}")
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece))

    model = Slow(messages=iter([]))
    for chunk in create_multimodal_rag_chain(MultimodalRetriever(index=index), model).stream("?"):
        trail.append(f"got {chunk['answer'] if 'answer' in chunk else next(iter(chunk))}")
    pieces = [word for word in trail if word != "got documents" and word != "got "]
    assert pieces == [
        *("model says one", "got one", "model says two", "got two"),
        "got citations",
    ]
    assert trail.index("got documents") < trail.index("got one")


async def test_async_gives_what_sync_gives(
    retriever: MultimodalRetriever, chat: ChatServer, tmp_path: Path
) -> None:
    chain = create_multimodal_rag_chain(retriever, chat_model(chat))
    asked = {"question": QUESTION, "image": tmp_path / "kettle.jpg"}
    sync = chain.invoke(asked)
    assert await chain.ainvoke(asked) == sync
    assert chat.bodies[0] == chat.bodies[1]
    chunks = [chunk async for chunk in chain.astream(asked)]
    assert chunks[0] == {"documents": sync["documents"]}
    assert list(chunks[-1]) == ["citations", "invented"]
    total = AddableDict()
    for chunk in chunks:
        total = total + chunk
    assert total == sync
    both = await asyncio.gather(chain.ainvoke(QUESTION), chain.ainvoke("how to boil water"))
    assert [answer["documents"][0].id for answer in both] == ["plan", "text"]


def test_a_batch_answers_each_of_its_questions(
    retriever: MultimodalRetriever, chat: ChatServer, tmp_path: Path
) -> None:
    chat.answer = lambda body: body["messages"][-1]["content"][-1]["text"].splitlines()[-1]
    chain = create_multimodal_rag_chain(retriever, chat_model(chat))
    questions = ["how to boil water", {"image": tmp_path / "kettle.jpg"}, QUESTION]
    answers = chain.batch(questions)
    assert [answer["documents"][0].id for answer in answers] == ["text", "kettle", "plan"]
    assert [answer["answer"] for answer in answers] == [
        "The question: how to boil water",
        "The question: What do the sources say of this picture?",
        "The question: a kitchen plan",
    ]
    (broken,) = chain.batch([""], return_exceptions=True)
    assert isinstance(broken, InputError)


def test_the_answer_of_a_model_that_speaks_in_blocks_is_its_text(
    retriever: MultimodalRetriever,
) -> None:
    blocks: list[str | dict[Any, Any]] = [
        {"type": "reasoning", "reasoning": "hm [2]"},
        {"type": "text", "text": "It boils [1]."},
    ]
    model = GenericFakeChatModel(messages=iter([AIMessage(blocks)]))
    answer = create_multimodal_rag_chain(retriever, model).invoke(QUESTION)
    assert answer["answer"] == "It boils [1]."
    assert [cited["number"] for cited in answer["citations"]] == [1]


# With other parts of LangChain


def test_any_retriever_gets_the_words_and_any_document_will_do(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "green").save(tmp_path / "green.png")
    found = [
        Document("plain"),
        Document("page", metadata={"page": 4, "source": "a.pdf"}),
        Document("odd", metadata={IMAGE_KEY: 5}),
    ]
    before = [document.model_copy(deep=True) for document in found]
    stock = Fixed(found=found)
    model = says("[1] [2] [3]")
    answer = create_multimodal_rag_chain(stock, model).invoke(
        {"question": "green?", "image": str(tmp_path / "green.png")}
    )
    assert stock.asked == ["green?"]
    assert answer["documents"] == before == found
    assert [(c["document"], c["source"], c["page"]) for c in answer["citations"]] == [
        (found[0], "", None),
        (found[1], "a.pdf", None),
        (found[2], "", None),
    ]


def test_nothing_found_is_for_the_model_to_say() -> None:
    model = listening()
    answer = create_multimodal_rag_chain(Fixed(found=[]), model).invoke("why?")
    assert answer == {"documents": [], "answer": "yes [1]", "citations": [], "invented": [1]}
    assert model.heard[0][1].content == "No sources were found.\n\nThe question: why?"


def test_a_retriever_with_settings_still_searches_by_pictures(
    retriever: MultimodalRetriever, tmp_path: Path
) -> None:
    flexible = retriever.configurable_fields(k=ConfigurableField("k"))
    asked = {"image": tmp_path / "kettle.jpg"}
    for configured in (flexible, flexible.with_config(configurable={"k": 2})):
        chain = create_multimodal_rag_chain(configured, says("yes [1]"))
        answer = chain.invoke(asked, {"configurable": {"k": 1}})
        assert [document.id for document in answer["documents"]] == ["kettle"]


def test_it_is_a_part_of_longer_chains(retriever: MultimodalRetriever) -> None:
    chain = create_multimodal_rag_chain(retriever, says("one [1]", "one [1]"))
    longer: Runnable[Any, Any] = (
        {"question": RunnablePassthrough()} | chain | RunnableLambda(lambda said: said["answer"])
    )
    assert longer.invoke(QUESTION) == "one [1]"
    assert set(chain.pick(["answer"]).invoke(QUESTION)) == {"answer"}
    schema = chain.get_output_jsonschema()["$defs"]["RagAnswer"]
    assert set(schema["properties"]) == set(RagAnswer.__annotations__)
    assert "string" in json.dumps(chain.get_input_jsonschema())
    assert "Answering" in chain.get_graph().draw_mermaid()


def test_a_model_with_retries_is_retried(retriever: MultimodalRetriever) -> None:
    asked: list[object] = []

    def unsteady(messages: object) -> AIMessage:
        asked.append(messages)
        if len(asked) < 2:
            raise ConnectionError("busy")
        return AIMessage("yes [1]")

    model = RunnableLambda(unsteady).with_retry(wait_exponential_jitter=False)
    assert create_multimodal_rag_chain(retriever, model).invoke(QUESTION)["answer"] == "yes [1]"
    assert len(asked) == 2


def test_a_model_of_texts_answers_too(retriever: MultimodalRetriever) -> None:
    chain = create_multimodal_rag_chain(
        retriever, FakeListLLM(responses=["yes [1]"]), budget=Budget(max_images=0)
    )
    assert chain.invoke(QUESTION)["answer"] == "yes [1]"


def test_pictures_of_documents_are_in_the_trace_of_the_model_alone(
    retriever: MultimodalRetriever, tmp_path: Path
) -> None:
    runs: dict[str, Run] = {}

    class Tracer(BaseTracer):
        def _end_trace(self, run: Run) -> None:
            runs[f"{run.run_type} {run.name}"] = run
            super()._end_trace(run)

        def _persist_run(self, run: Run) -> None:
            pass

    model, tracer = listening(), Tracer(_schema_format="original+chat")
    create_multimodal_rag_chain(retriever, model).invoke(QUESTION, {"callbacks": [tracer]})
    picture = next(b["base64"] for b in model.heard[0][1].content if "base64" in b)  # type: ignore[index]
    holding = [name for name, run in runs.items() if picture[:60] in f"{run.inputs} {run.outputs}"]
    assert holding == ["chat_model Listening"]
    assert "retriever MultimodalRetriever" in runs
    assert runs["chain multimodal_rag"].inputs == {"input": QUESTION}


class Traces(BaseTracer):
    """Keeps every run."""

    def __init__(self) -> None:
        super().__init__(_schema_format="original+chat")
        self.runs: list[Run] = []

    def _end_trace(self, run: Run) -> None:
        self.runs.append(run)
        super()._end_trace(run)

    def _persist_run(self, run: Run) -> None:
        pass


@pytest.mark.parametrize("kind", ["bytes", "file", "pil", "data URL", "blob", "block"])
async def test_the_picture_of_a_question_is_a_short_name_in_traces(
    retriever: MultimodalRetriever, tmp_path: Path, kind: str
) -> None:
    """As LangSmith writes them, which takes dataclasses apart and makes base64 of bytes."""
    Image.effect_noise((300, 200), 90).convert("RGB").save(tmp_path / "noise.png")
    data = (tmp_path / "noise.png").read_bytes()
    text = base64.b64encode(data).decode()
    given: Any = {
        "bytes": lambda: data,
        "file": lambda: io.BytesIO(data),
        "pil": lambda: Image.open(tmp_path / "noise.png"),
        "data URL": lambda: f"data:image/png;base64,{text}",
        "blob": lambda: Blob(data=data),
        "block": lambda: {"type": "image", "base64": text},
    }[kind]
    traces, model = Traces(), listening()
    chain = create_multimodal_rag_chain(retriever, model)
    config: Any = {"callbacks": [traces]}
    chain.invoke({"question": "x", "image": given()}, config)
    await chain.ainvoke({"question": "x", "image": given()}, config)
    list(chain.stream({"question": "x", "image": given()}, config))
    chain.batch([{"question": "x", "image": given()}], config)
    (RunnableLambda(lambda asked: asked) | chain).with_config({"run_name": "longer"}).invoke(
        {"question": "x"}, config
    )
    named = [run for run in traces.runs if run.name == "multimodal_rag"]
    assert len(named) == 5
    for run in traces.runs:
        if run.run_type != "chat_model":
            for said in (run.inputs, run.outputs, run.extra):
                assert len(dumps_json(said)) < 5000, f"{run.run_type} {run.name}"
    shown = {dumps_json(run.inputs["image"]).decode() for run in named if "image" in run.inputs}
    assert all(name.startswith('"<') for name in shown)
    assert len(shown) == 1
    assert any(b["type"] == "image" for b in model.heard[0][1].content_blocks)


def test_the_picture_of_a_question_is_its_path_in_traces(
    retriever: MultimodalRetriever, tmp_path: Path
) -> None:
    traces = Traces()
    asked = {"question": "x", "image": tmp_path / "kettle.jpg"}
    create_multimodal_rag_chain(retriever, listening()).invoke(asked, {"callbacks": [traces]})
    said = json.loads(dumps_json(traces.runs[-1].inputs))
    assert said == {"question": "x", "image": str(tmp_path / "kettle.jpg")}


async def test_breaking_off_a_stream_is_no_error(retriever: MultimodalRetriever) -> None:
    chain = create_multimodal_rag_chain(retriever, says("one two three", "one two three"))
    stream = chain.stream(QUESTION)
    assert "documents" in next(stream)
    stream.close()  # type: ignore[attr-defined]
    pieces: AsyncIterator[Any] = chain.astream(QUESTION)
    assert "documents" in await anext(pieces)
    await pieces.aclose()  # type: ignore[attr-defined]


# Used wrongly


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("", "empty question"),
        (" \n", "empty question"),
        ({}, "empty question"),
        ({"question": None, "image": None}, "empty question"),
        (5, "not int"),
        (None, "not NoneType"),
        (["why"], "not list"),
        ({"question": 5}, "not int"),
        ({"question": "why", "chat_history": []}, "no chat_history"),
        ({"question": "why", "image": 5}, "not int"),
        ({"question": "why", "image": ""}, "path of the picture is empty"),
        ({"question": "why", "image": {"type": "text", "text": "x"}}, "not a picture"),
        ({"question": "why", "image": "https://example.org/a.png"}, "URLs are not fetched"),
    ],
)
async def test_a_question_that_cannot_be_asked_is_refused(
    retriever: MultimodalRetriever, question: Any, message: str
) -> None:
    model = listening()
    chain = create_multimodal_rag_chain(retriever, model)
    with pytest.raises(InputError, match=message):
        chain.invoke(question)
    with pytest.raises(InputError, match=message):
        await chain.ainvoke(question)
    with pytest.raises(InputError, match=message):
        list(chain.stream(question))
    assert model.heard == []


def test_a_picture_that_cannot_be_opened_is_an_error(
    retriever: MultimodalRetriever, tmp_path: Path
) -> None:
    for whose in (retriever, Fixed(found=[])):
        chain = create_multimodal_rag_chain(whose, says())
        with pytest.raises(UnreadableSource, match=r"gone\.png"):
            chain.invoke({"question": "why", "image": tmp_path / "gone.png"})
        with pytest.raises(DamagedSource):
            chain.invoke({"question": "why", "image": b"no picture"})


def test_a_picture_alone_is_nothing_for_a_retriever_of_words(tmp_path: Path) -> None:
    chain = create_multimodal_rag_chain(Fixed(found=[]), says())
    with pytest.raises(InputError, match="takes words alone"):
        chain.invoke({"image": tmp_path / "kettle.jpg"})


def test_the_errors_of_the_model_are_its_own(retriever: MultimodalRetriever) -> None:
    def down(_: object) -> AIMessage:
        raise ConnectionError("down")

    chain = create_multimodal_rag_chain(retriever, RunnableLambda(down))
    with pytest.raises(ConnectionError, match="down"):
        chain.invoke(QUESTION)
    stream = chain.stream(QUESTION)
    assert "documents" in next(stream)
    with pytest.raises(ConnectionError, match="down"):
        next(stream)


def test_what_is_no_retriever_or_model_is_refused(index: MultimodalIndex) -> None:
    retriever = MultimodalRetriever(index=index)
    with pytest.raises(InputError, match=r"use MultimodalRetriever\(index=store\)"):
        create_multimodal_rag_chain(MultimodalVectorStore(index), says())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not str"):
        create_multimodal_rag_chain(retriever, "gpt-4o-mini")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a budget is a Budget, not int"):
        create_multimodal_rag_chain(retriever, says(), budget=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a budget is a Budget, not int"):
        create_multimodal_rag_chain(retriever, says(), budget=0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="list of Documents"):
        create_multimodal_rag_chain(says("x"), says()).invoke("why")  # type: ignore[arg-type]
