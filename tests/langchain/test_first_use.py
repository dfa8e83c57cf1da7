"""What somebody new does in the first hour: that it works, or that the error says what does."""

from __future__ import annotations

import asyncio
import copy
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.storage import LocalFileStore
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage

import langchain_mm as mm
from langchain_mm.convert import IMAGE_KEY
from mmrag import MultimodalIndex
from mmrag.errors import DamagedSource, InputError, StoreError, StoreLocked
from mmrag.testing import FakeCaptioner, FakeEncoder, FakeReranker, MemoryStore
from mmrag.types import Locator, Record

from ..core.files import Page, pdf, text_at
from .chat_models import painted
from .kitchen import Fixed, kitchen

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-")


def opened(path: Path | None, **options: Any) -> MultimodalIndex:
    encoder = FakeEncoder()
    return MultimodalIndex.open(path, text_encoder=encoder, image_encoder=encoder, **options)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[mm.MultimodalVectorStore]:
    with mm.MultimodalVectorStore(opened(tmp_path / "kb")) as store:
        yield store


# An index in a new folder, with a store elsewhere


def test_an_index_with_a_store_of_its_own_makes_its_folder(tmp_path: Path) -> None:
    with mm.MultimodalVectorStore(opened(tmp_path / "new" / "kb", store=MemoryStore())) as store:
        store.add_texts(["boil water"], ids=["water"])
        assert [d.id for d in store.similarity_search("boil water")] == ["water"]
        assert list((tmp_path / "new" / "kb" / "calibration").iterdir())


def test_pictures_in_bytes_need_no_folder_that_is_there(tmp_path: Path) -> None:
    red = painted(tmp_path / "red.png", "red")
    with mm.MultimodalVectorStore(opened(tmp_path / "new" / "kb", store=MemoryStore())) as store:
        store.add_images([red.read_bytes()], ids=["red"])
        assert [d.id for d in store.similarity_search_by_image(red)] == ["red"]


# Closing


def test_a_cell_that_is_run_again_is_told_how_to_close(tmp_path: Path) -> None:
    first = mm.MultimodalVectorStore.from_path(tmp_path / "kb")
    with pytest.raises(StoreLocked, match=r"index\.close\(\), or store\.index\.close\(\)"):
        mm.MultimodalVectorStore.from_path(tmp_path / "kb")
    first.close()
    first.close()
    with mm.MultimodalVectorStore.from_path(tmp_path / "kb") as again:
        assert isinstance(again, mm.MultimodalVectorStore)
        again.add_texts(["a"], ids=["a"])
    with pytest.raises(StoreError, match="was closed"):
        again.get_by_ids(["a"])
    with mm.MultimodalVectorStore.from_path(tmp_path / "kb") as store:
        assert [d.id for d in store.get_by_ids(["a"])] == ["a"]


def test_with_closes_after_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(KeyError), mm.MultimodalVectorStore(opened(tmp_path / "kb")):
        raise KeyError
    opened(tmp_path / "kb").close()


# A store where a retriever belongs, and the other way round


def test_a_store_is_no_retriever_and_the_error_names_the_one_that_sees(
    store: mm.MultimodalVectorStore,
) -> None:
    model = FakeListChatModel(responses=["so"])
    for make in (mm.create_multimodal_tool, lambda s: mm.create_multimodal_rag_chain(s, model)):
        with pytest.raises(InputError, match=r"use MultimodalRetriever\(index=store\)") as caught:
            make(store)  # type: ignore[arg-type]
        assert "as_retriever" not in str(caught.value)
        with pytest.raises(InputError, match=r"use MultimodalRetriever\(index=index\)"):
            make(store.index)  # type: ignore[arg-type]


def test_a_store_takes_the_place_of_an_index(store: mm.MultimodalVectorStore) -> None:
    assert mm.MultimodalRetriever(index=store).index is store.index
    # Any thing with an attribute of that name is none.
    for wrong in ("kb", ["kb"], object()):
        with pytest.raises(ValueError, match=r"MultimodalVectorStore\.from_path") as caught:
            mm.MultimodalRetriever(index=wrong)  # type: ignore[arg-type]
        assert f"not {type(wrong).__name__}" in str(caught.value)
        assert "built-in" not in str(caught.value)


