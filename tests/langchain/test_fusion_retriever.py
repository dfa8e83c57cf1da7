"""Any retrievers fused by rank: arithmetic, identity, isolation, and sync as async."""

from __future__ import annotations

import asyncio
import copy
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_classic.retrievers import EnsembleRetriever
from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    BaseCallbackHandler,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import FakeListChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import Field

from langchain_mm import MultimodalRetriever, create_multimodal_rag_chain
from langchain_mm.convert import HIT_KEY, IMAGE_KEY
from langchain_mm.fusion_retriever import FusionRetriever
from mmrag.errors import InputError

from .kitchen import Fixed, kitchen


class Listed(BaseRetriever):
    """Gives the documents that it was made with, and notes who asked in which thread."""

    documents: list[Document]
    k: int = 100
    threads: set[int] = Field(default_factory=set)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        self.threads.add(threading.get_ident())
        return self.documents[: self.k]


class Failing(BaseRetriever):
    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        raise ConnectionError("the store is down")


def text(name: str, content: str = "", **metadata: Any) -> Document:
    return Document(content or name, id=name, metadata=metadata)


def listed(*documents: Document) -> Listed:
    return Listed(documents=list(documents))


def fuse(**retrievers: Any) -> FusionRetriever:
    return FusionRetriever(retrievers=retrievers)


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


def scores(documents: list[Document]) -> list[float]:
    return [document.metadata[HIT_KEY]["score"] for document in documents]


def both_ways(retriever: BaseRetriever, query: str = "q", **kwargs: Any) -> list[Document]:
    """Ask in sync and async, show that they agree, and return what was found."""
    documents = retriever.invoke(query, **kwargs)
    assert asyncio.run(retriever.ainvoke(query, **kwargs)) == documents
    return documents


class TestFusionRetriever(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[FusionRetriever]:
        return FusionRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"retrievers": [listed(text("a"), text("b")), listed(text("c"), text("d"))]}

    @property
    def retriever_query_example(self) -> str:
        return "a question"


# Arithmetic


def test_ranks_are_summed_from_one() -> None:
    a, b, c = text("a"), text("b"), text("c")
    fused = both_ways(fuse(x=listed(a, b), y=listed(b, c)))
    assert ids(fused) == ["b", "a", "c"]
    assert scores(fused) == [1 / 62 + 1 / 61, 1 / 61, 1 / 62]
    assert fused[0].metadata[HIT_KEY]["routes"] == [
        {"route": "y", "rank": 1, "score": None, "contribution": 1 / 61},
        {"route": "x", "rank": 2, "score": None, "contribution": 1 / 62},
    ]


def test_weights_by_name_or_in_a_list() -> None:
    parts = {"x": listed(text("a")), "y": listed(text("b"))}
    assert ids(both_ways(FusionRetriever(retrievers=parts, weights={"y": 2}))) == ["b", "a"]
    silent = FusionRetriever(retrievers=[*parts.values()], weights=[0, 1])
    assert list(zip(ids(both_ways(silent)), scores(both_ways(silent)), strict=True)) == [
        *(("b", 1 / 61), ("a", 0.0))
    ]


def test_from_retrievers_says_it_in_the_words_of_the_formula() -> None:
    parts = {"x": listed(text("1", at="s")), "y": listed(text("2", at="s"), text("3"))}
    made = MultimodalRetriever.from_retrievers(parts, weights={"y": 3}, k=1, limit=1, id_key="at")
    assert isinstance(made, FusionRetriever)
    assert scores(both_ways(made)) == [1 / 2 + 3 / 2]
    unnamed = MultimodalRetriever.from_retrievers(list(parts.values()))
    assert scores(both_ways(unnamed)) == [1 / 61, 1 / 61, 1 / 62]


def test_equals_come_in_the_order_of_their_ids_whatever_the_retrievers_order() -> None:
    parts = {"x": listed(text("b")), "y": listed(text("a")), "z": listed(text("c"))}
    for names in ("xyz", "zyx", "yxz"):
        fused = both_ways(FusionRetriever(retrievers={name: parts[name] for name in names}))
        assert ids(fused) == ["a", "b", "c"]


