"""Which pictures of documents that were found are opened, and whether they are still the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, cast

from langchain_core.documents import Document
from langchain_core.runnables import Runnable
from langchain_core.vectorstores import VectorStore

from langchain_mm.blocks import document_to_source
from langchain_mm.convert import image_of, record_to_document
from langchain_mm.searching import Searching
from mmrag.errors import InputError
from mmrag.identity import checked_bytes
from mmrag.index import MultimodalIndex
from mmrag.inputs import is_data_url, is_url, refuse_url
from mmrag.types import ImageRef, Record

__all__ = ["AllowedRoots", "Opening", "allowed", "resolved"]

AllowedRoots: TypeAlias = Iterable[str | Path]
"""Files and folders, of which pictures are opened wherever a document comes from."""

# Where runnables keep what they are made of.
_PARTS = ("index", "vectorstore", "bound", "default", "base_retriever", "runnable")
_LISTS = ("retrievers", "steps", "fallbacks")


class Opening:
    """What a tool or a chain may open of the documents that its retriever found: a picture

    - that a record of an index behind the retriever has under the document's id, or
    - whose sha256 the document says: it shows nothing that the document's author has not seen, or
    - that is in one of ``roots``, all symbolic links followed.

    If the record or the document says a sha256, it has to be that of the bytes that are sent: a
    file that was replaced since, or is now a link to another, is left out like all others that are
    not opened, with a warning; the document's text and caption remain.

    Raises:
        InputError: ``roots`` are no paths.
    """

    def __init__(self, retriever: object, roots: AllowedRoots) -> None:
        self._indexes = list(_indexes(retriever, set()))
        self._roots = resolved(roots)

    def records(self, documents: Sequence[Document]) -> list[Record]:
        """The records that stand for documents in a prompt, whose pictures are not opened yet."""
        records = list(map(document_to_source, documents))
        ids = [record.id for record in records if record.id]
        # Under the path that the record's document says as well, which may be a relative one: the
        # working directory may be another by now, and only the record knows which file was meant.
        held = {
            (record.id, uri): record.image
            for index in self._indexes
            for record in index.get(ids)
            if record.image is not None
            for uri in (record.image.uri, _said(record))
        }
        return [self._guarded(record, held) for record in records]

    def _guarded(self, record: Record, held: Mapping[tuple[str, str | None], ImageRef]) -> Record:
        if record.image is None:
            return record
        uri = record.image.uri
        path = uri if _is_embedded(uri) else str(Path(uri).absolute())
        known = held.get((record.id, path)) or held.get((record.id, uri))
        file = _File(known or record.image, self._roots if known is None else None)
        # Opened like any file of the caller's, so that what was checked is what is sent.
        return replace(record, image=replace(record.image, uri=cast(str, file)))


class _File:
    """The file of a picture, which is checked and read when it is wanted."""

    def __init__(self, image: ImageRef, roots: Sequence[Path] | None) -> None:
        self._image, self._roots = image, roots

    def read(self, _: int = -1) -> bytes:
        """All its bytes, which are within the limits and those of its sha256 if it says one."""
        return checked_bytes(_permitted(self._image, self._roots))


def allowed(image: ImageRef, roots: Sequence[Path] | None) -> ImageRef:
    """The picture, if it may be opened: it says a sha256, or is in one of ``roots``; None are all
    there are. Nothing is read yet; where there are roots, it is checked once more when it is.

    Raises:
        InputError: it may not be opened, or is a URL.
    """
    _permitted(image, roots)
    if roots is None or _is_embedded(image.uri):
        return image
    return replace(image, uri=cast(str, _File(image, roots)))


def _permitted(image: ImageRef, roots: Sequence[Path] | None) -> ImageRef:
    """The picture to be opened: under its path without links, if the roots are why it may be."""
    refuse_url(image.uri)
    if image.sha256 or roots is None or _is_embedded(image.uri):
        return image
    path = _without_links(image.uri)
    if path is None or not any(path.is_relative_to(root) for root in roots):
        raise InputError(
            "its picture is not opened: it is in no index behind the retriever, its document says "
            "no sha256, and it is in none of allowed_roots"
        )
    return replace(image, uri=str(path))


def resolved(roots: AllowedRoots) -> tuple[Path, ...]:
    """The roots without symbolic links. Raises InputError for what are no paths."""
    given = None if isinstance(roots, str | bytes | Path) else tuple(roots)
    if given is None or not all(isinstance(root, str | Path) for root in given):
        raise InputError(f"allowed_roots is a list of paths, not {roots!r}")
    return tuple(Path(root).expanduser().resolve() for root in given)


def _said(record: Record) -> str | None:
    """The picture of a record by the name that its document has for it."""
    try:
        return image_of(record_to_document(record))
    except InputError:  # only what was written past the documents can be malformed
        return None


def _is_embedded(uri: str) -> bool:
    """Whether there is no file to be opened: bytes in the document, or a URL, which is refused."""
    return is_data_url(uri) or is_url(uri)


def _without_links(uri: str) -> Path | None:
    try:
        return Path(uri).resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, a NUL in the path
        return None


def _indexes(part: object, seen: set[int]) -> Iterator[MultimodalIndex]:
    """The indexes that a retriever searches, as far as its parts are known."""
    if isinstance(part, Searching):
        part = part.index
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, MultimodalIndex):
        yield part
    elif isinstance(part, Runnable | VectorStore):
        parts = [getattr(part, name, None) for name in _PARTS]
        for name in _LISTS:
            several = getattr(part, name, None)
            several = several.values() if isinstance(several, Mapping) else several
            parts += several if isinstance(several, Iterable) else ()
        for each in parts:
            yield from _indexes(each, seen)
