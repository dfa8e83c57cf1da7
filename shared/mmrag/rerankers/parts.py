"""What every reranker looks at: the words of a query, the texts and the picture of a record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from mmrag.captions import full_text
from mmrag.encode import caption_text
from mmrag.errors import InputError, MmragError
from mmrag.identity import checked_bytes
from mmrag.pipeline import threads
from mmrag.types import Record

if TYPE_CHECKING:
    from mmrag.media import ImageInput

__all__ = ["described", "opened", "said", "words_of"]

Opened = TypeVar("Opened")

log = logging.getLogger("mmrag")


def words_of(text: str | None, image: ImageInput | None) -> str | None:
    """The words of a query, or None where it is a picture alone.

    Raises:
        InputError: it has neither words nor a picture, or its text is no string.
    """
    if text is not None and not isinstance(text, str):
        raise InputError(f"the text of a query is a string, not {type(text).__name__}")
    words = (text or "").strip()
    if not words and image is None:
        raise InputError("an empty query: give words, a picture, or both")
    return words or None


def described(record: Record) -> list[str]:
    """A record's text and the descriptions of its caption; of a caption without any, what it has.
    None of them is blank."""
    caption = caption_text(record.caption) or (full_text(record.caption) if record.caption else "")
    return _filled(record.text, caption)


def said(record: Record) -> list[str]:
    """A record's text and all that its caption says. None of them is blank."""
    return _filled(record.text, full_text(record.caption) if record.caption else "")


def opened(
    records: Sequence[Record], load: Callable[[ImageInput], Opened]
) -> list[tuple[int, Opened]]:
    """The pictures of the records that have one, by the record's place, loaded in threads. One that
    cannot be opened, or was replaced since it was indexed, is left out, with a warning that names
    the record."""

    def one(number: int) -> list[tuple[int, Opened]]:
        image = records[number].image
        if image is None:
            return []
        try:
            return [(number, load(checked_bytes(image)))]
        except MmragError as error:
            message = "record %r is judged without its picture: %s"
            log.warning(message, records[number].id, error)
            return []

    with ThreadPoolExecutor(threads(), "mmrag-decode") as pool:
        return [found for several in pool.map(one, range(len(records))) for found in several]


def _filled(*texts: str) -> list[str]:
    return [text for text in texts if text.strip()]
