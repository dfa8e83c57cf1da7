"""LangChain documents to records and back: the only place where the two meet.

A document's metadata is kept whole, as it was given, in the record's metadata, which is also where
LangChain's own ``QdrantVectorStore`` looks for it. What mmrag knows of the document besides its
text stands in the metadata under three keys: the picture, its caption, its place in the source.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from pydantic import TypeAdapter, ValidationError

from mmrag.attachments import FILES_KEY, keep
from mmrag.errors import InputError, SourceError
from mmrag.inputs import DEFAULT_LIMITS, is_data_url, read_bytes
from mmrag.media import load
from mmrag.metadata import (
    CAPTION_KEY,
    LOCATOR_KEY,
    caption_of,
    caption_to_dict,
    locator_of,
    locator_to_dict,
    source_of,
    trace_of,
)
from mmrag.readers.base import Part
from mmrag.stores.payload import to_payload
from mmrag.types import Hit, ImageRef, Json, Record

__all__ = [
    "CAPTION_KEY",
    "DOCUMENT_KEY",
    "HIT_KEY",
    "IMAGE_KEY",
    "LOCATOR_KEY",
    "document_to_part",
    "hit_to_document",
    "image_of",
    "image_ref_of",
    "record_to_document",
]

IMAGE_KEY = "mmrag_image"
"""Document metadata: its picture, as a path or as a dict of the fields of an ``ImageRef``."""
HIT_KEY = "mmrag_hit"
"""Document metadata: the fused score of a document that was found, and what each route said."""
DOCUMENT_KEY = "mmrag_document"
"""Record extra: the record was made from a document, and its metadata are the document's own."""


def image_of(document: Document) -> str | None:
    """The picture of a document: a path, or a data URL; None if it has none.

    Raises:
        InputError: what stands under ``mmrag_image`` is neither a path nor an ``ImageRef``.
    """
    reference = image_ref_of(document)
    return None if reference is None else reference.uri


def image_ref_of(document: Document) -> ImageRef | None:
    """The picture of a document, with what the document says of it; raises as :func:`image_of`."""
    given = document.metadata.get(IMAGE_KEY)
    if given is None:
        return None
    if isinstance(given, str) and given:
        return ImageRef(given, sha256="", mime="", width=0, height=0)
    return _reference(given)


def document_to_part(
    document: Document,
    folder: Path | None = None,
    size: int | None = None,
    keeper: Callable[[bytes, str, Path], str] = keep,
) -> Part:
    """The record of a document, whose id must be set, and its decoded picture, which may be
    reduced if its longest side is looked at in ``size`` pixels.

    A picture that is a data URL becomes a file in ``folder``, that of the index, by ``keeper``;
    without a folder it stays what it is. So does one that is in the folder already, as that of a
    document that was found: what a record does not name, the index may remove.

    Raises:
        SourceError: the picture cannot be opened; the message names the document.
        InputError: there is no id, the metadata is not JSON, or the picture, the caption or the
            locator is malformed.
    """
    if not document.id:
        raise InputError("a document needs an id before it can be stored")
    given = {k: v for k, v in document.metadata.items() if k != HIT_KEY}
    try:
        # A plain copy, checked here to say of which document it is that cannot be stored.
        plain = to_payload(Record(document.id, document.page_content, metadata=given))
        metadata: dict[str, Json] = plain["metadata"]
        caption = caption_of(metadata)
        # LangChain's loaders count "page" from 0, and only "page_label" as it is printed.
        locator = locator_of({k: v for k, v in metadata.items() if k != "page"})
        image = image_of(document)
        data = b"" if image is None else read_bytes(image, DEFAULT_LIMITS)
        picture = None if image is None else load(data, target=size)
    except (SourceError, InputError) as error:
        raise type(error)(f"document {document.id!r}: {error}") from error
    extra: dict[str, Json] = {DOCUMENT_KEY: True}
    reference = None
    if picture is not None:
        uri = str(image)
        embedded = is_data_url(uri)
        path = Path() if embedded else Path(uri).absolute()
        if folder is not None and (embedded or path.is_relative_to(folder)):
            uri = keeper(data, picture.mime, folder)
            metadata[IMAGE_KEY] = None  # it is read from the record
            extra[FILES_KEY] = [uri]
        elif not embedded:
            uri = str(path)
        reference = ImageRef(uri, picture.sha256, picture.mime, picture.width, picture.height)
    record = Record(
        id=document.id,
        text=document.page_content,
        image=reference,
        caption=caption,
        source=source_of(metadata),
        locator=locator,
        metadata=metadata,
        extra=extra,
    )
    return Part(record, None if picture is None else picture.image)


def record_to_document(record: Record) -> Document:
    """A fresh document, with the id and the metadata of the one that the record was made from.

    A record that was not made from a document has its source, page, picture, caption and locator
    in the metadata as well. The record's picture can be opened as it is, as in a hit.
    """
    metadata: dict[str, Any] = copy.deepcopy(dict(record.metadata))
    if DOCUMENT_KEY in record.extra:
        if record.image is not None and record.extra.get(FILES_KEY):
            metadata[IMAGE_KEY] = asdict(record.image)
        if record.caption is not None and record.caption != caption_of(metadata):
            metadata[CAPTION_KEY] = caption_to_dict(record.caption)
    else:
        metadata = {**_facts(record), **metadata}
    return Document(id=record.id, page_content=record.text, metadata=metadata)


def hit_to_document(hit: Hit, trace: bool = True) -> Document:
    """A fresh document; with ``trace``, ``metadata["mmrag_hit"]`` has the fused ``score`` and, best
    contribution first, the ``routes``: route, rank, raw score and contribution of each."""
    document = record_to_document(hit.record)
    if trace:
        document.metadata[HIT_KEY] = {"score": hit.score, "routes": trace_of(hit)}
    return document


def _facts(record: Record) -> dict[str, Any]:
    """What mmrag's readers know of a record."""
    facts: dict[str, Any] = {}
    if record.source:
        facts["source"] = record.extra.get("path", record.source)
    if record.locator.page is not None:
        facts["page_label"] = str(record.locator.page)
    if record.image is not None:
        facts[IMAGE_KEY] = asdict(record.image)
    if record.caption is not None:
        facts[CAPTION_KEY] = caption_to_dict(record.caption)
    if where := locator_to_dict(record.locator):
        facts[LOCATOR_KEY] = where
    return facts


def _reference(given: object) -> ImageRef:
    try:
        return TypeAdapter(ImageRef).validate_python(given)
    except ValidationError:
        raise InputError(
            f"metadata {IMAGE_KEY!r} is the path of a picture, as a string, or a dict of uri, "
            "sha256, mime, width and height"
        ) from None
