"""MultimodalRetriever over an index: what is found, what is kept, and what traces never get."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.callbacks import BaseCallbackHandler, Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.documents.base import Blob
from langchain_core.messages import HumanMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run
from langchain_tests.integration_tests import RetrieversIntegrationTests
from PIL import Image

import mmrag
from langchain_mm.convert import CAPTION_KEY, HIT_KEY, IMAGE_KEY, document_to_part
from langchain_mm.reranker import CrossModalReranker
from langchain_mm.retriever import MultimodalRetriever
from langchain_mm.vector_store import MultimodalVectorStore
from mmrag import Caption, Eq, MultimodalIndex, Record, rrf
from mmrag.errors import DamagedSource, InputError, SourceError, UnknownName, UnreadableSource
from mmrag.media import data_url, load
from mmrag.testing import FakeEncoder, FakeReranker, MemoryStore
from mmrag.types import ImageRef, Locator

SAMPLE = Path(mmrag.__file__).parent / "sample"
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
    return MultimodalRetriever(index=index)


def ids(documents: Sequence[Document]) -> list[str | None]:
    return [document.id for document in documents]


def routes_of(documents: Sequence[Document]) -> set[str]:
    return {vote["route"] for d in documents for vote in d.metadata[HIT_KEY]["routes"]}


def both_ways(retriever: BaseRetriever, query: str, **asked: Any) -> list[Document]:
    """Ask in sync and async, show that they agree, and return what was found."""
    found = retriever.invoke(query, **asked)
    assert asyncio.run(retriever.ainvoke(query, **asked)) == found
    return found


def memory_index() -> MultimodalIndex:
    encoder = FakeEncoder()
    index = MultimodalIndex.open(store=MemoryStore(), text_encoder=encoder, image_encoder=encoder)
    index.add([Record(f"{n}", f"red thing number {n}") for n in range(5)])
    return index


class TestMultimodalRetriever(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[MultimodalRetriever]:
        return MultimodalRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"index": memory_index()}

    @property
    def retriever_query_example(self) -> str:
        return "red thing"


# What is found


def test_words_find_texts_and_pictures_in_one_ranking(
    index: MultimodalIndex, retriever: MultimodalRetriever
) -> None:
    found = both_ways(retriever, "reset the red kettle")
    hits = index.search("reset the red kettle")
    assert ids(found) == [hit.record.id for hit in hits]
    assert [d.metadata[HIT_KEY]["score"] for d in found] == [hit.score for hit in hits]
    assert set(ids(found[:2])) == {"router", "red"}


def test_meaning_is_found_in_texts_and_pictures(tmp_path: Path) -> None:
    pictures, texts = SAMPLE / "pictures", SAMPLE / "texts"
    with MultimodalIndex.open(tmp_path / "kb") as index:
        index.add_files(
            [
                *(pictures / f"{name}.jpg" for name in ("chelsea", "espresso", "brick-wall")),
                *(texts / f"{name}.md" for name in ("cat-care", "pour-over-coffee")),
            ]
        )
        retriever = MultimodalRetriever(index=index, k=3)
        first, *others = retriever.invoke("a cat")
        assert Path(first.metadata["source"]).name == "chelsea.jpg"
        assert {Path(d.metadata["source"]).name for d in others} == {"cat-care.md"}
        (alike,) = retriever.invoke("", image=pictures / "kitten-and-yarn.jpg", k=1)
        assert Path(alike.metadata[IMAGE_KEY]["uri"]).name == "chelsea.jpg"


FORMS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "string": str,
    "bytes": Path.read_bytes,
    "PIL": lambda path: Image.open(path).copy(),
    "data URL": lambda path: data_url(path.read_bytes(), "image/png"),
    "Blob": Blob.from_path,
    "Blob of bytes": lambda path: Blob.from_data(path.read_bytes()),
    "block": lambda path: {
        **{"type": "image", "mime_type": "image/png"},
        "base64": base64.b64encode(path.read_bytes()).decode(),
    },
    "OpenAI's block": lambda path: {
        **{"type": "image_url"},
        "image_url": {"url": data_url(path.read_bytes(), "image/png")},
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_finds_what_looks_alike(
    retriever: MultimodalRetriever, folder: Path, form: str
) -> None:
    shown = FORMS[form](painted(folder / "scarlet.png", (200, 40, 40)))
    found = both_ways(retriever, "", image=shown)
    assert ids(found)[0] == "red"
    assert routes_of(found) == {"image->image", "image->text"}
    assert retriever.retrieve(image=shown) == found
    assert asyncio.run(retriever.aretrieve(image=shown)) == found


def test_words_and_a_picture_are_searched_together(
    retriever: MultimodalRetriever, folder: Path
) -> None:
    found = both_ways(retriever, "bake bread", image=folder / "blue.png")
    assert set(ids(found)[:2]) == {"bread", "blue"}
    assert {"text->text", "image->image", "keywords"} <= routes_of(found)
    assert retriever.retrieve("bake bread", image=folder / "blue.png") == found


def test_the_name_of_a_file_is_words(retriever: MultimodalRetriever, folder: Path) -> None:
    """The chain of LangChain's cookbook takes "test" for a picture."""
    data = base64.b64encode((folder / "red.png").read_bytes()).decode()
    for words in (str(folder / "red.png"), "test", data, f"data:image/png;base64,{data}"):
        assert not any(r.startswith("image") for r in routes_of(both_ways(retriever, words)))


