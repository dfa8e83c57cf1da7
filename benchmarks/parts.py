"""What pictures are found by: what they show, what is written in them, what tags say of them.

The sample corpus with its pictures described by OCR and by tags, and 51 queries for what is written
in a picture (words, names) or for the data in it (figures of charts and tables), in English and
Chinese, beside those of the development set for what a picture shows. Told is nDCG@10 of the
picture alone, of each part of the description alone, and of the default over all.

Then the same with OCR and descriptions. There is no vision model here: a picture is described by
the words of its file's name, in English, which say what it shows and nothing of what is written.

The default has to lose nothing: at least 0.97 of the best part on each kind, and the best overall.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import judged
from benchmarks.figure import Figure, Outcome, table
from benchmarks.judged import Judged, Scores, Way
from mmrag import MultimodalIndex
from mmrag.captioners.base import OneByOne
from mmrag.captioners.composed import Composed
from mmrag.captioners.ocr import OcrCaptioner
from mmrag.captioners.tags import TagCaptioner
from mmrag.fusion import weighted
from mmrag.media import ImageInput
from mmrag.types import Caption

NAME = "parts"
LEAST = 0.97


def run(work: Path) -> Outcome:
    queries = [*_written(), *(q for q in judged.load() if q.kind == "image")]
    scores: dict[str, Scores] = {}
    with judged.build(work / NAME) as index:
        scores["image alone"] = judged.score(index, Way("", None, ("text->image",)), queries)
        scores["no captions: default"] = judged.score(index, Way(""), queries)
        for name, captioner in (
            ("OCR alone", OcrCaptioner()),
            ("tags alone", TagCaptioner()),
            ("OCR and tags alone", Composed([OcrCaptioner(), TagCaptioner()])),
        ):
            _described(index, captioner)
            words = Way("", None, ("keywords", "text->caption"))
            scores[name] = judged.score(index, words, queries)
        scores["all, weighted 0.6 + 0.4"] = judged.score(index, Way("", weighted), queries)
        scores["all, default"] = judged.score(index, Way(""), queries)
        _described(index, _Names())
        scores["descriptions alone"] = judged.score(index, words, queries)
        _described(index, Composed([OcrCaptioner(), _Names()]))
        scores["OCR and descriptions, default"] = judged.score(index, Way(""), queries)
    return Outcome(_figures(scores, queries), [_table(scores, queries)])


class _Names(OneByOne):
    """Stands in for a vision model."""

    name = "names"

    def one(self, image: ImageInput) -> Caption:
        words = " ".join(re.findall("[a-z]+", Path(str(image)).stem.lower()))
        return Caption(f"A picture of {words}.", f"It shows {words} on a plain ground.")


def _described(index: MultimodalIndex, captioner: object) -> None:
    report = index.add_captions(captioner)  # type: ignore[arg-type]
    if report.failed:
        raise RuntimeError(f"pictures could not be described: {report.failed[:3]}")


def _written() -> list[Judged]:
    lines = (Path(__file__).parent / "partset.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [Judged(r["query"], r["language"], r["kind"], r["relevant"]) for r in rows]


def _columns(queries: Sequence[Judged]) -> dict[str, np.ndarray]:
    kinds = {"shown": "image", "written": "written", "data": "data"}
    columns = {name: np.array([q.kind == kind for q in queries]) for name, kind in kinds.items()}
    for name, language in (("English", "en"), ("Chinese", "zh")):
        columns[name] = np.array([q.language == language for q in queries])
    return {**columns, "all": np.ones(len(queries), dtype=bool)}


def _figures(scores: dict[str, Scores], queries: Sequence[Judged]) -> list[Figure]:
    parts = ["image alone", "OCR alone"]
    both = {
        "all, default": [*parts, "tags alone", "OCR and tags alone"],
        "OCR and descriptions, default": [*parts, "descriptions alone"],
    }
    figures = []
    for way, alone in both.items():
        for name, where in _columns(queries).items():
            best = max(scores[part][where].mean() for part in alone)
            ratio = float(scores[way][where].mean() / best)
            least = 1.0 if name == "all" else LEAST
            what = f"{name} queries: {way} / best part alone"
            figures.append(Figure(NAME, what, ratio, "x", at_least=least))
    return figures


def _table(scores: dict[str, Scores], queries: Sequence[Judged]) -> str:
    columns = _columns(queries)
    rows = [
        (way, *(f"{row[where].mean():.3f}" for where in columns.values()))
        for way, row in scores.items()
    ]
    rows.append(("queries", *(str(int(where.sum())) for where in columns.values())))
    return "nDCG@10 by what a query asks for:\n\n" + table(("", *columns), rows)
