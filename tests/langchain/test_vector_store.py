"""MultimodalVectorStore: one store for texts and pictures, by LangChain's interface."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import inspect
import io
import itertools
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages.content import create_image_block
from langchain_core.vectorstores import VectorStore
from PIL import Image

import mmrag
from langchain_mm import MultimodalEmbeddings, MultimodalVectorStore
from langchain_mm.relevance import relevance_of
from mmrag import And, Eq, MultimodalIndex, Record
from mmrag.attachments import Attachments
from mmrag.errors import (
    DamagedSource,
    InputError,
    SpaceMismatch,
    UnreadableSource,
    VectorError,
)
from mmrag.inputs import data_url
from mmrag.testing import FakeEncoder, MemoryStore
from mmrag.types import key_of

SAMPLE = Path(mmrag.__file__).parent / "sample"
METADATA = {"title": "T", "n": 3, "deep": {"a": [1, 2.5, None]}, "ok": True, "空": "值", "id": 7}


def painted(path: Path, colour: str = "red") -> Path:
    Image.new("RGB", (40, 30), colour).save(path)
    return path


def png(colour: str = "blue") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (24, 24), colour).save(out, "PNG")
    return out.getvalue()


def opened(path: Path) -> MultimodalIndex:
    encoder = FakeEncoder()
    return MultimodalIndex.open(path, text_encoder=encoder, image_encoder=encoder)


def attachments(store: MultimodalVectorStore) -> list[bytes]:
    assert store.index.folder is not None
    files = (store.index.folder / "attachments").rglob("*")
    return sorted(path.read_bytes() for path in files if path.is_file())


def ids(documents: list[Document]) -> list[str]:
    return [str(document.id) for document in documents]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MultimodalIndex]:
    with opened(tmp_path_factory.mktemp("vector_store") / "kb") as index:
        yield index


@pytest.fixture
def store(index: MultimodalIndex) -> MultimodalVectorStore:
    store = MultimodalVectorStore(index)
    store.delete(where=And(()))  # opening an index for each test would take most of the time
    return store


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MultimodalVectorStore]:
    """The bundled encoder over real pictures and texts."""
    store = MultimodalVectorStore.from_path(tmp_path_factory.mktemp("real") / "kb")
    with store.index:
        names = ["chelsea.jpg", "espresso.jpg", "beacon.png", "kitten-and-yarn.jpg", "giza.jpg"]
        store.add_images([SAMPLE / "pictures" / name for name in names], ids=names)
        store.add_texts(
            [
                "Knead the dough, let it rise overnight, and bake it until the crust is brown.",
                "Knead the dough, let it rise over night, and bake it until its crust is brown.",
                "The interest rate of the loan is fixed for ten years.",
            ],
            ids=["bread", "bread again", "loan"],
        )
        yield store


# What comes back


def test_documents_come_back_as_they_were(store: MultimodalVectorStore, tmp_path: Path) -> None:
    """Stock Qdrant: ``_id`` and ``_collection_name`` in the metadata, and no ``Document.id``."""
    picture = painted(tmp_path / "red.png")
    documents = [
        Document("tea from China", id="1", metadata=METADATA),
        Document("", id="foo", metadata=METADATA),
        Document("tea and bread", id="naïve/ид ☕"),
        Document("a red field", id="image", metadata={"mmrag_image": str(picture), **METADATA}),
        Document("", id="bare image", metadata={"mmrag_image": str(picture)}),
        Document(
            "tea",
            id=hashlib.sha256(b"x").hexdigest(),
            metadata={
                "mmrag_image": str(picture),
                "mmrag_caption": {"brief": "red", "keywords": ["red"]},
                "mmrag_locator": {"page": 2, "bbox": [0, 0, 1, 0.5]},
                "source": "a.pdf",
                "page": 1,
            },
        ),
    ]
    before = [document.model_copy(deep=True) for document in documents]
    names = ids(documents)
    assert store.add_documents(documents) == names
    assert documents == before
    assert store.get_by_ids(names) == before
    assert store.get_by_ids(names[::-1]) == before[::-1]
    by_id = {document.id: document for document in before}
    found = store.similarity_search("tea", k=10)
    assert len(found) >= 3
    for document in [*found, *store.similarity_search_by_image(picture, k=10)]:
        assert document == by_id[document.id]
    found[0].metadata["n"] = 4  # what was found is the caller's own
    assert store.get_by_ids(names) == before


def test_ids(store: MultimodalVectorStore) -> None:
    """Stock Qdrant: ids that are no UUIDs are refused, partly missing ones crash."""
    documents = [Document("a", id="1"), Document("b"), Document("c", id="c")]
    first, second, third = store.add_documents(documents)
    assert (first, third) == ("1", "c")
    assert UUID(second).version == 4
    assert documents[1].id is None
    # Those of the call go before the documents' own.
    assert store.add_documents(documents, ids=["x", "y", "z"]) == ["x", "y", "z"]
    assert store.add_documents(documents[:1], ids=[None]) == ["1"]
    assert store.add_texts(["d", "e"], ids=["d", None])[0] == "d"
    assert [document.page_content for document in store.get_by_ids(["x", second])] == ["a", "b"]
    assert store.get_by_ids(["nowhere", "1", "gone"])[0].id == "1"
    assert store.get_by_ids([]) == []


def test_empty_batches(store: MultimodalVectorStore) -> None:
    assert store.add_texts([]) == store.add_documents([]) == store.add_images([]) == []
    assert store.add_texts([], [], ids=[]) == []
    assert store.index.count() == 0
    assert store.similarity_search("anything") == []
    assert store.max_marginal_relevance_search("anything") == []
    assert store.similarity_search_with_relevance_scores("anything") == []


def test_the_same_id_keeps_nothing_of_the_old(store: MultimodalVectorStore, tmp_path: Path) -> None:
    """Stock Qdrant: an add through the store of one vector erases the other vectors."""
    picture = painted(tmp_path / "red.png")
    store.add_documents([Document("tea", id="a", metadata={"mmrag_image": str(picture), "n": 1})])
    store.add_documents([Document("bread", id="a", metadata={"m": 2})])
    assert store.get_by_ids(["a"]) == [Document("bread", id="a", metadata={"m": 2})]
    assert list(store.index.store.vectors([key_of("a")])[key_of("a")]) == ["text"]
    assert not store.index.search("tea", routes=["keywords"])
    assert store.similarity_search("bread", filter={"n": 1}) == []
    assert store.index.count() == 1
    # Of several in one call, the last.
    store.add_texts(["one", "two"], ids=["b", "b"])
    assert store.get_by_ids(["b"])[0].page_content == "two"
    assert store.index.count() == 2


def test_a_picture_and_its_text_are_one_document(
    store: MultimodalVectorStore, tmp_path: Path
) -> None:
    """Stock MultiVectorRetriever: two stores to keep consistent, and no query by picture."""
    red = {"mmrag_image": str(painted(tmp_path / "red.png")), "mmrag_caption": {"brief": "a rose"}}
    store.add_documents([Document("tea", id="red", metadata=red), Document("bread", id="b")])
    store.add_images([painted(tmp_path / "blue.png", "blue")], ids=["blue"])
    fields = store.index.store.vectors([key_of("red")])[key_of("red")]
    assert set(fields) == {"text", "image", "caption"}
    for words in ("tea", "rose"):
        assert ids(store.similarity_search(words, k=1)) == ["red"]
    assert ids(store.similarity_search_by_image(tmp_path / "red.png"))[0] == "red"
    assert ids(store.similarity_search_by_image(tmp_path / "blue.png"))[0] == "blue"


# Pictures


def test_pictures_in_every_form(store: MultimodalVectorStore, tmp_path: Path) -> None:
    colours = ["red", "blue", "lime", "yellow", "black", "white", "cyan", "magenta"]
    path, other = painted(tmp_path / "red.png"), painted(tmp_path / "blue.png", "blue")
    url = data_url(png("black"), "image/png")
    images: list[Any] = [
        path,
        str(other),
        png("lime"),
        io.BytesIO(png("yellow")),
        url,
        Image.new("RGBA", (24, 24), "white"),
        Blob.from_data(png("cyan"), mime_type="image/png", metadata={"source": "camera"}),
        create_image_block(
            base64=data_url(png("magenta"), "").split(",")[1], mime_type="image/png"
        ),
    ]
    metadatas = [{"n": n} for n in range(len(images))]
    assert store.add_images(images, metadatas, ids=colours) == colours
    assert metadatas == [{"n": n} for n in range(len(images))]
    for colour, image in zip(colours, images, strict=True):
        assert ids(store.similarity_search_by_image(image, k=1)) == [colour]
    back = store.get_by_ids(colours)
    assert [document.metadata["n"] for document in back] == list(range(len(images)))
    assert {document.page_content for document in back} == {""}
    for document in back:
        picture = document.metadata["mmrag_image"]
        data = Path(picture["uri"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == picture["sha256"]
        assert picture["mime"] == "image/png"
    assert len(attachments(store)) == len(images) - 2  # files stay where they are
    sources = [document.metadata.get("source") for document in back]
    assert sources == [str(path), str(other), *[None] * 4, "camera", None]
    # Bytes are kept as they are; a PIL image's pixels are.
    assert Path(back[2].metadata["mmrag_image"]["uri"]).read_bytes() == png("lime")
    with Image.open(back[5].metadata["mmrag_image"]["uri"]) as white:
        assert white.getpixel((0, 0))[:3] == (255, 255, 255)


def test_pictures_by_path(
    store: MultimodalVectorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted(tmp_path / "red.png")
    monkeypatch.chdir(tmp_path)
    (first, second) = store.add_images(
        ["red.png", Blob.from_path("red.png")], [{"source": "album"}, None]
    )
    one, two = store.get_by_ids([first, second])
    assert one.metadata["source"] == "album" and two.metadata["source"] == "red.png"
    monkeypatch.chdir("/")  # a relative path goes on meaning the same file
    assert one.metadata["mmrag_image"]["uri"] == str(tmp_path / "red.png")
    assert one.metadata["mmrag_image"] == two.metadata["mmrag_image"]
    # What was found can be added again as it is.
    store.add_documents([one])
    assert store.get_by_ids([first]) == [one]


def test_bytes_are_files_as_long_as_a_document_needs_them(store: MultimodalVectorStore) -> None:
    blue, green = png("blue"), png("green")
    store.add_images([blue, blue], ids=["a", "b"])
    assert attachments(store) == [blue]  # the same bytes, kept once
    url = data_url(green, "image/png")
    store.add_documents([Document("", id="a", metadata={"mmrag_image": url})])
    assert attachments(store) == sorted([blue, green])
    store.delete(["b"])
    assert attachments(store) == [green]
    store.add_documents(store.get_by_ids(["a"]))  # again, as it was found
    assert attachments(store) == [green]
    store.add_texts(["no picture any more"], ids=["a"])
    assert attachments(store) == []
    store.add_images([blue, green], ids=["a", "a"])
    assert attachments(store) == [green]
    store.delete(where={"mmrag.modality": "image"})
    assert attachments(store) == []


def test_an_index_without_a_folder_takes_paths_and_refuses_bytes(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    memory = MemoryStore()
    with MultimodalIndex.open(store=memory, text_encoder=encoder, image_encoder=encoder) as index:
        store = MultimodalVectorStore(index)
        with pytest.raises(InputError, match=r"item 1: .*folder"):
            store.add_images([painted(tmp_path / "a.png"), png()])
        assert index.count() == 0
        store.add_images([tmp_path / "a.png"], ids=["a"])
        assert ids(store.similarity_search_by_image(png("red"))) == ["a"]


@pytest.mark.parametrize("place", [0, 70])
def test_nothing_is_written_unless_all_can_be(
    store: MultimodalVectorStore, tmp_path: Path, place: int
) -> None:
    images: list[Any] = [png()] * 140
    images.insert(place, tmp_path / "gone.png")
    with pytest.raises(UnreadableSource, match=rf"item {place}: .*gone\.png"):
        store.add_images(images)
    with pytest.raises(DamagedSource, match=r"item 1: document 'torn'"):
        store.add_images([png(), png()[:50]], ids=["whole", "torn"])
    with pytest.raises(InputError, match=r"item 1: .*'big'"):
        store.add_texts(["good", "bad"], [{}, {"n": 2**70}], ids=["good", "big"])
    with pytest.raises(InputError, match="URLs are not fetched"):
        store.add_images([png(), "https://example.org/a.png"])
    with pytest.raises(InputError, match="URLs are not fetched"):
        store.add_images([{"type": "image", "url": "https://example.org/a.png"}])
    assert store.index.count() == 0
    assert attachments(store) == []  # nor are files left behind


# Searching


def test_real_answers(real: MultimodalVectorStore) -> None:
    assert ids(real.similarity_search("how to bake bread", k=2)) == ["bread", "bread again"]
    assert ids(real.similarity_search("a cat", k=1)) == ["chelsea.jpg"]
    assert ids(real.similarity_search("a lighthouse at the sea", k=1)) == ["beacon.png"]
    kitten = SAMPLE / "pictures" / "kitten-and-yarn.jpg"
    assert ids(real.similarity_search_by_image(kitten, k=2)) == [
        "kitten-and-yarn.jpg",
        "chelsea.jpg",
    ]
    only_text = real.similarity_search("a cat", k=9, filter={"mmrag.modality": "text"})
    assert set(ids(only_text)) == {"bread", "bread again", "loan"}


def test_scores_are_those_of_the_index(real: MultimodalVectorStore) -> None:
    hits = real.index.search("a cup of coffee", limit=4)
    scored = real.similarity_search_with_score("a cup of coffee")
    assert [(d.id, score) for d, score in scored] == [(h.record.id, h.score) for h in hits]
    assert real.similarity_search("a cup of coffee") == [document for document, _ in scored]
    image = SAMPLE / "pictures" / "espresso.jpg"
    hits = real.index.search(image=image, limit=4)
    scored = real.similarity_search_by_image_with_score(image)
    assert [(d.id, score) for d, score in scored] == [(h.record.id, h.score) for h in hits]


def test_by_vector(real: MultimodalVectorStore) -> None:
    assert isinstance(real.embeddings, MultimodalEmbeddings)
    vector = real.embeddings.embed_query("how to bake bread")
    scored = real.similarity_search_with_score_by_vector(vector, 3)
    assert [document.id for document, _ in scored][:2] == ["bread", "bread again"]
    assert [score for _, score in scored] == sorted((s for _, s in scored), reverse=True)
    assert real.similarity_search_by_vector(vector, 3) == [document for document, _ in scored]
    found = real.similarity_search_by_vector(vector, 9, {"mmrag.modality": "image"})
    assert found and all(document.id in ids(found) for document in found)
    assert "bread" not in ids(found)
    for bad in ([0.1, 0.2], [0.0] * len(vector), [float("nan")] * len(vector)):
        with pytest.raises(VectorError):
            real.similarity_search_by_vector(bad)


def test_relevance_is_from_0_to_1_and_keeps_the_order(real: MultimodalVectorStore) -> None:
    """Stock Qdrant: the mapping of cosines applied to scores that are none."""
    assert relevance_of(1) == 0.5
    assert relevance_of(0) == pytest.approx(0.018, abs=1e-3)
    assert relevance_of(2) == pytest.approx(0.982, abs=1e-3)
    values = [relevance_of(score) for score in np.linspace(-50, 50, 1001)]
    assert values == sorted(values) and values[0] >= 0 and values[-1] <= 1
    near = [relevance_of(score) for score in np.linspace(-3, 5, 1001)]
    assert all(a < b for a, b in itertools.pairwise(near))  # strictly
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scored = real.similarity_search_with_relevance_scores("how to bake bread", k=8)
    assert len(scored) > 3 and scored[0][0].id == "bread"
    assert ids([d for d, _ in scored]) == ids(real.similarity_search("how to bake bread", k=8))
    assert [s for _, s in scored] == sorted((s for _, s in scored), reverse=True)
    # Half is where coincidence ends.
    kept = real.similarity_search_with_relevance_scores("how to bake bread", score_threshold=0.5)
    assert ids([document for document, _ in kept]) == ["bread", "bread again"]
    nothing = real.similarity_search_with_relevance_scores("tax law", k=8, score_threshold=0.9)
    assert nothing == []


def test_retrievers(real: MultimodalVectorStore) -> None:
    question = "how to bake bread"
    assert ids(real.as_retriever(search_kwargs={"k": 1}).invoke(question)) == ["bread"]
    assert len(real.as_retriever().invoke(question)) == 4
    assert len(real.as_retriever().invoke(question, k=2)) == 2
    threshold = real.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.5, "k": 8}
    )
    assert ids(threshold.invoke(question)) == ["bread", "bread again"]
    diverse = real.as_retriever(
        search_type="mmr",
        search_kwargs={"k": 2, "lambda_mult": 0.3, "filter": {"mmrag.modality": "text"}},
    )
    assert ids(diverse.invoke(question)) == ["bread", "loan"]
    assert "MultimodalVectorStore" in (real.as_retriever().tags or [])
    filtered = real.as_retriever(search_kwargs={"filter": {"source": {"$exists": True}}})
    assert ids(filtered.invoke("a cat"))[0] == "chelsea.jpg"


# Diversity


def test_lambda_mult_is_not_inverted(real: MultimodalVectorStore) -> None:
    """langchain#39052: stock Qdrant gives the most diverse for 1, and the most relevant for 0."""
    for question in ("how to bake bread", "a cat", "the sea"):
        order = ids(real.similarity_search(question, k=5))
        for fetch_k in (1, 5, 20, 60):
            found = real.max_marginal_relevance_search(question, 5, fetch_k, lambda_mult=1)
            assert ids(found) == order
    order = ids(real.max_marginal_relevance_search("how to bake bread", k=8, lambda_mult=0.0))
    assert order[0] == "bread"
    assert order[-1] == "bread again"  # the one that says the same
    halfway = ids(real.max_marginal_relevance_search("how to bake bread", k=3))
    assert halfway[0] == "bread" and "bread again" not in halfway[:2]


