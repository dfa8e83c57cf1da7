"""Qdrant Edge: the contract, and what only a folder on a disk can go through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mmrag.protocols import Store
from mmrag.stores.edge import EdgeStore
from mmrag.testing import StoreContract


class TestEdgeStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        self.opened = [EdgeStore(tmp_path / "index")]
        yield self.opened[0]
        for store in self.opened:
            store.close()

    def reopen(self, store: Store) -> Store:
        assert isinstance(store, EdgeStore)
        store.close()
        self.opened.append(EdgeStore(store.path))
        return self.opened[-1]
