"""LangChain's own suite for vector stores, as it is, over each engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests
from qdrant_client import QdrantClient

from langchain_mm import MultimodalVectorStore
from langchain_mm.encoder import encoders_of
from mmrag import MultimodalIndex, QdrantStore


class TestEdge(VectorStoreIntegrationTests):
    """In a folder."""

    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[VectorStore]:
        store = MultimodalVectorStore.from_path(tmp_path / "kb", self.get_embeddings())
        with store.index:
            yield store


class TestQdrant(VectorStoreIntegrationTests):
    """In a collection of Qdrant's local mode."""

    @pytest.fixture
    def vectorstore(self) -> Iterator[VectorStore]:
        text, image = encoders_of(self.get_embeddings())
        store = QdrantStore(QdrantClient(":memory:"), "kb")
        with MultimodalIndex.open(store=store, text_encoder=text, image_encoder=image) as index:
            yield MultimodalVectorStore(index)
