"""MultimodalRetriever: one fused ranking over texts and pictures, as a LlamaIndex retriever."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.base_multi_modal_retriever import MultiModalRetriever
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.schema import BaseNode, IndexNode, NodeWithScore, QueryBundle, QueryType
from llama_index.core.vector_stores.types import MetadataFilters

from llama_index_mm.convert import hit_to_node
from llama_index_mm.filters import where_of
from llama_index_mm.vector_store import MultimodalVectorStore
from mmrag.errors import InputError
from mmrag.filters import And, Eq, Where, parse_filter
from mmrag.fusion import Fusion, fusion_named
from mmrag.index import MultimodalIndex
from mmrag.routes import routes_named
from mmrag.types import Modality

if TYPE_CHECKING:
    from llama_index_mm.fusion_retriever import FusionRetriever

__all__ = ["MultimodalRetriever"]


class MultimodalRetriever(MultiModalRetriever):
    """Nodes for words, a picture, or both together, from one fused ranking.

    >>> retriever = MultimodalRetriever(index)                          # doctest: +SKIP
    >>> retriever.retrieve("how do I reset the router?")                # doctest: +SKIP
    >>> retriever.retrieve(QueryBundle("in red", image_path="bag.jpg")) # doctest: +SKIP

    A node's score is the fused score; its metadata says under ``mmrag_routes`` (which neither the
    embedding nor the LLM is shown) what each route contributed. The nodes are fresh objects.

    Of a bundle, which is never written to, ``image_path`` and ``query_str`` are searched for, or
    its ``custom_embedding_strs`` as one text in place of ``query_str``. ``embedding`` is ignored:
    nobody knows what model made it, and a vector of another model finds nonsense in silence.

    Args:
        index: an open index, or a vector store over one.
        similarity_top_k: how many nodes are retrieved.
        routes: names of :data:`mmrag.routes.ROUTES`; those that a query has no part for are left
            out. By default all.
        fusion: a name of :data:`mmrag.fusion.FUSIONS` or a function like those.
        filters: LlamaIndex's filters, or what :meth:`mmrag.MultimodalIndex.search` takes.
        callback_manager: receives ``CBEventType.RETRIEVE``.
        object_map: for an ``IndexNode`` of this ``index_id``, what stands behind it.
        objects: index nodes with their objects, instead of ``object_map``.
        verbose: print what is retrieved from such objects.

    Raises:
        InputError: ``index`` is something else, ``similarity_top_k`` is below 1, or a route, a
            fusion or a filter cannot be understood.
    """

    def __init__(
        self,
        index: MultimodalIndex | MultimodalVectorStore,
        *,
        similarity_top_k: int = 10,
        routes: Sequence[str] | None = None,
        fusion: str | Fusion | None = None,
        filters: MetadataFilters | Where = None,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        objects: list[IndexNode] | None = None,
        verbose: bool = False,
    ) -> None:
        if isinstance(index, MultimodalVectorStore):
            index = index.index
        if not isinstance(index, MultimodalIndex):
            raise InputError(
                "index is a MultimodalIndex or a MultimodalVectorStore, "
                f"not a {type(index).__name__}"
            )
        if not isinstance(similarity_top_k, int) or similarity_top_k < 1:
            raise InputError(f"similarity_top_k is 1 or more, not {similarity_top_k!r}")
        self.index = index
        self.similarity_top_k = similarity_top_k
        self._routes = routes_named(routes)
        self._fusion = fusion_named(fusion)
        self._where = (
            where_of(filters) if isinstance(filters, MetadataFilters) else parse_filter(filters)
        )
        self._part: Modality | None = None  # the part of a query that is used; both for None
        super().__init__(callback_manager, object_map, objects, verbose)

    @staticmethod
    def from_retrievers(
        retrievers: Mapping[str, BaseRetriever],
        *,
        weights: Mapping[str, float] | None = None,
        k: float = 60,
        key: Callable[[BaseNode], str] | None = None,
        similarity_top_k: int = 10,
        callback_manager: CallbackManager | None = None,
    ) -> FusionRetriever:
        """Fuse any retrievers that an app has already, by reciprocal rank.

        See :class:`llama_index_mm.fusion_retriever.FusionRetriever`.
        """
        from llama_index_mm.fusion_retriever import FusionRetriever

        return FusionRetriever(
            retrievers,
            weights=weights,
            k=k,
            key=key,
            similarity_top_k=similarity_top_k,
            callback_manager=callback_manager,
        )

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        text = None if self._part == "image" else _words(query_bundle)
        image = None if self._part == "text" else query_bundle.image_path or None
        given = {"text": text is not None, "image": image is not None}
        if not any(given.values()):
            raise InputError(f"the query has no {self._part or 'text and no image'} to search for")
        routes = [route.name for route in self._routes if given[route.query]]
        if not routes:
            names = ", ".join(route.name for route in self._routes)
            raise InputError(f"none of the retriever's routes takes this query: {names}")
        hits = self.index.search(
            text,
            image=image,
            limit=self.similarity_top_k,
            where=self._where,
            routes=routes,
            fusion=self._fusion,
        )
        return [hit_to_node(hit, folder=self.index.folder) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)

    def _only(self, part: Modality, modality: Modality) -> MultimodalRetriever:
        """This retriever for one part of a query and one kind of node."""
        narrowed = copy.copy(self)
        narrowed._part = part
        narrowed._where = And((*([self._where] if self._where else []), Eq("modality", modality)))
        return narrowed

    # The base classes want each of these four ways in public, and two of them in private as well.

    def text_retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """Text nodes for the words of the query."""
        return self._only("text", "text").retrieve(str_or_query_bundle)

    def text_to_image_retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """Image nodes for the words of the query: by what they show, their captions and texts."""
        return self._only("text", "image").retrieve(str_or_query_bundle)

    def image_to_image_retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """Image nodes for the picture of the query; a string is its path."""
        return self._only("image", "image").retrieve(_pictured(str_or_query_bundle))

    def image_to_text_retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """Text nodes for the picture of the query; a string is its path."""
        return self._only("image", "text").retrieve(_pictured(str_or_query_bundle))

    async def atext_retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """:meth:`text_retrieve` in a worker thread."""
        return await self._only("text", "text").aretrieve(str_or_query_bundle)

    async def atext_to_image_retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """:meth:`text_to_image_retrieve` in a worker thread."""
        return await self._only("text", "image").aretrieve(str_or_query_bundle)

    async def aimage_to_image_retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """:meth:`image_to_image_retrieve` in a worker thread."""
        return await self._only("image", "image").aretrieve(_pictured(str_or_query_bundle))

    async def aimage_to_text_retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """:meth:`image_to_text_retrieve` in a worker thread."""
        return await self._only("image", "text").aretrieve(_pictured(str_or_query_bundle))

    def _text_to_image_retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._only("text", "image")._retrieve(query_bundle)

    def _image_to_image_retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._only("image", "image")._retrieve(query_bundle)

    async def _atext_to_image_retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await self._only("text", "image")._aretrieve(query_bundle)

    async def _aimage_to_image_retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await self._only("image", "image")._aretrieve(query_bundle)


def _words(query: QueryBundle) -> str | None:
    custom = "\n".join(query.custom_embedding_strs or ()).strip()
    return custom or query.query_str.strip() or None


def _pictured(query: QueryType) -> QueryBundle:
    return QueryBundle("", image_path=query) if isinstance(query, str) else query
