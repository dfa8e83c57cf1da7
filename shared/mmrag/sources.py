"""Records as numbered sources in words and pictures: what a model sees of what was found."""

from __future__ import annotations

import hashlib
import html
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import TypeAlias

from mmrag.captions import full_text
from mmrag.display_text import clock, visible
from mmrag.errors import InputError, MmragError
from mmrag.identity import checked_bytes
from mmrag.media import ImageInput, sniff, thumbnail
from mmrag.types import Record

__all__ = [
    "Budget",
    "ImagePart",
    "PromptPart",
    "TextPart",
    "merged",
    "numbered_sources",
    "picture_part",
    "sendable",
]

log = logging.getLogger("mmrag")


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of the sources is sent. What ranks lowest is dropped first.

    - Pictures are sent of the first sources on, at most ``max_images`` and ``max_bytes`` together
      (as files; base64 adds a third). They are scaled down to ``image_size`` pixels on the longest
      side. The first that is too large for what is left is tried at half that size; if it still is,
      neither it nor any after it is sent. ``max_images=0`` is for models that cannot see: no
      picture is sent, not even that of the question, which otherwise always is and is not counted.
    - Texts and captions are whole from the first source on, until ``max_text`` bytes of UTF-8 are
      used (about four a token). The text that this ends in is cut at its end, those after it have
      none.

    Every source keeps its number, and says what of it was left out.

    Raises:
        InputError: a number is negative, or ``image_size`` is 0.
    """

    max_text: int = 48_000
    max_images: int = 8
    max_bytes: int = 8 * 2**20
    image_size: int = 1024

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self)):
            value, least = getattr(self, name), int(name == "image_size")
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} is a whole number from {least} on, not {value!r}")


@dataclass(frozen=True, slots=True)
class TextPart:
    """Words for a model."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A picture for a model, as a file of the type ``mime``."""

    data: bytes = field(repr=False)
    mime: str


PromptPart: TypeAlias = TextPart | ImagePart


def numbered_sources(
    records: Sequence[Record], budget: Budget | None = None
) -> tuple[PromptPart, ...]:
    """Records as sources, numbered from 1: for a prompt, or as what a search tool answers.

    A source stands between two tags with a mark that occurs in none of them, so that no text can
    end the source that it stands in, or begin another. The first tag has the number, the name of
    the file, the page, the box on it (left, top, right, bottom, 0..1), the time in a recording, and
    what was done with the picture and the text. A picture that cannot be opened, or whose file was
    replaced since it was indexed, is left out, with a warning in the log ``mmrag``.

    >>> print(numbered_sources([Record("a", "It boils.", source="tea.md")])[0].text)
    Sources, with the mark 54c59350:
    <BLANKLINE>
    <source-54c59350 number="1" file="tea.md">
    It boils.
    </source-54c59350>
    """
    if not records:
        return (TextPart("No sources were found."),)
    budget = budget or Budget()
    bodies = [_body(record) for record in records]
    mark = _mark([*bodies, *map(_attributes, records)])
    parts: list[str | ImagePart] = [f"Sources, with the mark {mark}:\n"]
    room, pictures = budget.max_text, _Pictures(budget)
    for number, (record, body) in enumerate(zip(records, bodies, strict=True), 1):
        text = _cut(body, room)
        room = max(0, room - len(body.encode()))
        picture, said = pictures.of(record)
        facts = [f'number="{number}"', _attributes(record), said]
        facts += [] if text == body else ['text="cut"' if text else 'text="left out"']
        parts.append(f"\n<source-{mark} {' '.join(filter(None, facts))}>\n")
        parts += [f"{text}\n"] if text else []
        parts += [picture] if picture else []
        parts.append(f"</source-{mark}>\n")
    return tuple(merged(parts))


def picture_part(image: ImageInput, size: int) -> ImagePart:
    """A picture in at most ``size`` pixels on the longest side: a JPEG, or a PNG if transparent.
    Raises as :func:`mmrag.media.load` does."""
    data = thumbnail(image, size)
    return ImagePart(data, sniff(data[:64]) or "image/jpeg")


def sendable(text: str) -> str:
    """Without half characters, as they come from a cut string: no client could send them."""
    return text.encode(errors="replace").decode()


def merged(parts: Iterable[str | PromptPart]) -> Iterator[PromptPart]:
    """Texts that follow one another as one, without line ends around it."""
    held = ""
    for part in parts:
        if isinstance(part, ImagePart):
            yield from _whole(held)
            yield part
            held = ""
        else:
            held += part if isinstance(part, str) else part.text
    yield from _whole(held)


def _whole(text: str) -> list[TextPart]:
    return [TextPart(text.strip("\n"))] if text.strip() else []


class _Pictures:
    """The pictures of one prompt, as long as there is room."""

    def __init__(self, budget: Budget) -> None:
        self._size, self._count, self._room = budget.image_size, budget.max_images, budget.max_bytes

    def of(self, record: Record) -> tuple[ImagePart | None, str]:
        """The record's picture, if it is to be sent, and what the tag of the source says of it."""
        if record.image is None:
            return None, ""
        if not self._count:
            return None, 'picture="not shown"'
        try:
            data = checked_bytes(record.image)
            picture = picture_part(data, self._size)
            if len(picture.data) > self._room:
                picture = picture_part(data, max(1, self._size // 2))
        except MmragError as error:
            log.warning("source %r: %s; the model does not see its picture", record.id, error)
            return None, 'picture="cannot be opened"'
        if len(picture.data) > self._room:
            self._count = 0
            return None, 'picture="not shown"'
        self._count, self._room = self._count - 1, self._room - len(picture.data)
        return picture, 'picture="below"'


def _body(record: Record) -> str:
    caption = "" if record.caption is None else full_text(record.caption)
    texts = [record.text.strip(), f"Caption of the picture: {caption}" if caption else ""]
    return sendable("\n\n".join(filter(None, texts)))


def _attributes(record: Record) -> str:
    """What a tag says of a record, in quotes that nothing in it can close."""
    where, facts = record.locator, {"file": _name(record.source)}
    if where.page is not None:
        facts["page"] = str(where.page)
    if where.bbox is not None:
        facts["box"] = " ".join(f"{edge:.3f}" for edge in where.bbox)
    seconds = [at for at in (where.start_s, where.end_s) if at is not None and math.isfinite(at)]
    facts["time"] = "-".join(map(clock, seconds))
    return " ".join(f'{name}="{html.escape(value)}"' for name, value in facts.items() if value)


def _name(source: str) -> str:
    """A file's name without its folders, which are nobody's business; a URL is kept whole."""
    if "://" not in source:
        source = source.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return visible(source)


def _mark(texts: Sequence[str]) -> str:
    """Eight hex digits that stand in none of the texts; for the same texts the same."""
    whole = "\n".join(texts).lower()
    mark = hashlib.sha256(whole.encode()).hexdigest()[:8]
    while mark in whole:
        mark = hashlib.sha256(mark.encode()).hexdigest()[:8]
    return mark


def _cut(text: str, room: int) -> str:
    """The text in at most ``room`` bytes of UTF-8, with an ellipsis where it was cut."""
    data = text.encode()
    if len(data) <= room:
        return text
    kept = data[: max(0, room - len("…".encode()))].decode(errors="ignore").rstrip()
    return f"{kept}…" if kept else ""
