"""Blending what a reranker and the search say, and hits in a reranker's order."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag import MultimodalIndex
from mmrag.display import Hits
from mmrag.errors import AnswerError, InputError, ServiceError, UnreadableSource
from mmrag.media import ImageInput
from mmrag.rerank import RERANK, arerank_hits, blend, evidence_score, rerank_hits
from mmrag.rerankers.scale import logistic
from mmrag.testing import FakeEncoder, FakeReranker
from mmrag.types import Hit, ImageRef, Record, RouteScore, key_of

from .files import picture

EVIDENCE = st.floats(-20, 20)
SCORES = st.floats(0, 1)
PAIRS = st.lists(st.tuples(EVIDENCE, SCORES), max_size=8)


class Says:
    """A reranker that says what it was told to say of each record."""

    name = "says"

    def __init__(self, scores: dict[str, float]) -> None:
        self.scores = scores

    def rerank(
        self, text: str | None, image: ImageInput | None, records: Sequence[Record]
    ) -> list[float]:
        return [self.scores[record.id] for record in records]


def blended(pairs: list[tuple[float, float]], weight: float) -> list[float]:
    return blend([found for found, _ in pairs], [judged for _, judged in pairs], weight)


@given(PAIRS, SCORES)
def test_a_blend_is_between_both_and_at_either_end_one_of_them(
    pairs: list[tuple[float, float]], weight: float
) -> None:
    for score, (found, judged) in zip(blended(pairs, weight), pairs, strict=True):
        low, high = sorted((evidence_score(found), judged))
        assert low - 1e-12 <= score <= high + 1e-12
    assert blended(pairs, 1) == [judged for _, judged in pairs]
    assert blended(pairs, 0) == [evidence_score(found) for found, _ in pairs]


@given(PAIRS, st.tuples(EVIDENCE, SCORES), EVIDENCE, SCORES, SCORES)
def test_a_blend_never_falls_when_either_score_rises(
    others: list[tuple[float, float]],
    pair: tuple[float, float],
    evidence: float,
    score: float,
    weight: float,
) -> None:
    before, *company = blended([pair, *others], weight)
    after, *same = blended([(max(pair[0], evidence), max(pair[1], score)), *others], weight)
    assert after >= before
    assert same == company


@given(PAIRS, st.randoms(use_true_random=False), SCORES)
def test_the_order_of_the_candidates_makes_no_difference(
    pairs: list[tuple[float, float]], random: object, weight: float
) -> None:
    places = list(range(len(pairs)))
    random.shuffle(places)  # type: ignore[attr-defined]
    scores = blended(pairs, weight)
    assert blended([pairs[n] for n in places], weight) == [scores[n] for n in places]


@given(st.floats(-1e300, 1e300))
def test_the_logistic_curve(odds: float) -> None:
    assert 0 <= logistic(odds) <= 1
    assert logistic(odds) + logistic(-odds) == pytest.approx(1)


def test_evidence_as_a_score() -> None:
    assert evidence_score(1) == 0.5
    for evidence in (-2.0, 0.0, 0.7, 3.0):
        assert evidence_score(evidence) == pytest.approx(1 / (1 + math.exp(-2 * (evidence - 1))))


@pytest.mark.parametrize(
    ("retrieval", "reranked", "weight"),
    [
        ([1.0], [0.5, 0.5], 0.5),
        ([math.nan], [0.5], 0.5),
        ([math.inf], [0.5], 0.5),
        ([1.0], [1.5], 0.5),
        ([1.0], [math.nan], 0.5),
        ([1.0], [0.5], -0.1),
        ([1.0], [0.5], math.nan),
        ([1.0], [0.5], "half"),
        ([1.0], [None], 0.5),
        (["high"], [0.5], 0.5),
    ],
)
def test_what_cannot_be_blended(
    retrieval: list[float], reranked: list[float], weight: float
) -> None:
    with pytest.raises(InputError):
        blend(retrieval, reranked, weight)


def hit(name: str, *contributions: float) -> Hit:
    routes = tuple(
        RouteScore(f"route {n}", n + 1, 0.3, part) for n, part in enumerate(contributions)
    )
    return Hit(Record(name, name), math.fsum(contributions), routes)


def test_the_smallest_of_contributions_is_a_share_too() -> None:
    (found,) = rerank_hits([hit("a", 5e-324)], Says({"a": 0.0}), "query", weight=0)
    assert found.routes[0].contribution == pytest.approx(found.score)


@given(
    st.lists(st.lists(st.floats(-3, 3), min_size=1, max_size=3), min_size=1, max_size=6),
    SCORES,
    st.data(),
)
def test_the_contributions_are_those_to_the_new_score(
    parts: list[list[float]], weight: float, data: st.DataObject
) -> None:
    hits = [hit(str(n), *several) for n, several in enumerate(parts)]
    says = Says({h.record.id: data.draw(SCORES) for h in hits})
    found = rerank_hits(hits, says, "query", weight=weight)
    by_name = {h.record.id: h for h in hits}
    for new in found:
        old = by_name[new.record.id]
        assert new.score == pytest.approx(math.fsum(r.contribution for r in new.routes))
        assert [(r.route, r.rank, r.score) for r in new.routes[:-1]] == [
            (r.route, r.rank, r.score) for r in old.routes
        ]
        said = new.routes[-1]
        assert (said.route, said.score) == (RERANK, says.scores[new.record.id])
    assert sorted(h.routes[-1].rank for h in found) == list(range(1, len(hits) + 1))


class Picky(Says):
    """Judges pictures alone."""

    def judges(self, record: Record) -> bool:
        return record.image is not None


def shown(name: str, score: float) -> Hit:
    return replace(hit(name, score), record=Record(name, image=ImageRef(name, "", "", 1, 1)))


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_what_a_reranker_cannot_judge_keeps_what_the_search_found(weight: float) -> None:
    hits = [hit("strong", 1.5, 0.5), shown("cat", 1.0), hit("weak", 0.1), shown("dog", 1.0)]
    says = Picky({"strong": 0.0, "cat": 0.99, "weak": 0.0, "dog": 0.01})
    found = rerank_hits(hits, says, "query", weight=weight)
    assert [h.record.id for h in found][:2] == (
        ["cat", "strong"] if weight == 1 else ["strong", "cat"]
    )
    by_name = {h.record.id: h for h in found}
    for old in (hits[0], hits[2]):
        new = by_name[old.record.id]
        assert new.score == pytest.approx(evidence_score(old.score))
        assert [r.route for r in new.routes] == [r.route for r in old.routes]
        assert new.score == pytest.approx(math.fsum(r.contribution for r in new.routes))
    assert [by_name[name].routes[-1].rank for name in ("cat", "dog")] == [1, 2]


class Choking(Says):
    """Of its own kind of error where one of these is among the candidates."""

    def __init__(self, scores: dict[str, float], *bad: str) -> None:
        super().__init__(scores)
        self.bad, self.calls = bad, 0

    def rerank(
        self, text: str | None, image: ImageInput | None, records: Sequence[Record]
    ) -> list[float]:
        self.calls += 1
        if any(record.id in self.bad for record in records):
            raise RuntimeError("no such tensor")
        return super().rerank(text, image, records)


def test_a_candidate_that_a_reranker_fails_on_keeps_its_score(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hits = [hit("bad", 1.5), hit("a", 1.0), hit("b", 0.5)]
    says = Choking({"a": 0.1, "b": 0.9}, "bad")
    with caplog.at_level(logging.WARNING, "mmrag"):
        found = rerank_hits(hits, says, "query")
    assert [h.record.id for h in found] == ["b", "bad", "a"]
    assert found[1].score == pytest.approx(evidence_score(1.5))
    assert [r.route for r in found[1].routes] == ["route 0"]
    (warning,) = caplog.messages
    assert "'bad'" in warning
    assert "no such tensor" in warning


def test_a_reranker_that_fails_on_everything_is_a_typed_error_and_soon() -> None:
    hits = [hit(str(number), 1.0) for number in range(50)]
    says = Choking({}, *(str(number) for number in range(50)))
    with pytest.raises(AnswerError, match="says judges nothing at all: no such tensor"):
        rerank_hits(hits, says, "query")
    assert says.calls < 10

    class Silent(Says):
        def rerank(self, *_: object) -> list[float]:
            return None  # type: ignore[return-value]

    with pytest.raises(AnswerError, match="judges nothing at all"):
        rerank_hits(hits, Silent({}), "query")

    class Busy(Says):
        def rerank(self, *_: object) -> list[float]:
            raise ServiceError("busy")

    with pytest.raises(ServiceError, match="busy"):
        rerank_hits(hits, Busy({}), "query")


def test_equals_stay_in_the_order_of_the_search_whatever_order_they_come_in() -> None:
    hits = [hit("a", 0.5), hit("b", 2.0), hit("c", 1.0), hit("d", 1.0)]
    says = Says({"a": 0.7, "b": 0.0, "c": 0.0, "d": 0.0})
    later = sorted("cd", key=key_of)
    for order in (hits, hits[::-1]):
        found = rerank_hits(order, says, "query")
        assert [h.record.id for h in found] == ["a", "b", *later]
        assert [h.routes[-1].rank for h in found] == [1, 2, 3, 4]
    assert [h.record.id for h in rerank_hits(hits, says, "query", top_n=2)] == ["a", "b"]
    assert rerank_hits(hits, says, "query", weight=0)[0].record.id == "b"


def test_reranking_again_replaces_what_was_said_before() -> None:
    once = rerank_hits([hit("a", 1.0)], Says({"a": 0.2}), "query")
    twice = rerank_hits(once, Says({"a": 0.9}), "query")
    assert [(r.route, r.score) for r in twice[0].routes] == [("route 0", 0.3), (RERANK, 0.9)]


def test_hits_of_an_index_end_to_end(tmp_path: Path) -> None:
    """Texts and a picture; the query is the one that the hits remember."""
    picture().save(tmp_path / "wall.png")
    wall = ImageRef(str(tmp_path / "wall.png"), "", "image/png", 96, 64)
    encoder = FakeEncoder()
    with MultimodalIndex.open(
        tmp_path / "kb", text_encoder=encoder, image_encoder=encoder
    ) as index:
        index.add(
            [
                Record("short", "red"),
                Record("whole", "the long story of how a red bicycle was once built by hand"),
                Record("wall", "a wall", wall),
            ]
        )
        hits = index.search("red bicycle")
        found = rerank_hits(hits, FakeReranker(), top_n=2)
        assert [(h.record.id, h.score) for h in found] == [("whole", 1.0), ("short", 0.5)]
        assert (found.text, found.image) == ("red bicycle", None)
        assert "rerank #1 1" in repr(found)
        assert "rerank" in found._repr_html_()
        assert asyncio.run(arerank_hits(hits, FakeReranker(), top_n=2)) == found
        # Another question about the same hits.
        assert rerank_hits(hits, FakeReranker(), "a wall")[0].record.id == "wall"
        assert rerank_hits(index.search("x", where={"none": 1}), FakeReranker()) == Hits()


def test_hits_that_cannot_be_reranked() -> None:
    hits, says = [hit("a", 1.0)], Says({"a": 0.2})
    for text in (None, "", " "):
        with pytest.raises(InputError, match="empty query"):
            rerank_hits(hits, says, text)
    for top_n in (0, -1, True, 1.5):
        with pytest.raises(InputError, match="top_n"):
            rerank_hits(hits, says, "query", top_n=top_n)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"not an mmrag\.protocols\.Reranker"):
        rerank_hits(hits, None, "query")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="weight"):
        rerank_hits(hits, says, "query", weight=2)
    with pytest.raises(InputError, match=r"outside 0\.\.1"):
        rerank_hits(hits, Says({"a": 7.0}), "query")
    with pytest.raises(UnreadableSource):
        rerank_hits(hits, FakeReranker(), image="/nowhere/a.png")

    class Short(Says):
        def rerank(self, *_: object) -> list[float]:
            return []

    with pytest.raises(InputError, match="gave 0 scores for 1 hits"):
        rerank_hits(hits, Short({}), "query")
