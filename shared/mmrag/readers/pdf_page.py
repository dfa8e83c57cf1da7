"""One page of a PDF: its text in reading order, and where on the displayed page things stand.

Every function here calls pdfium, which is not thread-safe: hold the lock of ``readers.pdf``.
"""

from __future__ import annotations

import ctypes
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import pypdfium2
from pypdfium2 import raw

from mmrag.readers.split import weigh

__all__ = ["Box", "Frame", "Line", "PageText", "page_text", "text_box", "union"]

Box: TypeAlias = tuple[float, float, float, float]
"""(left, top, right, bottom), in points or as fractions of the page, origin at the top left."""

_GRID = 1_000_000  # pdfium maps to whole pixels, so a fine grid
_EDGE = 0.08  # of the height: where running heads and feet are
_FOLDED = ((0x2E80, 0x2FDF), (0xFB00, 0xFB06))  # radicals and ligatures that stand for letters


class Frame:
    """From PDF coordinates to the page as displayed: turned, cropped, origin at the top left."""

    def __init__(self, page: pypdfium2.PdfPage) -> None:
        self.width: float = page.get_width()  # points
        self.height: float = page.get_height()
        (x0, y0), (x1, y1), (x2, y2) = (_device(page, *at) for at in ((0, 0), (999, 0), (0, 999)))
        self._x = ((x1 - x0) / 999, (x2 - x0) / 999, x0)
        self._y = ((y1 - y0) / 999, (y2 - y0) / 999, y0)

    def box(self, left: float, bottom: float, right: float, top: float) -> Box:
        """The box in points, cut at the page's edges."""
        corners = ((left, bottom), (right, top))
        xs = sorted(self._x[0] * x + self._x[1] * y + self._x[2] for x, y in corners)
        ys = sorted(self._y[0] * x + self._y[1] * y + self._y[2] for x, y in corners)
        (x0, x1), (y0, y1) = ([min(max(value, 0.0), 1.0) for value in pair] for pair in (xs, ys))
        return x0 * self.width, y0 * self.height, x1 * self.width, y1 * self.height

    def fractions(self, box: Box) -> Box:
        """A box in points as fractions of the page, 0..1, to five digits."""
        sides = (self.width, self.height, self.width, self.height)
        x0, y0, x1, y1 = (
            round(min(max(value / side, 0.0), 1.0), 5)
            for value, side in zip(box, sides, strict=True)
        )
        return x0, y0, x1, y1

    def share(self, box: Box) -> float:
        """How much of the page's area the box covers."""
        return (box[2] - box[0]) * (box[3] - box[1]) / (self.width * self.height)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text: its characters from ``first`` to ``last``, and its box in points."""

    first: int
    last: int
    box: Box

    @property
    def height(self) -> float:
        """The font's height in points."""
        return max(self.box[3] - self.box[1], 0.1)


@dataclass(frozen=True, slots=True)
class PageText:
    """The text of a page; ``origin[i]`` is pdfium's index of the character ``text[i]``.

    ``pieces`` are the boxes in points of all runs of text: a line, or a number at an axis.
    """

    text: str
    origin: list[int]
    pieces: list[Box]


