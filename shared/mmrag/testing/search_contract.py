"""What a store finds, and in which order."""
# ruff: noqa: S101, D102  # tests: they assert, and their names say what

from __future__ import annotations

import math

import numpy as np
import pytest

from mmrag.errors import InputError
from mmrag.filters import Eq
from mmrag.keywords import encode_document
from mmrag.protocols import FieldQuery, Store
from mmrag.testing.points import found, point, vector
from mmrag.types import key_of

__all__ = ["SearchContract"]


class SearchContract:
    """The searching and reading part of :class:`mmrag.testing.StoreContract`."""

    def test_scores_are_cosines_best_first(self, ready: Store) -> None:
        vectors = {"same": [2, 0, 0], "near": [3, 4, 0], "apart": [0, 0, 9], "against": [-1, 0, 0]}
        ready.upsert([point(name, text=vector) for name, vector in vectors.items()])
        (ranking,) = ready.search([FieldQuery("text", vector([5, 0, 0]))], 10)
        assert ranking.keys == tuple(key_of(name) for name in vectors)
        assert ranking.scores == pytest.approx([1, 0.6, 0, -1], abs=1e-6)

    def test_a_search_sees_only_points_with_the_field(self, ready: Store) -> None:
        ready.upsert([point("t", text=[1, 0, 0]), point("i", image=[1, 0]), point("n")])
        queries = [FieldQuery("image", vector([1, 1])), FieldQuery("text", vector([1, 1, 1]))]
        rankings = ready.search(queries, 10)
        assert [r.keys for r in rankings] == [(key_of("i"),), (key_of("t"),)]

    def test_answers_are_in_the_order_of_the_queries(self, ready: Store) -> None:
        ready.upsert([point("a", "apple", text=[1, 0, 0]), point("b", "banana", text=[0, 1, 0])])
        queries = [
            FieldQuery("text", vector([0, 1, 0])),
            FieldQuery("keywords", "the"),
            FieldQuery("keywords", "apples"),
            FieldQuery("text", vector([1, 0, 0])),
        ]
        first = [ranking.keys[:1] for ranking in ready.search(queries, 5)]
        assert first == [(key_of("b"),), (), (key_of("a"),), (key_of("a"),)]

    def test_the_limit(self, ready: Store) -> None:
        ready.upsert([point(f"{n}", text=[1, n, 0]) for n in range(20)])
        (ranking,) = ready.search([FieldQuery("text", vector([1, 0, 0]))], 7)
        assert ranking.keys == tuple(key_of(f"{n}") for n in range(7))
        with pytest.raises(InputError):
            ready.search([FieldQuery("text", vector([1, 0, 0]))], 0)

    def test_keywords_are_bm25(self, ready: Store) -> None:
        ready.upsert(
            [
                point("rare", "zebra crossing"),
                point("often", "zebra zebra"),
                point("zh", "如何重置路由器密码"),
                point("number", "error 404 in chapter 3.14"),
            ]
        )
        assert found(ready, "zebras") == ["often", "rare"]
        assert found(ready, "路由器密码") == ["zh"]
        assert found(ready, "404") == ["number"]
        assert found(ready, "the of 的 !?") == []
        (ranking,) = ready.search([FieldQuery("keywords", "crossing")], 5)
        # One of four texts has the word: IDF is ln(1 + 3.5 / 1.5), times the stored weight.
        weight = encode_document("crossing zebra").values[0]
        assert ranking.scores == pytest.approx([math.log(1 + 3.5 / 1.5) * weight], rel=1e-5)

    def test_scan_and_sample_go_by_key(self, ready: Store) -> None:
        names = [f"record {n}" for n in range(50)]
        ready.upsert([point(name, text=[1, n, 0]) for n, name in enumerate(names)])
        ready.upsert([point(f"other {n}", image=[1, 0]) for n in range(50)])
        batches = list(ready.scan(batch=30))
        keys = [key_of(record.id) for batch in batches for record in batch]
        assert [len(batch) for batch in batches] == [30, 30, 30, 10]
        assert keys == sorted(keys)
        lowest = sorted(range(50), key=lambda n: key_of(names[n]))[:10]
        expected = [np.array([1, n, 0]) / math.hypot(1, n) for n in lowest]
        np.testing.assert_allclose(ready.sample("text", 10), expected, atol=1e-6)
        assert ready.sample("text", 1000).shape == (50, 3)

    def test_vectors_are_read_by_field(self, ready: Store) -> None:
        ready.upsert([point("a", "word", text=[3, 4, 0], image=[0, 2]), point("b", "words only")])
        read = ready.vectors([key_of(name) for name in "abc"])
        assert set(read) == {key_of("a"), key_of("b")}
        assert read[key_of("b")] == {}
        assert set(read[key_of("a")]) == {"text", "image"}
        np.testing.assert_allclose(read[key_of("a")]["text"], [0.6, 0.8, 0], atol=1e-6)
        np.testing.assert_allclose(read[key_of("a")]["image"], [0, 1], atol=1e-6)
        assert ready.vectors([]) == {}

    def test_counting(self, ready: Store) -> None:
        ready.upsert([point("a", "word", text=[1, 0, 0]), point("b", text=[1, 0, 0])])
        assert ready.count() == 2
        assert ready.count(having="keywords") == 1
        assert ready.count(having="text") == 2
        assert ready.count(having="image") == 0
        assert ready.count(Eq("id", "b"), having="text") == 1
        assert ready.count(Eq("id", "b"), having="keywords") == 0
