"""How well an index finds what is known to be relevant: metrics, intervals, comparisons."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmrag.errors import InputError, SourceError
from mmrag.judgements import JudgedQuery
from mmrag.metrics import (
    NDCG,
    Estimate,
    check_installed,
    estimate,
    measured,
    metric_names,
    p_value,
)
from mmrag.relevance import Relevance, Unit
from mmrag.rerankers.blend import rerank_hits
from mmrag.routes import routes_named
from mmrag.search import DEPTH
from mmrag.ways import Way, takes, ways_of

if TYPE_CHECKING:
    from mmrag.index import MultimodalIndex

__all__ = ["Comparison", "Evaluation", "Outcome", "evaluate"]

MAX_K = 1000
SPARE = 2.5  # times as many records are searched for, where several of them may be one file

log = logging.getLogger("mmrag")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one way did: ``metrics`` by name, and ``per_query`` the same of each query.

    Queries that the way cannot take, as ``image->image`` those in words, do not count in it:
    ``queries`` is how many do.
    """

    way: str
    queries: int
    metrics: Mapping[str, Estimate]
    per_query: Mapping[str, Mapping[str, float]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A way beside another, over the queries that both take.

    ``difference`` is in nDCG@10, positive where ``way`` is better, with the interval of the paired
    bootstrap. ``p_value`` is that of the paired randomisation test, two-sided, and is not corrected
    for there being several comparisons.
    """

    way: str
    baseline: str
    queries: int
    difference: Estimate
    p_value: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What :func:`evaluate` found.

    ``missing`` are the relevant names that the index does not hold: no way can find them.
    ``failed`` are the queries that could not be asked, with the reason; they count nowhere.
    """

    k: int
    queries: int
    outcomes: tuple[Outcome, ...]
    comparisons: tuple[Comparison, ...]
    missing: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)


def evaluate(
    index: MultimodalIndex,
    queries: Iterable[JudgedQuery],
    *,
    ways: Sequence[Way] | None = None,
    k: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Ask every query in every way, and measure: recall@k, hit@k (whether anything relevant is
    among the first k), MRR (down to rank k, at least 10) and nDCG@10.

    Without ``ways`` they are those of :func:`mmrag.ways.ways_of`. The first one is the baseline of
    all others. What counts as one result is said at :class:`mmrag.relevance.Relevance`; where it is
    a page or a file, 2.5 times as many records are searched for. A reranker orders all of these
    anew, and at least the best 50, as in a search; one that refuses a query with a picture is not
    measured on it. ``progress`` is told how many queries of how many are done.

    >>> evaluate(index, read_judgements("queries.jsonl"))          # doctest: +SKIP

    Raises:
        InputError: there are no queries, two of one id, two ways of one name, ``k`` is not in
            1..1000, a name means several files, or no query could be asked in any way.
        MissingExtra: ``mmrag[eval]`` is not installed.
    """
    queries = list(queries)
    _check(queries, k)
    check_installed()
    ways = ways_of(index, queries) if ways is None else list(ways)
    if not ways or len({way.name for way in ways}) < len(ways):
        raise InputError("give at least one way to search, each with a name of its own")
    relevance = Relevance(index, queries)
    if missing := relevance.missing:
        log.warning(
            "%d relevant names are not in the index and count as missed: %s",
            *(len(missing), ", ".join(map(repr, missing[:5]))),
        )
    asked = _Asked(index, relevance, max(k, 10))
    gains = {query.id: relevance.gains(query) for query in queries}
    rankings: dict[str, dict[str, list[Unit]]] = {way.name: {} for way in ways}
    failed: dict[str, str] = {}
    for number, query in enumerate(queries, start=1):
        found: dict[str, list[Unit] | None] = {}
        try:
            found = {way.name: asked.ranking(way, query, gains[query.id]) for way in ways}
        except SourceError as error:
            log.warning("query %r cannot be asked: %s", query.id, error)
            failed[query.id] = str(error)
        for name, ranking in found.items():
            if ranking is not None:
                rankings[name][query.id] = ranking
        if progress is not None:
            progress(number, len(queries))
    if len(failed) == len(queries):
        raise InputError(f"no query could be asked: {next(iter(failed.values()))}")
    if not any(rankings.values()):
        raise InputError(
            "none of the ways takes any of the queries: a route wants words, or a picture"
        )
    outcomes = [_outcome(name, measured(gains, found, k), k) for name, found in rankings.items()]
    pairs = [_compared(outcome, outcomes[0]) for outcome in outcomes[1:]]
    return Evaluation(
        k=k,
        queries=len(queries) - len(failed),
        outcomes=tuple(outcomes),
        comparisons=tuple(pair for pair in pairs if pair),
        missing=missing,
        failed=failed,
    )


def _outcome(way: str, rows: Mapping[str, Mapping[str, float]], k: int) -> Outcome:
    columns = {name: [row[name] for row in rows.values()] for name in metric_names(k) if rows}
    metrics = {name: estimate(values) for name, values in columns.items()}
    return Outcome(way, len(rows), metrics, rows)


def _compared(way: Outcome, baseline: Outcome) -> Comparison | None:
    """The two on the queries that both take; None if there are none."""
    both = [query for query in way.per_query if query in baseline.per_query]
    if not both:
        return None
    differences = [way.per_query[q][NDCG] - baseline.per_query[q][NDCG] for q in both]
    found = estimate(differences), p_value(differences)
    return Comparison(way.way, baseline.way, len(both), *found)


def _check(queries: Sequence[JudgedQuery], k: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
        raise InputError(f"k is a whole number from 1 to {MAX_K}, not {k!r}")
    if not queries:
        raise InputError("there are no queries to evaluate with")
    if len({query.id for query in queries}) < len(queries):
        raise InputError("two queries have the same id")


@dataclass(frozen=True, slots=True)
class _Asked:
    """The rankings of an index, down to ``depth``."""

    index: MultimodalIndex
    relevance: Relevance
    depth: int

    def ranking(self, way: Way, query: JudgedQuery, gains: Mapping[Unit, int]) -> list[Unit] | None:
        """What is found, best first; None if the way cannot take the query."""
        routes = [route for route in routes_named(way.routes) if takes(query, route)]
        if not routes:
            return None
        parts = {route.query for route in routes}
        limit = self.depth if self.relevance.by_record else math.ceil(SPARE * self.depth)
        hits = self.index.search(
            query.text if "text" in parts else None,
            image=query.image if "image" in parts else None,
            limit=limit if way.reranker is None else max(DEPTH, limit),
            routes=[route.name for route in routes],
            fusion=way.fusion,
        )
        if way.reranker is not None:
            try:
                hits = rerank_hits(hits, way.reranker, query.text, query.image, weight=way.weight)
            except InputError as error:
                if query.image is None:
                    raise
                log.warning("query %r is not for %r: %s", query.id, way.name, error)
                return None
        return self.relevance.ranking(gains, [hit.record for hit in hits])[: self.depth]
