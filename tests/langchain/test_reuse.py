"""LangChain's own QdrantVectorStore over a collection that mmrag wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

import mmrag
from langchain_mm import MultimodalEmbeddings, MultimodalVectorStore
from mmrag import MultimodalIndex, QdrantStore
from mmrag.types import key_of

PICTURES = Path(mmrag.__file__).parent / "sample" / "pictures"
TEXTS = {
    "reset": "Hold the button for ten seconds to restore the factory settings.",
    "bread": "Knead the dough, let it rise overnight, and bake it until the crust is brown.",
    "loan": "The interest rate of the loan is fixed for ten years.",
}


@pytest.fixture(scope="module")
def client() -> QdrantClient:
    return QdrantClient(":memory:")


@pytest.fixture(scope="module")
def store(
    client: QdrantClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MultimodalVectorStore]:
    folder = tmp_path_factory.mktemp("reuse")
    with MultimodalIndex.open(folder, store=QdrantStore(client, "kb")) as index:
        store = MultimodalVectorStore(index)
        languages = [{"lang": "en", "n": n} for n in range(len(TEXTS))]
        store.add_texts(TEXTS.values(), languages, ids=list(TEXTS))
        pictures = ["chelsea.jpg", "espresso.jpg", "beacon.png"]
        store.add_images(
            [PICTURES / name for name in pictures[:2]], [{"album": "home"}, {}], ids=pictures[:2]
        )
        store.add_images([(PICTURES / "beacon.png").read_bytes()], ids=["beacon.png"])
        store.add_documents(
            [
                Document(
                    "Saturn has rings.",
                    id="saturn",
                    metadata={"mmrag_image": str(PICTURES / "saturn.webp")},
                )
            ]
        )
        yield store


@pytest.fixture
def texts(store: MultimodalVectorStore, client: QdrantClient) -> QdrantVectorStore:
    return stock(store, client, "text")


@pytest.fixture
def pictures(store: MultimodalVectorStore, client: QdrantClient) -> QdrantVectorStore:
    return stock(store, client, "image")


def stock(store: MultimodalVectorStore, client: QdrantClient, name: str) -> QdrantVectorStore:
    embedding = store.embeddings
    assert isinstance(embedding, MultimodalEmbeddings)
    return QdrantVectorStore(client, "kb", embedding=embedding, vector_name=name)


def keys(documents: list[Document]) -> list[str]:
    return [document.metadata["_id"] for document in documents]


def test_stock_finds_texts(texts: QdrantVectorStore) -> None:
    (found,) = texts.similarity_search("how to bake bread", k=1)
    assert found.page_content == TEXTS["bread"]
    assert {k: v for k, v in found.metadata.items() if k[0] != "_"} == {"lang": "en", "n": 1}
    (found,) = texts.similarity_search("a planet", k=1)
    assert found.page_content == "Saturn has rings."
    # Only what has a text: a picture without one has no vector of this name.
    everything = texts.similarity_search("anything", k=20)
    assert set(keys(everything)) == {key_of(name) for name in [*TEXTS, "saturn"]}


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("a cat", "chelsea.jpg"),
        ("a cup of coffee", "espresso.jpg"),
        ("a lighthouse", "beacon.png"),
        ("a planet with rings", "saturn"),
    ],
)
def test_stock_finds_pictures_by_words(pictures: QdrantVectorStore, words: str, name: str) -> None:
    (found,) = pictures.similarity_search(words, k=1)
    assert found.metadata["_id"] == key_of(name)
    assert isinstance(found.page_content, str)  # stock fails on None
    assert len(pictures.similarity_search(words, k=20)) == 4


def test_stock_finds_pictures_by_a_picture(
    store: MultimodalVectorStore, pictures: QdrantVectorStore
) -> None:
    embedding = store.embeddings
    assert isinstance(embedding, MultimodalEmbeddings)
    (vector,) = embedding.embed_images([PICTURES / "kitten-and-yarn.jpg"])
    (found,) = pictures.similarity_search_by_vector(vector, k=1)
    assert found.metadata["_id"] == key_of("chelsea.jpg")
    assert found.metadata["mmrag_image"]["uri"] == str(PICTURES / "chelsea.jpg")
    assert found.metadata["album"] == "home"


def test_stock_filters_on_metadata(texts: QdrantVectorStore) -> None:
    second = models.FieldCondition(key="metadata.n", match=models.MatchValue(value=2))
    (found,) = texts.similarity_search("bread", filter=models.Filter(must=[second]))
    assert found.page_content == TEXTS["loan"]


def test_stock_retrieves_by_key(texts: QdrantVectorStore) -> None:
    (found,) = texts.get_by_ids([key_of("bread")])
    assert found.page_content == TEXTS["bread"]


def test_stock_and_ours_agree_and_ours_says_more(
    store: MultimodalVectorStore, texts: QdrantVectorStore
) -> None:
    for words in ("how to bake bread", "restore a device", "interest on money"):
        (theirs,) = texts.similarity_search(words, k=1)
        (ours,) = store.similarity_search(words, k=1)
        assert theirs.page_content == ours.page_content
        assert key_of(str(ours.id)) == theirs.metadata["_id"]
        assert set(ours.metadata) == {"lang", "n"}  # nothing was put in beside


def test_what_stock_deletes_is_gone(tmp_path: Path) -> None:
    client = QdrantClient(":memory:")
    with MultimodalIndex.open(tmp_path, store=QdrantStore(client, "kb")) as index:
        store = MultimodalVectorStore(index)
        store.add_texts(list(TEXTS.values()), ids=list(TEXTS))
        stock(store, client, "text").delete([key_of("bread")])
        assert [document.id for document in store.get_by_ids(list(TEXTS))] == ["reset", "loan"]


def test_adding_a_text_keeps_the_picture_of_its_point(tmp_path: Path) -> None:
    """Stock: adding through the store of one vector erases the other vectors of the point."""
    client = QdrantClient(":memory:")
    with MultimodalIndex.open(tmp_path, store=QdrantStore(client, "kb")) as index:
        store = MultimodalVectorStore(index)
        store.add_images([PICTURES / "chelsea.jpg"], ids=["cat"])
        (document,) = store.get_by_ids(["cat"])
        store.add_documents([document.model_copy(update={"page_content": "Chelsea, our cat"})])
        (point,) = client.retrieve("kb", [key_of("cat")], with_vectors=True)
        assert isinstance(point.vector, dict)
        assert {"text", "image", "keywords"} <= set(point.vector)
