"""Pictures of documents that were found: what the tool and the chain open of them, and what not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever, EnsembleRetriever
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import BaseMessage
from langchain_core.retrievers import RetrieverLike
from langchain_core.runnables import ConfigurableField, RunnableLambda
from PIL import Image

from langchain_mm import (
    CrossModalReranker,
    MultimodalRetriever,
    MultimodalVectorStore,
    create_multimodal_rag_chain,
    create_multimodal_tool,
)
from langchain_mm.convert import CAPTION_KEY, IMAGE_KEY
from mmrag import MultimodalIndex
from mmrag.errors import InputError
from mmrag.identity import checked_bytes
from mmrag.media import ImageInput
from mmrag.testing import FakeReranker
from mmrag.types import ImageRef, Record

from .chat_models import painted
from .kitchen import Fixed, kitchen

Shown = tuple[list[str], str]

SAID = {"sha256": "", "mime": "", "width": 1, "height": 1}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[MultimodalIndex]:
    with kitchen(tmp_path) as index:
        yield index


class Listening(FakeListChatModel):
    """Keeps what it is asked."""

    heard: list[list[BaseMessage]]

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        self.heard.append(messages)
        return super()._call(messages, *args, **kwargs)


def by_tool(retriever: RetrieverLike, **options: Any) -> Shown:
    tool = create_multimodal_tool(retriever, mode="images", **options)
    return _shown(tool.invoke({"query": "a red kettle"}))


def by_chain(retriever: RetrieverLike, **options: Any) -> Shown:
    model = Listening(responses=["so"], heard=[])
    create_multimodal_rag_chain(retriever, model, **options).invoke("a red kettle")
    return _shown(model.heard[0][1].content)


def _shown(content: Any) -> Shown:
    """The colours of the pictures that a model gets, and all that it reads."""
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    pictures = [base64.b64decode(b["base64"]) for b in blocks if b["type"] == "image"]
    return sorted(map(_colour, pictures)), "".join(b.get("text", "") for b in blocks)


def _colour(data: bytes) -> str:
    pixel = Image.open(io.BytesIO(data)).convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    red, green, blue = pixel
    return "red" if red > 190 and blue < 60 else "lime" if green > 200 > red else "blue"


class Watching(FakeReranker):
    """Keeps the colours of what it judges."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def rerank(
        self, text: str | None, image: ImageInput | None, records: Sequence[Record]
    ) -> list[float]:
        for record in records:
            if record.image is not None:
                self.seen[record.id] = _colour(checked_bytes(record.image))
        return super().rerank(text, image, records)


both = pytest.mark.parametrize("shown", [by_tool, by_chain])


def document(path: Path | str, **said: Any) -> Document:
    image = str(path) if not said else {"uri": str(path), "mime": "", "width": 1, "height": 1}
    metadata = {IMAGE_KEY: image if not said else {**image, **said}}  # type: ignore[dict-item]
    return Document("words", id="a", metadata={**metadata, CAPTION_KEY: {"brief": "a caption"}})


# Documents of others


@both
def test_a_picture_that_no_index_holds_is_not_opened(
    tmp_path: Path, shown: Callable[..., Shown], caplog: pytest.LogCaptureFixture
) -> None:
    found = [document(painted(tmp_path / "secret.png"))]
    with caplog.at_level(logging.WARNING, "mmrag"):
        colours, said = shown(Fixed(found=found))
    assert colours == []
    assert 'picture="cannot be opened">\nwords\n\nCaption of the picture: a caption' in said
    (message,) = caplog.messages
    assert "'a'" in message
    assert "allowed_roots" in message


