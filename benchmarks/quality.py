"""Retrieval quality on the development set: every route alone, and the ways to fuse them.

Measured: graded nDCG@10 (gain ``2^grade - 1``) of the 175 queries of ``devset.jsonl`` over the
sample corpus, indexed with the bundled encoder through ``add_files``. A result counts as its file,
or its page of the manual; of several from one place the first one counts.

The default has to keep up with the best single route where that route alone can answer, and to
beat every one of them over all queries. The fusions' constants were chosen on this set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import judged
from benchmarks.figure import Figure, Outcome, table

KEPT = 0.97
RESAMPLES = 10_000


def run(work: Path) -> Outcome:
    queries = judged.load()
    ways = [*judged.SINGLE, *judged.OTHERS, *judged.VARIANTS, judged.DEFAULT]
    with judged.build(work / "sample") as index:
        records = index.count()
        scores = {way.name: judged.score(index, way, queries) for way in ways}
    columns = judged.columns(queries)
    means = {
        name: {column: float(row[where].mean()) for column, where in columns.items()}
        for name, row in scores.items()
    }
    default = means[judged.DEFAULT.name]
    single = {c: max(means[way.name][c] for way in judged.SINGLE) for c in columns}
    rival = max((way.name for way in judged.OTHERS), key=lambda name: means[name]["all"])
    low, high = _interval(scores[judged.DEFAULT.name] - scores[rival])
    gain = default["all"] - means[rival]["all"]
    rows = [(name, *(f"{mean[column]:.3f}" for column in columns)) for name, mean in means.items()]
    count = ("queries", *(str(where.sum()) for where in columns.values()))
    above = f"the default above {rival}, all queries"
    return Outcome(
        [
            _kept("text", default, single),
            _kept("image", default, single),
            Figure(
                "quality",
                "all queries: default / best single route",
                default["all"] / single["all"],
                "x",
                at_least=1.0,
            ),
            Figure("quality", above, gain, "nDCG"),
            Figure("quality", f"{above}: 95% interval, low end", low, "nDCG"),
            Figure("quality", f"{above}: 95% interval, high end", high, "nDCG"),
        ],
        [f"nDCG@10, {records} records:\n\n" + table(("", *columns), [*rows, count])],
    )


def _kept(column: str, default: dict[str, float], single: dict[str, float]) -> Figure:
    what = f"{column}-only queries: default / best single route"
    return Figure("quality", what, default[column] / single[column], "x", at_least=KEPT)


def _interval(differences: judged.Scores) -> tuple[float, float]:
    """The paired bootstrap's 95% interval of the mean."""
    rng = np.random.default_rng(0)
    picked = rng.integers(len(differences), size=(RESAMPLES, len(differences)))
    low, high = np.quantile(differences[picked].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)