def test_diversity_counts_pictures_and_texts(store: MultimodalVectorStore, tmp_path: Path) -> None:
    red, blue = painted(tmp_path / "red.png"), painted(tmp_path / "blue.png", "blue")
    store.add_documents(
        [
            Document("tea", id="red 1", metadata={"mmrag_image": str(red)}),
            Document("tea cup", id="red 2", metadata={"mmrag_image": str(red)}),
            Document("tea cup china", id="blue", metadata={"mmrag_image": str(blue)}),
        ]
    )
    assert ids(store.similarity_search("tea")) == ["red 1", "red 2", "blue"]
    # Their texts differ alike; it is the picture that two of them repeat.
    assert ids(store.max_marginal_relevance_search("tea", k=2, lambda_mult=0.3)) == [
        "red 1",
        "blue",
    ]
    assert ids(store.max_marginal_relevance_search("tea", k=3, fetch_k=2, lambda_mult=0.3)) == [
        "red 1",
        "blue",
        "red 2",
    ]
    assert ids(store.max_marginal_relevance_search("tea", k=2, lambda_mult=0.9)) == [
        "red 1",
        "red 2",
    ]
    only = {"mmrag.id": ["red 2", "blue"]}
    assert ids(store.max_marginal_relevance_search("tea", k=1, filter=only)) == ["red 2"]


