"""The lines of text in a picture that match the query, marked on its thumbnail."""

from __future__ import annotations

import math

from mmrag.display_text import matches
from mmrag.types import Record

__all__ = ["Box", "inside", "line_marks"]

Box = tuple[float, float, float, float]


def line_marks(record: Record, query: str, covers: bool) -> str:
    """An ``<svg>`` to lie over the picture of a record, or nothing where no line matches.

    ``covers`` says how the picture lies in its tile: cut to fill it, or whole.
    """
    image, caption = record.image, record.caption
    if image is None or caption is None or min(image.width, image.height) <= 0:
        return ""
    boxes = [inside(line.bbox) for line in caption.lines if matches(line.text, query)]
    rects = "".join(_rect(box, image.width, image.height) for box in boxes if box)
    return rects and (
        f'<svg viewBox="0 0 {image.width} {image.height}" '
        f'preserveAspectRatio="xMidYMid {"slice" if covers else "meet"}" '
        f'style="position:absolute;inset:0;width:100%;height:100%">{rects}</svg>'
    )


def inside(box: Box) -> Box | None:
    """The part of a box that lies within 0..1; None if it is not finite."""
    if not all(map(math.isfinite, box)):
        return None
    left, top, right, bottom = (min(1.0, max(0.0, side)) for side in box)
    return left, top, max(left, right), max(top, bottom)


def _rect(box: Box, width: int, height: int) -> str:
    left, top, right, bottom = box
    return (
        f'<rect x="{left * width:.1f}" y="{top * height:.1f}" '
        f'width="{(right - left) * width:.1f}" height="{(bottom - top) * height:.1f}" '
        'fill="rgba(246,190,0,.36)"/>'
    )
