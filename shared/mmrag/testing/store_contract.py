"""What every store has to do, as tests to subclass with a ``store`` fixture."""
# ruff: noqa: S101, D102  # tests: they assert, and their names say what

from __future__ import annotations

import threading

import pytest

from mmrag.errors import StoreError, UnknownName, VectorError
from mmrag.protocols import FieldQuery, Point, Store
from mmrag.testing.filter_contract import FilterContract
from mmrag.testing.points import found, point, state, vector
from mmrag.testing.search_contract import SearchContract
from mmrag.testing.write_contract import FULL_RECORD, WriteContract
from mmrag.types import key_of

__all__ = ["StoreContract"]


class StoreContract(WriteContract, SearchContract, FilterContract):
    """Subclass and give it a fixture ``store``: an empty one, not yet prepared.

    Override :meth:`reopen` if the store outlives its process.
    """

    def reopen(self, store: Store) -> Store:
        """Close the store and open it again; a store in memory is given back as it is."""
        return store

    @pytest.fixture
    def ready(self, store: Store) -> Store:
        """The store, prepared for ``text`` of 3 dimensions and ``image`` of 2."""
        store.prepare({"text": 3, "image": 2})
        return store

    def test_preparing_twice_changes_nothing(self, ready: Store) -> None:
        ready.upsert([point("a", text=[1, 0, 0])])
        ready.prepare({"text": 3, "image": 2})
        ready.prepare({"image": 2})
        assert ready.count(having="text") == 1

    def test_another_dimension_is_refused(self, ready: Store) -> None:
        with pytest.raises(VectorError):
            ready.prepare({"caption": 4, "text": 4})
        with pytest.raises(UnknownName):  # nothing of a refused call is prepared
            ready.sample("caption", 1)

    def test_an_empty_store_answers(self, ready: Store) -> None:
        queries = [FieldQuery("text", vector([1, 0, 0])), FieldQuery("keywords", "word")]
        assert [ranking.keys for ranking in ready.search(queries, 5)] == [(), ()]
        assert ready.count() == 0
        assert list(ready.scan()) == []
        assert ready.get([key_of("a")]) == {}
        assert ready.sample("text", 5).shape == (0, 3)
        assert ready.search([], 5) == []

    def test_the_manifest_is_kept(self, ready: Store) -> None:
        assert ready.manifest() is None
        ready.save_manifest({"version": 1, "空": {"a": [1.5, None, True]}})
        ready.save_manifest({"version": 2, "空": {"a": [1.5, None, True]}})
        assert self.reopen(ready).manifest() == {"version": 2, "空": {"a": [1.5, None, True]}}

    def test_reopening_keeps_everything(self, ready: Store) -> None:
        ready.upsert(
            [point("a", "word", text=[1, 0, 0]), Point(FULL_RECORD, {"image": vector([1, 0])})]
        )
        ready.flush()
        again = self.reopen(ready)
        assert state(again) == {"a": {"text", "keywords"}, "full": {"image"}}
        assert again.get([key_of("full")]) == {key_of("full"): FULL_RECORD}
        assert found(again, "word") == ["a"]
        with pytest.raises(VectorError):
            again.prepare({"text": 4})

    def test_closing_twice_is_fine_and_using_it_after_is_not(self, ready: Store) -> None:
        ready.close()
        ready.close()
        with pytest.raises(StoreError):
            ready.count()
        with pytest.raises(StoreError):
            ready.upsert([point("a", text=[1, 0, 0])])

    def test_threads_may_search_while_one_writes(self, ready: Store) -> None:
        ready.upsert([point("first", "word", text=[1, 0, 0])])
        written, failures = threading.Event(), []

        def search() -> None:
            queries = [FieldQuery("text", vector([1, 0, 0])), FieldQuery("keywords", "word")]
            try:
                while not written.is_set():
                    for ranking in ready.search(queries, 3):
                        assert key_of("first") in ranking.keys
                    ready.get([key_of("first")])
            except BaseException as error:
                failures.append(error)

        readers = [threading.Thread(target=search) for _ in range(3)]
        for thread in readers:
            thread.start()
        for n in range(20):
            ready.upsert([point(f"{n} {m}", text=[0, 1, m]) for m in range(20)])
            ready.delete([key_of(f"{n} 0")])
        written.set()
        for thread in readers:
            thread.join()
        assert failures == []
        assert ready.count() == 1 + 20 * 19
