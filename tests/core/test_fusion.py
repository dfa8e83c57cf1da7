"""Fusion by arithmetic, and its properties on rankings of any shape."""

from __future__ import annotations

import copy
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag.errors import InputError, UnknownName
from mmrag.fusion import FUSIONS, Fused, calibrated, dbsf, fusion_named, rrf, weighted
from mmrag.protocols import Ranking
from mmrag.routes import ROUTES


def ranking(**scores: float) -> Ranking:
    keys = sorted(scores, key=lambda key: (-scores[key], key))
    values = tuple(scores[key] for key in keys)
    return Ranking(tuple(keys), values, values)


def scores_of(fused: list[Fused]) -> dict[str, float]:
    return {f.key: f.score for f in fused}


def test_rrf_is_the_sum_of_reciprocal_ranks() -> None:
    rankings = {"text->text": ranking(a=3, b=2, c=1), "text->image": ranking(c=9, d=8)}
    fused = rrf(rankings)
    assert scores_of(fused) == {
        "a": 1 / (60 + 1),
        "b": 1 / (60 + 2),
        "c": pytest.approx(1 / (60 + 3) + 1 / (60 + 1)),
        "d": 1 / (60 + 2),
    }
    assert [f.key for f in fused] == ["c", "a", "b", "d"]  # b and d tie: by key


def test_rrf_weights_and_k() -> None:
    rankings = {"text->text": ranking(a=2, b=1), "text->image": ranking(b=2)}
    fused = rrf(rankings, k=2, weights={"text->image": 0.5})
    assert scores_of(fused) == {"a": 1 / 3, "b": pytest.approx(1 / 4 + 0.5 / 3)}


def test_a_route_says_what_it_contributed() -> None:
    rankings = {"text->text": ranking(a=0.9, b=0.5), "keywords": ranking(b=7.0)}
    (b,) = [f for f in rrf(rankings) if f.key == "b"]
    assert [(r.route, r.rank, r.score, r.contribution) for r in b.routes] == [
        ("keywords", 1, 7.0, 1 / 61),
        ("text->text", 2, 0.5, 1 / 62),
    ]


def test_a_duplicate_in_a_ranking_counts_at_its_best_rank_only() -> None:
    twice = Ranking(("a", "b", "a"), (3.0, 2.0, 1.0))
    assert scores_of(rrf({"text->text": twice})) == {"a": 1 / 61, "b": 1 / 62}


def test_dbsf_scales_mean_and_three_deviations_to_one() -> None:
    # Scores 1 and 3: mean 2, deviation 1, so 2 - 3 -> 0 and 2 + 3 -> 1.
    fused = dbsf({"text->text": ranking(a=3, b=1), "keywords": ranking(a=5)})
    assert scores_of(fused) == {"a": pytest.approx(4 / 6 + 0.5), "b": pytest.approx(2 / 6)}


def test_weighted_is_visual_and_text_by_their_strongest_routes() -> None:
    fused = weighted(
        {
            "text->image": ranking(both=2.0, seen=1.0),
            "text->text": ranking(both=1.0),
            "keywords": ranking(both=0.5, said=3.0, noise=-1.0),
        }
    )
    assert scores_of(fused) == {
        "both": pytest.approx(0.6 * 2.0 + 0.4 * 1.0),
        "said": pytest.approx(0.4 * 3.0),
        "seen": pytest.approx(0.6 * 1.0),
        "noise": 0.0,
    }


def test_calibrated_takes_the_strongest_and_half_of_what_is_more_than_noise() -> None:
    fused = calibrated(
        {
            "text->image": ranking(a=3.0, b=0.9),
            "text->text": ranking(a=2.0, b=0.8, c=-0.5),
            "keywords": ranking(b=0.25),
        }
    )
    assert scores_of(fused) == {
        "a": pytest.approx(3.0 + (2.0 - 1) / 2),
        # 0.8 is what noise reaches: it adds nothing. Its words were judged by text->text already.
        "b": pytest.approx(0.9 + 0.25 / 10),
        "c": pytest.approx(-0.5),
    }


