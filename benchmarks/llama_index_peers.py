"""The peers of the ``llama_index`` benchmark: LlamaIndex's stock ways over texts and pictures.

All keep texts and pictures in two of LlamaIndex's ``QdrantVectorStore``s on one local client. One
searches what ours does, keywords included: its store of texts is hybrid, with the very BM25 that
ours has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import BaseRetriever, QueryFusionRetriever
from llama_index.core.schema import BaseNode
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient
from qdrant_client.models import Modifier, SparseVectorParams

from mmrag.keywords import SparseVector, encode_document, encode_query

FUSION, CONCATENATION = "QueryFusionRetriever", "MultiModalVectorStoreIndex"
HYBRID = f"{FUSION} with keywords"

Nodes = Sequence[BaseNode]
Peer = Callable[[QdrantClient, Nodes, Nodes, MultiModalEmbedding, int], BaseRetriever]
"""Writes texts and pictures, which have their embeddings, and retrieves so many of them."""


def fusion(
    client: QdrantClient, texts: Nodes, pictures: Nodes, model: MultiModalEmbedding, limit: int
) -> BaseRetriever:
    """Reciprocal rank fusion, in sync, without a language model that rewrites the query."""
    retrievers = []
    for nodes, store in zip((texts, pictures), _stores(client), strict=True):
        store.add(list(nodes))
        index = VectorStoreIndex.from_vector_store(store, embed_model=model)
        retrievers.append(index.as_retriever(similarity_top_k=limit))
    return _fused(retrievers, limit)


def hybrid(
    client: QdrantClient, texts: Nodes, pictures: Nodes, model: MultiModalEmbedding, limit: int
) -> BaseRetriever:
    """The same, with keywords for the texts."""
    said = QdrantVectorStore(
        "texts-hybrid",
        client=client,
        enable_hybrid=True,
        sparse_doc_fn=lambda texts: _sparse(texts, encode_document),
        sparse_query_fn=lambda texts: _sparse(texts, encode_query),
        sparse_config=SparseVectorParams(modifier=Modifier.IDF),
    )
    shown = QdrantVectorStore("pictures-hybrid", client=client)
    retrievers = []
    for nodes, store, mode in ((texts, said, "hybrid"), (pictures, shown, "default")):
        store.add(list(nodes))
        index = VectorStoreIndex.from_vector_store(store, embed_model=model)
        retrievers.append(
            index.as_retriever(
                similarity_top_k=limit,
                sparse_top_k=limit,
                vector_store_query_mode=mode,
            )
        )
    return _fused(retrievers, limit)


def _sparse(
    texts: Sequence[str], encode: Callable[[str], SparseVector]
) -> tuple[list[list[int]], list[list[float]]]:
    rows = [encode(text) for text in texts]
    return [list(row.indices) for row in rows], [list(row.values) for row in rows]


def _fused(retrievers: list[BaseRetriever], limit: int) -> BaseRetriever:
    return QueryFusionRetriever(
        retrievers,
        llm=MockLLM(),
        mode="reciprocal_rerank",  # type: ignore[arg-type]
        num_queries=1,
        use_async=False,
        similarity_top_k=limit,
    )


def concatenation(
    client: QdrantClient, texts: Nodes, pictures: Nodes, model: MultiModalEmbedding, limit: int
) -> BaseRetriever:
    """So many texts, and after them so many pictures. Pictures need some metadata to be kept."""
    text_store, image_store = _stores(client)
    context = StorageContext.from_defaults(vector_store=text_store, image_store=image_store)
    index = MultiModalVectorStoreIndex(
        [*texts, *pictures], storage_context=context, embed_model=model, image_embed_model=model
    )
    return index.as_retriever(similarity_top_k=limit, image_similarity_top_k=limit)


PEERS: dict[str, Peer] = {FUSION: fusion, HYBRID: hybrid, CONCATENATION: concatenation}


def _stores(client: QdrantClient) -> list[QdrantVectorStore]:
    return [QdrantVectorStore(name, client=client) for name in ("texts", "pictures")]


class KnownEmbedding(MultiModalEmbedding):
    """Looks queries up."""

    words: dict[str, list[float]]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self.words[query]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self.words[query]

    def _get_text_embedding(self, text: str) -> list[float]:
        raise NotImplementedError("the nodes have their embeddings")

    def _get_image_embedding(self, img_file_path: Any) -> list[float]:
        raise NotImplementedError("the nodes have their embeddings")

    async def _aget_image_embedding(self, img_file_path: Any) -> list[float]:
        raise NotImplementedError("the nodes have their embeddings")