@both
def test_one_in_an_allowed_root_is(tmp_path: Path, shown: Callable[..., Shown]) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside, tmp_path / "in-not"):
        folder.mkdir()
    secret = painted(outside / "secret.png", "red")
    open_to_all = painted(inside / "open.png", "lime")
    painted(tmp_path / "in-not" / "x.png")
    (inside / "link.png").symlink_to(secret)
    (inside / "folder").symlink_to(outside)
    (outside / "back.png").symlink_to(open_to_all)
    retriever = Fixed(
        found=[
            document(path)
            for path in (
                secret,
                inside / "link.png",
                inside / "folder" / "secret.png",
                inside / ".." / "out" / "secret.png",
                tmp_path / "in-not" / "x.png",
                open_to_all,
                outside / "back.png",
                "\0",
            )
        ]
    )
    assert shown(retriever, allowed_roots=[inside])[0] == ["lime", "lime"]
    assert shown(retriever, allowed_roots=[str(inside), open_to_all])[0] == ["lime", "lime"]
    (tmp_path / "alias").symlink_to(inside)
    assert shown(retriever, allowed_roots=[tmp_path / "alias"])[0] == ["lime", "lime"]
    assert shown(retriever, allowed_roots=[])[0] == []


@both
def test_one_whose_sha256_its_document_says_is(
    tmp_path: Path, shown: Callable[..., Shown], caplog: pytest.LogCaptureFixture
) -> None:
    path = painted(tmp_path / "a.png")
    right, wrong = (hashlib.sha256(d).hexdigest() for d in (path.read_bytes(), b""))
    assert shown(Fixed(found=[document(path, sha256=right)]))[0] == ["red"]
    for roots in ([], [tmp_path]):
        retriever = Fixed(found=[document(path, sha256=wrong)])
        assert shown(retriever, allowed_roots=roots)[0] == []
        assert caplog.messages[-1].startswith("source 'a': its picture is not the one")


# What an index holds


def retrievers(index: MultimodalIndex) -> dict[str, RetrieverLike]:
    ours, store = MultimodalRetriever(index=index), MultimodalVectorStore(index)
    return {
        "ours": ours,
        "configurable": ours.configurable_fields(k=ConfigurableField("k")),
        "bound": ours.with_config(tags=["x"]).with_retry(),
        "store": store.as_retriever(),
        "fused": MultimodalRetriever.from_retrievers({"one": ours, "two": store.as_retriever()}),
        "ensemble": EnsembleRetriever(retrievers=[ours, store.as_retriever()]),
        "compressed": ContextualCompressionRetriever(
            base_retriever=ours, base_compressor=CrossModalReranker(reranker=FakeReranker())
        ),
        "sequence": ours | RunnableLambda(lambda found: found[::-1]),
        "fallbacks": ours.with_fallbacks([Fixed(found=[])]),
    }


KINDS = [
    *("ours", "configurable", "bound", "store", "fused", "ensemble", "compressed", "sequence"),
    "fallbacks",
]


