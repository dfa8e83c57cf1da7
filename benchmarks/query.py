"""A fused query over 100,000 records, against the bare engine and against local Qdrant.

Measured: ``MultimodalIndex.search`` in words and with a picture through four routes (text->text,
text->image, image->image, keywords), 10 hits with their records. Encoding is left out: the vectors
of the queries are looked up. Everything else is in: the picture's check, BM25, calibration, fusion.

Against: on the same shard, one ``EdgeShard.query_batch`` of the same four queries (vectors and BM25
weights ready) with the same limits, and one ``retrieve`` of the winners' payloads. 240 queries,
each measured by both in turn, after ten that warm up. The index is as ``add`` leaves it, searched
by scan. The same is reported after ``EdgeStore.optimize``, which builds graphs: the engine is then
several times faster, and what mmrag adds, the same few milliseconds, weighs more.

And: the same four queries, the same calibration and fusion through ``QdrantClient(path=...)``,
local mode, over the same points; 10 queries, for which loading takes local mode minutes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as qe
from PIL import Image

from benchmarks import local_qdrant, synthetic
from benchmarks.figure import Figure, Outcome, median
from benchmarks.synthetic import Question
from mmrag import MultimodalIndex, Space
from mmrag.encoders.bundled import BundledEncoder
from mmrag.keywords import encode_query
from mmrag.protocols import FieldQuery
from mmrag.routes import routes_named
from mmrag.search import DEPTH
from mmrag.types import key_of

SIZE = 100_000
QUERIES, WARM_UP, LOCAL_QUERIES = 240, 10, 10
ROUTES = ("text->text", "text->image", "image->image", "keywords")
LIMIT = 10
CLIENT_RATIO, EDGE_RATIO = 10.0, 1.3


class LookedUp:
    """An encoder whose vectors were made before: texts by themselves, a picture by the number in
    its first two bytes."""

    image_size = 2

    def __init__(self, questions: Sequence[Question]) -> None:
        self._by_words = {q.words: q.text for q in questions}
        self._questions = questions
        self.space: Space = BundledEncoder().space  # the one that the index was made with
        self._others = synthetic.unit_vectors(np.random.default_rng(synthetic.SEED + 2), 1000)

    def encode_texts(self, texts: Sequence[str], role: str) -> synthetic.Matrix:
        if len(texts) == 1:
            return self._by_words[texts[0]][None]
        return self._others[: len(texts)]  # calibration's reference queries, once

    def preprocess(self, image: Image.Image) -> int:
        red, green, _ = image.getpixel((0, 0))  # type: ignore[misc]
        return 256 * red + green

    def encode_pixels(self, pixels: Sequence[int]) -> synthetic.Matrix:
        return np.stack([self._questions[number].image for number in pixels])


def run(work: Path) -> Outcome:
    with _opened(synthetic.build(work, SIZE), SIZE) as asked:
        figures = _against_edge(asked, "by scan") + _against_local(asked)
        started = time.perf_counter()
        asked.index.store.optimize()  # type: ignore[attr-defined]
        print(f"query: graphs built in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        return Outcome(figures + _against_edge(asked, "by graph", limit=None))


@dataclass(frozen=True, slots=True)
class Asked:
    """An index and the questions to ask it."""

    index: MultimodalIndex
    questions: list[Question]

    def search(self, i: int) -> list[str]:
        """The ids that the index finds for a question."""
        picture = Image.new("RGB", (2, 2), (i // 256, i % 256, 0))
        hits = self.index.search(self.questions[i].words, image=picture, routes=ROUTES, limit=LIMIT)
        return [hit.record.id for hit in hits]


@contextmanager
def _opened(folder: Path, size: int) -> Iterator[Asked]:
    questions = synthetic.questions(QUERIES + WARM_UP, synthetic.corpus(size))
    encoder = LookedUp(questions)
    with MultimodalIndex.open(folder, text_encoder=encoder, image_encoder=encoder) as index:
        yield Asked(index, questions)


def _against_edge(asked: Asked, how: str, limit: float | None = EDGE_RATIO) -> list[Figure]:
    shard = asked.index.store._shard  # type: ignore[attr-defined]
    ours, bare = [], []
    for i, question in enumerate(asked.questions):
        requests = qe.QueryBatchRequest(_requests(question))
        winners = [key_of(found) for found in asked.search(i)]

        def engine(requests: Any = requests, winners: Any = winners) -> None:
            shard.query_batch(requests)
            shard.retrieve(winners, True, False)

        turns = [(ours, partial(asked.search, i)), (bare, engine)]
        for times, call in turns if i % 2 else reversed(turns):
            times.append(_seconds(call))
    ours, bare = ours[WARM_UP:], bare[WARM_UP:]
    ratio = median([a / b for a, b in zip(ours, bare, strict=True)])
    ratio_of_medians = median(ours) / median(bare)
    say = f"{SIZE:,} records, 4 routes, {how}"
    return [
        Figure("query", f"{say}: median", 1000 * median(ours), "ms"),
        Figure("query", f"{say}: bare engine, median", 1000 * median(bare), "ms"),
        Figure("query", f"{say}: median of ratios", ratio, "x", under=limit),
        Figure("query", f"{say}: ratio of medians", ratio_of_medians, "x", under=limit),
    ]


def _against_local(asked: Asked) -> list[Figure]:
    calibrator, routes = asked.index._calibrator, routes_named(ROUTES)
    ours, theirs, same = [], [], 0
    asked.search(LOCAL_QUERIES)  # draws the samples of calibration, which both use
    with local_qdrant.opened(synthetic.corpus(SIZE)) as client:
        for i in range(LOCAL_QUERIES):
            queries = _field_queries(asked.index, asked.questions[i])
            call = partial(local_qdrant.search, client, calibrator, routes, queries, LIMIT)
            same += len({*call()} & {*asked.search(i)})
            theirs.append(_seconds(call))
            ours.append(_seconds(partial(asked.search, i)))
    times = median([b / a for a, b in zip(ours, theirs, strict=True)])
    say = f"{SIZE:,} records, 4 routes, by scan"
    return [
        Figure("query", f"{say}: median beside local Qdrant", 1000 * median(ours), "ms"),
        Figure("query", f"{say}: local Qdrant, median", 1000 * median(theirs), "ms"),
        Figure("query", f"{say}: local Qdrant / ours", times, "x", at_least=CLIENT_RATIO),
        Figure("query", f"{say}: share of same hits", same / (LOCAL_QUERIES * LIMIT)),
    ]


def _field_queries(index: MultimodalIndex, question: Question) -> list[FieldQuery]:
    values = (question.text, question.text, question.image, question.words)
    return [
        FieldQuery(index.encoders.field(route), value)
        for route, value in zip(routes_named(ROUTES), values, strict=True)
    ]


def _requests(question: Question) -> list[qe.QueryRequest]:
    sparse = encode_query(question.words)
    return [
        qe.QueryRequest(
            limit=DEPTH,
            query=qe.Query.Nearest(vector, using=field),
            params=qe.SearchParams(hnsw_ef=256),
            with_payload=False,
        )
        for field, vector in (
            ("text", question.text),
            ("image", question.text),
            ("image", question.image),
            ("keywords", qe.SparseVector(list(sparse.indices), list(sparse.values))),
        )
    ]


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
