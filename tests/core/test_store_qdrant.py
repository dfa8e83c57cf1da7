"""The client's local modes; a server takes the same calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mmrag.protocols import Store
from mmrag.stores.qdrant import QdrantStore
from mmrag.testing import StoreContract
from qdrant_client import QdrantClient


class TestInMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        client = QdrantClient(":memory:")
        yield QdrantStore(client, "index")
        client.close()

    def reopen(self, store: Store) -> Store:
        assert isinstance(store, QdrantStore)
        return QdrantStore(store._client, "index")


class TestInAFolder(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        self.path = str(tmp_path)
        self.client = QdrantClient(path=self.path, force_disable_check_same_thread=True)
        yield QdrantStore(self.client, "index")
        self.client.close()

    def reopen(self, store: Store) -> Store:
        self.client.close()
        self.client = QdrantClient(path=self.path, force_disable_check_same_thread=True)
        return QdrantStore(self.client, "index")
