"""Documents on their way into an index: converted, decoded and encoded, before any is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from PIL import Image
from pydantic import ValidationError

from langchain_mm.convert import IMAGE_KEY, document_to_part
from langchain_mm.images import AnyImage, image_input
from mmrag.attachments import Attachments, Kept, uris_of
from mmrag.encode import Prepared
from mmrag.errors import InputError, SourceError
from mmrag.index import MultimodalIndex
from mmrag.inputs import DEFAULT_LIMITS, data_url, is_data_url, read_bytes
from mmrag.media import encode_png, load
from mmrag.readers.base import Part

__all__ = ["Item", "documents_of", "ids_of", "items_of", "pictures_of", "several", "write"]


@dataclass(frozen=True, slots=True)
class Item:
    """A document to write, which has an id, made up for it if it is not ``named``; ``number`` is
    its place in the call. ``image``, if there is one, is its picture; else that is what the
    metadata say."""

    number: int
    document: Document
    named: bool
    image: AnyImage | None = None

    def problem(self, error: object) -> str:
        """What is wrong with it, and where it stands; an id that nobody gave would say nothing."""
        name = f"document {self.document.id!r}: "
        said = str(error).removeprefix(name)
        return f"item {self.number}: {name if self.named else ''}{said}"


def documents_of(
    texts: Iterable[str], metadatas: Sequence[dict[str, Any] | None] | None
) -> list[Document]:
    """Texts and their metadata as documents.

    Raises:
        InputError: they are not as many, or not of the right types.
    """
    said = several(texts, "texts")
    documents = []
    for number, (text, metadata) in enumerate(
        zip(said, _one_each(metadatas, "metadatas", len(said)), strict=True)
    ):
        try:
            documents.append(Document(page_content=text, metadata=metadata or {}))
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise InputError(f"item {number}: {where}: {problem['msg']}") from None
    return documents


def items_of(
    documents: Iterable[Document],
    ids: Sequence[str | None] | None,
    images: Sequence[AnyImage] | None = None,
) -> list[Item]:
    """Documents under the ids that are given, or else their own, or else new ones; the documents
    themselves are not changed.

    Raises:
        InputError: they are not as many, or not of the right types.
    """
    given = several(documents, "documents")
    keys = _one_each(ids, "ids", len(given))
    pictures = _one_each(images, "images", len(given))
    items = []
    for number, (document, key, image) in enumerate(zip(given, keys, pictures, strict=True)):
        if not isinstance(document, Document):
            raise InputError(f"item {number}: expected a Document, not {type(document).__name__}")
        if not isinstance(key, str | None):
            raise InputError(f"item {number}: an id is a string, not {type(key).__name__}")
        own = key or document.id
        stored = document.model_copy(update={"id": own or str(uuid4())})
        items.append(Item(number, stored, bool(own), image))
    return items


def pictures_of(
    images: Iterable[AnyImage],
    metadatas: Sequence[dict[str, Any] | None] | None,
    ids: Sequence[str | None] | None,
) -> list[Item]:
    """Pictures, their metadata and their ids as documents without text.

    Raises:
        InputError: they are not as many, or not of the right types.
    """
    pictures = several(images, "images")
    for number, picture in enumerate(pictures):
        if picture is None:  # to an item, None says that its metadata have the picture
            raise InputError(f"item {number}: a picture is a path, bytes or the like, not NoneType")
    return items_of(documents_of([""] * len(pictures), metadatas), ids, pictures)


def ids_of(ids: Iterable[str]) -> list[str]:
    """Ids to look for, a single one too.

    Raises:
        InputError: one is not a string.
    """
    wanted = [ids] if isinstance(ids, str) else several(ids, "ids")
    for key in wanted:
        if not isinstance(key, str):
            raise InputError(f"an id is a string, not {type(key).__name__}")
    return wanted


def write(index: MultimodalIndex, items: Sequence[Item]) -> list[str]:
    """Encode and write items, and return their ids. Nothing is written unless all can be; of
    several with one id, the last one is.

    Raises:
        SourceError: a picture cannot be opened; the message says which.
        InputError: an item cannot be stored.
    """
    Attachments(index).write(
        lambda kept: index.encoders.encoded(items, partial(_prepared, index, kept))
    )
    return [str(item.document.id) for item in items]


def _prepared(index: MultimodalIndex, kept: Kept, item: Item) -> Prepared:
    """The record of an item and its pixels; ``kept`` keeps its bytes."""
    encoder = index.encoders.image
    try:
        part = _part(item, index.folder, encoder.image_size, kept)
    except (SourceError, InputError) as error:
        raise type(error)(item.problem(error)) from error
    image = part.record.image
    if image is not None and is_data_url(image.uri):
        raise InputError(
            item.problem(
                "it holds the bytes of a picture, and the index has no folder to keep them in: "
                "open it with a path, or give the picture's"
            )
        )
    return Prepared(part.record, None if part.image is None else encoder.preprocess(part.image))


def _part(item: Item, folder: Path | None, size: int, kept: Kept) -> Part:
    document = item.document
    if item.image is None:
        return document_to_part(document, folder, size, kept.keep)
    uri, source = _located(item.image)
    metadata = {**source, **document.metadata, IMAGE_KEY: uri}
    document = document.model_copy(update={"metadata": metadata})
    part = document_to_part(document, folder, size, kept.keep)
    record = part.record
    if record.image is None or uris_of(record):
        return part
    # With the picture's sha256: LangChain's keys cover metadata, and so notice another picture.
    metadata = {**record.metadata, IMAGE_KEY: asdict(record.image)}
    return Part(replace(record, metadata=metadata), part.image)


def _located(given: AnyImage) -> tuple[str, dict[str, str]]:
    """The path of a picture, or its bytes as a data URL; and the source, if it says one."""
    named = given.source if isinstance(given, Blob) else None
    image = image_input(given)
    if isinstance(image, Image.Image):
        image = encode_png(load(image).image)
    if isinstance(image, Path) or (isinstance(image, str) and not is_data_url(image)):
        return str(image), {"source": named or str(image)}
    if not isinstance(image, str):
        # What type of picture it is, is read from its bytes.
        image = data_url(read_bytes(image, DEFAULT_LIMITS), "application/octet-stream")
    return image, {"source": named} if named else {}


def several(given: Iterable[Any], name: str) -> list[Any]:
    """What was given as a list, of a generator too. Raises InputError, which says the name, for
    what is no list, or one thing alone."""
    if isinstance(given, str | bytes | dict | Path | Document | Blob | Image.Image):
        raise InputError(f"{name} is a list, not one {type(given).__name__}")
    try:
        return list(given)
    except TypeError:
        raise InputError(f"{name} is a list, not {type(given).__name__}") from None


def _one_each(given: Iterable[Any] | None, name: str, count: int) -> list[Any]:
    if given is None:
        return [None] * count
    values = several(given, name)
    if len(values) != count:
        raise InputError(f"{len(values)} {name} for {count} items: one each")
    return values
