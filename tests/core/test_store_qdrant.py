"""The client's local modes; a server takes the same calls."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from mmrag.errors import StoreError
from mmrag.keywords import encode_document
from mmrag.protocols import FieldQuery, Point, Store
from mmrag.stores.qdrant import QdrantStore
from mmrag.stores.qdrant_forms import QdrantForms
from mmrag.testing import StoreContract
from mmrag.types import Record, key_of


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


POINT = Point(Record("a"))


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    yield client
    client.close()


def test_closing_the_store_leaves_the_client_open(client: QdrantClient) -> None:
    store = QdrantStore(client, "index")
    store.prepare({"text": 2})
    store.close()
    assert client.collection_exists("index")


def test_two_stores_share_a_client(client: QdrantClient) -> None:
    first, second = QdrantStore(client, "one"), QdrantStore(client, "two")
    for store in (first, second):
        store.prepare({"text": 2})
    first.upsert([Point(Record("a"))])
    assert (first.count(), second.count()) == (1, 0)


def test_the_collection_is_what_other_tools_expect(client: QdrantClient) -> None:
    store = QdrantStore(client, "index")
    store.prepare({"text": 2})
    store.prepare({"image": 3})
    vector = np.array([3, 4], np.float32)
    store.upsert([Point(Record("a", "words", metadata={"k": 1}), {"text": vector}, "words")])
    params = client.get_collection("index").config.params
    assert {name: v.size for name, v in params.vectors.items()} == {"text": 2, "image": 3}
    assert params.sparse_vectors["keywords"].modifier == models.Modifier.IDF
    (point,), _ = client.scroll("index", with_vectors=True)
    assert point.id == key_of("a")
    assert point.payload["page_content"] == "words"
    assert point.payload["metadata"] == {"k": 1}
    assert set(point.vector) == {"text", "keywords"}
    assert point.vector["text"] == pytest.approx([0.6, 0.8])


def test_a_collection_of_another_kind_is_refused(client: QdrantClient) -> None:
    unnamed = models.VectorParams(size=2, distance=models.Distance.COSINE)
    client.create_collection("unnamed", vectors_config=unnamed)
    dot = models.VectorParams(size=2, distance=models.Distance.DOT)
    client.create_collection("dot", vectors_config={"text": dot})
    for name in ("unnamed", "dot"):
        with pytest.raises(StoreError):
            QdrantStore(client, name)


def test_a_collection_that_exists_is_completed(client: QdrantClient) -> None:
    text = models.VectorParams(size=2, distance=models.Distance.COSINE)
    client.create_collection("index", vectors_config={"text": text})
    store = QdrantStore(client, "index")
    store.prepare({"text": 2, "image": 3})
    store.upsert([Point(Record("a"), {"image": np.array([1, 0, 0], np.float32)}, "zebra")])
    assert store.count(having="keywords") == store.count(having="image") == 1
    (ranking,) = store.search([FieldQuery("keywords", "zebra")], 5)
    # One of one text has the word: IDF is ln(1 + 0.5 / 1.5), which shows that it is applied.
    weight = encode_document("zebra").values[0]
    assert ranking.scores == pytest.approx([math.log(1 + 0.5 / 1.5) * weight], rel=1e-5)


def test_a_collection_that_is_gone_is_an_error_of_ours(client: QdrantClient) -> None:
    store = QdrantStore(client, "index")
    store.prepare({"text": 2})
    client.delete_collection("index")
    with pytest.raises(StoreError, match="index"):
        store.get([key_of("1")])


def test_large_payloads_go_in_requests_that_a_server_takes(client: QdrantClient) -> None:
    forms = QdrantForms(models)
    structs = [forms.point(str(n), {"page_content": "x" * 3_000_000}, POINT) for n in range(6)]
    assert [len(batch) for batch in forms.batches(structs)] == [2, 2, 2]
    structs = [forms.point(str(n), {}, POINT) for n in range(1001)]
    assert [len(batch) for batch in forms.batches(structs)] == [500, 500, 1]


def test_without_the_client_the_error_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['qdrant_client'] = None\n"
        "from mmrag.stores.qdrant import QdrantStore\n"
        "QdrantStore(None, 'index')"
    )
    command = [sys.executable, "-c", script]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "MissingExtra" in answer.stderr
    assert "pip install 'mmrag[qdrant]'" in answer.stderr
