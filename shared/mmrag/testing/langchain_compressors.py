"""What a LangChain document compressor that reranks has to do, as tests to subclass."""
# ruff: noqa: S101, D102  # tests: they assert, and their names say what

from __future__ import annotations

import asyncio
import copy
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.documents import BaseDocumentCompressor, Document

__all__ = ["DocumentCompressorTests"]


class DocumentCompressorTests:
    """What is kept, what is scored and what is never changed, sync and async: for compressors that
    put documents in an order and may leave some out, not for those that rewrite them. ::

        class TestMyReranker(DocumentCompressorTests):
            @property
            def compressor_class(self) -> type[BaseDocumentCompressor]:
                return MyReranker

            @property
            def compressor_params(self) -> dict[str, Any]:
                return {"model": FakeModel()}
    """

    @property
    @abstractmethod
    def compressor_class(self) -> type[BaseDocumentCompressor]:
        """The class under test."""

    @property
    def compressor_params(self) -> dict[str, Any]:
        """What it is made with."""
        return {}

    @property
    def query(self) -> str:
        """A query that fits some of the documents better than others."""
        return "a red bag"

    @property
    def documents(self) -> list[Document]:
        """At least two documents, some of them with nested metadata."""
        return [
            Document("bread in a bag", id="1", metadata={"source": "a.md", "pages": [1, 2]}),
            Document("a red bag", id="2", metadata={"deep": {"er": {"list": [1]}}}),
            Document("a red bag", metadata={"source": "no id"}),
            Document("", id="nothing", metadata={}),
            Document("a bag", id="3e0b7f2a-6a55-4a0e-8d5c-0b5f3b0f7c11", metadata={"n": None}),
        ]

    @property
    def score_key(self) -> str:
        """Where in the metadata the score is."""
        return "relevance_score"

    @pytest.fixture
    def compressor(self) -> BaseDocumentCompressor:
        """The compressor of a test."""
        return self.compressor_class(**self.compressor_params)

    def _compressed(
        self, compressor: BaseDocumentCompressor, documents: Sequence[Document]
    ) -> list[Document]:
        found = list(compressor.compress_documents(documents, self.query))
        assert found, "nothing was found, so nothing is shown: give documents that fit the query"
        return found

    def _without_score(self, document: Document) -> Document:
        metadata = {k: v for k, v in document.metadata.items() if k != self.score_key}
        return document.model_copy(update={"metadata": metadata})

    def test_what_comes_back_was_given_and_is_kept_whole(
        self, compressor: BaseDocumentCompressor
    ) -> None:
        """Id, text and metadata, and each document no more often than it was given."""
        left = copy.deepcopy(self.documents)
        for document in self._compressed(compressor, self.documents):
            assert isinstance(document, Document)
            given = self._without_score(document)
            assert given in left
            left.remove(given)

    def test_scores_are_there_and_descend(self, compressor: BaseDocumentCompressor) -> None:
        found = self._compressed(compressor, self.documents)
        scores = [document.metadata[self.score_key] for document in found]
        assert all(type(score) is float and math.isfinite(score) for score in scores)
        assert scores == sorted(scores, reverse=True)

    def test_an_old_score_is_replaced(self, compressor: BaseDocumentCompressor) -> None:
        """As when the documents come from another reranker."""
        scored = [
            Document(d.page_content, id=d.id, metadata={**d.metadata, self.score_key: 99.0 - n})
            for n, d in enumerate(self.documents)
        ]
        found = self._compressed(compressor, scored)
        assert found == self._compressed(compressor, self.documents)

    def test_the_input_is_not_changed(self, compressor: BaseDocumentCompressor) -> None:
        documents = self.documents
        given, before = list(documents), copy.deepcopy(documents)
        self._compressed(compressor, documents)
        asyncio.run(compressor.acompress_documents(documents, self.query))
        assert documents == before
        assert all(d is g for d, g in zip(documents, given, strict=True)), "their order, too"

    def test_nothing_is_shared_with_the_input(self, compressor: BaseDocumentCompressor) -> None:
        documents = self.documents
        before = copy.deepcopy(documents)
        for document in self._compressed(compressor, documents):
            _scribble(document.metadata)
        assert documents == before

    def test_no_documents(self, compressor: BaseDocumentCompressor) -> None:
        query = self.query
        assert list(compressor.compress_documents([], query)) == []
        assert list(asyncio.run(compressor.acompress_documents([], query))) == []

    def test_the_same_again(self, compressor: BaseDocumentCompressor) -> None:
        documents = self.documents
        first = self._compressed(compressor, documents)
        assert self._compressed(compressor, tuple(documents)) == first

    def test_async_gives_the_same(self, compressor: BaseDocumentCompressor) -> None:
        documents, query = self.documents, self.query
        found = asyncio.run(compressor.acompress_documents(documents, query))
        assert list(found) == self._compressed(compressor, documents)

    def test_callbacks_are_taken(self, compressor: BaseDocumentCompressor) -> None:
        """Pipelines and retrievers pass them by name."""
        documents, query = self.documents, self.query
        found = compressor.compress_documents(documents, query, callbacks=[])
        again = asyncio.run(compressor.acompress_documents(documents, query, callbacks=[]))
        assert list(found) == list(again) == self._compressed(compressor, documents)


def _scribble(value: Any) -> None:
    """Change every dict and list, at any depth."""
    if isinstance(value, dict):
        for item in value.values():
            _scribble(item)
        value["scribbled"] = True
    elif isinstance(value, list):
        for item in value:
            _scribble(item)
        value.append("scribbled")
