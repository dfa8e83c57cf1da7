"""The development set, and nDCG@10 of a search on it: for ``quality`` and ``distractors``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmrag import MultimodalIndex, Record
from mmrag.fusion import Fused, Fusion, calibrated, dbsf, rrf, weighted
from mmrag.protocols import Ranking

CUT = 10
FETCHED = 25  # hits, for ten different files or pages; searched as deep as for ten hits
SAMPLE = Path(str(files("mmrag") / "sample"))

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """A query and the gain of each file, or page of the manual, that answers it."""

    text: str
    language: str
    kind: str  # what answers it: text, image, both
    relevant: Mapping[str, int]


@dataclass(frozen=True)
class Way:
    """A way to search: some routes and a fusion."""

    name: str
    fusion: Fusion | None = None
    routes: tuple[str, ...] | None = None


def load() -> list[Judged]:
    lines = (Path(__file__).parent / "devset.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [Judged(r["query"], r["language"], r["kind"], r["relevant"]) for r in rows]


def build(folder: Path) -> MultimodalIndex:
    """A new index of the sample corpus."""
    index = MultimodalIndex.open(folder)
    report = index.add_files([SAMPLE / name for name in ("pictures", "texts", "manual.pdf")])
    if report.failed:
        raise RuntimeError(f"the sample corpus could not be indexed: {report.failed[:3]}")
    return index


def score(index: MultimodalIndex, way: Way, queries: Sequence[Judged]) -> Scores:
    """nDCG@10 of each query."""
    return np.array([_searched(index, way, query) for query in queries])


def columns(queries: Sequence[Judged]) -> dict[str, NDArray[np.bool_]]:
    """Which queries belong to which column of the tables."""

    def where(test: Callable[[Judged], bool]) -> NDArray[np.bool_]:
        return np.array([test(query) for query in queries])

    return {
        "text": where(lambda q: q.kind == "text"),
        "image": where(lambda q: q.kind == "image"),
        "both": where(lambda q: q.kind == "both"),
        "all": where(lambda q: True),
        "English": where(lambda q: q.language == "en"),
        "Chinese": where(lambda q: q.language == "zh"),
    }


def ndcg(names: Sequence[str], query: Judged) -> float:
    """Of a ranking, of which the first result of each file or page counts."""
    found = list(dict.fromkeys(names))[:CUT]
    gains = [2 ** query.relevant.get(name, 0) - 1 for name in found]
    ideal = sorted((2**grade - 1 for grade in query.relevant.values()), reverse=True)[:CUT]
    return _discounted(gains) / _discounted(ideal)


def _searched(index: MultimodalIndex, way: Way, query: Judged) -> float:
    hits = index.search(query.text, limit=FETCHED, routes=way.routes, fusion=way.fusion)
    return ndcg([name_of(hit.record) for hit in hits], query)


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, start=1))


def name_of(record: Record) -> str:
    """How the development set calls the file, or the page, that a record stands in."""
    source = Path(record.source)
    if not source.is_relative_to(SAMPLE):
        return record.id
    name = source.relative_to(SAMPLE).as_posix()
    page = record.locator.page
    return name if page is None else f"{name}#page={page}"


# Fusions that mmrag does not offer, to compare with.


def raw_cosine(rankings: Mapping[str, Ranking]) -> list[Fused]:
    """The best raw cosine of a record, whatever the route; keywords do not count."""
    best: dict[str, float] = {}
    for name, ranking in rankings.items():
        for key, cosine in zip(ranking.keys, ranking.scores, strict=True):
            if name != "keywords":
                best[key] = max(cosine, best.get(key, -1.0))
    return _ordered(best)


def rrf_of_survivors(rankings: Mapping[str, Ranking]) -> list[Fused]:
    """RRF over what is left when a dense route loses all below evidence 0.5, which of 0.3, 0.5,
    0.73 and 1 does best; keywords stay."""
    return rrf({name: _survivors(name, ranking) for name, ranking in rankings.items()})


def _survivors(name: str, ranking: Ranking) -> Ranking:
    pairs = zip(ranking.keys, ranking.scores, ranking.evidence or (), strict=True)
    kept = [(key, score) for key, score, e in pairs if name == "keywords" or e >= 0.5]
    return Ranking(tuple(key for key, _ in kept), tuple(score for _, score in kept))


def _ordered(scores: Mapping[str, float]) -> list[Fused]:
    return [
        Fused(key, score, ()) for key, score in sorted(scores.items(), key=lambda p: (-p[1], p[0]))
    ]


_DENSE = ("text->text", "text->caption", "text->image")

SINGLE = [
    Way("text->text alone", routes=("text->text",)),
    Way("text->image alone", routes=("text->image",)),
    Way("keywords alone", routes=("keywords",)),
]
DEFAULT = Way("calibrated (default)", calibrated)
OTHERS = [
    Way("raw cosine", raw_cosine),
    Way("rrf", rrf),
    Way("dbsf", dbsf),
    Way("weighted", weighted),
    Way("rrf, evidence ≥ 0.5", rrf_of_survivors),
]
VARIANTS = [Way("calibrated, no keywords", calibrated, _DENSE)]
