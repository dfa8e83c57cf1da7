"""Where the figures of a PDF page are: embedded pictures, and drawings made of lines and curves.

Every function here calls pdfium, which is not thread-safe: hold the lock of ``readers.pdf``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import sqrt

import pypdfium2
from pypdfium2 import raw

from mmrag.inputs import DEFAULT_LIMITS
from mmrag.readers.pdf_drawings import Path, drawings, path_of
from mmrag.readers.pdf_page import Box, Frame, union

__all__ = ["Figure", "Survey", "repeated", "survey", "touch"]

_DEPTH = 5  # of forms within forms
_OBJECTS = 20_000  # a page with more is a map or a technical drawing
_PICTURES = 500  # likewise
_SMALLEST_SIDE = 48  # pixels
_SMALLEST_SHARE = 0.01  # of the page
_LONGEST_SHAPE = 8.0  # times as long as wide: a rule or a banner
_LARGE = 0.25  # of the page: no logo, however often it comes


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure on a page: its box in points, the pixels it has for each point, whether it is a
    photograph, and a key that is the same where the same small figure is on another page."""

    box: Box
    density: float = 0.0
    photo: bool = False
    key: str = ""


@dataclass(slots=True)
class Survey:
    """What a page shows beside text. ``oversize``: a picture on it has too many pixels."""

    figures: list[Figure] = field(default_factory=list)
    empty: bool = True
    oversize: bool = False


def survey(page: pypdfium2.PdfPage) -> Survey:
    """Find the figures of a page without decoding any picture."""
    frame = Frame(page)
    found = Survey()
    rasters: list[Figure] = []
    paths: list[Path] = []
    for number, (item, box) in enumerate(_objects(page, frame)):
        found.empty = False
        if number > _OBJECTS or len(rasters) > _PICTURES:
            found.figures = [Figure((0.0, 0.0, frame.width, frame.height))]
            return found
        if isinstance(item, pypdfium2.PdfImage):
            width, height = item.get_px_size()
            found.oversize |= width * height > DEFAULT_LIMITS.max_pixels
            rasters.append(_raster(item, box, width * height, frame))
        elif item.type == raw.FPDF_PAGEOBJ_PATH and (path := path_of(item, box)):
            paths.append(path)
    pictures = [figure for figure in _merged(rasters, gap=1.0) if _is_content(figure, frame)]
    drawn = [_drawing(box, frame) for box in drawings(paths, frame)]
    found.figures = _merged(pictures + drawn, gap=0.0)
    return found


def repeated(surveys: Sequence[Survey]) -> frozenset[str]:
    """The keys of logos and frames: on three pages or more, or on over half of the pages."""
    pages = Counter(
        key for page in surveys for key in {figure.key for figure in page.figures if figure.key}
    )
    many = len(surveys)
    return frozenset(
        key for key, count in pages.items() if count >= 3 or (many > 1 and count * 2 > many)
    )


def _objects(
    page: pypdfium2.PdfPage,
    frame: Frame,
    form: pypdfium2.PdfObject | None = None,
    matrices: tuple[pypdfium2.PdfMatrix, ...] = (),
) -> Iterator[tuple[pypdfium2.PdfObject, Box]]:
    """The objects of a page and of the forms in it, with their boxes in points."""
    for item in page.get_objects(max_depth=1, form=form):
        if item.type == raw.FPDF_PAGEOBJ_FORM:
            if len(matrices) < _DEPTH:
                yield from _objects(page, frame, item, (item.get_matrix(), *matrices))
            continue
        bounds = item.get_bounds()
        for matrix in matrices:  # from the innermost form outwards
            bounds = matrix.on_rect(*bounds)
        yield item, frame.box(*bounds)


def _raster(image: pypdfium2.PdfImage, box: Box, pixels: int, frame: Frame) -> Figure:
    area = max((box[2] - box[0]) * (box[3] - box[1]), 0.1)
    # Large pictures are never logos, so the many bytes of scans need not be read here.
    small = frame.share(box) <= _LARGE
    key = hashlib.sha256(image.get_data()).hexdigest() if small else ""
    photo = bool({"DCTDecode", "JPXDecode"} & set(image.get_filters()))
    return Figure(box, sqrt(pixels / area), photo, key)


def _drawing(box: Box, frame: Frame) -> Figure:
    small = frame.share(box) <= _LARGE
    return Figure(box, key="drawing {:.0f} {:.0f} {:.0f} {:.0f}".format(*box) if small else "")


def _is_content(figure: Figure, frame: Frame) -> bool:
    """Not a decoration by its size or shape."""
    left, top, right, bottom = figure.box
    short, long = sorted((right - left, bottom - top))
    return (
        short * figure.density >= _SMALLEST_SIDE
        and frame.share(figure.box) >= _SMALLEST_SHARE
        and long <= short * _LONGEST_SHAPE
    )


def _merged(figures: list[Figure], gap: float) -> list[Figure]:
    """Figures that overlap, or are at most ``gap`` points apart, become one: many programs cut a
    picture into strips."""
    done: list[Figure] = []
    for figure in figures:
        whole = figure
        while near := [other for other in done if touch(whole.box, other.box, gap)]:
            done = [other for other in done if other not in near]
            whole = _joined([whole, *near])
        done.append(whole)
    return done


def _joined(parts: list[Figure]) -> Figure:
    keys = sorted(part.key for part in parts)
    return Figure(
        box=union(part.box for part in parts),
        density=max(part.density for part in parts),
        photo=all(part.photo for part in parts),
        key=hashlib.sha256("".join(keys).encode()).hexdigest() if all(keys) else "",
    )


def touch(one: Box, two: Box, gap: float) -> bool:
    """Whether two boxes overlap or are less than ``gap`` points apart."""
    return (
        one[0] < two[2] + gap
        and two[0] < one[2] + gap
        and one[1] < two[3] + gap
        and two[1] < one[3] + gap
    )
