"""Files to a cited answer, all components together, with the bundled encoder on the sample corpus
and the real OpenAI client against a server on this machine."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from PIL import Image

from langchain_mm import (
    CaptionTransformer,
    CrossModalReranker,
    MultimodalLoader,
    MultimodalRetriever,
    MultimodalVectorStore,
    create_multimodal_rag_chain,
    create_multimodal_tool,
)
from langchain_mm.convert import CAPTION_KEY, HIT_KEY, IMAGE_KEY
from langchain_mm.reranker import SCORE_KEY
from mmrag.answer import INSTRUCTIONS
from mmrag.caption_prompt import PROMPT
from mmrag.demo import SAMPLE
from mmrag.filters import And
from mmrag.testing import FakeCaptioner

from ..chat_server import ChatServer, ToolCall, chat_server
from .kitchen import chat_model

FILES = (
    *("pictures/chelsea.jpg", "pictures/herd.jpg", "pictures/beacon.png", "pictures/fruit.bmp"),
    *("texts/router-setup.md", "texts/giant-panda.txt", "texts/cat-care.md", "manual.pdf"),
)
KITTEN = SAMPLE / "pictures" / "kitten-and-yarn.jpg"


@dataclass
class Shelf:
    """A folder of files, the store, and what LangChain remembers of what it has indexed."""

    folder: Path
    store: MultimodalVectorStore
    remembered: InMemoryRecordManager
    captioner: FakeCaptioner

    def ingest(self) -> dict[str, int]:
        """Load, caption and index the folder; what was done, without what was not."""
        loader = MultimodalLoader(self.folder, media_folder=self.folder.parent / "media")
        documents = CaptionTransformer(self.captioner).transform_documents(loader.load())
        assert loader.failures == []
        done = index(
            documents,
            self.remembered,
            self.store,
            cleanup="full",
            source_id_key="source",
            key_encoder="sha256",
        )
        return {name: count for name, count in done.items() if count}  # type: ignore[misc]

    def documents(self) -> dict[str, Document]:
        """All that is stored, by id."""
        ids = [r.id for batch in self.store.index.store.scan(And(())) for r in batch]
        return {str(document.id): document for document in self.store.get_by_ids(ids)}

    def of(self, name: str) -> list[Document]:
        """All that is stored of a file."""
        return [document for document in self.documents().values() if file_of(document) == name]


def file_of(document: Document) -> str:
    return Path(document.metadata["source"]).name


@contextmanager
def opened(root: Path) -> Iterator[Shelf]:
    folder = root / "files"
    folder.mkdir()
    for name in FILES:
        shutil.copy(SAMPLE / name, folder)
    remembered = InMemoryRecordManager("shelf")
    remembered.create_schema()
    store = MultimodalVectorStore.from_path(root / "kb")
    with store.index:
        yield Shelf(folder, store, remembered, FakeCaptioner())


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """A shelf of the files above, ingested; tests leave it as it is."""
    with opened(tmp_path_factory.mktemp("shelf")) as shelf:
        shelf.ingest()
        yield shelf


@pytest.fixture(scope="module")
def reranker() -> CrossModalReranker:
    """One for all: it measures its model at first."""
    return CrossModalReranker(top_n=3)


@pytest.fixture(scope="module")
def retriever(filled: Shelf, reranker: CrossModalReranker) -> MultimodalRetriever:
    return MultimodalRetriever(index=filled.store, k=10, reranker=reranker)


# Files into the store


def test_every_file_becomes_documents_with_captions_and_places(filled: Shelf) -> None:
    documents = list(filled.documents().values())
    assert {file_of(document) for document in documents} == {Path(name).name for name in FILES}
    pictures = [d for d in documents if IMAGE_KEY in d.metadata]
    assert len(pictures) >= 6  # the four, and those in the manual
    assert all("picture of" in d.metadata[CAPTION_KEY]["detailed"] for d in pictures)
    assert not any(CAPTION_KEY in d.metadata for d in documents if IMAGE_KEY not in d.metadata)
    pages = {d.metadata["page_label"] for d in documents if file_of(d) == "manual.pdf"}
    assert pages == set("12345678")
    json.dumps([document.metadata for document in documents])


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as shelf:
        done = shelf.ingest()
        before = shelf.documents()
        assert done == {"num_added": len(before)}
        assert shelf.ingest() == {"num_skipped": len(before)}
        assert shelf.documents() == before


def test_an_edited_picture_is_updated_though_its_path_is_the_same(tmp_path: Path) -> None:
    with opened(tmp_path) as shelf:
        shelf.ingest()
        before, (old,) = shelf.documents(), shelf.of("herd.jpg")
        shutil.copy(SAMPLE / "pictures" / "lift-off.jpg", shelf.folder / "herd.jpg")
        done = shelf.ingest()
        assert done == {"num_added": 1, "num_skipped": len(before) - 1, "num_deleted": 1}
        (new,) = shelf.of("herd.jpg")
        assert new.metadata[IMAGE_KEY]["uri"] == old.metadata[IMAGE_KEY]["uri"]
        assert new.metadata[IMAGE_KEY]["sha256"] != old.metadata[IMAGE_KEY]["sha256"]
        assert new.metadata[CAPTION_KEY] != old.metadata[CAPTION_KEY]
        del before[str(old.id)]
        assert shelf.documents() == {**before, str(new.id): new}
        found = MultimodalRetriever(index=shelf.store, k=1, routes=["text->image"], trace=False)
        assert found.invoke("a rocket launch") == [new]


def test_a_file_that_is_gone_is_gone_from_the_store(tmp_path: Path) -> None:
    with opened(tmp_path) as shelf:
        shelf.ingest()
        before, gone = shelf.documents(), shelf.of("giant-panda.txt")
        assert gone
        (shelf.folder / "giant-panda.txt").unlink()
        done = shelf.ingest()
        assert done == {"num_skipped": len(before) - len(gone), "num_deleted": len(gone)}
        assert shelf.of("giant-panda.txt") == []


@pytest.mark.usefixtures("loopback")
def test_what_a_model_says_of_a_picture_is_found(tmp_path: Path) -> None:
    caption = {
        "brief": "A tower of the Zanzibar harbour authority",
        "detailed": "It is white.",
        "keywords": ["tower"],
        "text_content": "",
        "data_points": [],
    }
    pictures = [SAMPLE / "pictures" / name for name in ("beacon.png", "fruit.bmp")]
    paths = [*pictures, SAMPLE / "texts" / "cat-care.md"]
    loaded = MultimodalLoader(paths, media_folder=tmp_path / "media").load()
    store = MultimodalVectorStore.from_path(tmp_path / "kb")
    with store.index, chat_server(json.dumps(caption)) as chat:
        captions = CaptionTransformer(chat_model(chat))
        first = captions.transform_documents(loaded[:1])
        chat.answer = json.dumps({**caption, "brief": "Apples", "keywords": ["apple"]})
        store.add_documents([*first, *captions.transform_documents(loaded[1:])])
        assert len(chat.bodies) == 2, "one request a picture, and none for texts"
        (_, (kind, (mime, data))) = chat.parts()
        assert chat.parts()[0] == ("text", PROMPT)
        (found,) = store.similarity_search("the harbour authority of Zanzibar", k=1)
    assert file_of(found) == "beacon.png"
    assert found.metadata[CAPTION_KEY]["brief"] == caption["brief"]
    assert found.page_content == ""
    # A model gets what it can open: no model takes a BMP.
    assert (kind, mime) == ("image", "image/jpeg")
    assert same_picture(data, pictures[1])


# Words and pictures find


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("how do I reset the router password?", "router-setup.md"),
        ("大熊猫吃什么？", "giant-panda.txt"),
        ("a lighthouse", "beacon.png"),
        ("horses", "herd.jpg"),
    ],
)
def test_words_find_the_file_that_answers(
    filled: Shelf, retriever: MultimodalRetriever, query: str, first: str
) -> None:
    found = MultimodalRetriever(index=filled.store).invoke(query)
    assert len(found) == 10
    assert file_of(found[0]) == first
    assert found[0].metadata[HIT_KEY]["routes"]
    reranked = retriever.invoke(query)
    assert len(reranked) == 3
    assert first in {file_of(document) for document in reranked}
    scores = [document.metadata[SCORE_KEY] for document in reranked]
    assert scores == sorted(scores, reverse=True)


def test_a_picture_finds_its_like_and_what_is_written_of_it(
    filled: Shelf, retriever: MultimodalRetriever
) -> None:
    assert file_of(retriever.retrieve(image=KITTEN)[0]) == "chelsea.jpg"
    texts = MultimodalRetriever(index=filled.store, k=1, routes=["image->text"])
    assert [file_of(document) for document in texts.retrieve(image=KITTEN)] == ["cat-care.md"]


def test_what_a_relevance_threshold_keeps(filled: Shelf) -> None:
    """The README says to start at 0.2; 0.5 is for what is hardly a coincidence."""

    def kept(query: str, threshold: float) -> list[str]:
        retriever = filled.store.as_retriever(
            search_type="similarity_score_threshold",
            search_kwargs={"k": 30, "score_threshold": threshold},
        )
        return [file_of(document) for document in retriever.invoke(query)]

    for query, first in (("大熊猫吃什么？", "giant-panda.txt"), ("a lighthouse", "beacon.png")):
        assert len(kept(query, 0.0)) == 30
        some, few = kept(query, 0.2), kept(query, 0.5)
        assert some[0] == first
        assert few == some[: len(few)]
        assert 1 <= len(few) <= len(some) <= 6
    for query in ("violin concert tickets", "python list comprehension"):
        assert kept(query, 0.2) == []


# The chain, with the real client


def numbers(text: str, **attributes: str) -> list[int]:
    """The numbers of the sources in a prompt whose tags have these attributes."""
    tags = re.findall(r'<source-\w+ number="(\d+)"(.*)>', text)
    wanted = [f'{name}="{value}"' for name, value in attributes.items()]
    return [int(number) for number, rest in tags if all(each in rest for each in wanted)]


def words_of(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else " ".join(p.get("text", "") for p in content)


def same_picture(data: bytes, path: Path) -> bool:
    """Whether a picture that was sent shows what the file shows, though smaller and as JPEG."""
    small = []
    for file in (io.BytesIO(data), path):
        with Image.open(file) as picture:
            small.append(picture.convert("RGB").resize((4, 4), Image.Resampling.BOX).tobytes())
    return max(abs(one - other) for one, other in zip(*small, strict=True)) < 12


def pictures_of(chat: ChatServer) -> list[tuple[str, bytes]]:
    return [part for kind, part in chat.parts() if kind == "image"]


def the_manual(body: dict[str, Any]) -> str:
    """Cites all that it was given of page 6 of the manual, and a number that no source has."""
    cited = "".join(f"[{n}]" for n in numbers(words_of(body), file="manual.pdf", page="6"))
    return f"Hold Reset for six seconds {cited}, or not [99]."


@pytest.mark.usefixtures("loopback")
def test_citations_are_the_documents_that_the_model_was_shown_under_their_numbers(
    retriever: MultimodalRetriever,
) -> None:
    question = "Error E4: the counter was not reset"
    with chat_server(the_manual) as chat:
        chain = create_multimodal_rag_chain(retriever, chat_model(chat))
        said = chain.invoke(question)
        (body,) = chat.bodies
    assert set(said) == {"documents", "answer", "citations", "invented"}
    assert said["documents"] == retriever.invoke(question)
    assert body["messages"][0] == {"role": "system", "content": INSTRUCTIONS}
    shown = words_of(body)
    assert numbers(shown) == [1, 2, 3]
    places = [shown.index(d.page_content.strip()) for d in said["documents"] if d.page_content]
    assert places == sorted(places)
    assert shown.endswith(f"The question: {question}")
    assert said["citations"]
    for cited in said["citations"]:
        assert cited["document"] == said["documents"][cited["number"] - 1]
        assert Path(cited["source"]).name == "manual.pdf"
        assert cited["page"] == 6
        left, top, right, bottom = cited["bbox"]
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
        assert cited["start_s"] is None
    assert any("Error E4" in cited["document"].page_content for cited in said["citations"])
    assert said["invented"] == [99]
    for hidden in (HIT_KEY, SCORE_KEY, CAPTION_KEY, str(Path(said["citations"][0]["source"]))):
        assert hidden not in json.dumps(body)


@pytest.mark.usefixtures("loopback")
def test_a_picture_is_a_question_and_pictures_are_shown(retriever: MultimodalRetriever) -> None:
    with chat_server("A cat [1].") as chat:
        chain = create_multimodal_rag_chain(retriever, chat_model(chat))
        said = chain.invoke({"question": "What kind of animal is this?", "image": KITTEN})
        sent = pictures_of(chat)
        alone = chain.invoke({"image": KITTEN})
        sent_alone = pictures_of(chat)
    assert file_of(alone["documents"][0]) == "chelsea.jpg"
    assert [cited["document"] for cited in alone["citations"]] == alone["documents"][:1]
    for answer, pictures in ((said, sent), (alone, sent_alone)):
        shown = [d.metadata[IMAGE_KEY]["uri"] for d in answer["documents"] if has_picture(d)]
        assert shown
        assert len(pictures) == len(shown) + 1
        for (mime, data), path in zip(pictures, [*shown, KITTEN], strict=True):
            with Image.open(io.BytesIO(data)) as picture:
                assert mime == Image.MIME[str(picture.format)]
                assert max(picture.size) <= 1024
            assert same_picture(data, path)


def has_picture(document: Document) -> bool:
    return IMAGE_KEY in document.metadata


@pytest.mark.usefixtures("loopback")
def test_a_chinese_question_is_answered_from_a_chinese_text(
    retriever: MultimodalRetriever,
) -> None:
    def answer(body: dict[str, Any]) -> str:
        (first, *_) = numbers(words_of(body), file="giant-panda.txt")
        return f"大熊猫主要吃竹子【{first}】。"

    with chat_server(answer) as chat:
        chain = create_multimodal_rag_chain(retriever, chat_model(chat))
        said = chain.invoke("大熊猫吃什么？")
    (cited,) = said["citations"]
    assert said["answer"] == f"大熊猫主要吃竹子【{cited['number']}】。"
    assert file_of(cited["document"]) == "giant-panda.txt"
    assert "竹子" in cited["document"].page_content
    assert words_of(chat.bodies[0]).endswith("大熊猫吃什么？")


@pytest.mark.usefixtures("loopback")
async def test_streams_sync_and_async_add_up_to_what_invoke_says(
    retriever: MultimodalRetriever,
) -> None:
    question = {"question": "the error E4", "image": str(KITTEN)}
    with chat_server(the_manual) as chat:
        chain = create_multimodal_rag_chain(retriever, chat_model(chat))
        whole = chain.invoke(question)
        assert await chain.ainvoke(question) == whole
        streamed = list(chain.stream(question))
        awaited = [chunk async for chunk in chain.astream(question)]
        for chunks in (streamed, awaited):
            assert list(chunks[0]) == ["documents"]
            assert list(chunks[-1]) == ["citations", "invented"]
            pieces = [chunk["answer"] for chunk in chunks[1:-1]]
            assert "".join(pieces) == whole["answer"]
            assert len([piece for piece in pieces if piece]) > 3
            assert {**chunks[0], "answer": "".join(pieces), **chunks[-1]} == whole
    assert [body.get("stream") or False for body in chat.bodies] == [False, False, True, True]
    assert len({json.dumps(body["messages"]) for body in chat.bodies}) == 1


# An agent, with the real client


def agent(model: ChatOpenAI, tool: Any, question: str) -> list[BaseMessage]:
    """An agent's loop, as a framework runs it."""
    bound, messages = model.bind_tools([tool]), [HumanMessage(question)]
    for _ in range(4):
        messages.append(bound.invoke(messages))  # type: ignore[arg-type]
        calls = messages[-1].tool_calls  # type: ignore[attr-defined]
        if not calls:
            return messages  # type: ignore[return-value]
        messages += [tool.invoke(call) for call in calls]
    raise AssertionError("no answer")


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("streaming", [False, True])
def test_an_agent_searches_twice_and_cites_what_it_found(
    retriever: MultimodalRetriever, streaming: bool
) -> None:
    def thinks(body: dict[str, Any]) -> str | ToolCall:
        heard = [m for m in body["messages"] if m["role"] == "tool"]
        name = body["tools"][0]["function"]["name"]
        if len(heard) < 2:
            return ToolCall(name, {"query": ["大熊猫吃什么？", "a lighthouse"][len(heard)]})
        (n, *_) = numbers(heard[1]["content"], file="beacon.png")
        return f"It is the second find, number [{n}]."

    with chat_server(thinks) as chat:
        model = chat_model(chat, streaming=streaming)
        tool = create_multimodal_tool(retriever, model=model)
        said = agent(model, tool, "Is there a lighthouse?")
    panda, lighthouse = (m for m in said if isinstance(m, ToolMessage))
    assert "giant-panda.txt" in {file_of(d) for d in panda.artifact}
    assert lighthouse.artifact == retriever.invoke("a lighthouse")
    number = int(said[-1].text.split("[")[1].rstrip("]."))
    assert file_of(lighthouse.artifact[number - 1]) == "beacon.png"
    # The caption stands for the picture, which Chat Completions takes from users alone.
    caption = lighthouse.artifact[number - 1].metadata[CAPTION_KEY]["detailed"]
    told = chat.bodies[-1]["messages"][-1]
    assert told["role"] == "tool"
    assert told["content"] == lighthouse.content
    assert caption in told["content"]
    assert "base64" not in json.dumps(chat.bodies)


async def test_a_model_that_sees_what_tools_answer_gets_the_pictures(
    retriever: MultimodalRetriever,
) -> None:
    tool = create_multimodal_tool(retriever, mode="images")
    call = {"type": "tool_call", "id": "1", "name": tool.name, "args": {"query": "a lighthouse"}}
    message = tool.invoke(call)
    kinds = [block["type"] for block in message.content]
    assert kinds.count("image") == sum(map(has_picture, message.artifact)) > 0
    assert kinds[0] == "text"
    assert set(kinds) == {"text", "image"}
    assert await tool.ainvoke(call) == message