def test_diversity_by_vector(real: MultimodalVectorStore) -> None:
    assert real.embeddings is not None
    vector = real.embeddings.embed_query("how to bake bread")
    order = real.similarity_search_by_vector(vector, 8)
    assert real.max_marginal_relevance_search_by_vector(vector, 8, lambda_mult=1) == order
    assert ids(order)[:2] == ["bread", "bread again"]
    diverse = real.max_marginal_relevance_search_by_vector(vector, 3, lambda_mult=0.3)
    assert ids(diverse)[0] == "bread" and "bread again" not in ids(diverse)


def test_fewer_to_choose_from_than_are_wanted(store: MultimodalVectorStore) -> None:
    store.add_texts(["tea one", "tea two", "tea three"])
    assert len(store.max_marginal_relevance_search("tea", k=3, fetch_k=1)) == 3
    assert len(store.max_marginal_relevance_search("tea", k=9)) == 3


# Deleting


def test_delete(store: MultimodalVectorStore) -> None:
    store.add_texts(["x"] * 4, [{"even": n % 2 == 0} for n in range(4)], ids=list("abcd"))
    with pytest.raises(InputError, match="ids, or a filter"):
        store.delete()
    nothing: dict[str, Any] = {}
    for empty in (nothing, None):
        with pytest.raises(InputError, match="ids, or a filter"):
            store.delete(None, where=empty)
    assert store.delete([]) is True and store.delete(["nowhere"]) is True
    assert store.index.count() == 4
    store.delete(["a", "b", "nowhere"], where={"even": True})
    assert ids(store.get_by_ids(list("abcd"))) == ["b", "c", "d"]
    store.delete(["b", "nowhere"])
    store.delete("d")
    assert ids(store.get_by_ids(list("abcd"))) == ["c"]
    store.delete(where=Eq("even", True))
    assert store.index.count() == 0


