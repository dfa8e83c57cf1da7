"""LangChainEncoder: any embedding model of LangChain's behind an index of mmrag's."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.stores import InMemoryByteStore
from langchain_openai import AzureOpenAIEmbeddings, OpenAIEmbeddings
from PIL import Image
from pydantic import SecretStr

from langchain_mm import LangChainEncoder, MultimodalEmbeddings
from langchain_mm.encoder import encoders_of
from mmrag import ImageRef, MultimodalIndex, Record
from mmrag.encoders.bundled import BundledEncoder
from mmrag.errors import InputError, SpaceMismatch, VectorError
from mmrag.protocols import ImageEncoder, TextEncoder
from mmrag.testing import EncoderContract, FakeEncoder


class Words(Embeddings):
    """A model that is LangChain's interface and no more; it notes what it is asked."""

    def __init__(self, model: str = "words-1", dim: int = 32) -> None:
        self.model = model
        self.encoder = FakeEncoder(dim)
        self.calls: list[tuple[str, int]] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(("documents", len(texts)))
        rows: list[list[float]] = (3 * self.encoder.encode_texts(texts, "passage")).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        self.calls.append(("query", 1))
        row: list[float] = self.encoder.encode_texts([text], "query")[0].tolist()
        return row


class Answering(Embeddings):
    """Says what it is told to."""

    def __init__(self, documents: Any = None, query: Any = (1.0, 0.0)) -> None:
        self.documents, self.query = documents, query

    def embed_documents(self, texts: list[str]) -> Any:
        return self.documents

    def embed_query(self, text: str) -> Any:
        return self.query


class TestContractOfLangChainsFake(EncoderContract):
    @pytest.fixture
    def encoder(self) -> TextEncoder:
        return LangChainEncoder(DeterministicFakeEmbedding(size=24))


class TestContractOfWords(EncoderContract):
    @pytest.fixture
    def encoder(self) -> TextEncoder:
        return LangChainEncoder(Words())


def test_it_is_a_text_encoder_and_no_image_encoder() -> None:
    encoder = LangChainEncoder(Words())
    assert isinstance(encoder, TextEncoder)
    assert not isinstance(encoder, ImageEncoder)


# The space


def test_the_space_says_class_and_model() -> None:
    space = LangChainEncoder(Words("words-2")).space
    assert (space.family, space.dim) == ("langchain/Words/words-2", 32)
    assert LangChainEncoder(Words("words-2")).space == space
    unnamed = LangChainEncoder(DeterministicFakeEmbedding(size=24)).space
    assert (unnamed.family, unnamed.dim) == ("langchain/DeterministicFakeEmbedding", 24)


def test_other_models_are_other_spaces() -> None:
    encoders = [
        LangChainEncoder(Words()),
        LangChainEncoder(Words("words-2")),
        LangChainEncoder(Words(dim=16)),
        LangChainEncoder(Words(), name="mine"),
        LangChainEncoder(DeterministicFakeEmbedding(size=32)),
        LangChainEncoder(DeterministicFakeEmbedding(size=32), name="words-1"),
    ]
    assert len({encoder.space.digest for encoder in encoders}) == len(encoders)


def test_the_space_does_not_go_by_vectors() -> None:
    first, second = Answering(query=[1.0, 0.0]), Answering(query=[0.999, 0.001])
    assert LangChainEncoder(first).space == LangChainEncoder(second).space


def test_a_name_that_is_given_is_the_name() -> None:
    encoder = LangChainEncoder(Words("words-2"), name="house model 3")
    assert encoder.space.family == "langchain/Words/house model 3"


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({"model": "a"}, "a"),
        ({"model_name": "b"}, "b"),
        ({"model_id": "c"}, "c"),
        ({"deployment": "d"}, "d"),
        ({"model": object(), "model_name": "e"}, "e"),  # a loaded model, and what it is called
        ({"model": "", "deployment": None}, ""),
    ],
)
def test_the_name_is_found_where_models_keep_it(attributes: dict[str, Any], name: str) -> None:
    model = Answering()
    vars(model).update(attributes)
    family = "/".join(part for part in ("langchain", "Answering", name) if part)
    assert LangChainEncoder(model).space.family == family