def union(boxes: Iterable[Box]) -> Box:
    """The smallest box around all of them."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def text_box(page: pypdfium2.PdfTextPage, frame: Frame, first: int, last: int) -> Box | None:
    """The box in points around the characters from ``first`` to ``last``."""
    count = page.count_rects(first, last - first + 1)
    boxes = [frame.box(*page.get_rect(i)) for i in range(count)]
    shown = list(filter(_is_shown, boxes))
    return union(shown) if shown else None


def page_text(page: pypdfium2.PdfTextPage, frame: Frame, seen: set[str]) -> PageText:
    """The text with paragraphs apart; empty if there is no text layer, or not a readable one.

    ``seen`` holds the running heads and feet of the pages before, which are not given again; it
    is added to.
    """
    chars = [raw.FPDFText_GetUnicode(page, i) for i in range(page.count_chars())]
    cleaned = [_clean(code) for code in chars]
    visible = sum(code > 32 for code in chars)
    if sum(bool(text.strip()) for text in cleaned) * 2 < visible:
        return PageText("", [], [])  # glyphs without a meaning: better read as a picture
    lines = _unseen(_lines(page, frame, cleaned), frame, cleaned, seen)
    text: list[str] = []
    origin: list[int] = []
    for number, line in enumerate(lines):
        if number:
            gap = _gap(lines[number - 1], line, lines, cleaned)
            text.append(gap)
            origin.extend([line.first] * len(gap))
        for i in range(line.first, line.last + 1):
            if cleaned[i] == " " and text and text[-1][-1:].isspace():
                continue
            text.append(cleaned[i])
            origin.extend([i] * len(cleaned[i]))
    pieces = (frame.box(*page.get_rect(i)) for i in range(page.count_rects()))
    return PageText("".join(text), origin, list(filter(_is_shown, pieces)))


def _clean(code: int) -> str:
    """A character as text. pdfium gives U+0002 for the hyphen of a broken word, which goes."""
    char = chr(code)
    if char in "\r\n":
        return "\n"
    if char.isspace() or char == "\t":
        return " "
    if any(low <= code <= high for low, high in _FOLDED):
        return unicodedata.normalize("NFKC", char)
    if code == 0xF0B7:  # the bullet of Word's Symbol font
        return "•"
    unreadable = unicodedata.category(char) in ("Cc", "Co", "Cs", "Cn") or code in (0xAD, 0xFFFD)
    return "" if unreadable else char


def _lines(page: pypdfium2.PdfTextPage, frame: Frame, cleaned: list[str]) -> list[Line]:
    lines = []
    start = 0
    for end in [i for i, char in enumerate(cleaned) if char == "\n"] + [len(cleaned)]:
        shown = [i for i in range(start, end) if cleaned[i].strip()]
        start = end + 1
        if shown:
            first, last = shown[0], shown[-1]
            box = union(frame.box(*page.get_charbox(i, loose=True)) for i in (first, last))
            if _is_shown(box):
                lines.append(Line(first, last, box))
    return lines


def _unseen(lines: list[Line], frame: Frame, cleaned: list[str], seen: set[str]) -> list[Line]:
    """The lines without heads and feet that differ from those of a page before in numbers only."""
    kept, edge = [], _EDGE * frame.height
    new = set()
    for line in lines:
        if edge < line.box[3] and line.box[1] < frame.height - edge:
            kept.append(line)
            continue
        words = re.sub(r"\d+", "#", "".join(cleaned[line.first : line.last + 1]))
        new.add(words)
        if words not in seen:
            kept.append(line)
    seen |= new
    return kept


def _gap(above: Line, line: Line, lines: list[Line], cleaned: list[str]) -> str:
    """What stands between two lines: a blank line, a line break, or nothing inside Chinese."""
    tall, low = max(above.height, line.height), min(above.height, line.height)
    apart = line.box[1] - above.box[3] > 0.6 * tall
    jumps_up = line.box[3] < above.box[1]
    if apart or jumps_up or tall > 1.25 * low:
        return "\n\n"
    # A word broken over two lines must be whole again, but rows of a table must not run together:
    # so only where the line reaches the right edge of the lines that start where it starts.
    right = max(other.box[2] for other in lines if abs(other.box[0] - above.box[0]) < 3 * tall)
    wide = all(weigh(cleaned[i][-1]) == 2 for i in (above.last, line.first))
    return "" if wide and above.box[2] > right - 2 * tall else "\n"


def _is_shown(box: Box) -> bool:
    """Whether anything is left of a box that was cut at the page's edges."""
    return box[0] < box[2] and box[1] < box[3]


def _device(page: pypdfium2.PdfPage, x: float, y: float) -> tuple[float, float]:
    right, down = ctypes.c_int(), ctypes.c_int()
    raw.FPDF_PageToDevice(page, 0, 0, _GRID, _GRID, 0, x, y, right, down)
    return right.value / _GRID, down.value / _GRID