# Making a store


def test_from_texts_in_three_lines() -> None:
    embedding = DeterministicFakeEmbedding(size=12)
    store = MultimodalVectorStore.from_texts(["tea", "bread"], embedding, [{"n": 1}, {"n": 2}])
    (found,) = store.similarity_search("bread", k=1)
    assert (found.page_content, found.metadata) == ("bread", {"n": 2})
    assert store.embeddings is embedding
    folder = store.index.folder
    assert folder is not None and folder.is_dir()
    retriever = store.as_retriever()
    del store
    assert retriever.invoke("tea")[0].page_content == "tea"  # as long as something needs it
    del retriever, found
    gc.collect()
    assert not folder.exists()


def test_from_documents_with_pictures(tmp_path: Path) -> None:
    embedding = MultimodalEmbeddings(encoder=FakeEncoder())
    picture = painted(tmp_path / "red.png")
    documents = [Document("tea", id="t"), Document("", metadata={"mmrag_image": str(picture)})]
    store = MultimodalVectorStore.from_documents(documents, embedding, path=tmp_path / "kb")
    with store.index:
        assert store.get_by_ids(["t"]) == [Document("tea", id="t")]
        (found,) = store.similarity_search_by_image(picture, filter={"mmrag.modality": "image"})
        assert found.metadata == {"mmrag_image": str(picture)}
    again = MultimodalVectorStore.from_path(tmp_path / "kb", embedding)
    with again.index:
        assert again.index.count() == 2
        assert ids(again.similarity_search("tea", k=1)) == ["t"]
        # Into an index that is open: with the model that it was made with.
        more = MultimodalVectorStore.from_texts(["bread"], embedding, index=again.index)
        assert more.index is again.index and again.index.count() == 3
        with pytest.raises(SpaceMismatch):
            other = DeterministicFakeEmbedding(size=12)
            MultimodalVectorStore.from_texts(["bread"], other, index=again.index)
        with pytest.raises(InputError, match="not both"):
            MultimodalVectorStore.from_texts([], embedding, index=again.index, path=tmp_path)
    assert (tmp_path / "kb").is_dir()  # a folder of one's own is kept