def test_the_names_of_openai_and_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (OpenAIEmbeddings, AzureOpenAIEmbeddings):  # what an API would answer
        monkeypatch.setattr(kind, "embed_query", lambda self, text: [0.6, 0.8])
    key = SecretStr("none")
    families = [
        LangChainEncoder(OpenAIEmbeddings(api_key=key)).space.family,
        LangChainEncoder(
            OpenAIEmbeddings(api_key=key, model="text-embedding-3-small")
        ).space.family,
    ]
    azure: dict[str, Any] = {"api_key": key, "azure_endpoint": "https://x", "api_version": "1"}
    for options in ({"azure_deployment": "mine"}, {"model": "text-embedding-3-large"}):
        model = AzureOpenAIEmbeddings(**{**azure, **options})
        families.append(LangChainEncoder(model).space.family)
    assert families == [
        "langchain/OpenAIEmbeddings/text-embedding-ada-002",
        "langchain/OpenAIEmbeddings/text-embedding-3-small",
        "langchain/AzureOpenAIEmbeddings/mine",
        "langchain/AzureOpenAIEmbeddings/text-embedding-3-large",
    ]


def test_a_default_name_gives_way_to_one_that_was_set() -> None:
    class Deployed(DeterministicFakeEmbedding):
        model: str = "some default"
        deployment: str | None = None

    assert LangChainEncoder(Deployed(size=8)).space.family.endswith("/some default")
    assert LangChainEncoder(Deployed(size=8, deployment="x")).space.family.endswith("/x")
    both = Deployed(size=8, model="m", deployment="x")
    assert LangChainEncoder(both).space.family.endswith("/m")


def test_a_cache_is_no_other_space() -> None:
    words = Words()
    cached = CacheBackedEmbeddings.from_bytes_store(
        words, InMemoryByteStore(), namespace="n", key_encoder="sha256"
    )
    encoder = LangChainEncoder(cached)
    assert encoder.space == LangChainEncoder(words).space
    first = encoder.encode_texts(["a", "b"], "passage")
    calls = list(words.calls)
    np.testing.assert_array_equal(encoder.encode_texts(["a", "b"], "passage"), first)
    assert words.calls == calls


def test_the_model_is_asked_late_and_once_from_many_threads() -> None:
    words = Words()
    encoder = LangChainEncoder(words)
    assert words.calls == []
    start = threading.Barrier(8)

    def space() -> Any:
        start.wait(10)
        return encoder.space

    with ThreadPoolExecutor(8) as pool:
        spaces = {job.result() for job in [pool.submit(space) for _ in range(8)]}
    assert len(spaces) == 1
    assert words.calls == [("query", 1)]


def test_after_an_error_the_model_is_asked_again() -> None:
    model = Answering(query=[])
    encoder = LangChainEncoder(model)
    with pytest.raises(VectorError):
        _ = encoder.space
    model.query = [1.0, 2.0]
    assert encoder.space.dim == 2


# Texts


def test_passages_are_one_call_and_queries_are_queries() -> None:
    words = Words()
    encoder = LangChainEncoder(words)
    passages = encoder.encode_texts(["a red bicycle", "bread"], "passage")
    queries = encoder.encode_texts(["a red bicycle", "bread"], "query")
    encoder.encode_texts([], "passage")
    assert words.calls == [("query", 1), ("documents", 2), ("query", 1), ("query", 1)]
    np.testing.assert_allclose(passages, queries, atol=1e-6)  # the passages were 3 times as long


def test_half_a_character_is_replaced() -> None:
    encoder = LangChainEncoder(DeterministicFakeEmbedding(size=8))  # fails on it by itself
    rows = encoder.encode_texts(["cut \ud83d", "cut ?"], "passage")
    np.testing.assert_array_equal(rows[0], rows[1])


def test_arrays_are_vectors_too() -> None:
    model = Answering(np.array([[3, 4], [0, 2]]), np.array([1, 0]))
    rows = LangChainEncoder(model).encode_texts(["a", "b"], "passage")
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.0, 1.0]], atol=1e-7)
    assert rows.dtype == np.float32


