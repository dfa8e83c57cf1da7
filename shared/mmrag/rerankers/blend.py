"""What a reranker says and what the search has found, as one score; hits in a reranker's order."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mmrag.display import Hits
from mmrag.errors import AnswerError, InputError, MmragError
from mmrag.rerankers.parts import words_of
from mmrag.rerankers.scale import evidence_score
from mmrag.types import Hit, Record, RouteScore, key_of

if TYPE_CHECKING:
    from mmrag.media import ImageInput
    from mmrag.protocols import Reranker

__all__ = ["RERANK", "arerank_hits", "blend", "rerank_hits"]

FAILURES = 5  # one after another, and nothing judged: it is the reranker

log = logging.getLogger("mmrag")

RERANK = "rerank"
"""The name of the :class:`mmrag.types.RouteScore` in which a hit says what the reranker said."""


def blend(
    retrieval: Sequence[float], reranked: Sequence[float], weight: float = 0.5
) -> list[float]:
    """``weight`` times what a reranker says of each candidate, and the rest of what retrieval says.

    ``reranked`` are scores in 0..1. ``retrieval`` is evidence: the scores of hits of the default
    fusion, or of ``weighted``. :func:`evidence_score` brings it to the same scale. Each
    candidate's result, in 0..1, comes from its own two scores alone: it never falls when one of
    them rises, and neither the order nor the company of the candidates matters. Scores of ``rrf``
    and ``dbsf`` are no evidence: where those were used, leave ``weight`` at 1.

    Raises:
        InputError: the lengths differ, a number is not finite, a score of the reranker or the
            weight is outside 0..1.

    Example:
        >>> blend([1.0, 3.0], [0.9, 0.1], weight=1.0)
        [0.9, 0.1]
    """
    _check_weight(weight)
    if len(retrieval) != len(reranked):
        raise InputError(f"{len(retrieval)} scores of retrieval for {len(reranked)} of a reranker")
    try:
        pairs = [(float(f), float(j)) for f, j in zip(retrieval, reranked, strict=True)]
    except (TypeError, ValueError):
        raise InputError("a score is a number") from None
    if not all(math.isfinite(found) for found, _ in pairs):
        raise InputError("a score of retrieval is not finite")
    if not all(0 <= judged <= 1 for _, judged in pairs):
        raise InputError("a reranker's score is outside 0..1")
    return [weight * judged + (1 - weight) * evidence_score(found) for found, judged in pairs]


def rerank_hits(
    hits: Sequence[Hit],
    reranker: Reranker,
    text: str | None = None,
    image: ImageInput | None = None,
    *,
    top_n: int | None = None,
    weight: float = 1.0,
) -> Hits:
    """The hits of a search in the order in which a reranker has them; the ``top_n`` best.

    The query is by default the one that the hits remember. A hit's score becomes that of
    :func:`blend`; equals stay in the order of the search. Its routes get one of the name
    ``"rerank"`` with the reranker's rank and score. The contributions are those to the new score:
    the routes that found the hit share what retrieval adds to it in proportion to what they added
    before, which is nothing at ``weight=1``. Their ranks and scores stay.

    A reranker that cannot judge everything may have a method ``judges(record)`` that says so: such
    a hit is not put last, but has the score of its evidence, whatever the weight, and no route
    ``"rerank"``. As a blend does, that wants a fusion whose scores are evidence. The same holds of
    a hit that the reranker fails on by an error that is not mmrag's, with a warning that names it.

    Raises:
        InputError: there is no query, ``top_n`` is below 1, ``weight`` is outside 0..1, the
            reranker takes no such query, or its scores are not one in 0..1 for each hit.
        SourceError: the query's picture cannot be opened.
        AnswerError: the reranker fails on all, or on each of the first five.

    Example:
        >>> rerank_hits(index.search("a cat", limit=50), reranker, top_n=5)   # doctest: +SKIP
    """
    _check_weight(weight)
    if not (hasattr(reranker, "rerank") and hasattr(reranker, "name")):
        raise InputError(f"{reranker!r} is not an mmrag.protocols.Reranker")
    if top_n is not None and (isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1):
        raise InputError(f"top_n is a whole number from 1, not {top_n!r}")
    if text is None and image is None and isinstance(hits, Hits):
        text, image = hits.text, hits.image
    words_of(text, image)
    if not hits:
        return Hits(text=text, image=image)
    judged = _judged(hits, reranker, text, image)
    scores = {n: _score(hit, judged.get(n), weight) for n, hit in enumerate(hits)}
    ranks = {number: rank for rank, number in enumerate(_order(hits, judged), start=1)}
    best = _order(hits, scores)[:top_n]
    return Hits(
        (
            _told(hits[n], scores[n], float(judged[n]), ranks[n], weight)
            if n in judged
            else _shared(hits[n], scores[n], scores[n])
            for n in best
        ),
        text=text,
        image=image,
    )


async def arerank_hits(
    hits: Sequence[Hit],
    reranker: Reranker,
    text: str | None = None,
    image: ImageInput | None = None,
    *,
    top_n: int | None = None,
    weight: float = 1.0,
) -> Hits:
    """:func:`rerank_hits` in a worker thread."""
    return await asyncio.to_thread(
        rerank_hits, hits, reranker, text, image, top_n=top_n, weight=weight
    )


def _check_weight(weight: float) -> None:
    if not (isinstance(weight, int | float) and 0 <= weight <= 1):
        raise InputError(f"the weight of a reranker is from 0 to 1, not {weight!r}")


def _judged(
    hits: Sequence[Hit], reranker: Reranker, text: str | None, image: ImageInput | None
) -> dict[int, float]:
    """The reranker's scores by the place of the hit, for those that it can judge."""
    judges = getattr(reranker, "judges", lambda _: True)
    records = {number: hit.record for number, hit in enumerate(hits) if judges(hit.record)}
    if not records:
        return {}
    ask = partial(_asked, reranker, text, image)
    try:
        return dict(zip(records, ask(list(records.values())), strict=True))
    except MmragError:
        raise
    except Exception as error:  # a foreign reranker may raise anything, over a single candidate
        log.debug("%s failed on %d records", reranker.name, len(records), exc_info=error)
        return _one_by_one(ask, records, reranker.name)


