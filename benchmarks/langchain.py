"""MultimodalRetriever against LangChain's stock way to search texts and pictures.

Peers: ``EnsembleRetriever``, with and without keywords, over two of LangChain's
``QdrantVectorStore``s on ``QdrantClient(path=...)``.

Over the same 5,000 texts and 5,000 pictures: ``invoke`` for 10 documents, each query by all in
turn, after five that warm up; and writing the documents. All vectors are looked up, ours too, so
that no model is measured. Ours opens every picture and searches keywords too.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from qdrant_client import QdrantClient

from benchmarks import synthetic
from benchmarks.figure import Figure, Outcome, median
from benchmarks.known import Known, write_pictures
from benchmarks.langchain_peers import PEERS, KnownEmbeddings
from langchain_mm import MultimodalRetriever, MultimodalVectorStore
from langchain_mm.convert import IMAGE_KEY
from mmrag import MultimodalIndex

NAME = "langchain"
SIZE, QUERIES, WARM_UP, LIMIT = 10_000, 100, 5, 10
FASTER = 10.0


def run(work: Path) -> Outcome:
    folder = work / NAME
    corpus, half = synthetic.corpus(SIZE), SIZE // 2
    questions = synthetic.questions(WARM_UP + QUERIES, corpus)
    said, shown = corpus.texts[:half], list(write_pictures(folder / "pictures", half))
    words = dict(zip(said, corpus.text, strict=False))
    texts = [Document(text, metadata={"number": n}) for n, text in enumerate(said)]
    pictures = [
        Document("", metadata={"number": half + n, IMAGE_KEY: str(path)})
        for n, path in enumerate(shown)
    ]
    known = Known(words | {q.words: q.text for q in questions}, corpus.image[:half])
    # The peers embed texts alone: their pictures are told apart by their names.
    named = [
        Document(path.name, metadata=picture.metadata)
        for path, picture in zip(shown, pictures, strict=True)
    ]
    passages = {text: row.tolist() for text, row in words.items()}
    passages |= {p.name: row.tolist() for p, row in zip(shown, corpus.image, strict=False)}
    model = KnownEmbeddings(passages, {q.words: q.text.tolist() for q in questions})
    retrievers: dict[str, BaseRetriever] = {}
    seconds: dict[str, float] = {}
    with (
        MultimodalIndex.open(folder / "kb", text_encoder=known, image_encoder=known) as index,
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Payload indexes have no effect")

        def write() -> None:
            MultimodalVectorStore(index).add_documents([*texts, *pictures])
            index.store.flush()

        seconds["ours"] = _seconds(write)
        retrievers["ours"] = MultimodalRetriever(index=index, k=LIMIT)
        clients = []
        for name, peer in PEERS.items():
            clients.append(QdrantClient(path=str(folder / name)))
            started = time.perf_counter()
            retrievers[name] = peer(clients[-1], texts, named, model, LIMIT)
            seconds[name] = time.perf_counter() - started
        gc.collect()
        times: dict[str, list[float]] = {name: [] for name in retrievers}
        for question in questions:
            for name, retriever in retrievers.items():
                times[name].append(_seconds(lambda r=retriever, q=question: r.invoke(q.words)))  # type: ignore[misc]
        for client in clients:
            client.close()
    return Outcome([*_query_figures(times), *_write_figures(seconds)])


def _query_figures(times: Mapping[str, list[float]]) -> list[Figure]:
    kept = {name: row[WARM_UP:] for name, row in times.items()}
    figures = [
        Figure(NAME, f"{SIZE:,} documents, a query: {name}, median", 1000 * median(row), "ms")
        for name, row in kept.items()
    ]
    for name in PEERS:
        ratio = median([b / a for a, b in zip(kept["ours"], kept[name], strict=True)])
        figures.append(
            Figure(NAME, f"a query: times faster than {name}", ratio, "x", at_least=FASTER)
        )
    return figures


def _write_figures(seconds: Mapping[str, float]) -> list[Figure]:
    rows = [Figure(NAME, f"{SIZE:,} documents, to write: {n}", s, "s") for n, s in seconds.items()]
    for name in PEERS:
        what = f"to write: times faster than {name}"
        rows.append(Figure(NAME, what, seconds[name] / seconds["ours"], "x"))
    return rows


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
