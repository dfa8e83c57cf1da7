"""Where in a picture the words stand that it was found by."""

from __future__ import annotations

from mmrag.keywords import parts_with
from mmrag.types import Locator, Record

__all__ = ["lines_with"]


def lines_with(words: str, record: Record) -> tuple[Locator, ...]:
    """The places of the lines in a record's picture that have a keyword of ``words``, in reading
    order; none where the text of the picture was not read by OCR.

    A box is a part of the record's own: of its page, if the record is a figure or a page of one,
    else of the picture. Keywords are those of the route ``keywords``: a word in another form
    is found too, and stop words are not looked for.

    >>> from mmrag.types import Caption, TextLine
    >>> read = (TextLine("Total", (0, 0.8, 0.2, 0.9)), TextLine("12.50", (0.8, 0.8, 1, 0.9)))
    >>> receipt = Record("r", locator=Locator(page=2), caption=Caption(lines=read))
    >>> lines_with("what was the total?", receipt)
    (Locator(page=2, bbox=(0.0, 0.8, 0.2, 0.9), start_s=None, end_s=None),)
    """
    if record.caption is None:
        return ()
    lines = record.caption.lines
    found = parts_with(words, {str(number): line.text for number, line in enumerate(lines)})
    return tuple(lines[int(number)].within(record.locator) for number in found)
