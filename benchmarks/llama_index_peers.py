"""The peers of the ``llama_index`` benchmark: LlamaIndex's stock ways over texts and pictures.

Both keep texts and pictures in two of LlamaIndex's ``QdrantVectorStore``s on one local client.
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

FUSION, CONCATENATION = "QueryFusionRetriever", "MultiModalVectorStoreIndex"

Nodes = Sequence[BaseNode]
Peer = Callable[[QdrantClient, Nodes, Nodes, MultiModalEmbedding, int], BaseRetriever]
"""Writes texts and pictures, which have their embeddings, and retrieves so many of them."""


def fusion(
    client: QdrantClient, texts: Nodes, pictures: Nodes, model: MultiModalEmbedding, limit: int
) -> BaseRetriever:
    """Reciprocal rank fusion, in sync, without a language model that rewrites the query."""
    retrievers: list[BaseRetriever] = []
    for nodes, store in zip((texts, pictures), _stores(client), strict=True):
        store.add(list(nodes))
        index = VectorStoreIndex.from_vector_store(store, embed_model=model)
        retrievers.append(index.as_retriever(similarity_top_k=limit))
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


PEERS: dict[str, Peer] = {FUSION: fusion, CONCATENATION: concatenation}


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
