"""The adapters take these rerankers as they are."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")
pytest.importorskip("llama_index.core")
pytest.importorskip("langchain_core")

from langchain_core.documents import Document
from llama_index.core.schema import ImageNode, NodeWithScore, TextNode

import langchain_mm
import llama_index_mm
from langchain_mm.convert import IMAGE_KEY
from mmrag.protocols import Reranker
from mmrag.rerank import CrossEncoderReranker, ItmReranker
from mmrag.types import Record

from .tiny import bert, blip, painted

pytestmark = pytest.mark.torch

TEXTS = ["a cat sleeps", "the dog", "a red dog"]


@pytest.fixture(scope="module", params=["cross-encoder", "image-text matching"])
def reranker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    folder = tmp_path_factory.mktemp("models")
    texts = CrossEncoderReranker(str(bert(folder / "bert")))
    if request.param == "cross-encoder":
        return texts
    return ItmReranker(str(blip(folder / "blip")), text=texts)


@pytest.fixture
def shown(tmp_path: Path) -> Record:
    return painted(tmp_path / "red.png", "red")


@pytest.fixture
def expected(reranker: Reranker, shown: Record) -> dict[str, float]:
    records = [*(Record(text, text) for text in TEXTS), shown]
    scores = reranker.rerank("a cat", None, records)
    return {record.id: score for record, score in zip(records, scores, strict=True)}


def test_llama_index(reranker: Reranker, shown: Record, expected: dict[str, float]) -> None:
    assert shown.image is not None
    nodes = [TextNode(id_=text, text=text) for text in TEXTS]
    nodes.append(ImageNode(id_="red", image_path=shown.image.uri))
    given = [NodeWithScore(node=node, score=None) for node in nodes]
    order = sorted(expected, key=lambda name: -expected[name])
    whole = llama_index_mm.CrossModalReranker(reranker=reranker, top_n=3)
    for postprocessor in (whole, pickle.loads(pickle.dumps(whole))):
        found = postprocessor.postprocess_nodes(given, query_str="a cat")
        assert [node.node_id for node in found] == order[:3]
        scores = [expected[name] for name in order[:3]]
        assert [node.score for node in found] == pytest.approx(scores, abs=1e-6)
    assert whole.model_name == reranker.name


def test_langchain(reranker: Reranker, shown: Record, expected: dict[str, float]) -> None:
    assert shown.image is not None
    documents = [Document(id=text, page_content=text) for text in TEXTS]
    documents.append(Document(id="red", page_content="", metadata={IMAGE_KEY: shown.image.uri}))
    order = sorted(expected, key=lambda name: -expected[name])
    compressor = langchain_mm.CrossModalReranker(reranker=reranker, top_n=3)
    found = compressor.compress_documents(documents, "a cat")
    assert [document.id for document in found] == order[:3]
    scores = [document.metadata["relevance_score"] for document in found]
    assert scores == pytest.approx([expected[name] for name in order[:3]], abs=1e-6)
    assert asyncio.run(compressor.acompress_documents(documents, "a cat")) == pytest.approx(found)
