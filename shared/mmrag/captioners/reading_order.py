"""The order in which boxes of text are read: upright, turned, or in Chinese columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Line", "Way", "in_order"]

Way = Literal["upright", "clockwise", "upside down", "anticlockwise", "columns"]
"""How the text of a picture stands in it; ``columns`` are read from the right, each downwards."""

_SAME_LINE = 0.5  # of the lower box's height is within the other's: they stand side by side


@dataclass(frozen=True, slots=True)
class Line:
    """A box in pixels, the text in it, and how sure the model is of that."""

    left: float
    top: float
    right: float
    bottom: float
    text: str
    confidence: float

    @property
    def tall(self) -> bool:
        """Whether it is clearly higher than wide, as a line that runs down or up."""
        return self.bottom - self.top > 1.5 * (self.right - self.left)


def in_order(lines: Sequence[Line], way: Way) -> list[list[Line]]:
    """The rows of text in reading order, each with its pieces in order."""
    placed = [(_turned(line, way), line) for line in lines]
    placed.sort(key=lambda pair: (pair[0][1] + pair[0][3], pair[0][0]))
    rows: list[list[tuple[_Box, Line]]] = []
    for box, line in placed:
        row = next((row for row in reversed(rows[-3:]) if _beside(row[-1][0], box)), None)
        if row is None:
            rows.append([(box, line)])
        else:
            row.append((box, line))
    return [[line for _, line in sorted(row, key=lambda pair: pair[0][0])] for row in rows]


_Box = tuple[float, float, float, float]  # left, top, right, bottom as it is read


def _turned(line: Line, way: Way) -> _Box:
    """The box in coordinates in which lines run to the right and follow each other downwards."""
    left, top, right, bottom = line.left, line.top, line.right, line.bottom
    if way == "upside down":
        return -right, -bottom, -left, -top
    if way in ("clockwise", "columns"):  # lines run down, the next one is to the left
        return top, -right, bottom, -left
    if way == "anticlockwise":  # lines run up, the next one is to the right
        return -bottom, left, -top, right
    return left, top, right, bottom


def _beside(one: _Box, other: _Box) -> bool:
    overlap = min(one[3], other[3]) - max(one[1], other[1])
    return overlap > _SAME_LINE * min(one[3] - one[1], other[3] - other[1])
