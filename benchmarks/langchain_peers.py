"""The peers of the ``langchain`` benchmark: ``EnsembleRetriever`` over two stock Qdrant stores.

Texts and pictures are in two of LangChain's ``QdrantVectorStore``s on one local client. One peer
searches what ours does, keywords included: its store of texts is hybrid, with the very BM25 that
ours has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from langchain_classic.retrievers import EnsembleRetriever
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_qdrant import QdrantVectorStore, RetrievalMode, SparseEmbeddings, SparseVector
from qdrant_client import QdrantClient, models

from mmrag.keywords import encode_document, encode_query

ENSEMBLE = "EnsembleRetriever"
HYBRID = f"{ENSEMBLE} with keywords"

Documents = Sequence[Document]
Peer = Callable[[QdrantClient, Documents, Documents, Embeddings, int], BaseRetriever]
"""Writes texts and pictures, whose embeddings are known, and retrieves so many of them."""


def ensemble(
    client: QdrantClient,
    texts: Documents,
    pictures: Documents,
    model: Embeddings,
    limit: int,
) -> BaseRetriever:
    """Reciprocal rank fusion by id."""
    stores = [_store(client, name, model) for name in ("texts", "pictures")]
    return _fused(stores, (texts, pictures), limit)


def hybrid(
    client: QdrantClient,
    texts: Documents,
    pictures: Documents,
    model: Embeddings,
    limit: int,
) -> BaseRetriever:
    """The same, with keywords for the texts."""
    said = _store(client, "texts-hybrid", model, keywords=True)
    return _fused([said, _store(client, "pictures-hybrid", model)], (texts, pictures), limit)


PEERS: dict[str, Peer] = {ENSEMBLE: ensemble, HYBRID: hybrid}


class KnownEmbeddings(Embeddings):
    """Looks texts up; of a picture, whose document has no text to speak of, by its name."""

    def __init__(self, passages: Mapping[str, list[float]], queries: Mapping[str, list[float]]):
        self.passages, self.queries = passages, queries

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.passages[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.queries[text]


class _Keywords(SparseEmbeddings):
    def embed_documents(self, texts: list[str]) -> list[SparseVector]:
        rows = [encode_document(text) for text in texts]
        return [SparseVector(indices=list(r.indices), values=list(r.values)) for r in rows]

    def embed_query(self, text: str) -> SparseVector:
        row = encode_query(text)
        return SparseVector(indices=list(row.indices), values=list(row.values))


def _store(
    client: QdrantClient, name: str, model: Embeddings, keywords: bool = False
) -> QdrantVectorStore:
    size = len(next(iter(model.queries.values())))  # type: ignore[attr-defined]
    sparse = {"langchain-sparse": models.SparseVectorParams(modifier=models.Modifier.IDF)}
    client.create_collection(
        name,
        vectors_config=models.VectorParams(size=size, distance=models.Distance.COSINE),
        sparse_vectors_config=sparse if keywords else None,
    )
    return QdrantVectorStore(
        client,
        name,
        embedding=model,
        retrieval_mode=RetrievalMode.HYBRID if keywords else RetrievalMode.DENSE,
        sparse_embedding=_Keywords() if keywords else None,
        validate_embeddings=False,
        validate_collection_config=False,
    )


def _fused(
    stores: Sequence[QdrantVectorStore], content: Sequence[Documents], limit: int
) -> BaseRetriever:
    for store, documents in zip(stores, content, strict=True):
        store.add_documents(list(documents))
    retrievers = [store.as_retriever(search_kwargs={"k": limit}) for store in stores]
    return EnsembleRetriever(retrievers=list(retrievers), id_key="number")
