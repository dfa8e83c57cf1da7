"""Every public method of every component does the same sync and async: they are looked for, so that
one that is added without its calls here, or without its twin, is a failure."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables.base import RunnableBinding
from langchain_core.tools import StructuredTool
from langchain_text_splitters import CharacterTextSplitter

import langchain_mm as mm
from langchain_mm.convert import CAPTION_KEY, IMAGE_KEY
from langchain_mm.fusion_retriever import FusionRetriever
from mmrag import MultimodalIndex
from mmrag.errors import MmragError
from mmrag.filters import And
from mmrag.testing import FakeCaptioner, FakeEncoder, FakeReranker, MemoryStore

from .chat_models import Vision, painted


@dataclass
class World:
    """One of each component, over an index of its own with the same documents as in any other."""

    index: MultimodalIndex
    files: Path

    def made(self, name: str) -> Any:
        return _MAKERS[name](self)

    def stored(self) -> str:
        return _shown(self.index, self.index)

    @property
    def retriever(self) -> mm.MultimodalRetriever:
        return mm.MultimodalRetriever(index=self.index, k=3)


_MAKERS: dict[str, Callable[[World], Any]] = {
    "CaptionTransformer": lambda _: mm.CaptionTransformer(FakeCaptioner()),
    "ChatModelCaptioner": lambda _: mm.ChatModelCaptioner(Vision()),
    "CrossModalReranker": lambda _: mm.CrossModalReranker(reranker=FakeReranker(), top_n=2),
    "FusionRetriever": lambda w: FusionRetriever(
        retrievers={"all": w.retriever, "again": w.retriever}
    ),
    "ImageSafe": lambda _: mm.ImageSafe(CharacterTextSplitter(" ", chunk_size=8, chunk_overlap=0)),
    "LangChainEncoder": lambda _: mm.LangChainEncoder(_embeddings()),
    "MultimodalEmbeddings": lambda _: _embeddings(),
    "MultimodalLoader": lambda w: mm.MultimodalLoader(w.files, media_folder=w.files / "media"),
    "MultimodalRetriever": lambda w: w.retriever,
    "MultimodalVectorStore": lambda w: mm.MultimodalVectorStore(w.index),
    "create_multimodal_rag_chain": lambda w: mm.create_multimodal_rag_chain(
        w.retriever, FakeListChatModel(responses=["Boil it [1], [2] and [9]."])
    ),
    "create_multimodal_tool": lambda w: mm.create_multimodal_tool(w.retriever, mode="images"),
}


def _embeddings() -> mm.MultimodalEmbeddings:
    return mm.MultimodalEmbeddings(encoder=FakeEncoder())


def _documents(files: Path) -> list[Document]:
    return [
        Document("boil water for tea", id="tea", metadata={"lang": "en"}),
        Document("bake bread", id="bread", metadata={"lang": "en", "deep": {"er": [1]}}),
        Document("Wasser für Tee", id="tee", metadata={"lang": "de"}),
        Document("red water", id="red", metadata={IMAGE_KEY: str(files / "red.png")}),
        Document(
            "",
            id="blue",
            metadata={IMAGE_KEY: str(files / "blue.png"), CAPTION_KEY: {"brief": "blue tea"}},
        ),
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for colour in ("red", "blue", "lime"):
        painted(folder / f"{colour}.png", colour)
    (folder / "note.txt").write_text("a note on tea", "utf-8")
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


@pytest.fixture
def worlds(tmp_path: Path, files: Path) -> Iterator[tuple[World, World]]:
    made, encoder = [], FakeEncoder()
    for name in ("one", "two"):
        index = MultimodalIndex.open(
            tmp_path / name, store=MemoryStore(), text_encoder=encoder, image_encoder=encoder
        )
        mm.MultimodalVectorStore(index).add_documents(_documents(files))
        made.append(World(index, files))
    yield made[0], made[1]
    for world in made:
        world.index.close()


@dataclass
class Call:
    """Arguments of a call; ``fails`` says whether it is an error, which has to be the same too."""

    args: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    fails: bool = False


def call(*args: Any, **named: Any) -> Call:
    return Call(args, named)


def wrong(*args: Any, **named: Any) -> Call:
    return Call(args, named, fails=True)


def _inputs(name: str, files: Path) -> list[Any]:
    """What a runnable takes."""
    red = str(files / "red.png")
    tool = "search_texts_and_pictures"
    return {
        "FusionRetriever": ["boil water", "red"],
        "MultimodalRetriever": ["boil red water", "bread"],
        "create_multimodal_rag_chain": [
            "boil water",
            {"question": "what is it?", "image": red},
            {"image": red},
        ],
        "create_multimodal_tool": [
            {"query": "boil red water"},
            {"type": "tool_call", "id": "1", "name": tool, "args": {"query": "red"}},
        ],
    }[name]


def _of_runnables(name: str, method: str, files: Path) -> list[Call]:
    inputs = _inputs(name, files)
    several = [call(inputs), wrong([*inputs, 5])]
    table: dict[str, list[Call]] = {
        "invoke": [*map(call, inputs), wrong(5)],
        "stream": [*map(call, inputs), wrong(5)],
        "transform": [*map(call, inputs), wrong(5)],
        "batch": several,
        "batch_as_completed": several[:1],
        "run": [call(inputs[0]), wrong(5)],
    }
    calls = table[method]
    if name == "MultimodalRetriever" and method == "invoke":
        calls += [
            call("tea", image=files / "red.png", k=1),
            call("tea", filter={"lang": "de"}, routes=["keywords"]),
            wrong("tea", similarity_top_k=1),
            wrong(" "),
        ]
    return calls


def _of_the_store(method: str, files: Path) -> list[Call]:
    red, torn = files / "red.png", files / "torn.jpg"
    vector = _embeddings().embed_query("boil water")
    new = Document("new tea", id="new", metadata={"n": 1})
    narrow: dict[str, Any] = {"k": 2, "filter": {"lang": "en"}}
    words = [call("boil water"), call("tea", **narrow), wrong("", **narrow), wrong("tea", where=1)]
    picture = [call(red), call(red.read_bytes(), **narrow), wrong(torn), wrong(red, k=0)]
    number = [call(vector), call(vector, **narrow), wrong(vector[1:]), wrong(vector, where=1)]
    diverse = {"k": 2, "fetch_k": 4, "lambda_mult": 0.3}
    table = {
        "add_documents": [call([new]), call(_documents(files)[3:], ids=["r", "b"]), wrong(["x"])],
        "add_images": [
            call([red, red.read_bytes()], [{"n": 1}, {}], ids=["1", "2"]),
            wrong([torn], ids=["torn"]),
        ],
        "add_texts": [call(["a", "b"], [{"n": 1}, {}], ids=["a", "tea"]), wrong("a text")],
        "delete": [call(["tea", "unknown"]), call(where={"lang": "de"}), wrong()],
        "from_documents": [call(_documents(files), _embeddings()), wrong(["x"], _embeddings())],
        "from_texts": [call(["a"], _embeddings(), [{"n": 1}], ids=["a"]), wrong(["a"], None)],
        "get_by_ids": [call(["red", "tea", "unknown"]), wrong([5])],
        "max_marginal_relevance_search": [call("tea", **diverse), wrong("tea", 0)],
        "max_marginal_relevance_search_by_vector": [call(vector, **diverse), wrong(vector, 0)],
        "search": [
            call("tea", search_type="mmr"),
            call("tea", search_type="similarity"),
            wrong("tea", search_type="guess"),
        ],
        "similarity_search": words,
        "similarity_search_by_image": picture,
        "similarity_search_by_image_with_score": picture,
        "similarity_search_by_vector": number,
        "similarity_search_with_relevance_scores": [*words, call("tea", score_threshold=0.2)],
        "similarity_search_with_score": words,
        "similarity_search_with_score_by_vector": number,
    }
    return table[method]


def _calls(name: str, method: str, files: Path) -> list[Call]:
    """Fresh arguments to call the method of this name with."""
    red, blue, torn = (files / n for n in ("red.png", "blue.png", "torn.jpg"))
    texts = [call(["tea", "", "bread"]), call([]), wrong("tea")]
    pictures = [call([red, blue.read_bytes()]), call([]), wrong([red, torn]), wrong(red)]
    found = _documents(files)
    table: dict[tuple[str, str], list[Call]] = {
        ("CaptionTransformer", "transform_documents"): [
            *(call(found), call([]), wrong(["x"]), wrong(found, n=1)),
            wrong([Document("", metadata={IMAGE_KEY: str(torn)})]),
        ],
        ("ChatModelCaptioner", "caption"): pictures,
        ("CrossModalReranker", "compress_documents"): [
            *(call(found, "boil water"), call(found, "red", callbacks=[]), call([], "red")),
            *(wrong(found, ""), wrong(["x"], "red")),
        ],
        ("CrossModalReranker", "rerank"): [
            *(call(found, "boil"), call(found, "boil", image=red), call(found, image=red)),
            *(wrong(found), wrong(found, image=torn)),
        ],
        ("ImageSafe", "transform_documents"): [call(found), call([]), wrong(["x"])],
        ("MultimodalEmbeddings", "embed_documents"): texts,
        ("MultimodalEmbeddings", "embed_query"): [call("tea"), wrong(5)],
        ("MultimodalEmbeddings", "embed_image"): pictures,
        ("MultimodalEmbeddings", "embed_images"): pictures,
        ("MultimodalLoader", "lazy_load"): [call()],
        ("MultimodalLoader", "load"): [call()],
        ("MultimodalRetriever", "retrieve"): [
            *(call("boil water"), call(image=red), call("tea", image=red)),
            *(wrong(), wrong(5), wrong(image=torn), wrong(voice=red)),
        ],
    }
    if name == "MultimodalVectorStore":
        return _of_the_store(method, files)
    if (name, method) in table:
        return table[name, method]
    return _of_runnables(name, method, files)


# LangChain's beta protocol of events, whose runs have ids of their own.
_NOT_COMPARED = {"stream_events"}

# What a factory makes is one of LangChain's classes.
_KINDS: dict[str, type] = {
    "FusionRetriever": FusionRetriever,
    "create_multimodal_rag_chain": RunnableBinding,
    "create_multimodal_tool": StructuredTool,
}


def _kind(name: str) -> Any:
    return _KINDS.get(name) or getattr(mm, name)


def _pairs() -> list[tuple[str, str]]:
    """Every public method that has an async twin, LangChain's own included."""
    return [
        (name, method)
        for name in _MAKERS
        for method, _ in inspect.getmembers(_kind(name), inspect.isroutine)
        if not method.startswith("_") and method not in _NOT_COMPARED
        if hasattr(_kind(name), f"a{method}")
    ]


