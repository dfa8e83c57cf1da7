"""MultimodalVectorStore: a MultimodalIndex as a LlamaIndex vector store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, ImageNode, IndexNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

from llama_index_mm.convert import class_of, hit_to_node, record_to_node
from llama_index_mm.encoding import encoded
from llama_index_mm.filters import DOCUMENT, narrowed
from llama_index_mm.modes import way_of
from mmrag.attachments import Attachments
from mmrag.errors import InputError
from mmrag.filters import Eq
from mmrag.index import MultimodalIndex

__all__ = ["MultimodalVectorStore"]


class MultimodalVectorStore(BasePydanticVectorStore):
    """One index for text nodes and image nodes alike, as one vector store.

    >>> store = MultimodalVectorStore(MultimodalIndex.open("kb"))           # doctest: +SKIP
    >>> context = StorageContext.from_defaults(vector_store=store)          # doctest: +SKIP
    >>> VectorStoreIndex(nodes, storage_context=context, embed_model=model) # doctest: +SKIP

    A node is one point with all its vectors: of its text (what ``MetadataMode.EMBED`` shows), its
    picture, its caption (``metadata["mmrag_caption"]``) and its keywords. Adding a node of an id
    that exists replaces it. Nodes come back as what they were, also ImageDocuments and subclasses
    of one's own, bytes included, as fresh objects without embeddings.

    **Whose embeddings.** All vectors are made by the index's own encoders; ``node.embedding`` and
    ``VectorStoreQuery.query_embedding`` are never used. Nothing in a list of numbers says which
    model made it, and one of another model would, at the same dimension, find nonsense in silence.
    So any ``embed_model`` does: MultimodalEmbedding over this index, or a MockEmbedding, which
    costs nothing. (An IngestionPipeline hands over only nodes that have some embedding.)

    **Bytes** in nodes (base64, ``MediaResource.data``) become files in the index's folder, each as
    long as some node needs it. A picture behind a URL is not fetched.
    """

    stores_text: bool = True
    is_embedding_query: bool = False

    _index: MultimodalIndex = PrivateAttr()
    _attachments: Attachments = PrivateAttr()
    _listed: set[str] = PrivateAttr(default_factory=set)  # ids of ImageNodes and IndexNodes

    def __init__(self, index: MultimodalIndex) -> None:
        if not isinstance(index, MultimodalIndex):
            raise InputError(f"index is a MultimodalIndex, not a {type(index).__name__}")
        super().__init__(stores_text=True)
        self._index = index
        self._attachments = Attachments(index)

    @classmethod
    def from_path(cls, path: str | Path) -> MultimodalVectorStore:
        """Over the index in this folder, with the bundled encoders; it is made if there is none.
        With others: ``MultimodalVectorStore(MultimodalIndex.open(path, image_encoder="..."))``.

        Raises as :meth:`mmrag.MultimodalIndex.open` does. ``store.index.close()`` releases it.
        """
        return cls(MultimodalIndex.open(path))

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a MultimodalVectorStore cannot be pickled: open its folder there")

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised form."""
        return "MultimodalVectorStore"

    @property
    def index(self) -> MultimodalIndex:
        """The index behind the store."""
        return self._index

    @property
    def client(self) -> MultimodalIndex:
        """The index behind the store, by LlamaIndex's word for it."""
        return self._index

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Encode and write nodes, and return their ids. Nothing is written unless all can be.

        Raises:
            SourceError: a picture cannot be opened; the message names the node.
            InputError: a node cannot be stored, has nothing but a picture behind a URL, or holds
                bytes while the index has no folder to keep them in.
        """
        _refuse(kwargs)
        if other := next((node for node in nodes if not isinstance(node, BaseNode)), None):
            raise InputError(f"nodes are LlamaIndex's nodes, not {type(other).__name__}")
        self._attachments.write(partial(encoded, self._index, nodes))
        self._listed.difference_update(node.node_id for node in nodes)  # of another kind, perhaps
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document; a node that belongs to none is its own document."""
        _refuse(delete_kwargs)
        self._attachments.delete(where=Eq(DOCUMENT, ref_doc_id))

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete the nodes of these ids that match the filters, each if given.

        Raises:
            InputError: neither was given, or a filter cannot be expressed.
        """
        _refuse(delete_kwargs)
        where = narrowed(filters, node_ids)
        if where is None:
            raise InputError("delete_nodes takes node_ids or filters; clear() deletes all")
        self._attachments.delete(where=where)

    def clear(self) -> None:
        """Delete everything in the index, also what was not added as a node."""
        self._attachments.clear()

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """The nodes of these ids, in their order, that match the filters, each if given; all nodes
        if neither is.

        Raises:
            InputError: a filter cannot be expressed.
        """
        if node_ids is not None and filters is None:
            records = self._index.get(node_ids)
        else:
            found = {record.id: record for record in self._index.scan(narrowed(filters, node_ids))}
            records = [found[i] for i in (found if node_ids is None else node_ids) if i in found]
        return [record_to_node(record, self._index.folder) for record in records]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The best nodes for the words of the query, with fused scores; each says in
        ``metadata["mmrag_routes"]`` what found it.

        The modes ``default`` and ``hybrid`` search by all routes; ``hybrid`` with an ``alpha`` by
        reciprocal ranks, of which keywords weigh ``1 - alpha`` and each other route ``alpha``.
        ``text_search`` and ``sparse`` search keywords alone. ``query_embedding`` is ignored.
        ``node_ids`` restrict the search, unless all are of ImageNodes and IndexNodes, as those that
        VectorStoreIndex sends of itself: filter by ``mmrag.id`` to search among pictures alone.

        Raises:
            InputError: there are no words, or the query asks for what an index does not do: another
                mode, ``embedding_field``, ``output_fields``, a filter that cannot be expressed.
        """
        _refuse(kwargs)
        _refuse({k: getattr(query, k) for k in ("embedding_field", "output_fields")})
        if not query.query_str:
            raise InputError("a query needs query_str: the index makes its embeddings by itself")
        routes, fusion = way_of(query)
        hits = self._index.search(
            query.query_str,
            limit=query.hybrid_top_k or query.similarity_top_k,
            where=narrowed(query.filters, self._restriction(query.node_ids), query.doc_ids or None),
            routes=routes,
            fusion=fusion,
        )
        found = [hit_to_node(hit, folder=self._index.folder) for hit in hits]
        return VectorStoreQueryResult(
            nodes=[item.node for item in found],
            similarities=[item.get_score() for item in found],
            ids=[item.node_id for item in found],
        )

    def _restriction(self, node_ids: list[str] | None) -> list[str] | None:
        """The ids that a query is restricted to.

        VectorStoreIndex notes the ImageNodes and IndexNodes that go through it, and no others, for
        good; its ``as_retriever`` then sends their ids as if the search were for them alone. So
        such ids, and those of nodes that are gone, mean no restriction; else the texts of a mixed
        index would never be found.
        """
        if not node_ids:
            return None
        found = self._index.get([i for i in node_ids if i not in self._listed])
        if not all(issubclass(class_of(record), ImageNode | IndexNode) for record in found):
            return node_ids
        self._listed.update(record.id for record in found)
        return None

    def persist(self, persist_path: str, fs: fsspec.AbstractFileSystem | None = None) -> None:
        """Return once all that was added would survive a power cut; the index has its own place,
        and nothing is written to ``persist_path``."""
        self._index.store.flush()

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """:meth:`add` in a worker thread."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """:meth:`delete` in a worker thread."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """:meth:`delete_nodes` in a worker thread."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    async def aclear(self) -> None:
        """:meth:`clear` in a worker thread."""
        await asyncio.to_thread(self.clear)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """:meth:`get_nodes` in a worker thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """:meth:`query` in a worker thread."""
        return await asyncio.to_thread(self.query, query, **kwargs)


def _refuse(given: Mapping[str, object]) -> None:
    if unknown := [name for name, value in given.items() if value is not None]:
        raise InputError(f"a MultimodalVectorStore takes no {', '.join(unknown)}")
