"""Fusion: from one ranking a route to one ranking, as pure functions.

Each takes rankings by route name and returns :class:`Fused` results: best first, ties by key, every
key once, with each route's rank, raw score and contribution; a result's score is the sum of its
contributions. Nothing that is passed in is changed, and the order of the routes does not matter.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mmrag.errors import InputError, UnknownName
from mmrag.protocols import Ranking
from mmrag.routes import ROUTES
from mmrag.types import RouteScore

__all__ = ["FUSIONS", "Fused", "Fusion", "calibrated", "dbsf", "fusion_named", "rrf", "weighted"]

RRF_K = 60
KEYWORDS = "keywords"
SAME_WORDS = "text->text"
NOISE = 1.0
AGAIN = 0.1


@dataclass(frozen=True, slots=True)
class Fused:
    """One key of the fused ranking."""

    key: str
    score: float
    routes: tuple[RouteScore, ...]


Fusion = Callable[[Mapping[str, Ranking]], list[Fused]]
"""What ``search(fusion=...)`` takes: rankings by route name in, one ranking out."""


def rrf(
    rankings: Mapping[str, Ranking], *, k: float = RRF_K, weights: Mapping[str, float] | None = None
) -> list[Fused]:
    """Reciprocal rank fusion: the sum over routes of ``weight / (k + rank)``, ranks from 1.

    Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual rank
    learning methods", SIGIR 2009. A route without a weight weighs 1.

    Raises:
        InputError: ``k`` or a weight is negative or not finite.
    """
    _check_weights({**(weights or {}), "k": k})
    return _fuse(
        rankings,
        lambda route, ranking: [
            _weight(weights, route) / (k + rank) for rank in range(1, len(ranking.keys) + 1)
        ],
    )


def dbsf(
    rankings: Mapping[str, Ranking], *, weights: Mapping[str, float] | None = None
) -> list[Fused]:
    """Distribution-based score fusion: each route's scores scaled so that its own mean ± 3
    standard deviations become 0..1 (clipped), then summed; a route of equal scores gives 0.5.

    M. Mazzeschi, "Distribution-Based Score Fusion (DBSF)", 2023, as in Qdrant.
    """
    _check_weights(weights or {})

    def scaled(route: str, ranking: Ranking) -> list[float]:
        if not ranking.scores:
            return []
        mean, std = statistics.fmean(ranking.scores), statistics.pstdev(ranking.scores)
        weight = _weight(weights, route)
        if std == 0:
            return [0.5 * weight] * len(ranking.scores)
        low = mean - 3 * std
        return [weight * min(1.0, max(0.0, (s - low) / (6 * std))) for s in ranking.scores]

    return _fuse(rankings, scaled)


def weighted(
    rankings: Mapping[str, Ranking], *, visual: float = 0.6, text: float = 0.4
) -> list[Fused]:
    """``visual`` times what a record shows plus ``text`` times what it says, on evidence.

    Of the routes of a channel only the strongest counts, and evidence below zero counts as zero.
    A record with one channel only has the other one's zero.

    Raises:
        InputError: a ranking was not calibrated, or a weight is negative or not finite.
    """
    weights = {"visual": visual, "text": text}
    _check_weights(weights)

    def share(votes: list[Vote]) -> list[float]:
        best: dict[str, Vote] = {}
        for vote in votes:
            channel = _channel(vote.route)
            if channel not in best or vote.value > best[channel].value:
                best[channel] = vote
        return [
            weights[_channel(v.route)] * max(0.0, v.value) if v is best[_channel(v.route)] else 0.0
            for v in votes
        ]

    return _fuse(rankings, _evidence, share)


def calibrated(rankings: Mapping[str, Ranking]) -> list[Fused]:
    """The default: the strongest dense evidence for a record, the evidence of its keywords, and
    half of what other dense routes have above 1, the level that unrelated records hardly ever
    reach. So a route with nothing to say moves nothing, and two fields are not two votes.

    Keywords count whole where no dense route has judged the same words, as those that OCR reads in
    a picture, and a tenth where ``text->text`` has. ``text->caption`` has not: it knows a picture's
    description, and not the text, the data and the keywords of its caption.

    Raises:
        InputError: a ranking was not calibrated.
    """

    def share(votes: list[Vote]) -> list[float]:
        if len(votes) == 1:
            return [votes[0].value]
        dense = [vote for vote in votes if vote.route != KEYWORDS]
        best = max(dense, key=_strength, default=None)
        keywords = AGAIN if any(vote.route == SAME_WORDS for vote in dense) else 1.0

        def part(vote: Vote) -> float:
            if vote.route == KEYWORDS:
                return keywords * vote.value
            return vote.value if vote is best else max(0.0, vote.value - NOISE) / 2

        return [part(vote) for vote in votes]

    return _fuse(rankings, _evidence, share)


class Vote(NamedTuple):
    """What one route says of one key: its rank, its raw score, and the value that is fused."""

    route: str
    rank: int
    score: float
    value: float


def _fuse(
    rankings: Mapping[str, Ranking],
    values: Callable[[str, Ranking], Sequence[float]],
    share: Callable[[list[Vote]], list[float]] | None = None,
) -> list[Fused]:
    """Collect every key's votes, at its best place in each route, and let ``share`` say what each
    vote contributes."""
    found: dict[str, list[Vote]] = {}
    for route in sorted(rankings):
        ranking = rankings[route]
        seen: set[str] = set()
        entries = zip(ranking.keys, ranking.scores, values(route, ranking), strict=True)
        for rank, (key, score, value) in enumerate(entries, start=1):
            if key not in seen:
                seen.add(key)
                found.setdefault(key, []).append(Vote(route, rank, score, value))
    fused = []
    for key, votes in found.items():
        parts = share(votes) if share else [vote.value for vote in votes]
        routes = (
            RouteScore(v.route, v.rank, v.score, part) for v, part in zip(votes, parts, strict=True)
        )
        fused.append(Fused(key, math.fsum(parts), tuple(routes)))
    fused.sort(key=lambda f: (-f.score, f.key))
    return fused


def _evidence(route: str, ranking: Ranking) -> Sequence[float]:
    if ranking.evidence is None:
        raise InputError(f"the ranking of {route!r} has no evidence: fuse it with rrf or dbsf")
    return ranking.evidence


def _strength(vote: Vote) -> float:
    return vote.value


def _channel(route: str) -> str:
    return ROUTES[route].channel if route in ROUTES else "text"


def _weight(weights: Mapping[str, float] | None, route: str) -> float:
    return 1.0 if weights is None else weights.get(route, 1.0)


def _check_weights(weights: Mapping[str, float]) -> None:
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise InputError(f"the weight {name!r} is a finite number from 0, not {weight!r}")


FUSIONS: dict[str, Fusion] = {
    "calibrated": calibrated,
    "dbsf": dbsf,
    "rrf": rrf,
    "weighted": weighted,
}
"""All fusions by name; ``calibrated`` is the default."""


def fusion_named(fusion: str | Fusion | None) -> Fusion:
    """The fusion of this name, the default for None, or the function itself.

    Raises:
        UnknownName: there is no fusion of this name.
    """
    if fusion is None:
        return calibrated
    if callable(fusion):
        return fusion
    if fusion not in FUSIONS:
        raise UnknownName("fusion", fusion, FUSIONS)
    return FUSIONS[fusion]
