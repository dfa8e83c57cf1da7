"""What a retriever's search has found, on its way through the retriever's reranker."""

from __future__ import annotations

from typing import NamedTuple

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun as AsyncRun
from langchain_core.callbacks import CallbackManagerForRetrieverRun as Run
from langchain_core.documents import BaseDocumentCompressor, Document

from langchain_mm.query import Query
from langchain_mm.reranker import CrossModalReranker
from mmrag.search import DEPTH

__all__ = ["Found", "depth_of"]


class Found(NamedTuple):
    """The documents of a search for a query, of which ``k`` are wanted."""

    query: Query
    documents: list[Document]
    k: int

    def reranked(self, reranker: BaseDocumentCompressor | None, run: Run) -> list[Document]:
        """The ``k`` best in the order of a reranker, or of the search if there is none."""
        if reranker is None or not self.documents:
            return self.documents
        words, image = self.query.text, self.query.image
        if isinstance(reranker, CrossModalReranker):
            kept = self._kept(reranker)
            return reranker.rerank(self.documents, words, image=image, top_n=kept)
        callbacks = run.get_child()
        judged = reranker.compress_documents(self.documents, self.query.words, callbacks)
        return list(judged)[: self.k]

    async def areranked(
        self, reranker: BaseDocumentCompressor | None, run: AsyncRun
    ) -> list[Document]:
        """:meth:`reranked`, which awaits the reranker."""
        if reranker is None or not self.documents:
            return self.documents
        words, image = self.query.text, self.query.image
        if isinstance(reranker, CrossModalReranker):
            kept = self._kept(reranker)
            return await reranker.arerank(self.documents, words, image=image, top_n=kept)
        callbacks = run.get_child()
        judged = await reranker.acompress_documents(self.documents, self.query.words, callbacks)
        return list(judged)[: self.k]

    def _kept(self, reranker: CrossModalReranker) -> int:
        """How many are kept: a ``top_n`` that nobody has set does not make a retriever's ``k``
        less."""
        return min(self.k, reranker.top_n) if "top_n" in reranker.model_fields_set else self.k


def depth_of(k: int, reranker: object) -> int:
    """How many documents are searched for the ``k`` that are wanted. What is no ``k`` stays as it
    is: the search refuses it."""
    if reranker is None or isinstance(k, bool) or not isinstance(k, int) or k < 1:
        return k
    return max(k, DEPTH)
