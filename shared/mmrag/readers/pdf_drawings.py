"""Which lines and curves of a PDF page make up a drawing, and which are rules, tables, frames.

Every function here calls pdfium, which is not thread-safe: hold the lock of ``readers.pdf``.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pypdfium2
from pypdfium2 import raw

from mmrag.readers.pdf_page import Box, Frame, union

__all__ = ["Path", "drawings", "path_of"]

_THIN = 2.0  # points: a rule
_NEAR = 12.0  # points between the parts of one drawing
_SMALLEST_SHARE = 0.05  # of the page
_PARTS = 8  # a drawing has at least this many shapes
_SEGMENTS = 60  # or at least this many segments: a curve of measurements is one shape
_SAMPLE = 200  # segments that are looked at
_MOST = 2000  # paths that are sorted into drawings; a page with more is one drawing


@dataclass(frozen=True, slots=True)
class Path:
    """A path: its box in points, how many slanted or curved segments it has (0 for rules and
    rectangles), and its fill colour (0 if it is not filled)."""

    box: Box
    slanted: int
    fill: int

    @property
    def is_rule(self) -> bool:
        """Whether it is a horizontal or vertical line."""
        left, top, right, bottom = self.box
        return not self.slanted and min(right - left, bottom - top) < _THIN


def path_of(item: pypdfium2.PdfObject, box: Box) -> Path | None:
    """The path, or None if it is not seen: only clips, or is filled with white."""
    mode, stroke = ctypes.c_int(), ctypes.c_int()
    raw.FPDFPath_GetDrawMode(item, mode, stroke)
    fill = _fill(item) if mode.value else 0
    if not stroke.value and fill in (0, 0xFFFFFF):
        return None
    return Path(box, _slanted(item), fill)


def drawings(paths: Sequence[Path], frame: Frame) -> list[Box]:
    """The boxes in points of the drawings among the paths of a page."""
    parts = [path for path in paths if not _is_ground(path, frame)]
    if len(parts) > _MOST:
        return [union(path.box for path in parts)]
    return [
        box
        for cluster in _clusters(parts)
        if frame.share(box := union(path.box for path in cluster)) >= _SMALLEST_SHARE
        and _is_drawing(cluster)
    ]


def _is_drawing(cluster: Sequence[Path]) -> bool:
    """Whether it has enough shapes that are not a table's: slanted, curved, bars or colours."""
    slanted = [path for path in cluster if path.slanted]
    boxes = [path for path in cluster if not path.slanted and not path.is_rule]
    if sum(path.slanted for path in slanted) >= _SEGMENTS:
        return True
    if len(slanted) >= 3:
        return len(slanted) + len(boxes) >= _PARTS or _colours(slanted) >= 3  # a pie
    return len(cluster) >= _PARTS and (_colours(boxes) >= 4 or _has_bars(boxes))


def _colours(paths: Sequence[Path]) -> int:
    return len({path.fill for path in paths if path.fill})


def _has_bars(boxes: Sequence[Path]) -> bool:
    """Three or more rectangles on one base line, all of different lengths: a table's cells that
    share an edge are as long as one another."""
    for edge, far in ((3, 1), (1, 3), (0, 2), (2, 0)):
        on_line: dict[int, set[int]] = {}
        for path in boxes:
            if path.fill:
                length = round(abs(path.box[far] - path.box[edge]))
                on_line.setdefault(round(path.box[edge]), set()).add(length)
        if any(len(lengths) >= 3 for lengths in on_line.values()):
            return True
    return False


def _is_ground(path: Path, frame: Frame) -> bool:
    """A background, a frame around the page or a rule across it: it would join all drawings."""
    left, top, right, bottom = path.box
    across = right - left > 0.9 * frame.width or bottom - top > 0.9 * frame.height
    return not path.slanted and (frame.share(path.box) > 0.5 or (path.is_rule and across))


def _clusters(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Groups of paths that are near one another."""
    if not paths:
        return
    boxes = np.array([path.box for path in paths])
    left, top, right, bottom = (boxes[:, i] for i in range(4))
    near = (left[:, None] < right + _NEAR) & (top[:, None] < bottom + _NEAR)
    near &= near.T
    free = np.ones(len(paths), dtype=bool)
    while free.any():
        group = np.zeros(len(paths), dtype=bool)
        edge = np.zeros(len(paths), dtype=bool)
        edge[free.argmax()] = True
        while edge.any():
            group |= edge
            edge = near[edge].any(axis=0) & ~group
        free &= ~group
        yield [path for path, inside in zip(paths, group, strict=True) if inside]


def _fill(item: pypdfium2.PdfObject) -> int:
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    if not raw.FPDFPageObj_GetFillColor(item, red, green, blue, alpha) or not alpha.value:
        return 0
    return (red.value << 16 | green.value << 8 | blue.value) or 1  # black is a colour too


def _slanted(item: pypdfium2.PdfObject) -> int:
    """How many segments are curves or neither horizontal nor vertical."""
    count = raw.FPDFPath_CountSegments(item)
    x, y = ctypes.c_float(), ctypes.c_float()
    kinds: Counter[bool] = Counter()
    before = (0.0, 0.0)
    for number in range(min(count, _SAMPLE)):
        segment = raw.FPDFPath_GetPathSegment(item, number)
        kind = raw.FPDFPathSegment_GetType(segment)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        slants = abs(x.value - before[0]) > 0.5 and abs(y.value - before[1]) > 0.5
        kinds[
            kind == raw.FPDF_SEGMENT_BEZIERTO or (kind != raw.FPDF_SEGMENT_MOVETO and slants)
        ] += 1
        before = (x.value, y.value)
    return kinds[True]
