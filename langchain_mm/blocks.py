"""Documents as the sources of a prompt, and a prompt's parts as LangChain's content blocks."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from langchain_core.documents import Document
from langchain_core.runnables import Runnable

from langchain_mm.convert import image_ref_of
from langchain_mm.searching import Searching
from mmrag.errors import InputError
from mmrag.index import MultimodalIndex
from mmrag.metadata import caption_of, locator_of, source_of
from mmrag.sources import ImagePart, PromptPart, TextPart
from mmrag.types import Locator, Record

__all__ = ["checked_documents", "checked_retriever", "content_of", "document_to_source"]

Value = TypeVar("Value")

log = logging.getLogger("mmrag")


def content_of(parts: Sequence[PromptPart]) -> str | list[str | dict[str, Any]]:
    """The content of a message: one string, or blocks of text and pictures if there are any."""
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text  # all models and servers take it
    return [_block(part) for part in parts]


def document_to_source(document: Document) -> Record:
    """The record that stands for a document in a prompt; its picture is not opened.

    Any document will do. What cannot be understood of its metadata counts as not there, with a
    warning in the log ``mmrag``: the other sources are still to be answered from.
    """
    # LangChain's loaders count "page" from 0, and only "page_label" as it is printed.
    metadata = {key: value for key, value in document.metadata.items() if key != "page"}
    return Record(
        id=document.id or "",
        text=document.page_content,
        image=_read(document, lambda: image_ref_of(document), None),
        caption=_read(document, lambda: caption_of(metadata), None),
        source=source_of(metadata),
        locator=_read(document, lambda: locator_of(metadata), Locator()),
        metadata=metadata,
    )


def checked_retriever(retriever: object) -> None:
    """Raises InputError for what cannot be a retriever."""
    if not isinstance(retriever, Runnable):
        hint = ""
        if isinstance(retriever, MultimodalIndex):
            hint = ": use MultimodalRetriever(index=index)"
        elif isinstance(retriever, Searching):  # its as_retriever() searches by words alone
            hint = ": use MultimodalRetriever(index=store)"
        elif hasattr(retriever, "as_retriever"):
            hint = ": use its as_retriever()"
        raise InputError(f"a retriever is a Runnable, not {type(retriever).__name__}{hint}")


def checked_documents(found: Sequence[Document]) -> list[Document]:
    """What a retriever returned. Raises InputError if it is not a list of documents."""
    if not isinstance(found, Sequence) or not all(isinstance(d, Document) for d in found):
        raise InputError(f"the retriever did not return a list of Documents: {type(found)}")
    return list(found)


def _block(part: PromptPart) -> dict[str, Any]:
    # Not by create_image_block: its random ids would make equal prompts differ, to caches too.
    if isinstance(part, ImagePart):
        data = base64.b64encode(part.data).decode("ascii")
        return {"type": "image", "base64": data, "mime_type": part.mime}
    return {"type": "text", "text": part.text}


def _read(document: Document, read: Callable[[], Value], missing: Value) -> Value:
    try:
        return read()
    except InputError as error:
        log.warning("document %r: %s; the model does not see it", document.id, error)
        return missing