async def test_async_makers(tmp_path: Path) -> None:
    embedding = MultimodalEmbeddings(encoder=FakeEncoder())
    one = await MultimodalVectorStore.afrom_texts(
        ["tea"], embedding, ids=["t"], path=tmp_path / "a"
    )
    two = await MultimodalVectorStore.afrom_documents([Document("tea", id="t")], embedding)
    for store in (one, two):
        assert ids(await store.asimilarity_search("tea")) == ["t"]
        store.index.close()


def test_a_failed_maker_leaves_nothing_open(tmp_path: Path) -> None:
    embedding = MultimodalEmbeddings(encoder=FakeEncoder())
    bad = [Document("x", metadata={"mmrag_image": str(tmp_path / "gone.png")})]
    with pytest.raises(UnreadableSource, match=r"gone\.png"):
        MultimodalVectorStore.from_documents(bad, embedding, path=tmp_path / "kb")
    with pytest.raises(InputError, match="2 metadatas for 1"):
        MultimodalVectorStore.from_texts(["a"], embedding, [{}, {}], path=tmp_path / "never")
    assert not (tmp_path / "never").exists()
    with MultimodalVectorStore.from_path(tmp_path / "kb", embedding).index as index:
        assert index.count() == 0  # it was not left locked
    with pytest.raises(InputError, match="Embeddings"):
        MultimodalVectorStore.from_texts(["a"], None)  # type: ignore[arg-type]


