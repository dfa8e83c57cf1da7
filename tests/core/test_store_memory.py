"""The yardstick keeps the contract that it is the yardstick of."""

from __future__ import annotations

import pytest

from mmrag.protocols import Store
from mmrag.testing import MemoryStore, StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()
