"""The peer of the ``query`` benchmark: ``QdrantClient(path=...)`` with the synthetic points.

Its folder is in shared memory where there is some: it commits each point by itself, which takes
minutes on a disk. Its searches read no files, so that this makes no difference to them.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from qdrant_client import QdrantClient, models

from benchmarks.synthetic import DIM, Corpus
from mmrag.calibration import Calibrator
from mmrag.fusion import calibrated
from mmrag.keywords import encode_document, encode_query
from mmrag.protocols import FieldQuery, Ranking
from mmrag.routes import Route
from mmrag.search import DEPTH
from mmrag.stores.payload import from_payload, to_payload
from mmrag.types import key_of

NAME = "records"
BATCH = 1000
SHARED_MEMORY = Path("/dev/shm")


@contextmanager
def opened(corpus: Corpus) -> Iterator[QdrantClient]:
    """A client with the same points: two dense fields, BM25 under an IDF modifier, payloads."""
    place = SHARED_MEMORY if SHARED_MEMORY.exists() else None
    with (
        tempfile.TemporaryDirectory(prefix="mmrag-bench-", dir=place) as folder,
        closing(QdrantClient(path=folder)) as client,
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that local mode is slow from 20,000
            _fill(client, corpus)
        yield client


def _fill(client: QdrantClient, corpus: Corpus) -> None:
    dense = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
    client.create_collection(
        NAME,
        vectors_config={"text": dense, "image": dense},
        sparse_vectors_config={"keywords": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    records = corpus.records()
    for start in range(0, len(records), BATCH):
        rows = range(start, min(start + BATCH, len(records)))
        client.upsert(
            NAME,
            [
                models.PointStruct(
                    id=key_of(records[i].id),
                    vector={
                        "text": corpus.text[i].tolist(),
                        "image": corpus.image[i].tolist(),
                        "keywords": _sparse(records[i].text),
                    },
                    payload=to_payload(records[i]),
                )
                for i in rows
            ],
        )


def search(
    client: QdrantClient,
    calibrator: Calibrator,
    routes: Sequence[Route],
    queries: Sequence[FieldQuery],
    limit: int,
) -> list[str]:
    """The ids of the ``limit`` best records, fused as the index does."""
    requests = [
        models.QueryRequest(
            query=q.value.tolist() if not isinstance(q.value, str) else _sparse(q.value, True),
            using=q.field,
            limit=DEPTH,
        )
        for q in queries
    ]
    answers = client.query_batch_points(NAME, requests)
    rankings = [
        Ranking(tuple(str(p.id) for p in a.points), tuple(p.score for p in a.points))
        for a in answers
    ]
    fused = calibrated(calibrator.calibrate(routes, queries, rankings))
    points = client.retrieve(NAME, [f.key for f in fused[:limit]], with_payload=True)
    return [from_payload(point.payload or {}).id for point in points]


def _sparse(text: str, query: bool = False) -> models.SparseVector:
    weights = encode_query(text) if query else encode_document(text)
    return models.SparseVector(indices=list(weights.indices), values=list(weights.values))
