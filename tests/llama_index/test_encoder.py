"""LlamaIndexEncoder: any embedding model of LlamaIndex's behind an index of mmrag's."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.embeddings.mock_embed_model import MockEmbedding
from llama_index.core.schema import ImageNode, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery

from llama_index_mm import (
    LlamaIndexEncoder,
    MultimodalEmbedding,
    MultimodalRetriever,
    MultimodalVectorStore,
)
from mmrag import MultimodalIndex
from mmrag.demo import SAMPLE
from mmrag.encoders.bundled import BundledEncoder
from mmrag.errors import InputError, SpaceMismatch, VectorError
from mmrag.protocols import ImageEncoder, TextEncoder
from mmrag.testing import EncoderContract, FakeEncoder


class Words(BaseEmbedding):
    """Texts that share words are near; it notes what it is asked. Its vectors are 3 long."""

    dim: int = 32
    sizes: list[tuple[str, int]] = Field(default_factory=list)
    _encoder: Any = PrivateAttr(default=None)

    @classmethod
    def class_name(cls) -> str:
        return "Words"

    def _rows(self, texts: list[str]) -> list[list[float]]:
        if self._encoder is None:
            self._encoder = FakeEncoder(self.dim)
        rows: list[list[float]] = (3 * self._encoder.encode_texts(texts, "passage")).tolist()
        return rows

    def _get_query_embedding(self, query: str) -> list[float]:
        self.sizes.append(("query", 1))
        return self._rows([query])[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        self.sizes.append(("passages", len(texts)))
        return self._rows(texts)


class Answering(MockEmbedding):
    """Says what it is told to."""

    passages: Any = None
    query: Any = (1.0, 0.0)

    def __init__(self, **told: Any) -> None:
        super().__init__(embed_dim=2, **told)

    def _get_query_embedding(self, query: str) -> Any:
        return self.query

    def _get_text_embeddings(self, texts: list[str]) -> Any:
        return self.passages


class TestContract(EncoderContract):
    @pytest.fixture
    def encoder(self) -> TextEncoder:
        return LlamaIndexEncoder(Words())


class TestContractOfOurOwn(EncoderContract):
    @pytest.fixture
    def encoder(self) -> TextEncoder:
        return LlamaIndexEncoder(MultimodalEmbedding())


def test_it_is_a_text_encoder_and_no_image_encoder() -> None:
    assert isinstance(LlamaIndexEncoder(Words()), TextEncoder)
    assert not isinstance(LlamaIndexEncoder(Words()), ImageEncoder)


# The space


def test_the_space_says_class_and_model() -> None:
    space = LlamaIndexEncoder(Words(model_name="words-2")).space
    assert (space.family, space.dim) == ("llama-index/Words/words-2", 32)
    assert LlamaIndexEncoder(Words(model_name="words-2", embed_batch_size=3)).space == space
    unnamed = LlamaIndexEncoder(MockEmbedding(embed_dim=24)).space
    assert (unnamed.family, unnamed.dim) == ("llama-index/MockEmbedding", 24)


def test_other_models_are_other_spaces() -> None:
    encoders = [
        LlamaIndexEncoder(Words()),
        LlamaIndexEncoder(Words(model_name="words-2")),
        LlamaIndexEncoder(Words(dim=16)),
        LlamaIndexEncoder(Words(), name="mine"),
        LlamaIndexEncoder(MockEmbedding(embed_dim=32)),
        LlamaIndexEncoder(MockEmbedding(embed_dim=32), name="words-2"),
    ]
    assert len({encoder.space.digest for encoder in encoders}) == len(encoders)


def test_the_space_does_not_go_by_vectors() -> None:
    first, second = Answering(query=[1.0, 0.0]), Answering(query=[0.999, 0.001])
    assert LlamaIndexEncoder(first).space == LlamaIndexEncoder(second).space


def test_on_azure_the_name_is_that_of_the_deployment() -> None:
    class Deployed(Words):
        azure_deployment: str | None = None

    names = [
        LlamaIndexEncoder(model).space.family
        for model in (
            Deployed(model_name="ada"),
            Deployed(model_name="ada", azure_deployment="mine"),
        )
    ]
    assert names == ["llama-index/Words/ada", "llama-index/Words/mine"]


def test_the_model_is_asked_late_and_once_from_many_threads() -> None:
    words = Words()
    encoder = LlamaIndexEncoder(words)
    assert words.sizes == []
    start = threading.Barrier(8)

    def space() -> Any:
        start.wait(10)
        return encoder.space

    with ThreadPoolExecutor(8) as pool:
        spaces = {job.result() for job in [pool.submit(space) for _ in range(8)]}
    assert len(spaces) == 1
    assert words.sizes == [("query", 1)]


# Texts


def test_passages_are_batches_and_queries_are_queries() -> None:
    words = Words(embed_batch_size=2)
    encoder = LlamaIndexEncoder(words)
    texts = ["a red bicycle", "bread", "the sea"]
    passages = encoder.encode_texts(texts, "passage")
    queries = encoder.encode_texts(texts[:1], "query")
    encoder.encode_texts([], "passage")
    assert words.sizes == [("query", 1), ("passages", 2), ("passages", 1), ("query", 1)]
    expected = FakeEncoder(32).encode_texts(texts, "passage")
    np.testing.assert_allclose(passages, expected, atol=1e-6)
    np.testing.assert_allclose(queries, expected[:1], atol=1e-6)


def test_callbacks_hear_of_it() -> None:
    heard = LlamaDebugHandler(print_trace_on_end=False)
    encoder = LlamaIndexEncoder(Words(callback_manager=CallbackManager([heard])))
    encoder.encode_texts(["a red bicycle", "bread"], "passage")
    chunks = [
        pair[1].payload[EventPayload.CHUNKS]
        for pair in heard.get_event_pairs(CBEventType.EMBEDDING)
        if pair[1].payload
    ]
    assert chunks == [["dimensions"], ["a red bicycle", "bread"]]


def test_half_a_character_is_replaced() -> None:
    rows = LlamaIndexEncoder(Words()).encode_texts(["cut \ud83d", "cut ?"], "passage")
    np.testing.assert_array_equal(rows[0], rows[1])


def test_a_vector_that_is_tiny_or_huge_has_length_1() -> None:
    model = Answering(passages=[[1e-30, 0.0], [3e30, 4e30]])
    rows = LlamaIndexEncoder(model).encode_texts(["a", "b"], "passage")
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("passages", "says"),
    [
        ([[1.0, 0.0]], "1 vectors for 2 texts"),
        ([[1.0, 0.0]] * 3, "3 vectors for 2 texts"),
        ([[1.0], [1.0, 0.0]], "one list of numbers a text"),
        ([[1.0], [1.0]], "1 dimensions, and of 2 before"),
        ([[], []], "one list of numbers a text"),
        ([[0.0, 0.0], [1.0, 0.0]], "zero or infinite vector for 'first'"),
        ([[1.0, 0.0], [float("nan"), 0.0]], "zero or infinite vector for 'second'"),
    ],
)
def test_vectors_that_cannot_be_used(passages: Any, says: str) -> None:
    encoder = LlamaIndexEncoder(Answering(passages=passages))
    with pytest.raises(VectorError, match=f"MockEmbedding.*{says}"):
        encoder.encode_texts(["first", "second"], "passage")


def test_arguments_that_cannot_be_used() -> None:
    wrong: Any
    for wrong in (None, "text-embedding-3-small", FakeEncoder()):
        with pytest.raises(InputError, match="no LlamaIndex BaseEmbedding"):
            LlamaIndexEncoder(wrong)
    with pytest.raises(InputError, match="not int"):
        LlamaIndexEncoder(Words()).encode_texts([3], "query")  # type: ignore[list-item]


def test_a_pickled_copy_works() -> None:
    encoder = LlamaIndexEncoder(MockEmbedding(embed_dim=8), name="mine")
    copy = pickle.loads(pickle.dumps(encoder))
    assert copy.space == encoder.space
    np.testing.assert_array_equal(
        copy.encode_texts(["a"], "query"), encoder.encode_texts(["a"], "query")
    )


# Behind an index


def test_an_index_with_it_works_through_store_and_retriever(tmp_path: Path) -> None:
    words = LlamaIndexEncoder(Words(model_name="words-1"))
    with MultimodalIndex.open(
        tmp_path, text_encoder=words, image_encoder=BundledEncoder()
    ) as index:
        store = MultimodalVectorStore(index)
        store.add(
            [
                TextNode(id_="bread", text="Knead the dough and bake the bread."),
                TextNode(id_="reset", text="Hold the button to reset the router."),
                ImageNode(id_="cat", image_path=str(SAMPLE / "pictures" / "chelsea.jpg")),
            ]
        )
        fields = store.index.store.vectors([*_keys("bread")])
        found = store.query(VectorStoreQuery(query_str="reset the router", similarity_top_k=1))
        assert found.ids == ["reset"]
        retriever = MultimodalRetriever(index)
        assert retriever.retrieve("bake bread")[0].node.node_id == "bread"
        assert "cat" in [hit.node.node_id for hit in retriever.retrieve("a cat")]
    (vectors,) = fields.values()
    expected = FakeEncoder(32).encode_texts(["Knead the dough and bake the bread."], "passage")
    np.testing.assert_allclose(vectors["text"], expected[0], atol=1e-5)
    assert vectors["cross_text"].shape == (384,)
    with pytest.raises(SpaceMismatch, match="llama-index/Words/words-1"):
        MultimodalIndex.open(tmp_path)
    again = LlamaIndexEncoder(Words(model_name="words-1"))
    with MultimodalIndex.open(tmp_path, text_encoder=again) as index:
        assert index.count() == 3


def _keys(*ids: str) -> list[str]:
    from mmrag.types import key_of

    return [key_of(i) for i in ids]