def test_a_vector_that_is_tiny_or_huge_has_length_1() -> None:
    model = Answering([[1e-40, 0], [1e150, 1e150]])
    rows = LangChainEncoder(model).encode_texts(["a", "b"], "passage")
    half = float(np.sqrt(0.5))
    np.testing.assert_allclose(rows, [[1.0, 0.0], [half, half]], atol=1e-7)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([[1.0, 0.0]], "1 vectors for 2 texts"),
        ([[1.0, 0.0]] * 3, "3 vectors for 2 texts"),
        ([], "0 vectors for 2 texts"),
        ([[1.0, 0.0], [1.0]], "one list of numbers a text"),
        ([[1.0, 0.0, 0.0]] * 2, "3 dimensions, and of 2 before"),
        ([[], []], "one list of numbers a text"),
        ([1.0, 0.0], "one list of numbers a text"),
        ([[[1.0, 0.0]]] * 2, "one list of numbers a text"),
        ([["x", "y"]] * 2, "one list of numbers a text"),
        (None, "one list of numbers a text"),
        ([[1.0, 0.0], None], "one list of numbers a text"),
        ([[1.0, 0.0], [0.0, 0.0]], "zero or infinite vector for 'second'"),
        ([[1.0, 0.0], [float("nan"), 1.0]], "zero or infinite vector for 'second'"),
        ([[1.0, 0.0], [float("inf"), 1.0]], "zero or infinite vector for 'second'"),
    ],
)
def test_an_answer_that_is_no_vectors_is_an_error(documents: Any, message: str) -> None:
    with pytest.raises(VectorError, match=f"Answering.*{message}"):
        LangChainEncoder(Answering(documents)).encode_texts(["first", "second"], "passage")


@pytest.mark.parametrize("query", [None, [], 1.0, [[1.0, 0.0]], [0.0, 0.0]])
def test_a_first_answer_that_is_no_vector_is_an_error(query: Any) -> None:
    with pytest.raises(VectorError, match="Answering"):
        _ = LangChainEncoder(Answering(query=query)).space


def test_what_is_no_text_is_refused() -> None:
    for role in ("query", "passage"):
        with pytest.raises(InputError, match="not NoneType"):
            LangChainEncoder(Words()).encode_texts(["a", None], role)  # type: ignore[list-item]


def test_an_error_of_the_model_is_the_models_own() -> None:
    class Failing(Words):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise ConnectionError("the API is away")

    with pytest.raises(ConnectionError, match="the API is away"):
        LangChainEncoder(Failing()).encode_texts(["a"], "passage")


def test_what_is_no_embedding_model_is_refused() -> None:
    for wrong in (None, "text-embedding-3-small", Words):
        with pytest.raises(InputError, match="no LangChain Embeddings"):
            LangChainEncoder(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"MultimodalEmbeddings\(encoder=\.\.\.\)"):
        encoders_of(FakeEncoder())  # type: ignore[arg-type]


def test_it_can_be_pickled() -> None:
    encoder = LangChainEncoder(DeterministicFakeEmbedding(size=8), name="n")
    twin = pickle.loads(pickle.dumps(encoder))
    assert twin.space == encoder.space
    np.testing.assert_array_equal(
        twin.encode_texts(["a"], "query"), encoder.encode_texts(["a"], "query")
    )


# Behind an index


def test_multimodal_embeddings_give_their_encoder_for_both() -> None:
    fake = FakeEncoder()
    assert encoders_of(MultimodalEmbeddings(encoder=fake)) == (fake, fake)


def test_any_other_model_is_for_texts() -> None:
    words = Words()
    text, image = encoders_of(words)
    assert isinstance(text, LangChainEncoder) and text.embeddings is words
    assert image is None


def test_an_index_with_it_finds_texts_and_pictures(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.new("RGB", (40, 30), "red").save(path)
    text, image = encoders_of(Words())
    records = [
        Record("a", "how to bake bread"),
        Record("b", "a red bicycle"),
        Record("c", image=ImageRef(str(path), "0" * 64, "image/png", 40, 30)),
    ]
    with MultimodalIndex.open(
        tmp_path / "kb", text_encoder=text, image_encoder=image or FakeEncoder()
    ) as index:
        index.add(records)
        assert index.search("red bicycle", routes=["text->text"])[0].record.id == "b"
        assert index.search(image=path)[0].record.id == "c"
    # The same model opens it again, another one does not.
    with MultimodalIndex.open(
        tmp_path / "kb", text_encoder=encoders_of(Words())[0], image_encoder=FakeEncoder()
    ) as index:
        assert index.count() == 3
    with pytest.raises(SpaceMismatch, match="words-2"):
        MultimodalIndex.open(
            tmp_path / "kb",
            text_encoder=LangChainEncoder(Words("words-2")),
            image_encoder=FakeEncoder(),
        )


def test_the_default_for_pictures_is_the_bundled_encoder(tmp_path: Path) -> None:
    text, image = encoders_of(Words())
    with MultimodalIndex.open(tmp_path, text_encoder=text, image_encoder=image) as index:
        assert index.encoders.image.space == BundledEncoder().space
        assert not index.encoders.shared
