"""CrossModalReranker: texts and pictures judged together with the query, whatever found them."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, cast

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, SkipValidation, field_validator

from langchain_mm.convert import image_ref_of
from langchain_mm.images import AnyImage, image_input
from langchain_mm.opening import AllowedRoots, allowed, resolved
from langchain_mm.writing import several
from mmrag.errors import InputError
from mmrag.media import ImageInput
from mmrag.metadata import caption_of
from mmrag.protocols import Reranker
from mmrag.rerank import EncoderReranker
from mmrag.types import Record

__all__ = ["SCORE_KEY", "CrossModalReranker"]

SCORE_KEY = "relevance_score"
"""Document metadata: the score that a reranker gave, under the name that LangChain's use."""

log = logging.getLogger("mmrag")


class CrossModalReranker(BaseDocumentCompressor):
    """Orders documents by how well their text, caption or picture fits the query.

    Use:
        >>> reranker = CrossModalReranker(top_n=3)                      # doctest: +SKIP
        >>> reranker.compress_documents(documents, "a red bag")         # doctest: +SKIP
        >>> reranker.rerank(documents, "in red", image="bag.jpg")       # doctest: +SKIP

    All documents go to ``reranker`` in one call. What comes back are the ``top_n`` best as copies
    that share nothing with what was given, best first, and among equals in the order that they came
    in. Text, id and metadata are kept, and ``metadata["relevance_score"]`` is from 0 to 1; one that
    was there before is replaced. A picture that cannot be opened counts as none, with a warning;
    so does one that is not that of the sha256 which its document says, as the file was replaced.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    reranker: Annotated[Reranker, SkipValidation] = Field(
        default_factory=EncoderReranker,
        exclude=True,
        repr=False,
        description="An mmrag.protocols.Reranker; by default an EncoderReranker. Async calls "
        "await its coroutine arerank, with the arguments of rerank, if it has one.",
    )
    top_n: int = Field(default=5, gt=0, description="How many documents are kept.")
    allowed_roots: Annotated[AllowedRoots | None, SkipValidation] = Field(
        default=None,
        exclude=True,
        repr=False,
        description="Where the documents are not to be trusted: folders of the pictures that are "
        "opened. Others are if the document says their sha256. By default all are. With them, what "
        "a reranker gets as the uri of a file is an object that checks and reads it.",
    )

    @field_validator("reranker")
    @classmethod
    def _is_reranker(cls, given: object) -> object:
        if not (hasattr(given, "rerank") and hasattr(given, "name")):
            raise InputError(f"{given!r} is not an mmrag.protocols.Reranker")
        return given

    @field_validator("allowed_roots")
    @classmethod
    def _resolved(cls, given: AllowedRoots | None) -> tuple[Path, ...] | None:
        return None if given is None else resolved(given)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The best documents for words. No run is started, and ``callbacks`` are not used.

        Raises:
            InputError: what was given are no documents, the query is empty or no string, or a
                document's caption or picture is malformed.
        """
        return self.rerank(documents, query)

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """:meth:`compress_documents`, async as :meth:`arerank` is."""
        return await self.arerank(documents, query)

    def rerank(
        self,
        documents: Sequence[Document],
        text: str | None = None,
        *,
        image: AnyImage | None = None,
        top_n: int | None = None,
    ) -> list[Document]:
        """The best documents for words, a picture, or both together; ``top_n`` of them, if it is
        given here.

        Raises:
            InputError: ``top_n`` is no whole number from 1, what was given are no documents, the
                query is empty, its text is no string, or a document's caption or picture is
                malformed.
            SourceError: the query's picture cannot be opened.
        """
        asked = self._asked(documents, text, image, top_n)
        if not asked.records:
            return []
        return self._best(asked, self.reranker.rerank(asked.words, asked.image, asked.records))

    async def arerank(
        self,
        documents: Sequence[Document],
        text: str | None = None,
        *,
        image: AnyImage | None = None,
        top_n: int | None = None,
    ) -> list[Document]:
        """:meth:`rerank`, which awaits the reranker's ``arerank`` if it has one; another one judges
        in a worker thread."""
        judge = getattr(self.reranker, "arerank", None)
        if judge is None:
            return await asyncio.to_thread(self.rerank, documents, text, image=image, top_n=top_n)
        asked = await asyncio.to_thread(self._asked, documents, text, image, top_n)
        if not asked.records:
            return []
        return self._best(asked, await judge(asked.words, asked.image, asked.records))

    def _asked(
        self, documents: Iterable[Document], text: object, image: AnyImage | None, top_n: int | None
    ) -> _Asked:
        if not (text is None or isinstance(text, str)):
            raise InputError(f"the text of a query is a string, not {type(text).__name__}")
        kept = self.top_n if top_n is None else top_n
        if isinstance(kept, bool) or not isinstance(kept, int) or kept < 1:
            raise InputError(f"top_n is a whole number from 1, not {kept!r}")
        words = (text or "").strip() or None
        if words is None and image is None:
            raise InputError("an empty query: give words, a picture, or both")
        given = several(documents, "documents")  # they are looked at more than once
        roots = cast("tuple[Path, ...] | None", self.allowed_roots)
        records = [_record(document, roots) for document in given]
        return _Asked(words, None if image is None else image_input(image), given, records, kept)

    def _best(self, asked: _Asked, scores: Sequence[float]) -> list[Document]:
        documents = asked.documents
        if len(scores) != len(documents):
            raise InputError(
                f"{self.reranker.name} gave {len(scores)} scores for {len(documents)} documents"
            )
        order = sorted(range(len(documents)), key=lambda number: -scores[number])
        return [_scored(documents[n], float(scores[n])) for n in order[: asked.kept]]


class _Asked(NamedTuple):
    """A query, the documents that are to be judged, and how many of them are kept."""

    words: str | None
    image: ImageInput | None
    documents: list[Document]
    records: list[Record]
    kept: int


def _record(document: Document, roots: Sequence[Path] | None) -> Record:
    """What a reranker looks at; its picture is not opened yet. The id only names it in warnings,
    and may be missing."""
    if not isinstance(document, Document):
        raise InputError(f"a reranker takes Documents, not {type(document).__name__}")
    name = document.id or ""
    try:
        caption, image = caption_of(document.metadata), image_ref_of(document)
    except InputError as error:
        raise InputError(f"document {name!r}: {error}") from error
    try:
        image = None if image is None else allowed(image, roots)
    except InputError as error:
        log.warning("document %r is judged without its picture: %s", name, error)
        image = None
    return Record(id=name, text=document.page_content, image=image, caption=caption)


def _scored(document: Document, score: float) -> Document:
    metadata = {**copy.deepcopy(document.metadata), SCORE_KEY: score}
    return document.model_copy(update={"metadata": metadata})