class Heard:
    """A transcriber that hears the same in every recording."""

    def __init__(self, *said: str) -> None:
        self.said = said
        self.paths: list[str] = []

    def transcribe(self, path: str) -> list[Record]:
        self.paths.append(path)
        return [Record(f"{n}", text) for n, text in enumerate(self.said)]


def test_speech_becomes_words(index: MultimodalIndex, folder: Path) -> None:
    recording = folder / "question.wav"
    recording.write_bytes(b"RIFF")
    heard = Heard("bake", "bread")
    retriever = MultimodalRetriever(index=index, transcriber=heard)
    spoken = retriever.retrieve(voice=recording)
    assert spoken == both_ways(retriever, "bake bread")
    assert heard.paths == [str(recording)]
    assert asyncio.run(retriever.aretrieve(voice=str(recording))) == spoken
    more = both_ways(retriever, "a lake", voice=recording, image=folder / "red.png")
    assert more == both_ways(retriever, "a lake\nbake bread", image=folder / "red.png")


def test_speech_that_cannot_be_heard(index: MultimodalIndex, folder: Path) -> None:
    recording = folder / "silence.wav"
    recording.write_bytes(b"RIFF")
    with pytest.raises(InputError, match="transcriber="):
        MultimodalRetriever(index=index).retrieve(voice=recording)
    deaf = MultimodalRetriever(index=index, transcriber=Heard(" "))
    with pytest.raises(InputError, match="empty query"):
        deaf.retrieve(voice=recording)
    with pytest.raises(UnreadableSource, match="no such recording"):
        deaf.retrieve(voice=folder / "no such recording.wav")
    with pytest.raises(UnreadableSource, match="not a regular file"):
        deaf.retrieve(voice=folder)
    with pytest.raises(InputError, match="path of a recording, not bytes"):
        deaf.retrieve(voice=b"RIFF")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Transcriber"):
        MultimodalRetriever(index=index, transcriber="whisper")  # type: ignore[arg-type]


# Settings, of the retriever and of a call


def test_a_vector_store_serves_as_well_as_an_index(index: MultimodalIndex) -> None:
    through = MultimodalRetriever(index=MultimodalVectorStore(index))  # type: ignore[arg-type]
    assert through.index is index
    assert both_ways(through, "lake") == MultimodalRetriever(index=index).invoke("lake")


def test_routes_are_those_asked_for_where_the_query_has_the_part(
    index: MultimodalIndex, folder: Path
) -> None:
    retriever = MultimodalRetriever(index=index, routes=["keywords", "image->image"])
    assert routes_of(both_ways(retriever, "lake")) == {"keywords"}
    assert routes_of(both_ways(retriever, "", image=folder / "red.png")) == {"image->image"}
    assert routes_of(both_ways(retriever, "lake", routes=["text->text"])) == {"text->text"}
    with pytest.raises(InputError, match=r"none of .* takes this query: image->image"):
        retriever.invoke("lake", routes=["image->image"])