def test_a_retriever_takes_its_index_by_name(store: mm.MultimodalVectorStore) -> None:
    with pytest.raises(InputError, match=r"by name: MultimodalRetriever\(index=\.\.\., k=5\)"):
        mm.MultimodalRetriever(store)  # type: ignore[call-arg]


def test_a_picture_that_is_not_searched_by_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    red = painted(tmp_path / "red.png", "red")
    model = FakeListChatModel(responses=["so"])
    blind = mm.create_multimodal_rag_chain(Fixed(found=[]), model)
    asked = {"question": "which plug?", "image": str(red)}
    with caplog.at_level(logging.WARNING, "mmrag"):
        blind.invoke("which plug?")
        assert caplog.messages == []
        blind.invoke(asked)
        blind.invoke(asked)
        asyncio.run(blind.ainvoke(asked))
    (said,) = caplog.messages
    assert "Fixed" in said
    assert "words alone" in said
    assert "MultimodalRetriever" in said
    caplog.clear()
    with caplog.at_level(logging.WARNING, "mmrag"), kitchen(tmp_path) as opened_index:
        seeing = mm.create_multimodal_rag_chain(mm.MultimodalRetriever(index=opened_index), model)
        seeing.invoke(asked)
    assert caplog.messages == []


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"question": m}])
def test_a_message_is_no_question_and_has_one(wrap: Any) -> None:
    chain = mm.create_multimodal_rag_chain(Fixed(found=[]), FakeListChatModel(responses=["so"]))
    with pytest.raises(InputError, match=r"not HumanMessage.*message\.text"):
        chain.invoke(wrap(HumanMessage("which plug?")))
    with pytest.raises(InputError, match="not int") as caught:
        chain.invoke(wrap(5))
    assert "message" not in str(caught.value)


# Filters on what is shown


def test_page_labels_that_are_shown_are_found(
    store: mm.MultimodalVectorStore, tmp_path: Path
) -> None:
    pages = [Page(text_at(50, 300, f"Chapter {n} is about water and tea.")) for n in (1, 2, 3)]
    (tmp_path / "manual.pdf").write_bytes(pdf(*pages))
    store.index.add_files([tmp_path / "manual.pdf"])
    store.add_documents(
        [
            Document("tea", id="own", metadata={"page_label": "2"}),
            Document("tea", id="roman", metadata={"page_label": "iv", "page": 1}),
            # Its page is known to mmrag as well, and is not what it shows as a label.
            Document("tea", id="placed", metadata={"mmrag_locator": {"page": 3}}),
        ]
    )
    store.index.add([Record("record", "tea", locator=Locator(page=7))])

    def found(where: dict[str, Any]) -> set[Any]:
        shown = store.similarity_search("tea", k=20, filter=where)
        return {d.id if len(d.id or "") < 8 else d.metadata["page_label"] for d in shown}

    assert found({"page_label": "2"}) == {"2", "own"}
    assert found({"page_label": 2}) == {"2", "own"}
    assert found({"page_label": ["1", 3]}) == {"1", "3"}
    assert found({"page_label": "7"}) == {"record"}
    assert found({"page_label": "iv"}) == {"roman"}
    assert found({"page_label": "02"}) == set()
    assert found({"page_label": True}) == set()
    assert found({"page_label": {"$gte": 2}}) == {"2", "3", "record"}
    assert found({"page_label": {"$exists": True}}) == {"1", "2", "3", "own", "roman", "record"}
    assert found({"page_label": {"$ne": "2"}}) == {"1", "3", "roman", "placed", "record"}


# Errors about what has no id


