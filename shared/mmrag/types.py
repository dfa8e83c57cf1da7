"""The words of mmrag as frozen dataclasses: what is stored, what is asked, what is found."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "Caption",
    "Hit",
    "ImageRef",
    "Json",
    "Locator",
    "Modality",
    "Record",
    "Role",
    "RouteScore",
    "Space",
    "TextLine",
    "key_of",
]

Json = Any
"""A value that JSON can hold: None, a bool, a number, a string, a list or a dict of these."""

Modality = Literal["text", "image"]
Role = Literal["query", "passage"]

_NAMESPACE = uuid.UUID("6f3c1f9e-6a55-5a0e-8d5c-0b5f3b0f7c11")


def key_of(record_id: str) -> str:
    """The UUID under which a store keeps the record of this id: the same id, the same key.

    Always hashed, ids that are UUIDs already included, so that keys are uniformly random and
    the lowest ``n`` of them are a random sample (which calibration relies on).
    """
    return str(uuid.uuid5(_NAMESPACE, record_id))


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where pixels are. They are opened late and never stored in a payload.

    ``uri`` is a file path; in an index it may be relative to the index's folder (``media/...``),
    in a hit it can be opened as it is. ``width`` and ``height`` are pixels as displayed, after
    EXIF orientation. ``sha256`` is that of the file's bytes.
    """

    uri: str
    sha256: str
    mime: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Locator:
    """Where in its source a record stands: what a citation needs.

    ``page`` counts from 1. ``bbox`` is (left, top, right, bottom) as fractions 0..1 of the page,
    origin at the top left. ``start_s`` and ``end_s`` are seconds from the start of a recording.
    """

    page: int | None = None
    bbox: tuple[float, float, float, float] | None = None
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class TextLine:
    """A piece of text that stands in a picture, and where: ``bbox`` is (left, top, right, bottom)
    as fractions 0..1 of the picture as displayed."""

    text: str
    bbox: tuple[float, float, float, float]

    def within(self, place: Locator) -> Locator:
        """Where the line stands on the page of which the picture is the part at ``place``.

        >>> line = TextLine("12 %", (0.5, 0, 1, 0.5))
        >>> line.within(Locator(page=3, bbox=(0, 0.5, 0.5, 1)))
        Locator(page=3, bbox=(0.25, 0.5, 0.5, 0.75), start_s=None, end_s=None)
        """
        left, top, right, bottom = place.bbox or (0.0, 0.0, 1.0, 1.0)
        width, height = right - left, bottom - top
        x0, y0, x1, y1 = self.bbox
        bbox = (left + x0 * width, top + y0 * height, left + x1 * width, top + y1 * height)
        return Locator(place.page, bbox, place.start_s, place.end_s)


@dataclass(frozen=True, slots=True)
class Caption:
    """What a picture shows and says: its own field, never spliced into a record's text.

    ``lines`` are what OCR has read, line by line, with the place of each in the picture; what
    stands side by side, as the cells of a table, are lines of their own.
    """

    brief: str = ""
    detailed: str = ""
    keywords: tuple[str, ...] = ()
    text_content: str = ""
    data_points: Mapping[str, str] = field(default_factory=dict)
    lines: tuple[TextLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One retrievable thing: a chunk of text, a picture, a figure or a page of a PDF.

    ``id`` is any string that is unique in the index; adding the same id again replaces the record.
    ``metadata`` is the caller's own and can be filtered on. ``extra`` holds top-level payload keys
    that an adapter writes beside the record; it is kept and given back, and a filter reaches it as
    ``extra.key``.
    """

    id: str
    text: str = ""
    image: ImageRef | None = None
    caption: Caption | None = None
    source: str = ""
    locator: Locator = Locator()
    metadata: Mapping[str, Json] = field(default_factory=dict)
    extra: Mapping[str, Json] = field(default_factory=dict)

    @property
    def modality(self) -> Modality:
        """``image`` if the record has a picture, else ``text``."""
        return "text" if self.image is None else "image"


@dataclass(frozen=True, slots=True)
class Space:
    """A fingerprint of an encoder: vectors compare only within one space.

    ``digest`` covers the weights and the preprocessing, so that two models of the same name and
    dimension, but other weights, are two spaces.
    """

    family: str
    digest: str
    dim: int

    def __str__(self) -> str:
        return f"{self.family} ({self.dim} dimensions, {self.digest[:12]})"


@dataclass(frozen=True, slots=True)
class RouteScore:
    """What one route said of a hit: rank from 1, the route's raw score, what it added to the
    fused score.

    ``parts`` are, of keywords and a record with a caption, the parts of it that the words were
    found in: ``text``, ``description``, ``keywords``, ``text_content``, ``data_points``.
    """

    route: str
    rank: int
    score: float
    contribution: float
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A record that was found, its fused score (higher is better), and each route's part in it."""

    record: Record
    score: float
    routes: tuple[RouteScore, ...]

    def __repr__(self) -> str:
        from mmrag.display import hit_line

        return hit_line(self)

    def _repr_html_(self) -> str:
        from mmrag.display import hits_html

        return hits_html([self])