def test_the_fusion_is_the_one_asked_for(index: MultimodalIndex) -> None:
    retriever = MultimodalRetriever(index=index, fusion=rrf)
    by_name = both_ways(MultimodalRetriever(index=index), "lake", fusion="rrf")
    assert both_ways(retriever, "lake") == by_name
    hit = by_name[0].metadata[HIT_KEY]
    assert hit["score"] == sum(1 / (60 + vote["rank"]) for vote in hit["routes"])


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"lang": "en"}, {"router", "blue"}),
        ({"lang": {"$ne": "en"}}, {"bread", "red"}),
        ({"$or": [{"lang": "en"}, {"mmrag.page": {"$gte": 2}}]}, {"router", "blue", "bread"}),
        (Eq("modality", "image"), {"red", "blue"}),
    ],
)
def test_filters(index: MultimodalIndex, where: Any, expected: set[str]) -> None:
    found = both_ways(MultimodalRetriever(index=index, filter=where), "the red router bread")
    assert set(ids(found)) == expected
    plain = MultimodalRetriever(index=index, filter=Eq("id", "none"))
    assert both_ways(plain, "the red router bread", filter=where) == found
    assert len(both_ways(plain, "the red router bread", filter={})) == 4
    assert both_ways(plain, "the red router bread") == []


def test_a_call_may_say_it_all(retriever: MultimodalRetriever) -> None:
    asked = {"k": 1, "routes": ["text->text"], "fusion": "rrf", "filter": {"lang": "en"}}
    (found,) = both_ways(retriever, "the lake and bread", **asked)
    assert (found.id, found.metadata[HIT_KEY]["score"]) == ("blue", 1 / 61)
    nothing = dict.fromkeys(asked)
    assert both_ways(retriever, "lake", **nothing) == both_ways(retriever, "lake")


async def test_retrieve_takes_the_settings_of_a_call_too(
    retriever: MultimodalRetriever, folder: Path
) -> None:
    asked: dict[str, Any] = {"k": 1, "routes": ["text->text"], "filter": {"lang": "en"}}
    traced = Traced()
    config: Any = {"callbacks": [traced], "run_name": "lookup"}
    (found,) = retriever.retrieve("the lake and bread", fusion="rrf", config=config, **asked)
    assert (found.id, found.metadata[HIT_KEY]["score"]) == ("blue", 1 / 61)
    assert await retriever.aretrieve(
        "the lake and bread", config=config, **asked, fusion="rrf"
    ) == [found]
    assert [run.name for run in traced.runs] == ["lookup"] * 2
    (red,) = retriever.retrieve(image=folder / "red.png", k=1)
    assert red.id == "red"
    with pytest.raises(InputError, match="takes no limit"):
        retriever.retrieve("lake", limit=3)  # type: ignore[call-arg]


def test_settings_at_run_time(index: MultimodalIndex, folder: Path) -> None:
    retriever = MultimodalRetriever(index=index, filter={"lang": "en"}).configurable_fields(
        k=ConfigurableField(id="k"), filter=ConfigurableField(id="filter")
    )
    one = retriever.with_config(configurable={"k": 1})
    assert (len(retriever.invoke("the")), len(one.invoke("the"))) == (2, 1)
    assert len(asyncio.run(one.ainvoke("the"))) == 1
    red = retriever.with_config(configurable={"filter": Eq("id", "red")})
    assert ids(red.invoke("", image=folder / "blue.png")) == ["red"]
    chain = retriever | ids
    assert chain.invoke("lake", {"configurable": {"k": 1}}) == ["blue"]
    with pytest.raises(ValueError, match="greater than 0"):
        retriever.with_config(configurable={"k": 0}).invoke("the")


# What comes back


def test_documents_come_back_as_they_were_given(index: MultimodalIndex, folder: Path) -> None:
    given = Document(
        "a green bottle",
        id="given",
        metadata={IMAGE_KEY: str(folder / "red.png"), "deep": {"er": [1, None, "ü"]}, "page": 0},
    )
    before = copy.deepcopy(given)
    encoder = FakeEncoder()
    with MultimodalIndex.open(
        folder / "given", text_encoder=encoder, image_encoder=encoder
    ) as other:
        other.add([document_to_part(given).record])
        (plain,) = both_ways(MultimodalRetriever(index=other, trace=False), "green bottle")
        (traced,) = both_ways(MultimodalRetriever(index=other), "green bottle")
    assert plain == given == before
    assert set(traced.metadata) == {*given.metadata, HIT_KEY}


def test_the_trace_says_why(retriever: MultimodalRetriever) -> None:
    """langchain#16445: a fused ranking without scores."""
    for found in both_ways(retriever, "reset the blue router lake"):
        hit = found.metadata[HIT_KEY]
        shares = [vote["contribution"] for vote in hit["routes"]]
        assert sum(shares) == pytest.approx(hit["score"])
        assert shares == sorted(shares, reverse=True)
        assert all(set(v) == {"route", "rank", "score", "contribution"} for v in hit["routes"])


