"""CaptionTransformer: captions for the pictures among documents."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_classic.storage import LocalFileStore
from langchain_core.documents import BaseDocumentTransformer, Document
from langchain_core.stores import InMemoryByteStore
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI
from langchain_text_splitters import CharacterTextSplitter
from PIL import Image

from langchain_mm import CaptionTransformer, ChatModelCaptioner, MultimodalLoader
from langchain_mm.caption_cache import PREFIX
from langchain_mm.convert import CAPTION_KEY, IMAGE_KEY, document_to_part
from mmrag import MultimodalIndex
from mmrag.captions import full_text
from mmrag.errors import AnswerError, DamagedSource, InputError, UnknownName, UnreadableSource
from mmrag.media import ImageInput
from mmrag.metadata import caption_of, caption_to_dict
from mmrag.testing import FakeCaptioner
from mmrag.testing.langchain_transformers import DocumentTransformerTests
from mmrag.types import Caption

from ..chat_server import chat_server
from .chat_models import COLOURS, SchemaVision, Vision, colour_caption, painted


class TestWithAChatModel(DocumentTransformerTests):
    @property
    def transformer_class(self) -> type[BaseDocumentTransformer]:
        return CaptionTransformer

    @property
    def transformer_params(self) -> dict[str, Any]:
        return {"captioner": SchemaVision(), "concurrency": 1}


class TestWithACaptioner(DocumentTransformerTests):
    """One that knows nothing of LangChain and of async, and pictures that are data URLs."""

    @property
    def transformer_class(self) -> type[BaseDocumentTransformer]:
        return CaptionTransformer

    @property
    def transformer_params(self) -> dict[str, Any]:
        return {"captioner": FakeCaptioner(), "fill_empty_text": True}

    def picture_document(self, path: Path, **fields: Any) -> Document:
        uri = str(path)
        if path.exists():
            uri = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
        return super().picture_document(Path(uri), **fields)


@pytest.fixture
def three(tmp_path: Path) -> list[Document]:
    return [
        Document(
            id=c, page_content="", metadata={IMAGE_KEY: str(painted(tmp_path / f"{c}.png", c))}
        )
        for c in ("red", "lime", "blue")
    ]


def captions(documents: Sequence[Document]) -> list[Caption | None]:
    return [caption_of(document.metadata) for document in documents]


RED, LIME, BLUE = (colour_caption(colour) for colour in COLOURS)

# What comes out


def test_the_caption_is_a_field_of_its_own_and_not_text(three: list[Document]) -> None:
    done = CaptionTransformer(Vision()).transform_documents(three)
    assert captions(done) == [RED, LIME, BLUE]
    assert [d.page_content for d in done] == ["", "", ""]
    record = document_to_part(done[0]).record
    assert (record.caption, record.text) == (RED, "")
    assert done[0].metadata == {**three[0].metadata, CAPTION_KEY: caption_to_dict(RED)}


def test_stock_vector_stores_find_what_was_filled_in(three: list[Document]) -> None:
    class Words:
        """As many dimensions as there are words that matter here."""

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            words = ("red", "lime", "blue", "notes")
            return [[1e-6 + text.lower().count(word) for word in words] for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    three[1].page_content = "my own notes"
    done = CaptionTransformer(Vision(), fill_empty_text=True).transform_documents(three)
    assert [d.page_content for d in done] == [full_text(RED), "my own notes", full_text(BLUE)]
    assert captions(done) == [RED, LIME, BLUE]
    store = InMemoryVectorStore(Words())  # type: ignore[arg-type]
    store.add_documents(done)
    assert store.similarity_search("something blue", k=1) == [done[2]]


def test_a_caption_that_is_there_is_kept(three: list[Document]) -> None:
    own = caption_to_dict(Caption("mine", "my own words"))
    three[0].metadata[CAPTION_KEY] = own
    three[1].metadata[CAPTION_KEY] = None
    model = Vision()
    done = CaptionTransformer(model, fill_empty_text=True).transform_documents(three)
    assert done[0] is three[0]
    assert captions(done[1:]) == [LIME, BLUE]
    assert sorted(model.colours) == ["blue", "lime"]


def test_every_form_of_a_documents_picture_is_captioned(three: list[Document]) -> None:
    path = Path(three[0].metadata[IMAGE_KEY])
    data = base64.b64encode(path.read_bytes()).decode()
    reference = {"uri": str(path), "sha256": "", "mime": "image/png", "width": 40, "height": 30}
    forms = [str(path), reference, f"data:image/png;base64,{data}"]
    model = Vision()
    documents = [Document(page_content="", metadata={IMAGE_KEY: form}) for form in forms]
    done = CaptionTransformer(model).transform_documents(documents)
    assert captions(done) == [RED] * 3
    assert len(model.seen) == 1, "it is the same picture"


def test_an_index_finds_a_picture_by_what_its_caption_says(
    three: list[Document], tmp_path: Path
) -> None:
    said = {**caption_to_dict(RED), "brief": "The wiring diagram of a boiler"}
    model = Vision(says={"red": json.dumps(said)})
    done = CaptionTransformer(model).transform_documents(three)
    with MultimodalIndex.open(tmp_path / "kb") as index:
        index.add([document_to_part(document).record for document in done])
        hit = index.search("how is the boiler wired", limit=1)[0]
    assert hit.record.id == "red"
    assert hit.record.caption == caption_of(done[0].metadata)


def test_it_works_with_loader_splitter_and_compressor_pipeline(tmp_path: Path) -> None:
    painted(tmp_path / "red.png", "red")
    (tmp_path / "a.txt").write_text("one two three. " * 20)
    text, picture = MultimodalLoader(tmp_path).load()
    transformer = CaptionTransformer(Vision(), fill_empty_text=True)
    splitter = CharacterTextSplitter(separator=". ", chunk_size=100, chunk_overlap=0)
    pipeline = DocumentCompressorPipeline(transformers=[transformer, splitter])
    *pieces, last = pipeline.compress_documents([text, picture], "a query")
    assert len(pieces) > 1
    assert last.page_content == full_text(RED)
    assert caption_of(last.metadata) == RED


# How often, and how many at once


async def test_captions_are_kept_by_picture_model_and_prompt(
    three: list[Document], tmp_path: Path
) -> None:
    store = LocalFileStore(tmp_path / "cache")
    first = Vision()
    CaptionTransformer(first, cache=store).transform_documents(three)
    assert sorted(first.colours) == ["blue", "lime", "red"]

    again = Vision()
    transformer = CaptionTransformer(again, cache=LocalFileStore(tmp_path / "cache"))
    Path(three[1].metadata[IMAGE_KEY]).rename(tmp_path / "moved.png")
    three[1].metadata[IMAGE_KEY] = str(tmp_path / "moved.png")
    assert captions(transformer.transform_documents(three)) == [RED, LIME, BLUE]
    assert captions(await transformer.atransform_documents(three)) == [RED, LIME, BLUE]
    assert again.seen == []

    painted(tmp_path / "red.png", "blue", (41, 30))  # other pixels under the same path
    assert captions(transformer.transform_documents(three))[0] == BLUE
    assert len(again.seen) == 1

    other = Vision(model_name="vision-2")
    await CaptionTransformer(other, cache=store).atransform_documents(three)
    assert len(other.seen) == 3
    assert len(list(store.yield_keys(prefix=PREFIX))) == 4 + 3


async def test_the_same_picture_is_described_once(three: list[Document]) -> None:
    many = [document for _ in range(5) for document in three]
    for way in ("sync", "async"):
        model = Vision()
        transformer = CaptionTransformer(model)
        done = (
            transformer.transform_documents(many)
            if way == "sync"
            else await transformer.atransform_documents(many)
        )
        assert captions(done) == [RED, LIME, BLUE] * 5
        assert len(model.seen) == 3
        done[0].metadata[CAPTION_KEY]["brief"] = "changed"
        assert captions(done)[3] == RED, "nothing is shared between documents"


@pytest.mark.parametrize("data", [b'{"brief": "A re', b"null", b"[]", b"\xff", b'{"brief": 3}'])
def test_what_is_broken_in_a_cache_is_made_anew(three: list[Document], data: bytes) -> None:
    store = InMemoryByteStore()
    model = Vision()
    CaptionTransformer(model, cache=store).transform_documents(three[:1])
    (key,) = store.yield_keys()
    store.mset([(key, data)])
    transformer = CaptionTransformer(model, cache=store)
    assert captions(transformer.transform_documents(three[:1])) == [RED]
    assert captions(transformer.transform_documents(three[:1])) == [RED]
    assert len(model.seen) == 2


@pytest.mark.parametrize("kind", ["chat model", "captioner"])
async def test_pictures_are_described_at_once_but_not_more_than_allowed(
    three: list[Document], tmp_path: Path, kind: str
) -> None:
    """Each call waits for a second one: alone, none would end."""
    lock, running, most = threading.Lock(), [0], [0]
    barrier = threading.Barrier(2)

    def meeting() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        barrier.wait(10)
        with lock:
            running[0] -= 1

    class Meeting(FakeCaptioner):
        def caption(self, images: Sequence[ImageInput]) -> list[Caption]:
            meeting()
            return super().caption(images)

    path = painted(tmp_path / "more.png", "red", (9, 9))
    four = [*three, Document(page_content="", metadata={IMAGE_KEY: str(path)})]
    captioner: Any = Vision(meeting=meeting) if kind == "chat model" else Meeting()
    for way in ("sync", "async"):
        transformer = CaptionTransformer(captioner, concurrency=2)
        done = (
            transformer.transform_documents(four)
            if way == "sync"
            else await transformer.atransform_documents(four)
        )
        assert None not in captions(done)
    assert most[0] == 2


# Errors


async def test_an_error_is_raised_after_all_have_ended_and_the_rest_is_kept(
    three: list[Document], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    bad = Document(id="the bad one", page_content="", metadata={IMAGE_KEY: str(broken)})
    gone = Document(page_content="", metadata={IMAGE_KEY: str(tmp_path / "gone.png")})
    model = Vision(says={"lime": "I see a lime field."})
    transformer = CaptionTransformer(model, concurrency=1)
    with pytest.raises(DamagedSource, match=r"^document 'the bad one': .*broken\.png: "):
        transformer.transform_documents([bad, *three, gone])
    logged = [record.getMessage() for record in caplog.records]
    assert [line.partition(" has")[0] for line in logged] == [
        *("document 'the bad one'", "document 'lime'", "document number 4")
    ]
    assert "AnswerError" in logged[1]
    with pytest.raises(AnswerError, match=r"document 'lime': .*no caption"):
        await transformer.atransform_documents(three)
    with pytest.raises(UnreadableSource, match=r"document number 0: .*check that it exists"):
        await transformer.atransform_documents([gone])
    twice = ["lime"] * 2  # each answer that is no caption is asked for once more
    assert model.colours == ["red", *twice, "blue", *twice], "what was described is kept"


async def test_what_fails_can_be_skipped(
    three: list[Document], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    malformed = Document(id="odd", page_content="", metadata={IMAGE_KEY: 42})
    documents = [*three, malformed]
    model = Vision(says={"lime": ConnectionError("the line is dead")})
    transformer = CaptionTransformer(model, on_error="skip")
    for done in (
        transformer.transform_documents(documents),
        await transformer.atransform_documents(documents),
    ):
        assert captions(done) == [RED, None, BLUE, None]
        assert done[1] is three[1]
        assert done[3] is malformed
    assert [r.levelno for r in caplog.records] == [logging.WARNING] * 4
    assert "document 'lime' has no caption: ConnectionError: the line is dead" in caplog.messages
    assert any("'odd' has no caption: InputError" in message for message in caplog.messages)
    model.says.clear()
    assert captions(transformer.transform_documents(three)) == [RED, LIME, BLUE]


async def test_documents_may_come_from_a_generator(three: list[Document]) -> None:
    transformer = CaptionTransformer(FakeCaptioner())
    expected = transformer.transform_documents(three)
    assert transformer.transform_documents(each for each in three) == expected  # type: ignore[arg-type]
    assert await transformer.atransform_documents(each for each in three) == expected  # type: ignore[arg-type]


async def test_a_clients_own_error_comes_through(three: list[Document]) -> None:
    error = ConnectionError("the line is dead")
    transformer = CaptionTransformer(Vision(says={"lime": error}))
    with pytest.raises(ConnectionError) as caught:
        transformer.transform_documents(three)
    assert caught.value is error
    with pytest.raises(ConnectionError):
        await transformer.atransform_documents(three)


@pytest.mark.parametrize("made", [[], ["a text"], [Caption(), Caption()], [None]])
async def test_a_captioner_that_keeps_no_promise_is_an_error(
    made: list[Any], three: list[Document]
) -> None:
    class Odd(FakeCaptioner):
        def caption(self, images: Sequence[ImageInput]) -> list[Caption]:
            return made

    with pytest.raises(AnswerError, match="document 'red': fake captioner 1 gave"):
        CaptionTransformer(Odd()).transform_documents(three)
    with pytest.raises(AnswerError, match="not one Caption"):
        await CaptionTransformer(Odd()).atransform_documents(three)


def test_wrong_arguments_are_refused(three: list[Document]) -> None:
    for captioner in (None, "gpt-4o", Vision, lambda image: "a text"):
        with pytest.raises(InputError, match="a LangChain chat model or"):
            CaptionTransformer(captioner)  # type: ignore[arg-type]
    for concurrency in (0, "4", 1.5, True, None):
        with pytest.raises(InputError, match=f"concurrency is 1 or more, not {concurrency!r}"):
            CaptionTransformer(Vision(), concurrency=concurrency)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="known: raise, skip"):
        CaptionTransformer(Vision(), on_error="ignore")  # type: ignore[arg-type]
    transformer = CaptionTransformer(Vision())
    with pytest.raises(InputError, match="takes no batch_size"):
        transformer.transform_documents(three, batch_size=3)
    with pytest.raises(InputError, match="pass a list of documents; it has a str"):
        transformer.transform_documents(["a text"])  # type: ignore[list-item]
    for given in (None, 5, three[0]):
        with pytest.raises(InputError, match="documents is a list, not"):
            transformer.transform_documents(given)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="documents is a list, not"):
            asyncio.run(transformer.atransform_documents(given))  # type: ignore[arg-type]


# A real client


@pytest.mark.usefixtures("loopback")
async def test_a_real_client_captions_documents(three: list[Document]) -> None:
    points = [{"label": "share", "value": "100"}]
    said = json.dumps({**caption_to_dict(RED), "data_points": points})
    with chat_server(said) as chat:
        model = ChatOpenAI(model="gpt-4o-mini", base_url=chat.url, api_key="none", max_retries=0)
        done = CaptionTransformer(model).transform_documents(three[:1])
        fresh = CaptionTransformer(ChatModelCaptioner(model, size=16))
        assert await fresh.atransform_documents(three[:1]) == done
        assert captions(done) == [RED]
        _, (_, (mime, data)) = chat.parts()
        assert (mime, Image.open(io.BytesIO(data)).size) == ("image/jpeg", (16, 12))
        assert len(chat.bodies) == 2
