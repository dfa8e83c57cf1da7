"""A fused query over 100,000 records, against the bare engine and against local Qdrant.

Measured: ``MultimodalIndex.search`` in words and with a picture through four routes (text->text,
text->image, image->image, keywords), 10 hits with their records. Encoding is left out: the vectors
of the queries are looked up. Everything else is in: the picture's check, BM25, calibration, fusion.

Against: on the same shard, one ``EdgeShard.query_batch`` of the same four queries (vectors and BM25
weights ready) with the same limits, and one ``retrieve`` of the winners' payloads. 240 queries,
each measured by both in turn; after ten that warm up. Both before and after
``EdgeStore.optimize``, which replaces the scan of all vectors by a graph.

And: the same four queries, the same calibration and fusion through ``QdrantClient(path=...)``,
local mode, with the same points (10 queries, it takes long).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
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
from mmrag.index import DEPTH
from mmrag.keywords import encode_query
from mmrag.routes import routes_named
from mmrag.stores.edge import EdgeStore

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
    folder = synthetic.build(work, SIZE)
    questions = synthetic.questions(QUERIES + WARM_UP, synthetic.corpus(SIZE))
    pictures = [Image.new("RGB", (2, 2), (i // 256, i % 256, 0)) for i in range(len(questions))]
    encoder = LookedUp(questions)
    with MultimodalIndex.open(folder, text_encoder=encoder, image_encoder=encoder) as index:

        def ours(i: int) -> list[str]:
            hits = index.search(questions[i].words, image=pictures[i], routes=ROUTES, limit=LIMIT)
            return [hit.record.id for hit in hits]

        figures = _against_edge(index, ours, questions, "by scan")
        figures += _against_local(index, ours, questions, work)
        started = time.perf_counter()
        index.store.optimize()  # type: ignore[attr-defined]
        print(f"query: graphs built in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        figures += _against_edge(index, ours, questions, "by graph")
    return Outcome(figures)


def _against_edge(
    index: MultimodalIndex,
    ours: Callable[[int], list[str]],
    questions: Sequence[Question],
    how: str,
) -> list[Figure]:
    assert isinstance(index.store, EdgeStore)
    shard = index.store._shard
    assert shard is not None
    times, bare = [], []
    for i, question in enumerate(questions):
        requests = qe.QueryBatchRequest(_requests(question))
        winners = [str(p.id) for p in shard.query_batch(requests)[0][:LIMIT]]

        def engine(requests: Any = requests, winners: Any = winners) -> None:
            shard.query_batch(requests)
            shard.retrieve(winners, True, False)

        pair: list[tuple[Callable[[], Any], list[float]]] = [
            (lambda i=i: ours(i), times),  # type: ignore[misc]
            (engine, bare),
        ]
        for call, kept in pair if i % 2 else reversed(pair):
            kept.append(_seconds(call))
    times, bare = times[WARM_UP:], bare[WARM_UP:]
    ratios = [a / b for a, b in zip(times, bare, strict=True)]
    say = f"100,000 records, 4 routes, {how}"
    return [
        Figure("query", f"{say}: median", 1000 * median(times), "ms"),
        Figure("query", f"{say}: bare engine, median", 1000 * median(bare), "ms"),
        Figure("query", f"{say}: per-query ratio, median", median(ratios), "x", under=EDGE_RATIO),
        Figure(
            "query", f"{say}: ratio of medians", median(times) / median(bare), "x", under=EDGE_RATIO
        ),
    ]


def _against_local(
    index: MultimodalIndex,
    ours: Callable[[int], list[str]],
    questions: Sequence[Question],
    work: Path,
) -> list[Figure]:
    started = time.perf_counter()
    client = local_qdrant.build(work, synthetic.corpus(SIZE))
    print(f"query: local Qdrant loaded in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    calibrator, routes = index._calibrator, routes_named(ROUTES)
    times, theirs = [], []
    same = 0
    for i in range(LOCAL_QUERIES):
        queries = _field_queries(index, questions[i])
        found: list[str] = []

        def peer(queries: Any = queries, found: list[str] = found) -> None:
            found += local_qdrant.search(client, calibrator, routes, queries, LIMIT)

        theirs.append(_seconds(peer))
        times.append(_seconds(lambda i=i: ours(i)))
        same += len(set(found) & set(ours(i)))
    client.close()
    return [
        Figure(
            "query", "local Qdrant, same points and fusion: median", 1000 * median(theirs), "ms"
        ),
        Figure(
            "query",
            "times faster than local Qdrant",
            median([b / a for a, b in zip(times, theirs, strict=True)]),
            "x",
            at_least=CLIENT_RATIO,
        ),
        Figure("query", "hits in common with local Qdrant", same / (LOCAL_QUERIES * LIMIT)),
    ]


def _field_queries(index: MultimodalIndex, question: Question) -> list[Any]:
    from mmrag.protocols import FieldQuery

    values = (question.text, question.text, question.image, question.words)
    return [
        FieldQuery(index.encoders.field(route), value)
        for route, value in zip(routes_named(ROUTES), values, strict=True)
    ]


def _requests(question: Question) -> list[qe.QueryRequest]:
    sparse = encode_query(question.words)
    vectors = {
        "text": question.text,
        "image": question.text,
        "image ": question.image,
        "keywords": qe.SparseVector(list(sparse.indices), list(sparse.values)),
    }
    return [
        qe.QueryRequest(
            limit=DEPTH,
            query=qe.Query.Nearest(vector, using=field.strip()),
            params=qe.SearchParams(hnsw_ef=256),
            with_payload=False,
        )
        for field, vector in vectors.items()
    ]


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
