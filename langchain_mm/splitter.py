"""ImageSafe: a text splitter that leaves documents with a picture alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from langchain_core.documents import BaseDocumentTransformer, Document

from langchain_mm.convert import IMAGE_KEY
from mmrag.errors import InputError

__all__ = ["ImageSafe"]


class ImageSafe(BaseDocumentTransformer):
    """Sends documents through a text splitter, except those with a picture.

    >>> splitter = RecursiveCharacterTextSplitter(chunk_size=500)        # doctest: +SKIP
    >>> store.add_documents(ImageSafe(splitter).transform_documents(documents))  # doctest: +SKIP

    LangChain's splitters drop documents without text, as pictures are, and all ids. Here a document
    with something under ``metadata["mmrag_image"]`` is given back as it is, with its id and its
    text, however long, and in its place. What :class:`langchain_mm.MultimodalLoader` reads is in
    chunks already, and needs no splitter.

    Raises:
        InputError: the splitter is none of LangChain's transformers of documents.
    """

    def __init__(self, splitter: BaseDocumentTransformer) -> None:
        if not isinstance(splitter, BaseDocumentTransformer):
            name = splitter.__name__ if isinstance(splitter, type) else type(splitter).__name__
            raise InputError(f"pass a text splitter that has transform_documents, not {name}")
        self.splitter = splitter

    def __repr__(self) -> str:
        return f"ImageSafe({type(self.splitter).__name__})"

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """The documents in their order, those without a picture split.

        Raises:
            InputError: what was given are no documents.
        """
        done: list[Document] = []
        for pictured, run in _runs(documents):
            done += run if pictured else self.splitter.transform_documents(run, **kwargs)
        return done

    async def atransform_documents(
        self, documents: Sequence[Document], **kwargs: Any
    ) -> list[Document]:
        """:meth:`transform_documents`, with the async method of the splitter."""
        done: list[Document] = []
        for pictured, run in _runs(documents):
            done += run if pictured else await self.splitter.atransform_documents(run, **kwargs)
        return done


def _runs(documents: Sequence[Document]) -> Iterator[tuple[bool, list[Document]]]:
    """The documents in order, in runs of those with a picture and of those without."""
    if not isinstance(documents, Sequence) or not all(isinstance(d, Document) for d in documents):
        raise InputError("pass a list of documents")
    for pictured, run in groupby(documents, lambda d: d.metadata.get(IMAGE_KEY) is not None):
        yield pictured, list(run)