def test_calibrated_counts_keywords_whole_where_nothing_else_has_judged_the_words() -> None:
    fused = calibrated(
        {
            "text->image": ranking(seen=0.6, read=0.3),
            "text->caption": ranking(told=0.2),
            "keywords": ranking(read=1.5, alone=0.9, told=0.9),
        }
    )
    assert scores_of(fused) == {
        "read": pytest.approx(0.3 + 1.5),
        "alone": pytest.approx(0.9),
        "seen": pytest.approx(0.6),
        "told": pytest.approx(0.2 + 0.9),  # a caption's text and data are in no vector
    }


def test_uncalibrated_rankings_are_refused_where_evidence_is_needed() -> None:
    raw = {"text->text": Ranking(("a",), (0.5,))}
    for fuse in (calibrated, weighted):
        with pytest.raises(InputError, match="no evidence"):
            fuse(raw)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_weights_are_finite_and_not_negative(bad: float) -> None:
    with pytest.raises(InputError):
        rrf({}, weights={"text->text": bad})
    with pytest.raises(InputError):
        weighted({}, visual=bad)


def test_names() -> None:
    assert fusion_named(None) is calibrated
    assert fusion_named("rrf") is rrf
    assert fusion_named(dbsf) is dbsf
    with pytest.raises(UnknownName, match=r"unknown fusion 'rff'; known: calibrated, dbsf, rrf"):
        fusion_named("rff")


KEYS = st.text("abcdefgh", min_size=1, max_size=2)
SCORE = st.floats(-5, 5).map(lambda value: round(value, 3))


@st.composite
def rankings_of(draw: st.DrawFn) -> dict[str, Ranking]:
    names = draw(st.lists(st.sampled_from(sorted(ROUTES)), unique=True, max_size=4))
    return {name: ranking(**draw(st.dictionaries(KEYS, SCORE, max_size=8))) for name in names}


@pytest.mark.parametrize("name", sorted(FUSIONS))
@given(rankings=rankings_of())
def test_properties_of_every_fusion(name: str, rankings: dict[str, Ranking]) -> None:
    fuse, before = FUSIONS[name], copy.deepcopy(rankings)
    fused = fuse(rankings)
    assert rankings == before
    keys = [f.key for f in fused]
    assert len(keys) == len(set(keys))
    assert set(keys) == {key for r in rankings.values() for key in r.keys}
    assert fused == sorted(fused, key=lambda f: (-f.score, f.key))
    assert fused == fuse(dict(reversed(rankings.items())))
    for f in fused:
        assert f.score == pytest.approx(math.fsum(r.contribution for r in f.routes))
        for r in f.routes:
            assert rankings[r.route].keys[r.rank - 1] == f.key
            assert rankings[r.route].scores[r.rank - 1] == r.score


@given(rankings=rankings_of(), factor=st.floats(0.1, 100))
def test_rrf_sees_ranks_only(rankings: dict[str, Ranking], factor: float) -> None:
    scaled = {
        name: Ranking(r.keys, tuple(math.exp(s) * factor for s in r.scores))
        for name, r in rankings.items()
    }
    assert scores_of(rrf(rankings)) == scores_of(rrf(scaled))


@pytest.mark.parametrize("name", ["rrf", "calibrated", "weighted"])
@given(rankings=rankings_of(), data=st.data())
def test_a_better_place_never_lowers_a_score(
    name: str, rankings: dict[str, Ranking], data: st.DataObject
) -> None:
    """Swapping a key with the one above it, scores staying where they are."""
    movable = [route for route, r in rankings.items() if len(r.keys) > 1]
    if not movable:
        return
    route = data.draw(st.sampled_from(sorted(movable)))
    old = rankings[route]
    at = data.draw(st.integers(1, len(old.keys) - 1))
    keys = list(old.keys)
    keys[at - 1], keys[at] = keys[at], keys[at - 1]
    moved = {**rankings, route: Ranking(tuple(keys), old.scores, old.evidence)}
    fuse = FUSIONS[name]
    key = old.keys[at]
    assert scores_of(fuse(moved))[key] >= scores_of(fuse(rankings))[key] - 1e-12
