"""OcrCaptioner: the text that stands in pictures, Chinese and English, offline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mmrag.captioners.base import OneByOne
from mmrag.captioners.ocr_engine import SIDE, Engine, engine_version
from mmrag.captioners.reading_order import in_order
from mmrag.errors import InputError
from mmrag.media import ImageInput, load, to_rgb
from mmrag.types import Caption, Locator, TextLine

__all__ = ["OcrCaptioner", "TextBox"]

_SMALLEST = 6  # pixels: nothing lower or narrower can be read
_WHOLE = (0.0, 0.0, 1.0, 1.0)
_DIGITS = 4  # of a place that is stored: about a pixel of a picture of 10,000


@dataclass(frozen=True, slots=True)
class TextBox:
    """A piece of text in a picture, where it stands, and how sure the model is of it, 0..1.

    The ``bbox`` of ``locator`` are fractions of the picture as displayed; ``row`` counts the rows
    of text from 0, and pieces of one row stand side by side.
    """

    text: str
    locator: Locator
    confidence: float
    row: int

    def within(self, place: Locator) -> Locator:
        """Where the text stands on the page of which the picture is the part at ``place``.

        >>> box = TextBox("12 %", Locator(bbox=(0.5, 0, 1, 0.5)), 0.9, 0)
        >>> box.within(Locator(page=3, bbox=(0, 0.5, 0.5, 1)))
        Locator(page=3, bbox=(0.25, 0.5, 0.5, 0.75), start_s=None, end_s=None)
        """
        return TextLine(self.text, self.locator.bbox or _WHOLE).within(place)


class OcrCaptioner(OneByOne):
    """A :class:`mmrag.protocols.Captioner` whose captions have ``text_content`` and its ``lines``.

    >>> OcrCaptioner().caption(["receipt.jpg"])[0].text_content          # doctest: +SKIP
    >>> OcrCaptioner().read("receipt.jpg")[0].locator.bbox               # doctest: +SKIP

    RapidOCR and its models, which come in its package: nothing is downloaded. A row of text is a
    line; what stands side by side in it is parted by a space, as the cells of a table are. Pictures
    that are turned by 90 or 180 degrees and columns of Chinese are read in their own order; the
    columns of a newspaper page are not told apart. A picture without text has an empty caption.

    Pictures over 2,000 pixels are read in pieces: the shorter side is scaled down to that, the
    longer one cut where the least is drawn. About half a second a picture of 500 pixels on two
    cores, and 0.1 seconds where there is no text.

    Raises:
        InputError: ``min_confidence`` is not within 0..1.
        MissingExtra: ``mmrag[ocr]`` is not installed.
    """

    def __init__(self, *, min_confidence: float = 0.5) -> None:
        if not 0 <= min_confidence <= 1:
            raise InputError(f"min_confidence is from 0 to 1, not {min_confidence}")
        self.min_confidence = min_confidence
        self._version = engine_version()

    @property
    def name(self) -> str:
        """RapidOCR's version, which its models come with, and what is kept of its readings."""
        return f"ocr rapidocr-{self._version} 1 from {self.min_confidence:g}"

    @cached_property
    def _engine(self) -> Engine:
        return Engine()

    def one(self, image: ImageInput) -> Caption:
        """The text of one picture. Raises as :meth:`read` does."""
        rows: dict[int, list[str]] = {}
        lines = []
        for box in self.read(image):
            rows.setdefault(box.row, []).append(box.text)
            left, top, right, bottom = (round(at, _DIGITS) for at in box.locator.bbox or _WHOLE)
            lines.append(TextLine(box.text, (left, top, right, bottom)))
        text = "\n".join(" ".join(row) for row in rows.values())
        return Caption(text_content=text, lines=tuple(lines))

    def read(self, image: ImageInput) -> list[TextBox]:
        """The pieces of text in a picture, in reading order, with their boxes.

        Raises:
            SourceError: the picture cannot be opened, or does not fit into memory.
            AnswerError: the engine has failed on it.
        """
        pixels = _pixels(image)
        height, width = pixels.shape[:2]
        if min(height, width) < _SMALLEST:
            return []
        found = self._engine.lines(pixels)
        lines = [line for line in found if line.confidence >= self.min_confidence]
        if not lines:
            return []
        boxes = []
        for number, row in enumerate(in_order(lines, self._engine.way(pixels, lines))):
            for line in row:
                bbox = (
                    line.left / width,
                    line.top / height,
                    line.right / width,
                    line.bottom / height,
                )
                boxes.append(TextBox(line.text, Locator(bbox=bbox), line.confidence, number))
        return boxes


def _pixels(image: ImageInput) -> NDArray[np.uint8]:
    from PIL import Image

    picture = load(image).image
    if picture.mode == "RGBA":  # light text on nothing is read on black
        grey, alpha = np.asarray(picture.convert("L")), np.asarray(picture.getchannel("A"))
        light = alpha.any() and np.average(grey, weights=alpha) > 127
        picture = to_rgb(picture, (0, 0, 0) if light else (255, 255, 255))
    if min(picture.size) > SIDE:
        scale = SIDE / min(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(picture)
