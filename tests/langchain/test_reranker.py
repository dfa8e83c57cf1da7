"""CrossModalReranker: mixed documents, queries in words and pictures, the input unchanged."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import (
    CrossEncoderReranker,
    DocumentCompressorPipeline,
)
from langchain_core.callbacks import Callbacks
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, BaseDocumentTransformer, Document
from langchain_core.documents.base import Blob
from PIL import Image

import mmrag
from langchain_mm import CrossModalReranker
from langchain_mm.convert import CAPTION_KEY, IMAGE_KEY
from langchain_mm.retriever import MultimodalRetriever
from mmrag import MultimodalIndex, Record
from mmrag.encoders.bundled import BundledEncoder
from mmrag.errors import DamagedSource, InputError, UnreadableSource
from mmrag.media import ImageInput, data_url, load
from mmrag.rerank import EncoderReranker
from mmrag.testing import FakeEncoder, FakeReranker
from mmrag.testing.langchain_compressors import DocumentCompressorTests
from mmrag.types import ImageRef

PICTURES = Path(mmrag.__file__).parent / "sample" / "pictures"
BUNDLED = EncoderReranker(BundledEncoder())
ENCODER = EncoderReranker(FakeEncoder())


def picture(name: str, path: Path, text: str = "", **metadata: Any) -> Document:
    return Document(text, id=name, metadata={IMAGE_KEY: str(path), **metadata})


def painted(path: Path, colour: str) -> Path:
    Image.new("RGB", (40, 30), colour).save(path)
    return path


def faked(**options: Any) -> CrossModalReranker:
    return CrossModalReranker(reranker=FakeReranker(), **options)


class Given(FakeReranker):
    """Keeps the pictures of the records that it is given."""

    def __init__(self) -> None:
        self.images: list[ImageRef | None] = []

    def rerank(
        self, text: str | None, image: ImageInput | None, records: Sequence[Record]
    ) -> list[float]:
        self.images += [record.image for record in records]
        return super().rerank(text, image, records)


def scored(found: Sequence[Document]) -> list[tuple[str | None, float]]:
    return [(document.id, document.metadata["relevance_score"]) for document in found]


def ids(found: Sequence[Document]) -> list[str | None]:
    return [document.id for document in found]


MIXED = [
    Document("Cats sleep up to sixteen hours a day.", id="sleep"),
    picture("cat", PICTURES / "chelsea.jpg"),
    Document("How to brew an espresso at home", id="coffee"),
    picture("cup", PICTURES / "espresso.jpg"),
    Document("Quarterly report of the company", id="report"),
    picture("wall", PICTURES / "brick-wall.jpg"),
]


class TestFaked(DocumentCompressorTests):
    @property
    def compressor_class(self) -> type[BaseDocumentCompressor]:
        return CrossModalReranker

    @property
    def compressor_params(self) -> dict[str, Any]:
        return {"reranker": FakeReranker(), "top_n": 3}


class TestBundled(TestFaked):
    @property
    def compressor_params(self) -> dict[str, Any]:
        return {"reranker": BUNDLED}

    @property
    def documents(self) -> list[Document]:
        caption = {"brief": "a red bag", "keywords": ["bag"]}
        return [
            *super().documents,
            picture("p", PICTURES / "herd.jpg", deep={"er": [{"k": 1}]}),
            picture("q", PICTURES / "fruit.bmp", "a bowl", **{CAPTION_KEY: caption}),
        ]


@pytest.mark.parametrize(
    ("text", "image", "expected"),
    [
        ("a cat", None, {"sleep", "cat"}),
        ("一杯咖啡", None, {"coffee", "cup"}),
        (None, "kitten-and-yarn.jpg", {"cat"}),
        ("a cat", "brick-wall.jpg", {"wall"}),
    ],
)
def test_texts_and_pictures_come_in_one_order(
    text: str | None, image: str | None, expected: set[str]
) -> None:
    reranker = CrossModalReranker(reranker=BUNDLED, top_n=len(expected))
    shown = None if image is None else PICTURES / image
    found = reranker.rerank(MIXED, text, image=shown)
    assert set(ids(found)) == expected
    assert all(0 <= score <= 1 for _, score in scored(found))
    assert asyncio.run(reranker.arerank(MIXED, text, image=shown)) == found
    if text and not shown:
        assert reranker.compress_documents(MIXED, text) == found


def test_it_works_as_it_comes() -> None:
    found = CrossModalReranker().compress_documents(MIXED, "a wall of bricks")
    assert ids(found)[0] == "wall"
    assert len(found) == 5


def test_equals_keep_their_order() -> None:
    documents = [Document(t, id=str(n)) for n, t in enumerate(["x", "a", "x", "a b", "a"])]
    expected = [("3", 1.0), ("1", 0.5), ("4", 0.5), ("0", 0.0), ("2", 0.0)]
    assert scored(faked(top_n=9).compress_documents(documents, "a b")) == expected
    assert scored(faked(top_n=2).compress_documents(documents, "a b")) == expected[:2]
    assert scored(faked(top_n=2).rerank(documents, "a b", top_n=3)) == expected[:3]
    assert scored(asyncio.run(faked().arerank(documents, "a b", top_n=1))) == expected[:1]
    for top_n in (0, "2", 1.5, True):
        with pytest.raises(InputError, match=f"top_n is a whole number from 1, not {top_n!r}"):
            faked().rerank(documents, "a b", top_n=top_n)  # type: ignore[arg-type]


def test_documents_may_come_from_a_generator() -> None:
    given = (Document(text, id=text) for text in "ab")
    assert ids(faked().compress_documents(given, "b")) == ["b", "a"]  # type: ignore[arg-type]


class Words(BaseCrossEncoder):
    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        return [float(query in text) for query, text in text_pairs]


def test_pictures_and_scores_that_langchains_own_loses() -> None:
    theirs = CrossEncoderReranker(model=Words(), top_n=1)
    (first,) = theirs.compress_documents([MIXED[1], MIXED[5]], "a wall of bricks")
    assert first.id == "cat", "it takes a picture for its text, and so for nothing"
    assert "relevance_score" not in first.metadata
    ours = CrossModalReranker(reranker=BUNDLED, top_n=1)
    ((name, score),) = scored(ours.compress_documents([MIXED[1], MIXED[5]], "a wall of bricks"))
    assert name == "wall"
    assert score > 0


@pytest.mark.parametrize(
    "given",
    [
        lambda path: path,
        str,
        lambda path: path.read_bytes(),
        lambda path: path.open("rb"),
        lambda path: data_url(path.read_bytes(), "image/png"),
        Blob.from_path,
        lambda path: Blob.from_data(path.read_bytes()),
        lambda path: {"type": "image", "url": data_url(path.read_bytes(), "image/png")},
    ],
)
def test_a_query_may_be_a_picture_alone(tmp_path: Path, given: Callable[[Path], Any]) -> None:
    red, blue = painted(tmp_path / "red.png", "red"), painted(tmp_path / "blue.png", "blue")
    held = Document("", id="red", metadata={IMAGE_KEY: data_url(red.read_bytes(), "image/png")})
    documents = [Document("red", id="text"), picture("blue", blue), held]
    shown = given(red)
    found = faked().rerank(documents, image=shown)
    assert scored(found) == [("red", 1.0), ("text", 0.0), ("blue", 0.0)]
    if hasattr(shown, "close"):
        shown.close()


def test_captions_count(tmp_path: Path) -> None:
    path = painted(tmp_path / "a.png", "red")
    told = picture("told", path, **{CAPTION_KEY: {"brief": "a zebra"}})
    found = faked().compress_documents([picture("silent", path), told], "zebra")
    assert scored(found) == [("told", 1.0), ("silent", 0.0)]


def test_a_picture_that_cannot_be_opened_counts_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    documents = [
        Document("b", id="b"),
        picture("gone", tmp_path / "gone.png", "a zebra"),
        picture("broken", broken, "zebra", **{CAPTION_KEY: {"brief": "zebra"}}),
        Document("zebra", id="web", metadata={IMAGE_KEY: "https://example.org/a.png"}),
    ]
    reranker = CrossModalReranker(reranker=ENCODER)
    with caplog.at_level(logging.WARNING, "mmrag"):
        found = reranker.compress_documents(documents, "zebra")
    said = [record.getMessage() for record in caplog.records]
    assert {message.split("'")[1] for message in said} == {"gone", "broken", "web"}
    for document in documents:
        document.metadata.pop(IMAGE_KEY, None)
    assert scored(found) == scored(reranker.compress_documents(documents, "zebra"))
    assert {"broken", "web"} == set(ids(found)[:2])


def test_pictures_are_left_to_the_reranker_to_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = Given()
    said = asdict(ImageRef(str(tmp_path / "gone.png"), "12ab", "image/png", 4, 3))
    documents = [
        picture("path", tmp_path / "gone.png"),
        Document("", id="said", metadata={IMAGE_KEY: said}),
        Document("", id="bytes", metadata={IMAGE_KEY: "data:image/png;base64,AAAA"}),
        Document("", id="web", metadata={IMAGE_KEY: "https://example.org/a.png"}),
    ]
    CrossModalReranker(reranker=given).compress_documents(documents, "zebra")
    path = ImageRef(str(tmp_path / "gone.png"), "", "", 0, 0)
    held = ImageRef("data:image/png;base64,AAAA", "", "", 0, 0)
    assert given.images == [path, ImageRef(**said), held, None]
    (message,) = caplog.messages
    assert "'web'" in message
    assert "URLs are not fetched" in message


def test_a_picture_that_was_replaced_counts_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = painted(tmp_path / "a.png", "red")
    said = asdict(ImageRef(str(path), hashlib.sha256(path.read_bytes()).hexdigest(), "", 0, 0))
    documents = [Document("", id="a", metadata={IMAGE_KEY: said}), Document("x", id="x")]
    assert scored(faked().rerank(documents, image=path)) == [("a", 1.0), ("x", 0.0)]
    painted(path, "blue")
    with caplog.at_level(logging.WARNING, "mmrag"):
        assert scored(faked().rerank(documents, image=path)) == [("a", 0.0), ("x", 0.0)]
    assert "the file was replaced" in caplog.text


def test_pictures_may_be_kept_to_some_folders(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    path, inside = painted(tmp_path / "a.png", "red"), painted(tmp_path / "in" / "b.png", "red")
    (tmp_path / "in" / "link.png").symlink_to(path)
    link = picture("link", tmp_path / "in" / "link.png")
    documents = [picture("out", path), picture("in", inside), link]
    kept = faked(allowed_roots=[tmp_path / "in"])
    assert scored(kept.rerank(documents, image=path)) == [("in", 1.0), ("out", 0.0), ("link", 0.0)]
    assert caplog.text.count("allowed_roots") == 2
    assert {score for _, score in scored(faked(allowed_roots=()).rerank(documents, "x"))} == {0.0}
    assert [score for _, score in scored(faked().rerank(documents, image=path))] == [1.0] * 3
    with pytest.raises(ValueError, match="list of paths"):
        faked(allowed_roots=tmp_path)


def test_a_link_that_is_changed_after_the_check_opens_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    inside, link = painted(tmp_path / "in" / "a.png", "red"), tmp_path / "in" / "link.png"
    secret = painted(tmp_path / "secret.png", "blue")
    link.symlink_to(inside)

    class Late(FakeReranker):
        def rerank(
            self, text: str | None, image: ImageInput | None, records: Sequence[Record]
        ) -> list[float]:
            link.unlink()
            link.symlink_to(secret)
            return super().rerank(text, image, records)

    reranker = CrossModalReranker(reranker=Late(), allowed_roots=[tmp_path / "in"])
    found = reranker.rerank([picture("link", link), picture("a", inside)], image=secret)
    assert scored(found) == [("link", 0.0), ("a", 0.0)]
    assert "allowed_roots" in caplog.text


def test_under_roots_a_reranker_reads_no_other_picture_than_that_of_the_sha256(
    tmp_path: Path,
) -> None:
    """Also one that takes no look at the sha256 itself."""
    given, path = Given(), painted(tmp_path / "secret.png", "red")
    said = asdict(ImageRef(str(path), hashlib.sha256(b"made up").hexdigest(), "", 0, 0))
    document = Document("", id="a", metadata={IMAGE_KEY: said})
    CrossModalReranker(reranker=given, allowed_roots=[]).compress_documents([document], "x")
    (image,) = given.images
    assert image is not None
    with pytest.raises(DamagedSource, match="the file was replaced"):
        load(image.uri)


def test_what_is_asked_for_wrongly(tmp_path: Path) -> None:
    documents = [Document("a")]
    for query in ("", " \n"):
        with pytest.raises(InputError, match="empty query"):
            faked().compress_documents(documents, query)
    with pytest.raises(InputError, match="empty query"):
        faked().rerank([])
    with pytest.raises(InputError, match="a string, not bytes"):
        faked().compress_documents(documents, b"a")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="takes Documents, not str"):
        faked().compress_documents(["a"], "a")  # type: ignore[list-item]
    for given in (None, 5, "a", documents[0]):
        with pytest.raises(InputError, match="documents is a list, not"):
            faked().rerank(given, "a")  # type: ignore[arg-type]
        with pytest.raises(InputError, match="documents is a list, not"):
            asyncio.run(faked().acompress_documents(given, "a"))  # type: ignore[arg-type]
    with pytest.raises(UnreadableSource):
        faked().rerank(documents, image=tmp_path / "gone.png")
    for key, value in ((CAPTION_KEY, {"short": "a"}), (IMAGE_KEY, 5)):
        with pytest.raises(InputError, match="document 'd': metadata"):
            faked().compress_documents([Document("a", id="d", metadata={key: value})], "a")
    for options in ({"top_n": 0}, {"top_n": -1}, {"k": 3}, {"reranker": "cross-encoder/x"}):
        with pytest.raises(ValueError, match="CrossModalReranker"):
            CrossModalReranker(**options)


def test_a_reranker_that_gives_too_few_scores_is_an_error() -> None:
    class Short(FakeReranker):
        def rerank(
            self, text: str | None, image: ImageInput | None, records: Sequence[Record]
        ) -> list[float]:
            return super().rerank(text, image, records)[:-1]

    with pytest.raises(InputError, match="0 scores for 1 documents"):
        CrossModalReranker(reranker=Short()).compress_documents([Document("a")], "a")


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


def test_all_documents_are_judged_in_one_call() -> None:
    watched = Watched()
    CrossModalReranker(reranker=watched).compress_documents(MIXED * 20, "a")
    assert watched.sizes == [120]


async def test_async_does_not_block_the_event_loop() -> None:
    watched = Watched(meet=2)
    reranker = CrossModalReranker(reranker=watched)

    async def judging() -> None:
        while watched.barrier.n_waiting == 0:
            await asyncio.sleep(0)

    task = asyncio.create_task(reranker.acompress_documents(MIXED, "a day"))
    await asyncio.wait_for(judging(), 10)
    watched.barrier.wait(10)
    assert await task == faked().compress_documents(MIXED, "a day")


async def test_a_rerankers_own_coroutine_is_awaited(tmp_path: Path) -> None:
    class Api(FakeReranker):
        def rerank(self, *_: Any) -> list[float]:
            raise AssertionError("the coroutine is there")

        async def arerank(
            self, text: str | None, image: ImageInput | None, records: Sequence[Record]
        ) -> list[float]:
            assert threading.current_thread() is threading.main_thread()
            await asyncio.sleep(0)
            return FakeReranker.rerank(self, text, image, records)

    reranker = CrossModalReranker(reranker=Api())
    expected = faked().compress_documents(MIXED, "a day")
    assert await reranker.acompress_documents(MIXED, "a day") == expected
    assert await reranker.arerank([], "a day") == []
    with pytest.raises(InputError, match="empty query"):
        await reranker.arerank(MIXED)
    encoder = FakeEncoder()
    with MultimodalIndex.open(tmp_path, text_encoder=encoder, image_encoder=encoder) as index:
        index.add([Record("a", "a day"), Record("b", "a night")])
        (best, _) = await MultimodalRetriever(index=index, reranker=Api()).ainvoke("a night")
        assert best.id == "b"


def test_it_is_small_when_it_is_shown_or_dumped() -> None:
    reranker = CrossModalReranker(reranker=BUNDLED, top_n=3)
    assert repr(reranker) == "CrossModalReranker(top_n=3)"
    assert reranker.model_dump() == {"top_n": 3}


# In LangChain's own retrievers and pipelines


class Shortened(BaseDocumentTransformer):
    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        return [d.model_copy(update={"page_content": d.page_content[:9]}) for d in documents]


@pytest.mark.parametrize("use_async", [False, True])
def test_in_a_contextual_compression_retriever_and_a_pipeline(
    tmp_path: Path, use_async: bool
) -> None:
    encoder = FakeEncoder()
    with MultimodalIndex.open(
        tmp_path / "kb", text_encoder=encoder, image_encoder=encoder
    ) as index:
        index.add([Record("a", "a red kettle"), Record("b", "a red house and a kettle")])
        pipeline = DocumentCompressorPipeline(transformers=[faked(top_n=1), Shortened()])
        retriever = ContextualCompressionRetriever(
            base_compressor=pipeline, base_retriever=MultimodalRetriever(index=index)
        )
        if use_async:
            (found,) = asyncio.run(retriever.ainvoke("red house"))
        else:
            (found,) = retriever.invoke("red house")
    assert (found.id, found.page_content) == ("b", "a red hou")
    assert found.metadata["relevance_score"] == 1.0
    assert found.metadata["mmrag_hit"]["routes"], "what the routes said is still there"


# The suite itself: it finds what it is there for


class Wrong(BaseDocumentCompressor):
    """Right but for ``fault``."""

    fault: str = ""

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        found = faked().compress_documents(documents, query)
        faults: dict[str, Callable[[], Any]] = {
            "": lambda: found,
            "no score": lambda: CrossEncoderReranker(model=Words()).compress_documents(
                documents, query
            ),
            "no id": lambda: [d.model_copy(update={"id": None}) for d in found],
            "lost metadata": lambda: [
                d.model_copy(
                    update={"metadata": {"relevance_score": d.metadata["relevance_score"]}}
                )
                for d in found
            ],
            "twice": lambda: [*found[:1], *found],
            "ascending": lambda: found[::-1],
            "shared": lambda: [
                d.model_copy(update={"metadata": {**g.metadata, "relevance_score": 1.0}})
                for d, g in zip(documents, documents, strict=True)
            ],
            "mutated": lambda: [_marked(d) for d in documents],
            "old score": lambda: [
                d.model_copy(update={"metadata": {"relevance_score": 0.0, **g.metadata}})
                for d, g in zip(documents, documents, strict=True)
            ],
        }
        return list(faults[self.fault]())


def _marked(document: Document) -> Document:
    document.metadata["relevance_score"] = 1.0
    return document


class WrongTests(DocumentCompressorTests):
    @property
    def compressor_class(self) -> type[BaseDocumentCompressor]:
        return Wrong

    @property
    def documents(self) -> list[Document]:
        return self.given

    def faults(self, fault: str) -> set[str]:
        failed = set()
        for name in [name for name in dir(self) if name.startswith("test_")]:
            self.given = copy.deepcopy(super().documents)
            try:
                getattr(self, name)(Wrong(fault=fault))
            except (AssertionError, KeyError):
                failed.add(name)
        return failed


@pytest.mark.parametrize(
    ("fault", "found_by"),
    [
        ("no score", "test_scores_are_there_and_descend"),
        ("no id", "test_what_comes_back_was_given_and_is_kept_whole"),
        ("lost metadata", "test_what_comes_back_was_given_and_is_kept_whole"),
        ("twice", "test_what_comes_back_was_given_and_is_kept_whole"),
        ("ascending", "test_scores_are_there_and_descend"),
        ("shared", "test_nothing_is_shared_with_the_input"),
        ("mutated", "test_the_input_is_not_changed"),
        ("old score", "test_an_old_score_is_replaced"),
    ],
)
def test_the_suite_finds_faults(fault: str, found_by: str) -> None:
    assert found_by in WrongTests().faults(fault)
    assert WrongTests().faults("") == set()