def _one_by_one(
    ask: Callable[[list[Record]], list[float]], records: Mapping[int, Record], name: str
) -> dict[int, float]:
    """The scores of those that the reranker does not fail on."""
    judged: dict[int, float] = {}
    for tried, (number, record) in enumerate(records.items(), start=1):
        try:
            (judged[number],) = ask([record])
        except MmragError:
            raise
        except Exception as error:
            if not judged and tried == min(FAILURES, len(records)):
                raise AnswerError(f"{name} judges nothing at all: {error}") from error
            message = "record %r keeps the score of the search, as %s failed on it: %s"
            log.warning(message, record.id, name, error)
    return judged


def _asked(
    reranker: Reranker, text: str | None, image: ImageInput | None, records: list[Record]
) -> list[float]:
    said = list(reranker.rerank(text, image, records))
    if len(said) != len(records):
        raise InputError(f"{reranker.name} gave {len(said)} scores for {len(records)} hits")
    return said


def _score(hit: Hit, judged: float | None, weight: float) -> float:
    """The blend, which is all retrieval where the reranker says nothing."""
    said, share = (0.0, 0.0) if judged is None else (judged, weight)
    return blend([hit.score], [said], share)[0]


def _order(hits: Sequence[Hit], scores: Mapping[int, float]) -> list[int]:
    """The hits with a score, best first, equals as the search has them, whatever order the hits
    came in."""
    return sorted(scores, key=lambda n: (-scores[n], -hits[n].score, key_of(hits[n].record.id)))


def _told(hit: Hit, score: float, judged: float, rank: int, weight: float) -> Hit:
    """The hit with its new score, what each route adds to it, and what the reranker says."""
    shared = _shared(hit, score, score - weight * judged)
    said = RouteScore(RERANK, rank, judged, weight * judged)
    return replace(shared, routes=(*shared.routes, said))


def _shared(hit: Hit, score: float, rest: float) -> Hit:
    """The hit with its new score, of which its routes share the ``rest``."""
    before = [route for route in hit.routes if route.route != RERANK]
    shares = [max(0.0, route.contribution) for route in before]
    total = math.fsum(shares)
    if not 0 < total < math.inf:
        shares, total = [1.0] * len(before), float(len(before))
    routes = tuple(
        replace(route, contribution=rest * (share / total))
        for route, share in zip(before, shares, strict=True)
    )
    return replace(hit, score=score, routes=routes)