def _shown(value: Any, index: MultimodalIndex) -> str:
    """All that there is to a value, without the folder of its index."""
    if isinstance(value, MultimodalIndex):
        records = [record for batch in value.store.scan(And(())) for record in batch]
        value = sorted(records, key=lambda record: record.id)
    return repr(value).replace(str(index.folder), "KB")


async def _result(method: Any, given: Call, index: MultimodalIndex) -> str:
    """What came of a call, sync or async; the error if it was one."""
    try:
        value = method(*given.args, **given.named)
        if inspect.isawaitable(value):
            value = await value
        if isinstance(value, AsyncIterator):
            value = [item async for item in value]
        elif isinstance(value, Iterator):
            value = list(value)
        if method.__name__.endswith("batch_as_completed"):
            value = sorted(value, key=itemgetter(0))
    except (MmragError, AttributeError, TypeError, ValueError) as error:
        assert given.fails, f"{given} failed: {error!r}"
        return f"{type(error).__name__}: {error}"
    assert not given.fails, f"{given} gave {value!r}"
    if isinstance(value, mm.MultimodalVectorStore):
        with value.index as made:
            return _shown(made, made)
    return _shown(value, index)


async def _each(items: list[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


@pytest.mark.parametrize(("name", "method"), _pairs())
async def test_async_is_as_sync(
    worlds: tuple[World, World], name: str, method: str, files: Path
) -> None:
    mine, other = (world.made(name) for world in worlds)
    assert type(mine) is _kind(name)
    calls, again = _calls(name, method, files), _calls(name, method, files)
    assert not all(each.fails for each in calls)
    before = repr(calls)
    expected = [
        await _result(getattr(mine, method), _streamed(method, each, iter), worlds[0].index)
        for each in calls
    ]
    given = [
        await _result(getattr(other, f"a{method}"), _streamed(method, each, _each), worlds[1].index)
        for each in again
    ]
    assert given == expected
    assert worlds[0].stored() == worlds[1].stored()
    assert (repr(calls), repr(again)) == (before, before), "what was given is not changed"


def _streamed(method: str, given: Call, items: Callable[[list[Any]], Any]) -> Call:
    """The call with its input as a stream, if that is what the method takes."""
    if method != "transform":
        return given
    return replace(given, args=(items(list(given.args)),))


def test_every_public_name_has_its_calls() -> None:
    assert {*_MAKERS, "content_key"} == {*mm.__all__, "FusionRetriever"}


def test_every_method_of_ours_has_a_twin() -> None:
    alone = {
        f"{name}.{method}"
        for name in _MAKERS
        for kind in _kind(name).__mro__
        if kind.__module__.startswith(("langchain_mm", "mmrag"))
        for method, value in vars(kind).items()
        if not method.startswith("_") and not method.startswith("model_")
        if inspect.isroutine(value) or isinstance(value, classmethod | staticmethod)
        if not hasattr(_kind(name), f"a{method}")
        if not (method.startswith("a") and hasattr(_kind(name), method[1:]))
    }
    assert alone == {
        # Of mmrag's protocols, which indexes call from threads.
        "ChatModelCaptioner.caption_each",
        "ChatModelCaptioner.one",
        "LangChainEncoder.encode_texts",
        "MultimodalRetriever.from_retrievers",
        "MultimodalVectorStore.close",
        "MultimodalVectorStore.from_path",
    }


def test_no_signature_differs() -> None:
    """Of what is ours on both sides: the same arguments, in the same order, by the same names."""
    for name, method in _pairs():
        both = [inspect.getattr_static(_kind(name), each) for each in (method, f"a{method}")]
        made = [getattr(each, "__func__", each) for each in both]
        if all(each.__module__.startswith("langchain_mm") for each in made):
            sync, other = (list(inspect.signature(each).parameters.values()) for each in made)
            assert sync == other, f"{name}.{method}"