def test_an_error_names_the_place_and_no_id_that_nobody_gave(
    store: mm.MultimodalVectorStore, tmp_path: Path
) -> None:
    torn = tmp_path / "torn.jpg"
    torn.write_bytes(b"\xff\xd8\xff")
    document = Document("", metadata={IMAGE_KEY: str(torn)})
    for number, add in enumerate(
        [
            lambda: store.add_documents([Document("a"), document]),
            lambda: store.add_images([painted(tmp_path / "red.png", "red"), torn]),
            lambda: store.add_texts(["a", "b"], [{}, {"when": float("nan")}]),
        ]
    ):
        with pytest.raises((DamagedSource, InputError)) as caught:
            add()
        assert str(caught.value).startswith("item 1: "), number
        assert not UUID.search(str(caught.value)), number
    with pytest.raises(DamagedSource, match=r"item 0: document 'torn': "):
        store.add_documents([document], ids=["torn"])
    with pytest.raises(DamagedSource, match=r"item 0: document 'own': "):
        store.add_documents([document.model_copy(update={"id": "own"})])


def test_bytes_without_a_folder_name_no_id_that_nobody_gave(tmp_path: Path) -> None:
    red = painted(tmp_path / "red.png", "red").read_bytes()
    with mm.MultimodalVectorStore(opened(None, store=MemoryStore())) as store:
        with pytest.raises(InputError, match="item 0: it holds the bytes") as caught:
            store.add_images([red])
        assert not UUID.search(str(caught.value))
        with pytest.raises(InputError, match="item 0: document 'red': it holds the bytes"):
            store.add_images([red], ids=["red"])


# What is shown, copied and kept


def test_what_is_shown_is_small_and_says_which(tmp_path: Path) -> None:
    with mm.MultimodalVectorStore(opened(tmp_path / "kb")) as store:
        assert repr(store) == f"MultimodalVectorStore({str(tmp_path / 'kb')!r})"
        assert len(repr(store.as_retriever())) < 400
    with mm.MultimodalVectorStore(opened(None, store=MemoryStore())) as store:
        assert repr(store) == "MultimodalVectorStore(MemoryStore)"
    assert repr(mm.MultimodalLoader("a.pdf")) == "MultimodalLoader(['a.pdf'])"
    assert repr(mm.MultimodalLoader([Path("a"), "b"])) == "MultimodalLoader(['a', 'b'])"
    captioner = FakeCaptioner()
    shown = f"CaptionTransformer({captioner.name!r}, on_error='skip')"
    assert repr(mm.CaptionTransformer(captioner, on_error="skip")) == shown


def test_a_copied_retriever_searches_the_same_index(store: mm.MultimodalVectorStore) -> None:
    store.add_texts(["boil water", "bake bread"], ids=["water", "bread"])
    retriever = mm.MultimodalRetriever(
        index=store, k=1, filter={"lang": {"$exists": False}}, reranker=FakeReranker()
    )
    copied = copy.deepcopy({"one": [retriever]})["one"][0]
    assert copied is not retriever
    assert copied.index is retriever.index
    assert copied.reranker is retriever.reranker
    assert copied.filter == retriever.filter
    assert copied.filter is not retriever.filter
    copied.k = 2
    assert retriever.k == 1
    assert [d.id for d in retriever.invoke("boil water")] == ["water"]
    assert {d.id for d in copied.invoke("boil water")} == {"water", "bread"}


def test_captions_last_in_a_folder(tmp_path: Path) -> None:
    document = Document("", metadata={IMAGE_KEY: str(painted(tmp_path / "red.png", "red"))})
    first, second = FakeCaptioner(), FakeCaptioner()
    for captioner in (first, second):
        cache = LocalFileStore(tmp_path / "captions")
        made = mm.CaptionTransformer(captioner, cache=cache).transform_documents([document])
        assert made[0].metadata["mmrag_caption"]["brief"]
    assert list((tmp_path / "captions").rglob("*"))


@pytest.mark.parametrize("key_encoder", [mm.content_key, "sha256"])
def test_the_documented_ways_to_index(
    store: mm.MultimodalVectorStore, tmp_path: Path, key_encoder: Any
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    painted(files / "red.png", "red")
    loader = mm.MultimodalLoader(files, media_folder=tmp_path / "media")
    kept = InMemoryRecordManager("kb")
    kept.create_schema()
    counts = [
        index(
            loader,
            kept,
            store,
            cleanup="incremental",
            source_id_key="source",
            key_encoder=key_encoder,
        )
        for _ in range(2)
    ]
    assert [(c["num_added"], c["num_skipped"]) for c in counts] == [(1, 0), (0, 1)]
