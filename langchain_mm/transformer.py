"""CaptionTransformer: documents with pictures get captions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.documents import BaseDocumentTransformer, Document
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.stores import ByteStore, InMemoryByteStore

from langchain_mm.caption_cache import key_of, of_bytes, to_bytes
from langchain_mm.captioner import ChatModelCaptioner
from langchain_mm.convert import CAPTION_KEY, image_of
from langchain_mm.writing import several
from mmrag.captions import full_text
from mmrag.errors import AnswerError, InputError, SourceError, UnknownName
from mmrag.identity import digest_of
from mmrag.media import ImageInput
from mmrag.metadata import caption_to_dict
from mmrag.protocols import Captioner
from mmrag.types import Caption

__all__ = ["CaptionTransformer"]

OnError = Literal["raise", "skip"]

log = logging.getLogger("mmrag")


class CaptionTransformer(BaseDocumentTransformer):
    """Has every picture among documents described by a captioner.

    >>> captions = CaptionTransformer(ChatOpenAI(model="gpt-4o-mini"))   # doctest: +SKIP
    >>> store.add_documents(captions.transform_documents(documents))     # doctest: +SKIP

    With captions that last, in a folder:
        >>> from langchain_classic.storage import LocalFileStore         # doctest: +SKIP
        >>> CaptionTransformer(model, cache=LocalFileStore("captions"))  # doctest: +SKIP

    A document with a picture is given back as a copy that has the caption in
    ``metadata["mmrag_caption"]``, which makes it a field of its own in an mmrag index; id, text and
    all other metadata are kept. Documents without a picture, and those that have a caption, are
    given back as they are.

    Args:
        captioner: a chat model that takes pictures, or any :class:`mmrag.protocols.Captioner`.
        cache: keeps captions under the picture's hash and the captioner's name, which has the
            model's and the version of the prompt; by default in memory. The same picture is
            described once, and what was described before an error is kept.
        concurrency: how many pictures are described at once.
        on_error: ``"raise"`` raises the first error after all pictures were tried; with ``"skip"``
            the document goes on as it is. Every failure is logged with its document.
        fill_empty_text: also writes all that the caption says into a ``page_content`` that is
            empty, for vector stores and models that see nothing else. An mmrag index needs it not.

    Raises:
        InputError: an argument is none of these.
    """

    def __init__(
        self,
        captioner: Captioner | BaseChatModel,
        *,
        cache: ByteStore | None = None,
        concurrency: int = 4,
        on_error: OnError = "raise",
        fill_empty_text: bool = False,
    ) -> None:
        if isinstance(captioner, BaseChatModel):
            captioner = ChatModelCaptioner(captioner)
        if not (hasattr(captioner, "caption") and hasattr(captioner, "name")):
            raise InputError(
                "pass a LangChain chat model or an mmrag.protocols.Captioner, "
                f"not a {type(captioner).__name__}"
            )
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise InputError(f"concurrency is 1 or more, not {concurrency!r}")
        if on_error not in ("raise", "skip"):
            raise UnknownName("on_error", on_error, ("raise", "skip"))
        self.captioner: Captioner = captioner
        self.cache = InMemoryByteStore() if cache is None else cache
        self.concurrency, self.on_error = concurrency, on_error
        self.fill_empty_text = fill_empty_text

    def __repr__(self) -> str:
        return f"CaptionTransformer({self.captioner.name!r}, on_error={self.on_error!r})"

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """The documents in their order, those with pictures captioned.

        Raises:
            SourceError: a picture cannot be opened.
            AnswerError: the model's answer is no caption.
            InputError: what was given are no documents, or their picture is malformed.
            Exception: what the model's client raises.
        """
        _refuse(kwargs)
        documents = several(documents, "documents")  # LangChain's lazy_load gives a generator
        asked = _look(documents)
        if asked.images:
            keys = [key_of(self.captioner, digest) for digest in asked.images]
            missing = asked.keep(self.cache.mget(keys))
            each = self._each(asked.images)
            asked.made(missing, each.batch(missing, self._config(), return_exceptions=True))
        return self._given(documents, asked)

    async def atransform_documents(
        self, documents: Sequence[Document], **kwargs: Any
    ) -> list[Document]:
        """:meth:`transform_documents`, with the captioner's ``acaption`` if it has one, and else in
        threads."""
        _refuse(kwargs)
        documents = several(documents, "documents")
        asked = await asyncio.to_thread(_look, documents)
        if asked.images:
            keys = [key_of(self.captioner, digest) for digest in asked.images]
            missing = asked.keep(await self.cache.amget(keys))
            each = self._each(asked.images)
            asked.made(missing, await each.abatch(missing, self._config(), return_exceptions=True))
        return self._given(documents, asked)

    def _each(self, images: Mapping[str, ImageInput]) -> Runnable[str, Caption]:
        """What captions the picture of a digest, and keeps the caption at once. Its input is the
        digest, so that traces get no pixels from here."""
        made_by, cache = self.captioner, self.cache

        def one(digest: str) -> Caption:
            caption = _only(made_by.caption([images[digest]]), made_by.name)
            cache.mset([(key_of(made_by, digest), to_bytes(caption))])
            return caption

        async def aone(digest: str) -> Caption:
            if acaption := getattr(made_by, "acaption", None):
                given = await acaption([images[digest]])
            else:
                given = await asyncio.to_thread(made_by.caption, [images[digest]])
            caption = _only(given, made_by.name)
            await cache.amset([(key_of(made_by, digest), to_bytes(caption))])
            return caption

        return RunnableLambda(one, aone, name="caption_document")

    def _given(self, documents: Sequence[Document], asked: _Asked) -> list[Document]:
        outcomes = [asked.outcome(place) for place in range(len(documents))]
        first: Exception | None = None
        for place, (document, outcome) in enumerate(zip(documents, outcomes, strict=True)):
            if isinstance(outcome, Exception):
                name = f"document {document.id!r}" if document.id else f"document number {place}"
                log.warning("%s has no caption: %s: %s", name, type(outcome).__name__, outcome)
                first = first or _named(name, outcome)
        if first is not None and self.on_error == "raise":
            raise first
        return [
            self._captioned(document, outcome) if isinstance(outcome, Caption) else document
            for document, outcome in zip(documents, outcomes, strict=True)
        ]

    def _captioned(self, document: Document, caption: Caption) -> Document:
        text = document.page_content
        if self.fill_empty_text and not text.strip():
            text = full_text(caption)
        metadata = {**document.metadata, CAPTION_KEY: caption_to_dict(caption)}
        return document.model_copy(update={"page_content": text, "metadata": metadata})

    def _config(self) -> RunnableConfig:
        return {"max_concurrency": self.concurrency}


@dataclass
class _Asked:
    """What documents ask for: the digests of their pictures by the documents' places, the pictures
    by digest, and what became of each so far. ``unread`` are errors by place."""

    digests: dict[int, str] = field(default_factory=dict)
    images: dict[str, ImageInput] = field(default_factory=dict)
    unread: dict[int, Exception] = field(default_factory=dict)
    outcomes: dict[str, Caption | Exception] = field(default_factory=dict)

    def keep(self, found: Sequence[bytes | None]) -> list[str]:
        """Take what a cache has for the pictures; the digests of those that it has not."""
        for digest, data in zip(self.images, found, strict=True):
            if (caption := of_bytes(data)) is not None:
                self.outcomes[digest] = caption
        return [digest for digest in self.images if digest not in self.outcomes]

    def made(self, digests: Sequence[str], outcomes: Sequence[Caption | Exception]) -> None:
        """Take what the captioner has made of the pictures of these digests."""
        self.outcomes.update(zip(digests, outcomes, strict=True))

    def outcome(self, place: int) -> Caption | Exception | None:
        """What became of the document at a place; None if there was nothing to do."""
        return self.unread.get(place) or self.outcomes.get(self.digests.get(place, ""))


def _look(documents: Sequence[Document]) -> _Asked:
    asked = _Asked()
    for place, document in enumerate(documents):
        if not isinstance(document, Document):
            raise InputError(f"pass a list of documents; it has a {type(document).__name__}")
        if document.metadata.get(CAPTION_KEY) is not None:
            continue
        try:
            if (image := image_of(document)) is not None:
                asked.digests[place] = digest_of(image)
                asked.images.setdefault(asked.digests[place], image)
        except (SourceError, InputError) as error:
            asked.unread[place] = error
    return asked


def _only(made: Sequence[object], name: str) -> Caption:
    if len(made) != 1 or not isinstance(made[0], Caption):
        kinds = ", ".join(type(item).__name__ for item in made) or "nothing"
        raise AnswerError(f"{name} gave {kinds} for a picture, not one Caption")
    return made[0]


def _named(name: str, error: Exception) -> Exception:
    """Our own errors say which document it was; others stay what the caller may want to catch."""
    if not isinstance(error, SourceError | AnswerError) and type(error) is not InputError:
        return error
    named = type(error)(f"{name}: {error}")
    named.__cause__ = error
    return named


def _refuse(given: Mapping[str, object]) -> None:
    if given:
        raise InputError(f"a CaptionTransformer takes no {', '.join(given)} when it is called")
