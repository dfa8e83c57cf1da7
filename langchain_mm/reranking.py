"""What a retriever's search has found, on its way through the retriever's reranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun as AsyncRun
from langchain_core.callbacks import CallbackManagerForRetrieverRun as Run
from langchain_core.documents import BaseDocumentCompressor, Document

from langchain_mm.convert import IMAGE_KEY, hit_to_document
from langchain_mm.query import Query
from langchain_mm.reranker import CrossModalReranker
from mmrag.search import DEPTH
from mmrag.types import Hit

__all__ = ["Found", "depth_of"]


class Found(NamedTuple):
    """The documents of a search for a query, of which ``k`` are wanted, and the paths of their
    pictures by the documents' ids."""

    query: Query
    documents: list[Document]
    k: int
    paths: Mapping[str | None, str]

    @classmethod
    def of(cls, query: Query, hits: Sequence[Hit], k: int, trace: bool) -> Found:
        """What a search found."""
        documents = [hit_to_document(hit, trace) for hit in hits]
        images = ((hit.record.id, hit.record.image) for hit in hits)
        return cls(query, documents, k, {key: image.uri for key, image in images if image})

    def reranked(self, reranker: BaseDocumentCompressor | None, run: Run) -> list[Document]:
        """The ``k`` best in the order of a reranker, or of the search if there is none."""
        if reranker is None or not self.documents:
            return self.documents
        words, image = self.query.text, self.query.image
        if isinstance(reranker, CrossModalReranker):
            kept = self._kept(reranker)
            return self._named(reranker.rerank(self._placed(), words, image=image, top_n=kept))
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
            best = await reranker.arerank(self._placed(), words, image=image, top_n=kept)
            return self._named(best)
        callbacks = run.get_child()
        judged = await reranker.acompress_documents(self.documents, self.query.words, callbacks)
        return list(judged)[: self.k]

    def _placed(self) -> list[Document]:
        """The documents with the paths that their records have: those of their own may be relative
        to what was the working directory when they were added."""
        return [
            _pictured(document, _at(document.metadata.get(IMAGE_KEY), self.paths[document.id]))
            if document.id in self.paths
            else document
            for document in self.documents
        ]

    def _named(self, judged: Sequence[Document]) -> list[Document]:
        """What was judged, with the pictures by their own names again."""
        own = {document.id: document.metadata.get(IMAGE_KEY) for document in self.documents}
        return [_pictured(document, own.get(document.id)) for document in judged]

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


def _at(image: object, path: str) -> object:
    """A document's picture at another path; what is malformed is refused later."""
    if isinstance(image, str):
        return path
    return {**image, "uri": path} if isinstance(image, Mapping) else image


def _pictured(document: Document, image: object) -> Document:
    if document.metadata.get(IMAGE_KEY) == image:
        return document
    return document.model_copy(update={"metadata": {**document.metadata, IMAGE_KEY: image}})