NAMES = st.lists(st.sampled_from("abcdef"), max_size=6, unique=True)


@given(NAMES, NAMES, st.floats(0, 3), st.integers(0, 100))
def test_any_lists_give_the_sum_of_their_reciprocal_ranks(
    xs: list[str], ys: list[str], weight: float, k: int
) -> None:
    retriever = FusionRetriever(
        retrievers={"x": listed(*map(text, xs)), "y": listed(*map(text, ys))},
        weights={"x": weight},
        rank_constant=k,
    )
    fused = retriever.invoke("q")
    expected = {
        name: (weight / (k + xs.index(name) + 1) if name in xs else 0)
        + (1 / (k + ys.index(name) + 1) if name in ys else 0)
        for name in {*xs, *ys}
    }
    assert dict(zip(ids(fused), scores(fused), strict=True)) == pytest.approx(expected)
    order = [(-score, name) for name, score in zip(ids(fused), scores(fused), strict=True)]
    assert order == sorted(order)  # type: ignore[type-var]


# What EnsembleRetriever gets wrong


def ensemble(*retrievers: BaseRetriever, **options: Any) -> EnsembleRetriever:
    return EnsembleRetriever(retrievers=list(retrievers), **options)


def test_pictures_without_captions_stay_apart() -> None:
    pictures = [Document("", id=f"p{n}") for n in range(5)]
    texts = [text(f"t{n}") for n in range(3)]
    parts = listed(*pictures), listed(*texts)
    assert len(ensemble(*parts).invoke("q")) == 4
    assert set(ids(both_ways(fuse(x=parts[0], y=parts[1])))) == set(ids([*pictures, *texts]))


def test_pictures_without_captions_and_without_ids_stay_apart() -> None:
    pictures = [
        *(Document("", metadata={IMAGE_KEY: f"{n}.png"}) for n in range(2)),
        *(Document("", metadata={"source": "a.pdf", "page": n}) for n in range(2)),
    ]
    part = listed(*pictures)
    assert len(ensemble(part).invoke("q")) == 1
    fused = both_ways(fuse(x=part, y=listed(pictures[1])))
    assert len(fused) == 4
    assert fused[0].metadata[IMAGE_KEY] == "1.png"


def test_issue_37046_a_document_that_is_twice_in_a_list_counts_once() -> None:
    a, b = text("a"), text("b")
    part = listed(a, b, b, b)
    assert ensemble(part).invoke("q")[0] == b
    fused = both_ways(fuse(x=part))
    assert list(zip(ids(fused), scores(fused), strict=True)) == [("a", 1 / 61), ("b", 1 / 62)]


def test_issue_16445_scores_come_back() -> None:
    part = listed(text("a", relevance_score=0.5), text("b", **{HIT_KEY: {"score": 0.25}}))
    assert HIT_KEY not in ensemble(part).invoke("q")[0].metadata
    fused = both_ways(fuse(x=part))
    assert scores(fused) == [1 / 61, 1 / 62]
    assert [d.metadata[HIT_KEY]["routes"][0]["score"] for d in fused] == [0.5, 0.25]


def test_k_of_the_call_counts() -> None:
    parts = listed(text("a"), text("b")), listed(text("c"), text("d"))
    assert len(ensemble(*parts).invoke("q", None, k=1)) == 4
    retriever = FusionRetriever(retrievers=parts, k=3)
    assert [len(both_ways(retriever, **asked)) for asked in ({}, {"k": 1}, {"k": 4})] == [3, 1, 4]
    for wrong in (0, -1, True, "2"):
        with pytest.raises(InputError, match="k is a whole number from 1"):
            retriever.invoke("q", k=wrong)
    with pytest.raises(InputError, match="takes no limit"):
        retriever.invoke("q", limit=3)


