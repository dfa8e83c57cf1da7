"""What stands beside a hit on its page: the paragraph before it, the figure that it speaks of."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmrag.filters import And, In
from mmrag.types import Hit, Record

if TYPE_CHECKING:
    from mmrag.index import MultimodalIndex

__all__ = ["with_neighbours"]

NEAREST = 2  # of a hit

Page = tuple[str, int | None]


def with_neighbours(index: MultimodalIndex, hits: Sequence[Hit]) -> list[Record]:
    """The records of the hits, in their order, and after them the two texts or pictures that stand
    nearest to each on the same page of the same file. Every record is there once.

    They come last because a prompt drops from the end: no neighbour displaces a hit. A hit of a
    file without pages has none.

    >>> answer(question, with_neighbours(index, hits), llm)        # doctest: +SKIP
    """
    records = [hit.record for hit in hits]
    pages = _pages(index, {_page(record) for record in records if record.locator.page is not None})
    known = {record.id for record in records}
    chosen: dict[str, Record] = {}
    for record in records:
        others = [other for other in pages[_page(record)] if other.id != record.id]
        nearest = sorted(others, key=lambda other: (_apart(record, other), _order(other)))
        chosen |= {other.id: other for other in nearest[:NEAREST] if other.id not in known}
    return records + list(chosen.values())


def _pages(index: MultimodalIndex, wanted: set[Page]) -> dict[Page, list[Record]]:
    """All that stands on these pages."""
    pages: dict[Page, list[Record]] = defaultdict(list)
    if wanted:
        sources = tuple(sorted({source for source, _ in wanted}))
        numbers = tuple(sorted({page for _, page in wanted if page is not None}))
        for record in index.scan(And((In("source", sources), In("page", numbers)))):
            if _page(record) in wanted:
                pages[_page(record)].append(record)
    return pages


def _page(record: Record) -> Page:
    return record.source, record.locator.page


def _apart(one: Record, other: Record) -> float:
    """How far two boxes are from each other, to a thousandth of the page; what has no box fills
    it."""
    a, b = one.locator.bbox, other.locator.bbox
    if a is None or b is None:
        return 0.0
    across, down = max(a[0], b[0]) - min(a[2], b[2]), max(a[1], b[1]) - min(a[3], b[3])
    return round(math.hypot(max(0.0, across), max(0.0, down)), 3)


def _order(record: Record) -> tuple[float, float, str]:
    left, top, *_ = record.locator.bbox or (0.0, 0.0)
    return top, left, record.id
