"""Text into chunks that one vector can stand for: about 800 Latin or 400 Chinese characters.

Ours, because none of the libraries streams, keeps the heading path and gives exact offsets; what
is left, finding sentence ends, is three expressions (semantic-text-splitter is an 18 MB binary).

Every chunk is a slice of the text. Chunks of one section overlap by a sentence or two, and no
character that is not white space is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmrag.readers.blocks import Block, blocks

__all__ = ["LIMIT", "Chunk", "split", "split_text", "weigh"]

LIMIT = 800
"""The most that a chunk weighs: a wide character (Chinese, Japanese, Korean) 2, any other 1."""

_FILL = LIMIT // 2  # a chunk this full ends before a paragraph that does not fit
_PIECE = LIMIT // 4  # the weight of the pieces of a sentence that is too long for a chunk
_OVERLAP = LIMIT // 4  # at most, and at most two sentences: about 15% of a chunk in practice
_WIDE = re.compile(
    "[\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff00-\uff60"
    "\U00020000-\U0003ffff]"
)
_SENTENCE = re.compile(
    r"""
    [。！？；…]+ [”’」』）】》"']* \s*                  # Chinese needs no space after it
    | (?<!\b[A-Z])                                   # J. Smith
      (?<!\bMr)(?<!\bDr)(?<!\bSt)(?<!\bNo)(?<!\bvs)(?<!\bcf)(?<!\bca)(?<!\bMrs)(?<!\bFig)(?<!e\.g)
      (?<!i\.e)(?<![.!?])
      [.!?]+ ["')\]”’]* \s+ (?![a-z\s])               # no small letter after it
    | \n (?= [ \t]* (?:[-*+•·] | \(?\d{1,3}[.)、]) [ \t] )  # before a list item
    """,
    re.VERBOSE,
)
_FINER = (re.compile(r"\n+"), re.compile(r"[,，、;:：]\s*"), re.compile(r"\s+"))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text: ``text[start:start + len(chunk.text)] == chunk.text``.

    ``line`` is that of its first character, from 1. ``heading`` is the path of headings above it,
    ``Setup > Wi-Fi``, empty where there is none.
    """

    text: str
    start: int
    line: int
    heading: str


def split_text(text: str) -> list[str]:
    """The chunks of a text, plain or Markdown, in order; none if it is all white space."""
    return [chunk.text for chunk in split([text])]


def split(pieces: Iterable[str], *, markdown: bool = True, rows: bool = False) -> Iterator[Chunk]:
    """Chunk a text that arrives in pieces of any length, holding only a few chunks of it.

    Args:
        pieces: the text; joined, nothing added between them.
        markdown: headings start sections, code and tables stay in one chunk where they fit.
        rows: every line stands for itself (CSV, JSON lines, logs): no overlap.
    """
    packer = _Packer()
    for block in blocks(pieces, markdown=markdown, rows=rows):
        yield from packer.add(block)
    yield from packer.flush(overlap=False)


def weigh(text: str) -> int:
    """How much of :data:`LIMIT` a text takes, roughly proportional to its tokens."""
    return len(text) + (0 if text.isascii() else len(_WIDE.findall(text)))


def _units(block: Block) -> Iterator[str]:
    """The block in sentences, each within the limit; joined, they are the block."""
    for sentence in [block.text] if block.solid else _cut(block.text, _SENTENCE):
        yield from _fit(sentence, _FINER)


def _fit(text: str, finer: tuple[re.Pattern[str], ...]) -> Iterator[str]:
    """Cut what is too long for a chunk at ever weaker marks, and glue the crumbs to pieces."""
    if weigh(text) <= LIMIT:
        yield text
    elif not finer:
        size = _PIECE // 2  # characters, which weigh up to 2
        yield from (text[i : i + size] for i in range(0, len(text), size))
    else:
        held, weight = "", 0
        for part in _cut(text, finer[0]):
            more = weigh(part)
            if held and weight + more > _PIECE:
                yield from _fit(held, finer[1:])
                held, weight = "", 0
            held, weight = held + part, weight + more
        yield from _fit(held, finer[1:])


def _cut(text: str, ends: re.Pattern[str]) -> Iterator[str]:
    start = 0
    for match in ends.finditer(text):
        if start < match.end() < len(text):
            yield text[start : match.end()]
            start = match.end()
    yield text[start:]


class _Packer:
    """Fills chunks with sentences, as many as fit, within one section."""

    def __init__(self) -> None:
        self.units: list[tuple[str, bool]] = []  # a sentence, and whether it is worth repeating
        self.weight = 0
        self.fresh = False  # there is more in it than the overlap
        self.headings = True  # there is nothing but headings in it
        self.offset = 0  # characters and lines taken so far
        self.lines = 0
        self.path: list[tuple[int, str]] = []

    def add(self, block: Block) -> Iterator[Chunk]:
        """Take a block; yields the chunks that are full."""
        if block.level:
            if not self.headings:
                yield from self.flush(overlap=False)
            self.path = [above for above in self.path if above[0] < block.level]
            self.path.append((block.level, block.title))
        units = list(_units(block))
        weight = sum(map(weigh, units))
        # Better to end between two paragraphs than inside one, and not to cut a table at all.
        late = self.weight >= _FILL or (block.solid and weight <= LIMIT)
        if late and self.weight + weight > LIMIT and not self.headings:
            yield from self.flush(overlap=not block.solid)
        for unit in units:
            yield from self._take(unit, prose=not block.solid)
        self.headings = self.headings and (bool(block.level) or block.text.isspace())

    def _take(self, unit: str, prose: bool) -> Iterator[Chunk]:
        weight = weigh(unit)
        if self.weight + weight > LIMIT:
            yield from self.flush(overlap=prose)
        if self.weight + weight > LIMIT:
            self.units, self.weight = [], 0
        self.units.append((unit, prose))
        self.weight += weight
        self.fresh = self.fresh or not unit.isspace()
        self.offset += len(unit)
        self.lines += unit.count("\n")

    def flush(self, overlap: bool) -> Iterator[Chunk]:
        """Yield the chunk, and begin the next one with its last sentences."""
        text = "".join(unit for unit, _ in self.units)
        if self.fresh:
            body = text.lstrip()
            yield Chunk(
                text=body.rstrip(),
                start=self.offset - len(body),
                line=1 + self.lines - body.count("\n"),
                heading=" > ".join(title for _, title in self.path),
            )
        kept = 0
        weight = 0
        for unit, prose in reversed(self.units[-2:] if overlap else []):
            if not prose or weight + weigh(unit) > _OVERLAP:
                break
            kept, weight = kept + 1, weight + weigh(unit)
        self.units = self.units[len(self.units) - kept :]
        self.weight, self.fresh, self.headings = weight, False, not self.units