@both
@pytest.mark.parametrize("kind", KINDS)
def test_what_an_index_holds_is_opened_as_long_as_it_is_the_same(
    index: MultimodalIndex,
    tmp_path: Path,
    shown: Callable[..., Shown],
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    retriever, kettle = retrievers(index)[kind], tmp_path / "kettle.jpg"
    assert shown(retriever)[0] == ["blue", "red"]
    shutil.move(kettle, tmp_path / "elsewhere.jpg")
    painted(tmp_path / "other.png", "lime").rename(kettle)
    colours, said = shown(retriever)
    assert colours == ["blue"]
    assert "a red kettle\nSTOP AT 100" in said
    assert "the file was replaced" in caplog.text
    kettle.unlink()
    kettle.symlink_to(painted(tmp_path / "secret.png", "lime"))
    assert shown(retriever)[0] == ["blue"]
    kettle.unlink()
    kettle.symlink_to(tmp_path / "elsewhere.jpg")
    assert shown(retriever)[0] == ["blue", "red"], "the same picture by another way"


@both
def test_a_record_without_a_sha256_is_one_of_the_index(
    index: MultimodalIndex, tmp_path: Path, shown: Callable[..., Shown]
) -> None:
    path = painted(tmp_path / "bare.png", "lime")
    index.add([Record("bare", "a red kettle", ImageRef(str(path), "", "", 0, 0))])
    assert shown(MultimodalRetriever(index=index))[0] == ["blue", "lime", "red"]


@both
@pytest.mark.parametrize("named", [str, lambda name: {"uri": name, **SAID}])
def test_a_relative_path_means_what_it_meant_when_it_was_added(
    index: MultimodalIndex,
    tmp_path: Path,
    shown: Callable[..., Shown],
    named: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the working directory of today there may be another file of that name, or none."""
    for folder in ("then", "now", "never"):
        (tmp_path / folder).mkdir()
    painted(tmp_path / "then" / "a.png", "lime")
    painted(tmp_path / "now" / "a.png", "red")
    monkeypatch.chdir(tmp_path / "then")
    added = Document("", id="relative", metadata={IMAGE_KEY: named("a.png")})
    MultimodalVectorStore(index).add_documents([added])
    retriever = MultimodalRetriever(index=index, filter={"mmrag.id": "relative"})
    for folder in ("then", "now", "never"):
        monkeypatch.chdir(tmp_path / folder)
        assert shown(retriever)[0] == ["lime"]
    forged = [
        Document("", id="kettle", metadata={IMAGE_KEY: "a.png"}),
        Document("", id="relative", metadata={IMAGE_KEY: "b.png"}),
    ]
    painted(tmp_path / "never" / "b.png", "red")
    fused = MultimodalRetriever.from_retrievers([Fixed(found=forged[:1]), retriever])
    assert shown(fused)[0] == ["lime"]
    assert shown(MultimodalRetriever.from_retrievers([Fixed(found=forged[1:]), retriever]))[0] == []


def test_a_reranker_sees_it_too(
    index: MultimodalIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("then", "now"):
        (tmp_path / folder).mkdir()
    painted(tmp_path / "then" / "a.png", "lime")
    monkeypatch.chdir(tmp_path / "then")
    named = ("a.png", {"uri": "a.png", **SAID})
    added = [Document("", id=str(n), metadata={IMAGE_KEY: name}) for n, name in enumerate(named)]
    MultimodalVectorStore(index).add_documents(added)
    monkeypatch.chdir(tmp_path / "now")
    judge = Watching()
    retriever = MultimodalRetriever(
        index=index, reranker=judge, filter={"mmrag.id": {"$in": ["0", "1"]}}
    )
    for ask in (retriever.invoke, lambda words: asyncio.run(retriever.ainvoke(words))):
        judge.seen.clear()
        found = ask("lime")
        assert judge.seen == {"0": "lime", "1": "lime"}
        assert {d.id: d.metadata[IMAGE_KEY] for d in found} == dict(zip("01", named, strict=True))


@both
def test_a_malformed_picture_in_the_metadata_of_a_record_is_none(
    index: MultimodalIndex, tmp_path: Path, shown: Callable[..., Shown]
) -> None:
    image = ImageRef(str(painted(tmp_path / "a.png", "lime")), "", "", 0, 0)
    index.add([Record("odd", "a red kettle", image, metadata={IMAGE_KEY: 5})])
    assert shown(MultimodalRetriever(index=index))[0] == ["blue", "red"]


@both
def test_an_id_of_the_index_opens_no_other_picture(
    index: MultimodalIndex, tmp_path: Path, shown: Callable[..., Shown]
) -> None:
    """Nor does a picture of the index in a document that is another one."""
    secret = painted(tmp_path / "secret.png", "lime")
    forged = [
        Document("", id="kettle", metadata={IMAGE_KEY: str(secret)}),
        Document("", id="text", metadata={IMAGE_KEY: str(tmp_path / "kettle.jpg")}),
        Document("", metadata={IMAGE_KEY: str(tmp_path / "kettle.jpg")}),
    ]
    ours = MultimodalRetriever(index=index, filter={"mmrag.modality": "text"})
    fused = MultimodalRetriever.from_retrievers([Fixed(found=forged), ours])
    assert shown(fused)[0] == []


@pytest.mark.parametrize("roots", ["pictures", b"pictures", Path("pictures"), [5]])
def test_roots_are_a_list_of_paths(index: MultimodalIndex, roots: Any) -> None:
    retriever = MultimodalRetriever(index=index)
    with pytest.raises(InputError, match="list of paths"):
        create_multimodal_tool(retriever, allowed_roots=roots)
    with pytest.raises(InputError, match="list of paths"):
        create_multimodal_rag_chain(retriever, FakeListChatModel(responses=[]), allowed_roots=roots)