def test_embeddings_that_langchain_does_not_know() -> None:
    encoders = {"text_encoder": FakeEncoder(16), "image_encoder": FakeEncoder(24)}
    with MultimodalIndex.open(store=MemoryStore(), **encoders) as index:  # type: ignore[arg-type]
        store = MultimodalVectorStore(index)
        assert store.embeddings is None
        store.add_texts(["tea"], ids=["t"])
        assert ids(store.similarity_search("tea")) == ["t"]
        vector = FakeEncoder(16).encode_texts(["tea"], "query")[0].tolist()
        assert ids(store.similarity_search_by_vector(vector)) == ["t"]


def test_what_mmrag_wrote_is_found_as_documents(store: MultimodalVectorStore) -> None:
    store.index.add([Record("r", "tea", source="notes.txt", metadata={"n": 1})])
    (found,) = store.similarity_search("tea")
    assert (found.id, found.page_content) == ("r", "tea")
    assert found.metadata == {"n": 1, "source": "notes.txt"}


# Used wrongly


def test_more_like_what_was_found(store: MultimodalVectorStore, tmp_path: Path) -> None:
    """The picture of a document is one to search by, as its metadata say it."""
    colours = ["red", "lime", "blue"]
    store.add_images([painted(tmp_path / f"{c}.png", c) for c in colours[:2]], ids=colours[:2])
    store.add_images([png("blue")], ids=["blue"])
    for document in store.get_by_ids(colours):
        (best,) = store.similarity_search_by_image(document.metadata["mmrag_image"], k=1)
        assert best.id == document.id


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: type(s)("kb"), "open MultimodalIndex, not str"),
        (lambda s: s.add_texts("hello"), "texts is a list, not one str"),
        (lambda s: s.add_texts(None), "texts is a list, not NoneType"),
        (lambda s: s.add_texts([1]), "item 0: page_content"),
        (lambda s: s.add_texts(["a", None]), "item 1: page_content"),
        (lambda s: s.add_texts(["a"], [{}, {}]), "2 metadatas for 1"),
        (lambda s: s.add_texts(["a"], ["x"]), "item 0: metadata"),
        (lambda s: s.add_texts(["a"], {"n": 1}), "metadatas is a list, not one dict"),
        (lambda s: s.add_texts(["a", "b"], ids=["x"]), "1 ids for 2"),
        (lambda s: s.add_texts(["a"], ids=[5]), "an id is a string, not int"),
        (lambda s: s.add_texts(["a"], ids="x"), "ids is a list, not one str"),
        (lambda s: s.add_texts(["a"], namespace="x"), "takes no namespace"),
        (lambda s: s.add_documents(Document("a")), "documents is a list, not one Document"),
        (lambda s: s.add_documents(["a"]), "item 0: expected a Document, not str"),
        (lambda s: s.add_documents([Document("a", metadata={"mmrag_image": 5})]), "mmrag_image"),
        (lambda s: s.add_images("a.png"), "images is a list, not one str"),
        (lambda s: s.add_images(png()), "images is a list, not one bytes"),
        (lambda s: s.add_images([5]), "item 0: a picture is a path"),
        (lambda s: s.add_images([None]), "item 0: a picture is a path, .* not NoneType"),
        (lambda s: s.add_images([png(), None]), "item 1: a picture is a path, .* not NoneType"),
        (lambda s: s.add_images([""]), "item 0: .*path of a picture"),
        (lambda s: s.similarity_search_by_image(""), "path of the picture is empty"),
        (lambda s: s.add_images([{"type": "audio"}]), "item 0: a content block"),
        (lambda s: s.get_by_ids([5]), "an id is a string, not int"),
        (lambda s: s.delete([5]), "an id is a string, not int"),
        (lambda s: s.delete(["a"], namespace="x"), "takes no namespace"),
        (lambda s: s.similarity_search(""), "empty query"),
        (lambda s: s.similarity_search("a", k=0), "limit"),
        (lambda s: s.similarity_search("a", score_threshold=0.5), "takes no score_threshold"),
        (lambda s: s.similarity_search(5), "a string, not int"),
        (lambda s: s.similarity_search(None), "a string, not NoneType"),
        (lambda s: s.max_marginal_relevance_search(None), "a string, not NoneType"),
        (lambda s: s.similarity_search_by_image(None), "an empty query: .*a picture"),
        (lambda s: s.similarity_search_by_image(5), "a picture is a path"),
        (lambda s: s.max_marginal_relevance_search("a", k=0), "k is a whole number"),
        (lambda s: s.max_marginal_relevance_search("a", fetch_k=0), "fetch_k is a whole number"),
        (lambda s: s.max_marginal_relevance_search("a", lambda_mult=2), "lambda_mult"),
    ],
)
def test_wrong_use_is_a_clear_error(store: MultimodalVectorStore, call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(store)
    assert store.index.count() == 0


# Async, and threads


async def test_async_says_what_sync_says(store: MultimodalVectorStore, tmp_path: Path) -> None:
    picture = painted(tmp_path / "red.png")
    assert await store.aadd_texts(["tea", "bread"], [{"n": 1}, {"n": 2}], ids=["t", "b"]) == [
        "t",
        "b",
    ]
    assert await store.aadd_documents([Document("tea cup", id="c"), Document("x")]) != []
    assert await store.aadd_images([picture], [{"n": 3}], ids=["i"]) == ["i"]
    assert store.embeddings is not None
    vector = store.embeddings.embed_query("tea")
    narrow: dict[str, Any] = {"k": 3, "filter": {"n": {"$lt": 3}}}
    diverse: dict[str, Any] = {"k": 2, "fetch_k": 9, "lambda_mult": 0.3}
    for name, query, options in (
        ("get_by_ids", ["i", "t"], {}),
        ("search", "tea", {"search_type": "mmr"}),
        ("similarity_search", "tea", narrow),
        ("similarity_search_with_score", "tea", narrow),
        ("similarity_search_with_relevance_scores", "tea", {"score_threshold": 0.1, **narrow}),
        ("similarity_search_by_image", picture, {"k": 3}),
        ("similarity_search_by_image_with_score", picture, {"k": 3}),
        ("similarity_search_by_vector", vector, narrow),
        ("similarity_search_with_score_by_vector", vector, narrow),
        ("max_marginal_relevance_search", "tea", diverse),
        ("max_marginal_relevance_search_by_vector", vector, diverse),
    ):
        expected = getattr(store, name)(query, **options)
        assert expected, name
        assert await getattr(store, f"a{name}")(query, **options) == expected, name
    retriever = store.as_retriever(search_type="mmr")
    assert await retriever.ainvoke("tea") == retriever.invoke("tea")
    with pytest.raises(InputError, match="takes no namespace"):
        await store.asimilarity_search("tea", namespace="x")
    assert await store.adelete(["t", "nowhere"]) is True
    assert await store.adelete(where={"n": 2}) is True
    assert await store.aget_by_ids(["t", "b"]) == []


def test_every_public_method_has_its_async_twin() -> None:
    names = {
        name
        for kind in (MultimodalVectorStore, VectorStore)
        for name, value in inspect.getmembers(kind, inspect.isroutine)
        if not name.startswith("_") and not inspect.iscoroutinefunction(value)
    }
    alone = {"as_retriever", "close", "from_path"}
    assert {name for name in names if not hasattr(MultimodalVectorStore, f"a{name}")} == alone


async def test_many_at_once(store: MultimodalVectorStore) -> None:
    await asyncio.gather(*(store.aadd_texts([f"tea {n}"], ids=[str(n)]) for n in range(10)))
    found = await asyncio.gather(*(store.asimilarity_search(f"tea {n}", k=1) for n in range(10)))
    assert [documents[0].id for documents in found] == [str(n) for n in range(10)]


def test_threads_that_add_while_others_search(store: MultimodalVectorStore) -> None:
    store.add_texts(["tea from China"], ids=["first"])
    start, adding = threading.Barrier(4), threading.Event()

    def add(name: str) -> None:
        start.wait(30)
        for n in range(10):
            store.add_texts([f"bread {name} {n}"], ids=[f"{name}{n}"])
            store.add_images([png()], ids=[name])
            store.delete([name])
        store.add_images([png()], ids=[name])

    def search(_: str) -> int:
        start.wait(30)
        count = 0
        while not adding.is_set() or not count:
            assert store.similarity_search("tea from China", k=1)[0].id == "first"
            assert store.max_marginal_relevance_search("tea from China", k=3)[0].id == "first"
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        searches = [pool.submit(search, "") for _ in range(2)]
        adds = [pool.submit(add, name) for name in "ab"]
        try:
            for job in adds:
                job.result()
        finally:
            adding.set()
        assert all(job.result() for job in searches)
    assert store.index.count() == 23
    assert attachments(store) == [png()]
    for document in store.get_by_ids(["a", "b"]):
        assert Path(document.metadata["mmrag_image"]["uri"]).read_bytes() == png()


def test_a_file_that_is_about_to_be_named_is_not_removed(tmp_path: Path) -> None:
    """Deleting the last document of some bytes does not touch those of an add that goes on."""
    deletes: list[threading.Thread] = []
    inside: list[MultimodalVectorStore] = []

    class Meanwhile(FakeEncoder):
        def encode_pixels(self, pixels: Any) -> Any:
            if inside[0].index.count():  # the second add: its file is there, its record is not
                deletes.append(threading.Thread(target=inside[0].delete, args=(["first"],)))
                deletes[0].start()
                deletes[0].join(30)
            return super().encode_pixels(pixels)

    encoder = Meanwhile()
    with MultimodalIndex.open(
        tmp_path / "kb", text_encoder=encoder, image_encoder=encoder
    ) as index:
        store = MultimodalVectorStore(index)
        inside.append(store)
        store.add_images([png()], ids=["first"])
        store.add_images([png()], ids=["second"])
        deletes[0].join()
        assert ids(store.get_by_ids(["first", "second"])) == ["second"]
        assert attachments(store) == [png()]


def test_nothing_waits_for_pictures_that_are_being_encoded(tmp_path: Path) -> None:
    """An encoder may be an API: adds and deletes go on, and no file is left or lost."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow(FakeEncoder):
        def encode_pixels(self, pixels: Any) -> Any:
            if len(pixels) == 2:
                inside.set()
                assert go_on.wait(30)
                if index.count(Eq("id", "broken")):
                    raise ValueError("the line is dead")
            return super().encode_pixels(pixels)

    slow = Slow()
    with (
        MultimodalIndex.open(tmp_path / "kb", text_encoder=slow, image_encoder=slow) as index,
        ThreadPoolExecutor(1) as pool,
    ):
        store = MultimodalVectorStore(index)
        store.add_images([png()], ids=["old"])
        slowly = pool.submit(store.add_images, [png(), png("lime")], ids=["shared", "lime"])
        try:
            assert inside.wait(30)
            store.add_images([png("red")], ids=["red"])
            store.delete(["red"])
            assert attachments(store) == sorted([png(), png("lime")]), "red is gone"
            store.delete(["old"])
            Attachments(index).clear()
            assert attachments(store) == sorted([png(), png("lime")])
            assert index.count() == 0
        finally:
            go_on.set()
        assert slowly.result() == ["shared", "lime"]
        assert attachments(store) == sorted([png(), png("lime")])
        store.delete(["lime"])
        assert attachments(store) == [png()], "what was added is not kept any longer"
        go_on.clear()
        inside.clear()
        broken = pool.submit(store.add_images, [png("red"), png()], ids=["a", "b"])
        try:
            assert inside.wait(30)
            store.add_texts(["x"], ids=["broken"])
            store.delete(["shared"])
        finally:
            go_on.set()
        with pytest.raises(ValueError, match="the line is dead"):
            broken.result()
        assert attachments(store) == []


def test_texts_do_not_wait_for_pictures(tmp_path: Path) -> None:
    """An encoder may be an API: one that hangs keeps no other thread from adding."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow(FakeEncoder):
        def encode_texts(self, texts: Any, role: Any) -> Any:
            if "slow" in texts:
                inside.set()
                assert go_on.wait(30)
            return super().encode_texts(texts, role)

    slow = Slow()
    with (
        MultimodalIndex.open(tmp_path / "kb", text_encoder=slow, image_encoder=slow) as index,
        ThreadPoolExecutor(1) as pool,
    ):
        store = MultimodalVectorStore(index)
        waiting = pool.submit(store.add_texts, ["slow"], ids=["slow"])
        try:
            assert inside.wait(30)
            store.add_images([png()], ids=["picture"])
            store.add_texts(["fast"], ids=["fast"])
            assert ids(store.get_by_ids(["slow", "fast", "picture"])) == ["fast", "picture"]
        finally:
            go_on.set()
        assert waiting.result() == ["slow"]
        assert ids(store.get_by_ids(["slow"])) == ["slow"]
