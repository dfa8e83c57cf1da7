"""Which views of a PDF page become pictures, and the pictures.

Every function here calls pdfium, which is not thread-safe: hold the lock of ``readers.pdf``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pypdfium2

from mmrag.readers.pdf_figures import Figure, Survey, touch
from mmrag.readers.pdf_page import Box, Frame, PageText, union

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["View", "render", "views"]

_SCAN = 0.5  # of the page, in one picture, and no text: the page is a scan
_FULL = 0.85  # of the page: its background
_SIDE = 1024  # pixels of the longest side of a page or drawing
_MOST = 1536  # and at most of an embedded picture
_SHARPEST = 6.0  # pixels a point
_MARGIN = 4.0  # points around a drawing
_LABEL = 10.0  # points between a drawing and what is written beside it


@dataclass(frozen=True, slots=True)
class View:
    """What to render: a box in points, or the whole page; ``density`` is in pixels a point, 0 for
    what is drawn and so has no pixels of its own."""

    box: Box | None = None
    density: float = 0.0
    photo: bool = False


def views(survey: Survey, frame: Frame, logos: frozenset[str], text: PageText) -> list[View]:
    """The figures that are not logos, and the whole page if it has no text or one picture is its
    background; of a scan, the page alone."""
    if survey.empty or survey.oversize:
        return []
    figures = [figure for figure in survey.figures if figure.key not in logos]
    if text.pieces and not text.text and not figures:
        return []  # nothing but a running head
    largest = max((frame.share(figure.box) for figure in figures), default=0.0)
    parts = [
        _view(figure, frame, text.pieces) for figure in figures if frame.share(figure.box) < _FULL
    ]
    if text.text and largest < _FULL:
        return parts
    photo = any(figure.photo and frame.share(figure.box) >= _SCAN for figure in figures)
    page = View(photo=photo)
    return [page] if not text.text and largest >= _SCAN else [page, *parts]


def render(
    page: pypdfium2.PdfPage, frame: Frame, view: View, image_size: int
) -> Image.Image | None:
    """The view in RGB, as printed on white paper; None if there is nothing to be seen in it."""
    left, top, right, bottom = view.box or (0.0, 0.0, frame.width, frame.height)
    longest = max(right - left, bottom - top)
    if view.density:
        scale = min(view.density, max(_MOST, image_size) / longest)
    else:
        scale = min(_SHARPEST, max(_SIDE, image_size) / longest)
    crop = (left, frame.height - bottom, frame.width - right, top)
    bitmap = page.render(scale=scale, crop=tuple(max(side, 0.0) for side in crop))
    image: Image.Image = bitmap.to_pil().convert("RGB").copy()  # not pdfium's own memory
    bitmap.close()
    return image if image.getcolors(1) is None else None  # all of one colour


def _view(figure: Figure, frame: Frame, pieces: Iterable[Box]) -> View:
    if figure.density:
        return View(figure.box, figure.density, figure.photo)
    left, top, right, bottom = union([figure.box, *_labels(figure.box, pieces)])
    box = (
        max(left - _MARGIN, 0.0),
        max(top - _MARGIN, 0.0),
        min(right + _MARGIN, frame.width),
        min(bottom + _MARGIN, frame.height),
    )
    return View(box)


def _labels(box: Box, pieces: Iterable[Box]) -> list[Box]:
    """The short texts at a drawing: the numbers along an axis, not the paragraph below."""
    longest = 0.6 * (box[2] - box[0])
    return [
        piece for piece in pieces if piece[2] - piece[0] <= longest and touch(piece, box, _LABEL)
    ]