def test_the_documents_are_fresh(retriever: MultimodalRetriever) -> None:
    first = retriever.invoke("kettle")
    before = copy.deepcopy(first)
    for found in first:
        found.page_content = "changed"
        found.metadata.clear()
    assert retriever.invoke("kettle") == before


def test_caption_place_and_picture_come_with_the_document(retriever: MultimodalRetriever) -> None:
    by_id = {d.id: d for d in retriever.invoke("red kettle, bread, router")}
    assert by_id["red"].metadata[CAPTION_KEY]["detailed"] == "a red kettle"
    assert Path(by_id["red"].metadata[IMAGE_KEY]["uri"]).is_file()
    assert by_id["red"].page_content == ""
    assert by_id["bread"].metadata["page_label"] == "2"


# With a reranker


def test_langchain_33292_a_reranker_needs_no_other_retriever(
    index: MultimodalIndex, folder: Path
) -> None:
    compressed = MultimodalRetriever(
        index=index, reranker=CrossModalReranker(reranker=FakeReranker(), top_n=2)
    )
    found = both_ways(compressed, "slowly bake bread kettle")
    assert [(d.id, d.metadata["relevance_score"]) for d in found] == [
        ("bread", 0.75),
        ("red", 0.25),
    ]
    assert found[0].metadata[HIT_KEY]["routes"]
    plain = MultimodalRetriever(index=index, reranker=FakeReranker())
    scores = {
        d.id: d.metadata["relevance_score"]
        for d in both_ways(plain, "kettle", image=folder / "blue.png")
    }
    assert scores == {"red": 0.5, "blue": 0.5, "router": 0.0, "bread": 0.0}
    assert ids(both_ways(plain, "", image=folder / "red.png", k=1)) == ["red"]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MultimodalIndex]:
    """Sixty texts of which the search likes the short ones, and a reranker the last ones."""
    encoder = FakeEncoder()
    folder = tmp_path_factory.mktemp("many")
    with MultimodalIndex.open(folder, text_encoder=encoder, image_encoder=encoder) as index:
        index.add([Record(f"{n:02}", "bread " + "and butter " * n) for n in range(60)])
        yield index


class Longest(FakeReranker):
    """Prefers long texts; ``judged`` are how many it was given."""

    def __init__(self) -> None:
        self.judged: list[int] = []

    def rerank(self, text: str | None, image: Any, records: Sequence[Record]) -> list[float]:
        self.judged.append(len(records))
        return [len(record.text) / 1000 for record in records]


@pytest.mark.parametrize(
    ("wrap", "fewest"),
    [
        (lambda longest: longest, 99),
        (lambda longest: CrossModalReranker(reranker=longest), 99),
        (lambda longest: CrossModalReranker(reranker=longest, top_n=3), 3),
        (lambda longest: DocumentCompressorPipeline(transformers=[_all_of(longest)]), 99),
    ],
)
def test_a_reranker_judges_more_than_are_wanted(
    many: MultimodalIndex, wrap: Callable[[Longest], Any], fewest: int
) -> None:
    longest = Longest()
    retriever = MultimodalRetriever(index=many, k=4, reranker=wrap(longest))
    candidates = MultimodalRetriever(index=many, k=50).invoke("bread")
    best = sorted(ids(candidates), reverse=True)
    assert max(ids(candidates[:4])) < best[3], "the search alone has another order"
    assert ids(both_ways(retriever, "bread")) == best[: min(4, fewest)]
    assert ids(both_ways(retriever, "bread", k=7)) == best[: min(7, fewest)]
    assert len(both_ways(retriever, "bread", k=55)) == min(55, fewest)
    assert longest.judged == [50, 50, 50, 50, 55, 55]
    for k in (0, True, 10_001):
        with pytest.raises(InputError, match="limit is a whole number"):
            retriever.invoke("bread", k=k)


def _all_of(longest: Longest) -> CrossModalReranker:
    return CrossModalReranker(reranker=longest, top_n=99)


class Reversed(BaseDocumentCompressor):
    """Any compressor of words, which notes the callbacks that it gets."""

    parents: list[Any]

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        self.parents.append(getattr(callbacks, "parent_run_id", None))
        return tuple(documents)[::-1]


