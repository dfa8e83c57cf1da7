"""Any sequence of calls leaves the engine in the state of the plain dicts of MemoryStore."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from qdrant_client import QdrantClient

from mmrag.filters import And, Eq, Exists, Filter, In, Not, Or, Range
from mmrag.protocols import FieldQuery, Point, Store
from mmrag.stores.edge import EdgeStore
from mmrag.stores.qdrant import QdrantStore
from mmrag.testing import MemoryStore
from mmrag.types import Locator, Record, key_of

DIMS = {"text": 3, "image": 2}
WORDS = ["zebra", "路由器", "404", "running"]

ids = st.sampled_from([f"id {n}" for n in range(8)])
values = st.sampled_from([0, 1, 1.0, True, False, "1", "x", None, [], [1, "x"], {"b": 1}, 0.5])
numbers = st.integers(-3, 3).map(float)


def vectors(dim: int) -> st.SearchStrategy[np.ndarray]:
    rows = st.lists(numbers, min_size=dim, max_size=dim).filter(any)
    return rows.map(lambda row: np.array(row, dtype=np.float32))


records = st.builds(
    Record,
    id=ids,
    text=st.text(max_size=3).filter(lambda text: text.isprintable()),
    source=st.sampled_from(["", "a.pdf", "b.pdf"]),
    locator=st.builds(Locator, page=st.sampled_from([None, 1, 2])),
    metadata=st.dictionaries(st.sampled_from(["a", "b c"]), values, max_size=2),
)
points = st.builds(
    Point,
    record=records,
    vectors=st.fixed_dictionaries({}, optional={name: vectors(d) for name, d in DIMS.items()}),
    keywords=st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join),
)
keys = st.sampled_from(["a", "b c", "a.b", "source", "page", "id", "metadata.a"])
scalars = st.sampled_from([0, 1, 1.0, True, False, "1", "x", 0.5, "a.pdf", "id 3"])
leaves = st.one_of(
    st.builds(Eq, keys, scalars),
    st.builds(In, keys, st.lists(scalars, max_size=3).map(tuple)),
    st.builds(Range, keys, gte=st.sampled_from([0.0, 1.0]), lt=st.sampled_from([None, 1.5])),
    st.builds(Exists, keys),
)
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(And, st.lists(inner, max_size=2).map(tuple)),
        st.builds(Or, st.lists(inner, max_size=2).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=3,
)


class StoreMachine(RuleBasedStateMachine):
    """Runs each call on the engine and on the yardstick, and compares what they say."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.oracle = MemoryStore()

    def open(self) -> Store:
        raise NotImplementedError

    @initialize()
    def start(self) -> None:
        self.store = self.open()
        for store in (self.store, self.oracle):
            store.prepare(DIMS)

    @rule(batch=st.lists(points, max_size=4))
    def upsert(self, batch: list[Point]) -> None:
        for store in (self.store, self.oracle):
            store.upsert(batch)

    @rule(batch=st.lists(points, max_size=3))
    def update(self, batch: list[Point]) -> None:
        for store in (self.store, self.oracle):
            store.update(batch)

    @rule(gone=st.lists(ids, max_size=2))
    def delete(self, gone: list[str]) -> None:
        for store in (self.store, self.oracle):
            store.delete([key_of(i) for i in gone])

    @rule(where=filters)
    def delete_where(self, where: Filter) -> None:
        for store in (self.store, self.oracle):
            store.delete_where(where)

    @rule()
    def reopen(self) -> None:
        self.store.flush()
        self.store.close()
        self.store = self.open()

    @rule(where=filters, having=st.sampled_from([None, "text", "keywords"]))
    def filter(self, where: Filter, having: str | None) -> None:
        assert list(self.store.scan(where)) == list(self.oracle.scan(where))
        assert self.store.count(where, having=having) == self.oracle.count(where, having=having)

    @rule(text=vectors(3), image=vectors(2), where=st.none() | filters, limit=st.integers(1, 10))
    def search_dense(
        self, text: np.ndarray, image: np.ndarray, where: Filter | None, limit: int
    ) -> None:
        queries = [FieldQuery("text", text), FieldQuery("image", image)]
        everything = self.oracle.search(queries, 100, where)
        for found, truth in zip(self.store.search(queries, limit, where), everything, strict=True):
            # Ties may fall either way: the scores are the best there are, each its own point's.
            assert found.scores == pytest.approx(truth.scores[:limit], abs=1e-5)
            scores = dict(zip(truth.keys, truth.scores, strict=True))
            assert [scores[key] for key in found.keys] == pytest.approx(found.scores, abs=1e-5)

    @rule(word=st.sampled_from(WORDS), where=st.none() | filters)
    def search_keywords(self, word: str, where: Filter | None) -> None:
        query = [FieldQuery("keywords", word)]
        (found,), (truth,) = (s.search(query, 10, where) for s in (self.store, self.oracle))
        assert set(found.keys) == set(truth.keys)
        # The engine's IDF still counts deleted texts: scores differ by one common factor.
        if truth.keys:
            factor = found.scores[0] / truth.scores[0]
            assert found.scores == pytest.approx([factor * s for s in truth.scores], rel=1e-4)

    @invariant()
    def same_content(self) -> None:
        if not hasattr(self, "store"):
            return
        assert list(self.store.scan(batch=3)) == list(self.oracle.scan(batch=3))
        for name in DIMS:
            np.testing.assert_allclose(
                self.store.sample(name, 5), self.oracle.sample(name, 5), atol=1e-6
            )


class EdgeMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())

    def open(self) -> Store:
        return EdgeStore(self.folder / "index")

    @rule()
    def optimize(self) -> None:
        assert isinstance(self.store, EdgeStore)
        self.store.optimize()

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


class QdrantMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.client = QdrantClient(":memory:")

    def open(self) -> Store:
        return QdrantStore(self.client, "index")

    def teardown(self) -> None:
        self.client.close()


_SETTINGS = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestEdgeMachine = EdgeMachine.TestCase
TestQdrantMachine = QdrantMachine.TestCase
TestEdgeMachine.settings = TestQdrantMachine.settings = _SETTINGS
