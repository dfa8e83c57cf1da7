"""The figures of an evaluation: trec_eval's metrics, bootstrap intervals, a randomisation test."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

import numpy as np

from mmrag.errors import MissingExtra

__all__ = ["NDCG", "Estimate", "check_installed", "estimate", "measured", "metric_names", "p_value"]

NDCG = "nDCG@10"
"""The metric that ways to search are compared by."""

Thing = TypeVar("Thing", bound=Hashable)
RESAMPLES = 10_000
_LIBRARIES = ("ir_measures", "scipy.stats")
_AT_ONCE = 4_000_000  # numbers of resamples in memory


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over queries, and its 95% interval by the percentile bootstrap."""

    mean: float
    low: float
    high: float


def check_installed() -> None:
    """Raises MissingExtra unless ``mmrag[eval]`` is installed: said before the work, not after."""
    for name in _LIBRARIES:
        _library(name)


def metric_names(k: int) -> tuple[str, ...]:
    """What :func:`measured` measures, in order."""
    return (f"recall@{k}", f"hit@{k}", "MRR", NDCG)


def measured(
    gains: Mapping[str, Mapping[Thing, int]],
    rankings: Mapping[str, Sequence[Thing]],
    k: int,
) -> dict[str, dict[str, float]]:
    """The metrics of each ranking, each thing once in it, by query; ``gains`` are of the same.

    >>> measured({"q": {"a": 1}}, {"q": ["b", "a"]}, 1)["q"]       # doctest: +SKIP
    {'recall@1': 0.0, 'hit@1': 0.0, 'MRR': 0.5, 'nDCG@10': 0.6309297535714575}

    Raises:
        MissingExtra: ``mmrag[eval]`` is not installed.
    """
    ir = _library("ir_measures")
    metrics = (ir.R @ k, ir.Success @ k, ir.RR, ir.nDCG @ 10)
    names = dict(zip(metrics, metric_names(k), strict=True))
    # The library is given plain numbers as names: what we rank may have any characters in it.
    queries = {str(number): query for number, query in enumerate(rankings)}
    judged: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for number, query in queries.items():
        places = {thing: f"judged {at}" for at, thing in enumerate(gains[query])}
        judged[number] = {places[thing]: gain for thing, gain in gains[query].items()}
        run[number] = {
            places.get(thing, f"other {rank}"): -float(rank)
            for rank, thing in enumerate(rankings[query], start=1)
        }
    found: dict[str, dict[str, float]] = {query: {} for query in rankings}
    for value in ir.pytrec_eval.iter_calc(list(names), judged, run):
        found[queries[value.query_id]][names[value.measure]] = float(value.value)
    return {query: {name: row[name] for name in metric_names(k)} for query, row in found.items()}


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of one value a query, with its interval; the same values, the same interval."""
    mean = statistics.fmean(values)
    if min(values) == max(values):
        return Estimate(mean, mean, mean)
    interval = (
        _stats()
        .bootstrap(
            (values,),
            np.mean,
            n_resamples=RESAMPLES,
            batch=_batch(values),
            vectorized=True,
            method="percentile",
            rng=0,
        )
        .confidence_interval
    )
    return Estimate(mean, float(interval.low), float(interval.high))


def p_value(differences: Sequence[float]) -> float:
    """How often chance alone gives a mean as far from 0: the paired randomisation test, in which
    each query's difference keeps or changes its sign."""
    if len(differences) < 2 or not any(differences):
        return 1.0
    test = _stats().permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=RESAMPLES,
        batch=_batch(differences),
        vectorized=True,
        rng=0,
    )
    return float(test.pvalue)


def _batch(values: Sequence[float]) -> int:
    return max(1, _AT_ONCE // len(values))


def _stats() -> Any:
    return _library("scipy.stats")


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtra("evaluation", "eval") from error