def test_any_compressor_will_do_for_words(index: MultimodalIndex, folder: Path) -> None:
    compressor = Reversed(parents=[])
    retriever = MultimodalRetriever(index=index, reranker=compressor)
    plain = MultimodalRetriever(index=index)
    assert both_ways(retriever, "lake") == plain.invoke("lake")[::-1]
    shown = {"image": folder / "red.png"}
    assert both_ways(retriever, "lake", **shown) == plain.invoke("lake", **shown)[::-1]
    assert len(compressor.parents) == 4
    assert None not in compressor.parents
    with pytest.raises(InputError, match="takes words, and the query is a picture alone"):
        retriever.retrieve(**shown)
    assert both_ways(retriever, "lake", filter=Eq("id", "none")) == []


# What cannot be understood


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"k": 0}, InputError, "limit is a whole number"),
        ({"k": True}, InputError, "limit is a whole number"),
        ({"routes": ["text->sound"]}, UnknownName, "text->sound"),
        ({"routes": []}, InputError, "none of the retriever's routes"),
        ({"fusion": "magic"}, UnknownName, "magic"),
        ({"filter": "lang"}, InputError, "a filter is"),
        ({"limit": 3}, InputError, "takes no limit; it takes image, voice, k,"),
        ({"image": 5}, InputError, "not int"),
        ({"image": "gone.png"}, UnreadableSource, "gone.png"),
        ({"image": ""}, InputError, "path of the picture is empty"),
        ({"image": b"not a picture"}, DamagedSource, "not a picture"),
        ({"image": "https://example.org/a.png"}, InputError, "not fetched"),
        ({"image": {"type": "text", "text": "a"}}, InputError, "not a picture"),
        ({"image": {"type": "image", "base64": "?"}}, DamagedSource, "base64"),
    ],
)
def test_a_call_that_cannot_be_understood(
    retriever: MultimodalRetriever, asked: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        retriever.invoke("lake", **asked)
    with pytest.raises(error, match=said):
        asyncio.run(retriever.ainvoke("lake", **asked))


@pytest.mark.parametrize("query", ["", " \n", None, b"a picture", 5])
def test_a_query_with_nothing_to_search_for(retriever: MultimodalRetriever, query: Any) -> None:
    with pytest.raises(InputError, match=r"empty query|a string, not"):
        retriever.retrieve(query)
    with pytest.raises(InputError, match=r"empty query|a string, not"):
        asyncio.run(retriever.aretrieve(query))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 0}, "greater than 0"),
        ({"routes": ["text->sound"]}, "unknown route 'text->sound'"),
        ({"fusion": "magic"}, "unknown fusion 'magic'"),
        ({"filter": {"lang": object()}}, "lang"),
        ({"index": "kb"}, "MultimodalIndex"),
        ({"index": None}, "MultimodalIndex"),
        ({"reranker": "cross-encoder"}, "Reranker"),
        ({"top_k": 3}, "top_k"),
    ],
)
def test_settings_that_cannot_be_understood_are_refused_at_once(
    index: MultimodalIndex, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        MultimodalRetriever(**{"index": index, **options})


# As a runnable, and in traces


def test_in_chains_and_batches(retriever: MultimodalRetriever, folder: Path) -> None:
    assert (retriever | ids).invoke("blue lake")[0] == "blue"
    both = RunnableParallel(found=retriever | ids, question=RunnableLambda(lambda q: q))
    assert both.invoke("bake bread") == {
        "found": ids(retriever.invoke("bake bread")),
        "question": "bake bread",
    }
    queries = ["lake", "bake", "kettle"]
    expected = [retriever.invoke(q, k=1) for q in queries]
    assert list(map(ids, expected)) == [["blue"], ["bread"], ["red"]]
    assert retriever.batch(queries, k=1) == expected
    assert asyncio.run(retriever.abatch(queries, k=1)) == expected
    shown = retriever.bind(image=str(folder / "red.png"), k=1)
    assert ids(shown.invoke("")) == ["red"]


def test_async_does_not_block_the_loop(index: MultimodalIndex) -> None:
    threads = set()

    def noting(rankings: Any) -> Any:
        threads.add(threading.get_ident())
        return rrf(rankings)

    asyncio.run(MultimodalRetriever(index=index, fusion=noting).ainvoke("lake"))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_within_a_function_of_a_chain_its_run_is_a_child(
    retriever: MultimodalRetriever, folder: Path
) -> None:
    """How a chain whose input is a dict asks for words and a picture together."""
    traced = Traced()
    ask = RunnableLambda(lambda asked: retriever.retrieve(asked["words"], image=asked["picture"]))
    asked = {"words": "bake bread", "picture": str(folder / "blue.png")}
    found = (ask | ids).invoke(asked, {"callbacks": [traced]})
    assert set(found[:2]) == {"bread", "blue"}
    (run,) = traced.runs
    (child,) = run.child_runs[0].child_runs
    assert (child.run_type, child.inputs) == ("retriever", {"query": "bake bread"})


class Recorded(BaseCallbackHandler):
    """Everything that callbacks are given."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_retriever_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append(("start", args, kwargs))

    def on_retriever_end(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append(("end", args, kwargs))

    def on_retriever_error(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append(("error", args, kwargs))

    def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append(("chain", args, kwargs))


class Traced(BaseTracer):
    """The runs as LangSmith would get them."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.runs.append(run)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("use_async", [False, True])
def test_traces_get_references_and_no_bytes(
    index: MultimodalIndex, folder: Path, form: str, use_async: bool
) -> None:
    path = folder / "red.png"
    recorded, traced = Recorded(), Traced()
    reranker = CrossModalReranker(reranker=FakeReranker())
    chain = MultimodalRetriever(index=index, reranker=reranker).bind(image=FORMS[form](path)) | ids
    config: Any = {"callbacks": [recorded, traced]}
    if use_async:
        asyncio.run(chain.ainvoke("a kettle", config))
    else:
        chain.invoke("a kettle", config)
    assert [what for what, *_ in recorded.seen] == ["chain", "start", "end", "chain"]
    ((_, args, _),) = [seen for seen in recorded.seen if seen[0] == "start"]
    assert args[1:] == ("a kettle",)
    (run,) = traced.runs
    child = run.child_runs[0]
    assert child.inputs == {"query": "a kettle"}
    named = {"path": str(path), "string": str(path), "Blob": str(path), "bytes": "<bytes>"}
    if form in named:
        assert child.metadata["mmrag_image"] == named[form]
    written = str(recorded.seen) + json.dumps(run.model_dump(), default=repr)
    data = path.read_bytes()
    for bytes_of_it in (base64.b64encode(data).decode()[:40], str(data)[2:40], "PIL.", "Image "):
        assert bytes_of_it not in written


def test_a_failed_run_is_a_failed_run(retriever: MultimodalRetriever) -> None:
    recorded = Recorded()
    with pytest.raises(SourceError):
        retriever.invoke("", {"callbacks": [recorded]}, image=b"broken")
    assert [what for what, *_ in recorded.seen] == ["start", "error"]


def test_what_traces_say_of_the_run(index: MultimodalIndex, folder: Path) -> None:
    recorded = Recorded()
    retriever = MultimodalRetriever(index=index, tags=["mine"], metadata={"team": "t"})
    recording = folder / "said.wav"
    recording.write_bytes(b"RIFF")
    with pytest.raises(InputError):
        retriever.invoke("", {"callbacks": [recorded]}, voice=recording)
    (_, _, kwargs), _ = recorded.seen
    assert kwargs["tags"] == ["mine"]
    assert kwargs["metadata"] == {
        "team": "t",
        "ls_retriever_name": "multimodal",
        "ls_vector_store_provider": "EdgeStore",
        "ls_embedding_provider": "FakeEncoder",
        "ls_embedding_model": "fake",
        "mmrag_voice": str(recording),
    }


def test_base64_without_its_prefix_is_not_taken_into_traces_as_a_path(
    retriever: MultimodalRetriever,
) -> None:
    recorded = Recorded()
    noise = base64.b64encode(bytes(range(256)) * 8).decode()
    with pytest.raises(UnreadableSource):
        retriever.invoke("", {"callbacks": [recorded]}, image=noise)
    assert recorded.seen[0][2]["metadata"]["mmrag_image"] == "<str>"


def test_it_is_small_when_it_is_shown(index: MultimodalIndex) -> None:
    assert repr(MultimodalRetriever(index=index, k=3, reranker=FakeReranker())) == (
        "MultimodalRetriever(k=3)"
    )
    assert MultimodalRetriever(index=index, k=3).model_dump(exclude_none=True) == {
        **{"k": 3, "trace": True}
    }


def test_a_picture_out_of_a_message(retriever: MultimodalRetriever, folder: Path) -> None:
    given: list[Any] = [{"type": "text", "text": "alike?"}, FORMS["block"](folder / "red.png")]
    words, shown = HumanMessage(content=given).content_blocks
    assert words["type"] == "text"
    assert ids(retriever.retrieve(words["text"], image=shown))[0] == "red"
