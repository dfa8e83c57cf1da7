"""MultimodalRetriever against LlamaIndex's stock ways to search texts and pictures.

Peers: ``QueryFusionRetriever`` (reciprocal rerank), with and without keywords, and
``MultiModalVectorStoreIndex``, each over two of LlamaIndex's ``QdrantVectorStore``s on
``QdrantClient(path=...)``.

Speed, over the same 5,000 text nodes and 5,000 image nodes: ``retrieve`` of 10 nodes, each query
by all in turn, after five that warm up; and writing the nodes. All vectors are looked up, ours too,
so that no model is measured. Ours opens every picture, makes keywords of every text and searches
them too, which of the peers only one does. Like ours, the peers keep what they write on the disk;
what they take in memory alone is told beside it.

Quality, over the sample corpus with the bundled encoder everywhere: nDCG@10 on the development set.
The hits of ``MultiModalVectorStoreIndex`` count as they come, texts first, and sorted by score.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import ImageNode, NodeWithScore, TextNode
from qdrant_client import QdrantClient

from benchmarks import judged, synthetic
from benchmarks.figure import Figure, Outcome, median, table
from benchmarks.known import Known, write_pictures
from benchmarks.llama_index_peers import CONCATENATION, PEERS, KnownEmbedding
from benchmarks.synthetic import Matrix
from llama_index_mm import MultimodalEmbedding, MultimodalRetriever, MultimodalVectorStore
from mmrag import MultimodalIndex
from mmrag.types import key_of

NAME = "llama_index"
SIZE, QUERIES, WARM_UP, LIMIT = 10_000, 100, 5, 10
FASTER, FASTER_TO_WRITE = 10.0, 3.0


def run(work: Path) -> Outcome:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Payload indexes have no effect")
        speed = _speed(work / NAME)
        quality, shown = _quality(work / f"{NAME}-sample")
    return Outcome([*speed, *quality], [shown])


# Speed.


def _speed(work: Path) -> list[Figure]:
    corpus, half = synthetic.corpus(SIZE), SIZE // 2
    questions = synthetic.questions(WARM_UP + QUERIES, corpus)
    words = dict(zip(corpus.texts[:half], corpus.text, strict=False))
    texts = [TextNode(text=text, embedding=words[text].tolist()) for text in corpus.texts[:half]]
    pictures = list(_pictures(work / "pictures", corpus.image[:half]))
    known = Known(words | {q.words: q.text for q in questions}, corpus.image[:half])
    model = KnownEmbedding(words={q.words: q.text.tolist() for q in questions})
    seconds: dict[str, float] = {}
    with MultimodalIndex.open(work / "kb", text_encoder=known, image_encoder=known) as index:
        retrievers: dict[str, BaseRetriever] = {
            "ours": MultimodalRetriever(index, similarity_top_k=LIMIT)
        }

        def write() -> None:
            MultimodalVectorStore(index).add([*texts, *pictures])
            index.store.flush()

        seconds["ours"] = _seconds(write)
        clients = []
        for name, peer in PEERS.items():
            for where in (":memory:", str(work / name)):
                memory = where == ":memory:"
                client = QdrantClient(where) if memory else QdrantClient(path=where)
                clients.append(client)
                started = time.perf_counter()
                retrievers[name] = peer(client, texts, pictures, model, LIMIT)
                label = f"{name}, in memory" if memory else name
                seconds[label] = time.perf_counter() - started
        gc.collect()
        times: dict[str, list[float]] = {name: [] for name in retrievers}
        for question in questions:
            for name, retriever in retrievers.items():
                times[name].append(_seconds(lambda r=retriever, q=question: r.retrieve(q.words)))  # type: ignore[misc]
        for client in clients:
            client.close()
    return [*_query_figures(times), *_write_figures(seconds)]


def _query_figures(times: Mapping[str, list[float]]) -> list[Figure]:
    kept = {name: row[WARM_UP:] for name, row in times.items()}
    figures = [
        Figure(NAME, f"{SIZE:,} nodes, a query: {name}, median", 1000 * median(row), "ms")
        for name, row in kept.items()
    ]
    for name in PEERS:
        ratio = median([b / a for a, b in zip(kept["ours"], kept[name], strict=True)])
        what = f"a query: times faster than {name}"
        figures.append(Figure(NAME, what, ratio, "x", at_least=FASTER))
    return figures


def _write_figures(seconds: Mapping[str, float]) -> list[Figure]:
    figures = [Figure(NAME, f"{SIZE:,} nodes, to write: {n}", s, "s") for n, s in seconds.items()]
    for name in PEERS:
        what = f"to write: times faster than {name}"
        ratio = seconds[name] / seconds["ours"]
        figures.append(Figure(NAME, what, ratio, "x", at_least=FASTER_TO_WRITE))
    return figures


def _pictures(folder: Path, vectors: Matrix) -> Iterator[ImageNode]:
    for path, vector in zip(write_pictures(folder, len(vectors)), vectors, strict=True):
        yield ImageNode(
            image_path=str(path), metadata={"file_name": path.name}, embedding=vector.tolist()
        )


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


# Quality.


def _quality(folder: Path) -> tuple[list[Figure], str]:
    queries, model = judged.load(), MultimodalEmbedding()
    with judged.build(folder) as index:
        texts, pictures = _as_nodes(index, model)
        records = [record for batch in index.store.scan() for record in batch]
        # Qdrant takes UUIDs only, so the peers' nodes have ids of their own.
        names = {i: judged.name_of(r) for r in records for i in (r.id, key_of(r.id))}
        retrievers: dict[str, BaseRetriever] = {
            name: peer(QdrantClient(":memory:"), texts, pictures, model, judged.FETCHED)
            for name, peer in PEERS.items()
        }
        retrievers["ours"] = MultimodalRetriever(index, similarity_top_k=judged.FETCHED)
        found = {n: [r.retrieve(q.text) for q in queries] for n, r in retrievers.items()}
    by_score = f"{CONCATENATION}, sorted by score"
    found[by_score] = [sorted(nodes, key=_descending) for nodes in found[CONCATENATION]]
    scores = {
        way: np.array(
            [
                judged.ndcg([names[node.node_id] for node in nodes], query)
                for nodes, query in zip(row, queries, strict=True)
            ]
        )
        for way, row in found.items()
    }
    columns = judged.columns(queries)
    rows = [
        (w, *(f"{s[where].mean():.3f}" for where in columns.values())) for w, s in scores.items()
    ]
    figures = [
        Figure(
            NAME,
            f"nDCG@10, all queries: ours / {way}",
            float(scores["ours"].mean() / scores[way].mean()),
            "x",
            at_least=1.0,
        )
        for way in (*PEERS, by_score)
    ]
    return figures, "nDCG@10 of LlamaIndex retrievers:\n\n" + table(("", *columns), rows)


def _descending(node: NodeWithScore) -> float:
    return -(node.score or 0)


def _as_nodes(
    index: MultimodalIndex, model: MultimodalEmbedding
) -> tuple[list[TextNode], list[ImageNode]]:
    """The same records for the peers: a text of what has one, a picture of what has one."""
    records = [record for batch in index.store.scan() for record in batch]
    texts = [TextNode(id_=key_of(r.id), text=r.text) for r in records if r.text.strip()]
    pictures = [
        ImageNode(
            id_=key_of(r.id),
            image_path=str(index.resolve(r.image.uri)),
            metadata={"file_name": Path(r.source).name},
        )
        for r in records
        if r.image is not None
    ]
    vectors = model.get_text_embedding_batch([node.text for node in texts])
    vectors += model.get_image_embedding_batch([node.image_path or "" for node in pictures])
    for node, vector in zip([*texts, *pictures], vectors, strict=True):
        node.embedding = vector
    return texts, pictures