def test_a_document_without_the_id_key_is_no_error() -> None:
    part = listed(text("a", at="s"), text("b"))
    with pytest.raises(KeyError):
        ensemble(part, id_key="at").invoke("q")
    assert ids(both_ways(FusionRetriever(retrievers=[part], id_key="at"))) == ["a", "b"]


class Meeting(BaseRetriever):
    """Returns once all that share the barrier have been asked."""

    barrier: threading.Barrier
    patience: float = 10

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        self.barrier.wait(self.patience)
        return [text(f"{id(self)}")]


def test_sync_asks_all_at_once_too() -> None:
    apart = threading.Barrier(3)
    with pytest.raises(threading.BrokenBarrierError):
        ensemble(*[Meeting(barrier=apart, patience=0.1) for _ in range(3)]).invoke("q")
    together = threading.Barrier(3)
    parts = [Meeting(barrier=together) for _ in range(3)]
    assert len(FusionRetriever(retrievers=parts).invoke("q")) == 3


# What is one document


def test_the_words_of_two_documents_may_be_the_same() -> None:
    assert ids(both_ways(fuse(x=listed(text("1", "same")), y=listed(text("2", "same"))))) == [
        *("1", "2")
    ]


def test_documents_without_ids_are_one_if_text_and_metadata_are_equal() -> None:
    here = Document("words", metadata={"source": "a.md", "deep": {"er": [1], "est": 2}})
    there = Document(
        "words",
        metadata={
            **{"deep": {"est": 2, "er": [1]}, "source": "a.md"},
            **{"_id": "x", "_collection_name": "c", "relevance_score": 0.1, "score": 3},
        },
    )
    elsewhere = Document("words", metadata={"source": "b.md"})
    fused = both_ways(fuse(x=listed(here), y=listed(there, elsewhere)))
    assert scores(fused) == [2 / 61, 1 / 62]
    assert [d.metadata["source"] for d in fused] == ["a.md", "b.md"]


