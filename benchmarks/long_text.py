"""Texts over an encoder's limit: cut off, or in windows that are pooled, or a vector a window.

The bundled encoder, which takes 512 tokens, is given no more than 71 of them at once: what a window
of CLIP holds. The documents are the texts of the sample corpus and the pages of its manual, whole,
most of them of 300 to 500 tokens; the queries are those of the development set that one of them
answers. nDCG@10 by cosine alone, and the gain over cutting off with its 95 % interval (bootstrap).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pypdfium2
from numpy.typing import NDArray

from benchmarks import judged
from benchmarks.figure import Figure, Outcome, table
from mmrag import BundledEncoder
from mmrag.encoders.windows import pooled, split_windows

LIMIT, OVERLAP = 71, 8
DRAWS = 2_000

Matrix = NDArray[np.float32]
Scores = NDArray[np.float64]


def run(work: Path) -> Outcome:
    encoder, documents = BundledEncoder(), _documents()
    names, texts = list(documents), list(documents.values())
    judgements = [_about(query, documents) for query in judged.load()]
    queries = [query for query in judgements if query.relevant]
    asked = encoder.encode_texts([query.text for query in queries], "query")
    windows = [split_windows(text, _tokens(encoder, text), LIMIT, OVERLAP) for text in texts]
    rows = encoder.encode_texts([piece for parts in windows for piece, _ in parts], "passage")
    ends = np.cumsum([len(parts) for parts in windows])
    each = np.split(asked @ rows.T, ends[:-1], axis=1)
    counts = [[count for _, count in parts] for parts in windows]
    first = encoder.encode_texts([_cut_off(encoder, text) for text in texts], "passage")
    ways = {
        "cut off": asked @ first.T,
        "windows, pooled by tokens (OpenClipEncoder)": asked @ pooled(rows, counts).T,
        "windows, pooled evenly": asked @ pooled(rows, [[1] * len(c) for c in counts]).T,
        "windows, the best one counts": np.stack([part.max(axis=1) for part in each], axis=1),
        "no limit but the model's own": asked @ encoder.encode_texts(texts, "passage").T,
    }
    scores = {way: _ndcg(cosines, names, queries) for way, cosines in ways.items()}
    cut = scores["cut off"]
    lines = [(way, f"{s.mean():.3f}", _gain(s - cut)) for way, s in scores.items()]
    title = f"{len(texts)} documents, {len(queries)} queries, {LIMIT} tokens at once:"
    gain = float((scores["windows, pooled by tokens (OpenClipEncoder)"] - cut).mean())
    return Outcome(
        [Figure("long_text", "nDCG@10, pooled windows - cut off", gain, at_least=0.0)],
        [f"{title}\n\n{table(('', 'nDCG@10', 'gain'), lines)}"],
    )


def _documents() -> dict[str, str]:
    """By the names of the development set; without the pages that have no text."""
    files = sorted((judged.SAMPLE / "texts").iterdir())
    found = {f"texts/{file.name}": file.read_text("utf-8") for file in files}
    with pypdfium2.PdfDocument(judged.SAMPLE / "manual.pdf") as manual:
        for number, page in enumerate(manual, start=1):
            found[f"manual.pdf#page={number}"] = page.get_textpage().get_text_range()
    return {name: text for name, text in found.items() if text.strip()}


def _about(query: judged.Judged, documents: dict[str, str]) -> judged.Judged:
    relevant = {name: gain for name, gain in query.relevant.items() if name in documents}
    return judged.Judged(query.text, query.language, query.kind, relevant)


def _tokens(encoder: BundledEncoder, text: str) -> list[tuple[int, int]]:
    offsets: list[tuple[int, int]] = encoder._tokenizer.encode(
        text, add_special_tokens=False
    ).offsets
    return offsets


def _cut_off(encoder: BundledEncoder, text: str) -> str:
    offsets = _tokens(encoder, text)
    return text[: offsets[:LIMIT][-1][1]]


def _ndcg(cosines: Matrix, names: list[str], queries: Sequence[judged.Judged]) -> Scores:
    orders = np.argsort(-cosines, axis=1, kind="stable")
    ranked = [[names[i] for i in order] for order in orders]
    return np.array([judged.ndcg(r, query) for r, query in zip(ranked, queries, strict=True)])


def _gain(differences: Scores) -> str:
    """The mean, and its 95 % interval."""
    if not differences.any():
        return ""
    rng = np.random.default_rng(0)
    means = rng.choice(differences, (DRAWS, len(differences))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{differences.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
