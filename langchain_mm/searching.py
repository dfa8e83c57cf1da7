"""The reading half of MultimodalVectorStore: everything of it that searches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from typing_extensions import Self

from langchain_mm.convert import record_to_document
from langchain_mm.filters import DocumentFilter, where_of
from langchain_mm.images import AnyImage, image_input
from langchain_mm.query import text_of
from langchain_mm.relevance import relevance_of
from mmrag.diversity import mmr, redundancy
from mmrag.errors import InputError
from mmrag.index import MultimodalIndex
from mmrag.types import Hit, key_of

__all__ = ["Searching", "checked_index", "refuse"]

Scored = list[tuple[Document, float]]


class Searching(VectorStore):
    """Searches an open index by words, by a picture, or by a vector.

    ``filter`` is what :func:`langchain_mm.filters.where_of` takes. Documents come back as they were
    added. A score is the fused score of all routes, the higher the better. Async methods run in a
    worker thread.

    All methods raise InputError for an empty query, a ``k`` outside 1..10000, a filter that cannot
    be understood or an argument that is none of theirs.
    """

    def __init__(self, index: MultimodalIndex) -> None:
        self._index = checked_index(index)

    @property
    def index(self) -> MultimodalIndex:
        """The index behind the store."""
        return self._index

    def close(self) -> None:
        """Flush and release the index, as the end of a ``with`` block does; idempotent."""
        self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        folder, store = self._index.folder, type(self._index.store).__name__
        return f"{type(self).__name__}({store if folder is None else repr(str(folder))})"

    @property
    def embeddings(self) -> Embeddings | None:
        """What embeds queries for :meth:`similarity_search_by_vector`: the model that the store
        was made with, or the index's encoder of texts and pictures; None if it has two that
        LangChain does not know."""
        from langchain_mm.embeddings import MultimodalEmbeddings
        from langchain_mm.encoder import LangChainEncoder

        encoders = self._index.encoders
        if isinstance(encoders.text, LangChainEncoder):
            return encoders.text.embeddings
        return MultimodalEmbeddings(encoder=encoders.image) if encoders.shared else None

    def similarity_search(
        self,
        query: str,
        k: int = 4,
        filter: DocumentFilter = None,  # noqa: A002
        **kwargs: Any,
    ) -> list[Document]:
        """The best documents for words, texts and pictures alike."""
        return _bare(self.similarity_search_with_score(query, k, filter, **kwargs))

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: DocumentFilter = None,  # noqa: A002
        **kwargs: Any,
    ) -> Scored:
        """The best documents for words, each with its fused score."""
        refuse(kwargs)
        return _scored(self._index.search(text_of(query), limit=k, where=where_of(filter)))

    def similarity_search_by_image(
        self,
        image: AnyImage,
        k: int = 4,
        filter: DocumentFilter = None,  # noqa: A002
    ) -> list[Document]:
        """The best documents for a picture, in any form that :data:`langchain_mm.images.AnyImage`
        names. Raises SourceError if it cannot be opened."""
        return _bare(self.similarity_search_by_image_with_score(image, k, filter))

    def similarity_search_by_image_with_score(
        self,
        image: AnyImage,
        k: int = 4,
        filter: DocumentFilter = None,  # noqa: A002
    ) -> Scored:
        """The best documents for a picture, each with its fused score."""
        picture = image_input(image)
        return _scored(self._index.search(image=picture, limit=k, where=where_of(filter)))

    def similarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        filter: DocumentFilter = None,  # noqa: A002
        **kwargs: Any,
    ) -> list[Document]:
        """The best documents for a vector that :attr:`embeddings` made of a query. Raises
        VectorError if it is of another length, zero or not finite."""
        return _bare(self.similarity_search_with_score_by_vector(embedding, k, filter, **kwargs))

    def similarity_search_with_score_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        filter: DocumentFilter = None,  # noqa: A002
        **kwargs: Any,
    ) -> Scored:
        """The best documents for a vector, each with its fused score."""
        refuse(kwargs)
        return _scored(self._index.search_vector(embedding, limit=k, where=where_of(filter)))

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: DocumentFilter = None,  # noqa: A002
        **kwargs: Any,
    ) -> list[Document]:
        """Of the ``fetch_k`` best documents for words, ``k`` that do not repeat each other.

        ``lambda_mult`` is from 0, the most diverse, to 1, which is :meth:`similarity_search`; see
        :func:`mmrag.diversity.mmr`.
        """
        refuse(kwargs)
        where, depth = where_of(filter), _depth(k, fetch_k, lambda_mult)
        hits = self._index.search(text_of(query), limit=depth, where=where)
        return self._diverse(hits, k, lambda_mult)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: DocumentFilter = None,  # noqa: A002
        **kwargs: Any,
    ) -> list[Document]:
        """:meth:`max_marginal_relevance_search` for a vector that :attr:`embeddings` made."""
        refuse(kwargs)
        where, depth = where_of(filter), _depth(k, fetch_k, lambda_mult)
        hits = self._index.search_vector(embedding, limit=depth, where=where)
        return self._diverse(hits, k, lambda_mult)

    async def asimilarity_search_by_image(
        self,
        image: AnyImage,
        k: int = 4,
        filter: DocumentFilter = None,  # noqa: A002
    ) -> list[Document]:
        """:meth:`similarity_search_by_image` in a worker thread."""
        return await asyncio.to_thread(self.similarity_search_by_image, image, k, filter)

    async def asimilarity_search_by_image_with_score(
        self,
        image: AnyImage,
        k: int = 4,
        filter: DocumentFilter = None,  # noqa: A002
    ) -> Scored:
        """:meth:`similarity_search_by_image_with_score` in a worker thread."""
        return await asyncio.to_thread(self.similarity_search_by_image_with_score, image, k, filter)

    async def asimilarity_search_with_score_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        filter: DocumentFilter = None,  # noqa: A002
        **kwargs: Any,
    ) -> Scored:
        """:meth:`similarity_search_with_score_by_vector` in a worker thread."""
        search = self.similarity_search_with_score_by_vector
        return await asyncio.to_thread(search, embedding, k, filter, **kwargs)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return relevance_of

    def _diverse(self, hits: Sequence[Hit], k: int, lambda_mult: float) -> list[Document]:
        keys = [key_of(hit.record.id) for hit in hits]
        vectors = self._index.store.vectors(keys)
        repeated = redundancy([vectors.get(key, {}) for key in keys])  # {}: deleted meanwhile
        chosen = mmr([hit.score for hit in hits], repeated, k, lambda_mult)
        return [record_to_document(hits[place].record) for place in chosen]


def checked_index(given: object) -> MultimodalIndex:
    """Raises InputError for what is no open index."""
    if isinstance(given, MultimodalIndex):
        return given
    raise InputError(
        f"expected an open MultimodalIndex, not {type(given).__name__}: "
        "MultimodalVectorStore.from_path(folder) opens one"
    )


def refuse(given: Mapping[str, object]) -> None:
    """Raises InputError if there are arguments that the store knows nothing of."""
    if unknown := [name for name, value in given.items() if value is not None]:
        raise InputError(f"a MultimodalVectorStore takes no {', '.join(unknown)} here")


def _depth(k: int, fetch_k: int, lambda_mult: float) -> int:
    """How many documents to choose from; where only the order counts, no more than are wanted, so
    that it is exactly that of a search for as many."""
    for name, value in (("k", k), ("fetch_k", fetch_k)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} is a whole number from 1, not {value!r}")
    return k if lambda_mult == 1 else max(k, fetch_k)


def _scored(hits: Iterable[Hit]) -> Scored:
    return [(record_to_document(hit.record), hit.score) for hit in hits]


def _bare(scored: Scored) -> list[Document]:
    return [document for document, _ in scored]