def test_one_that_lost_its_id_is_found_again_as_in_keywords_beside_vectors() -> None:
    """A keyword retriever that was made of the same documents gives them without the ids that the
    store made up."""
    documents = [Document("a red bag", metadata={"n": 1}), Document("a blue bag")]

    class Letters(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [self.embed_query(text) for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return [float(text.count(letter)) + 0.1 for letter in "abcdeu"]

    store = InMemoryVectorStore(Letters())
    store.add_documents(documents)
    assert all(document.id is None for document in documents)
    fused = both_ways(fuse(words=listed(*documents), vectors=store.as_retriever()))
    assert len(fused) == 2
    assert all(len(d.metadata[HIT_KEY]["routes"]) == 2 for d in fused)


@pytest.mark.parametrize("value", ["s", 7, ("a", 1)])
def test_a_caption_and_its_picture_count_as_one_with_a_key(value: Any) -> None:
    caption, other = text("c", "a cat", at=value), text("o", "a dog", at="else")
    picture = text("p", at=value, **{IMAGE_KEY: "cat.png"})
    retriever = FusionRetriever(
        retrievers={"text": listed(caption, other), "image": listed(other, picture)}, id_key="at"
    )
    fused = both_ways(retriever)
    assert set(ids(fused)) == {"p", "o"}
    assert scores(fused) == [1 / 61 + 1 / 62] * 2


def test_a_key_may_hold_what_is_the_id_elsewhere() -> None:
    """As QdrantVectorStore, which gives documents without ids and puts them in the metadata."""
    there = Document("words", metadata={"_id": "1"})
    retriever = FusionRetriever(
        retrievers=[listed(text("1", "words")), listed(there)], id_key="_id"
    )
    assert scores(both_ways(retriever)) == [2 / 61]


def test_without_a_picture_the_best_ranked_comes_back() -> None:
    parts = [listed(text("z"), text("a1", at="a")), listed(text("a2", at="a"))]
    assert ids(both_ways(FusionRetriever(retrievers=parts, id_key="at"))) == ["a2", "z"]


# What is left alone


def test_what_the_retrievers_hold_is_not_changed() -> None:
    part = listed(text("a", deep={"er": [1]}, **{HIT_KEY: {"score": 1.0, "routes": []}}))
    before = copy.deepcopy(part.documents)
    (fused,) = both_ways(fuse(x=part, y=part))
    fused.metadata["deep"]["er"].append(2)
    fused.metadata[HIT_KEY]["routes"].clear()
    fused.page_content = "changed"
    assert part.documents == before


def test_a_class_of_ones_own_stays_what_it_is() -> None:
    class Mine(Document):
        colour: str = "red"

    (fused,) = both_ways(fuse(x=listed(Mine("words", id="m", colour="blue"))))
    assert isinstance(fused, Mine)
    assert fused.colour == "blue"


# Errors


def test_an_error_of_a_retriever_is_raised_as_it_is() -> None:
    retriever = fuse(good=listed(text("a")), bad=Failing(), worse=RunnableLambda(lambda q: 1 / 0))
    with pytest.raises(ConnectionError, match="the store is down"):
        retriever.invoke("q")
    with pytest.raises(ConnectionError, match="the store is down"):
        asyncio.run(retriever.ainvoke("q"))


class Slow(BaseRetriever):
    """Async lets all others run first."""

    finished: list[bool] = Field(default_factory=list)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return []

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        for _ in range(100):
            await asyncio.sleep(0)
        self.finished.append(True)
        return []


class FailingAtOnce(Failing):
    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        raise ConnectionError


async def test_no_search_is_left_running_behind_an_error() -> None:
    slow = Slow()
    with pytest.raises(ConnectionError):
        await fuse(bad=FailingAtOnce(), slow=slow).ainvoke("q")
    assert slow.finished


def test_what_is_no_document_is_an_error() -> None:
    retriever = fuse(x=RunnableLambda(lambda q: [q]))
    with pytest.raises(InputError, match="'x' did not return a list of Documents"):
        retriever.invoke("q")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retrievers": {}}, "at least one"),
        ({"retrievers": []}, "at least one"),
        ({"retrievers": [len]}, "Runnable"),
        ({"weights": {"z": 1}}, "unknown retriever 'z'; known: x"),
        ({"weights": {"x": -1}}, "weight 'x'"),
        ({"weights": {"x": float("nan")}}, "weight 'x'"),
        ({"weights": [1, 2]}, "2 weights for 1 retrievers"),
        ({"rank_constant": -1}, "rank_constant\n.* greater than or equal to 0"),
        ({"rank_constant": float("inf")}, "rank_constant\n.* finite number"),
        ({"k": 0}, "greater than 0"),
        ({"limit": 3}, "limit"),
    ],
)
def test_unfit_arguments_are_refused_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FusionRetriever(**{"retrievers": {"x": listed()}, **options})


async def test_a_call_takes_nothing_else() -> None:
    retriever = fuse(x=listed())
    with pytest.raises(InputError, match="takes no filter, routes; it takes k, image"):
        retriever.invoke("q", routes=None, filter={"lang": "en"})
    with pytest.raises(InputError, match="takes no filter; it takes k, image"):
        await retriever.ainvoke("q", filter={"lang": "en"})


# As a runnable


def test_a_retriever_without_async_does_not_block_the_loop() -> None:
    part = listed(text("a"))
    asyncio.run(fuse(x=part).ainvoke("q"))
    assert threading.get_ident() not in part.threads


class Seen(BaseCallbackHandler):
    def __init__(self) -> None:
        self.starts: list[tuple[UUID, UUID | None, list[str] | None]] = []
        self.lock = threading.Lock()

    def on_retriever_start(self, serialized: Any, query: str, **kwargs: Any) -> None:
        with self.lock:
            self.starts.append((kwargs["run_id"], kwargs["parent_run_id"], kwargs["tags"]))


@pytest.mark.parametrize("ask", [FusionRetriever.invoke, FusionRetriever.ainvoke])
def test_the_retrievers_runs_are_children_of_its_own(ask: Callable[..., Any]) -> None:
    seen = Seen()
    asked = ask(fuse(x=listed(), y=listed()), "q", {"callbacks": [seen], "tags": ["mine"]})
    assert (asyncio.run(asked) if asyncio.iscoroutine(asked) else asked) == []
    (outer, parent, tags), *inner = seen.starts
    assert (parent, tags) == (None, ["mine"])
    assert [above for _, above, _ in inner] == [outer, outer]
    assert sorted(tags or [] for _, _, tags in inner) == [["mine", "x"], ["mine", "y"]]


def test_settings_at_run_time_reach_it_and_the_retrievers_in_it() -> None:
    part = listed(text("a"), text("b"), text("c")).configurable_fields(
        k=ConfigurableField(id="depth")
    )
    fused = fuse(x=part, y=listed(text("d")))
    assert [spec.id for spec in fused.config_specs] == ["depth"]
    outer = fused.configurable_fields(k=ConfigurableField(id="count"))
    for settings, expected in (
        ({}, ["a", "d", "b", "c"]),
        ({"depth": 1}, ["a", "d"]),
        ({"count": 1}, ["a"]),
        ({"depth": 2, "count": 3}, ["a", "d", "b"]),
    ):
        chosen = outer.with_config(configurable=settings)
        assert ids(chosen.invoke("q")) == expected
        assert ids(asyncio.run(chosen.ainvoke("q"))) == expected


def test_in_chains_and_batches() -> None:
    retriever = fuse(x=listed(text("a")), y=listed(text("b")))
    assert (retriever | ids).invoke("q") == ["a", "b"]
    assert RunnableParallel(docs=retriever | ids, n=retriever | len).invoke("q") == {
        **{"docs": ["a", "b"], "n": 2}
    }
    assert list(map(ids, retriever.batch(["q", "r"]))) == [["a", "b"]] * 2
    assert list(map(ids, asyncio.run(retriever.abatch(["q", "r"], k=1)))) == [["a"]] * 2


def test_nothing_found_is_an_empty_list() -> None:
    assert both_ways(fuse(x=listed(), y=listed())) == []


def test_it_is_small_when_it_is_shown() -> None:
    assert repr(fuse(x=listed(*[text("a")] * 100))) == "FusionRetriever()"


# A picture


@pytest.mark.parametrize("kind", ["path", "bytes", "pipe"])
def test_a_picture_goes_to_those_that_search_by_one(tmp_path: Path, kind: str) -> None:
    class Pipe(io.BytesIO):
        """It can be read once."""

        def seekable(self) -> bool:
            return False

    path = tmp_path / "kettle.jpg"
    with kitchen(tmp_path) as index:
        ours = MultimodalRetriever(index=index, k=1)
        plain = Fixed(found=[text("other")])
        bound = ours.with_config(tags=["x"])
        fused = MultimodalRetriever.from_retrievers(
            {"one": ours, "two": bound, "words": plain, "nested": fuse(inner=ours)}
        )
        forms: dict[str, Callable[[], Any]] = {
            "path": lambda: path,
            "bytes": path.read_bytes,
            "pipe": lambda: Pipe(path.read_bytes()),
        }
        form = forms[kind]
        for query, expected in (("", ["kettle"]), ("boil water", ["text", "kettle", "other"])):
            given = {"image": form()}
            found = fused.invoke(query, **given)
            assert set(ids(found)) <= set(expected)
            assert asyncio.run(fused.ainvoke(query, image=form())) == found
        by_picture = fused.invoke("", image=form())
        routes = by_picture[0].metadata[HIT_KEY]["routes"]
        assert [route["route"] for route in routes] == ["nested", "one", "two"]
        assert plain.asked == ["boil water"] * 2, "by words alone, sync and async"
        with pytest.raises(InputError, match="none of these retrievers searches by a picture"):
            fuse(words=plain).invoke("x", image=form())
        model = FakeListChatModel(responses=["so"])
        answer = create_multimodal_rag_chain(fused, model).invoke({"image": form()})
        assert ids(answer["documents"]) == ["kettle"]
