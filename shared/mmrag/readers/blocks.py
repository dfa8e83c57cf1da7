"""A text into its blocks: headings, paragraphs, fenced code, tables, line by line and lazily."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Block", "blocks"]

_LONGEST = 16_384  # characters of a block, so that a text without line breaks stays bounded too
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*?)[ \t#]*\s*$")
_UNDERLINE = re.compile(r"(={3,}|-{3,}|~{3,}|\^{3,})\s*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


@dataclass(frozen=True, slots=True)
class Block:
    """A run of lines, with the blank lines after it; joined, the blocks are the text.

    ``level`` is 1 for a top heading, 2 for one below, 0 for all else. ``solid`` blocks (headings,
    code, tables, rows) are not sentences.
    """

    text: str
    level: int = 0
    title: str = ""
    solid: bool = False


def blocks(pieces: Iterable[str], *, markdown: bool = True, rows: bool = False) -> Iterator[Block]:
    """The blocks of a text that arrives in pieces of any length.

    With ``markdown``, headings (``# A``, or underlined by ``===`` as in reStructuredText), fences
    and ``| tables |`` are known; with ``rows``, every line is a block.
    """
    if rows:
        yield from (Block(line, solid=True) for line in _lines(pieces))
        return
    held = _Held()
    for line in _lines(pieces):
        title = held.underlined(line) if markdown else ""
        if title:
            held.heading("=-~^".index(line[0]) + 1, title)
        elif not held.continues(line, markdown):
            if held.lines:
                yield held.block()
            held = _Held()
            if markdown:
                held.start(line)
        held.append(line)
    if held.lines:
        yield held.block()


class _Held:
    """The block that is being read."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.size = 0
        self.ended = False  # by a blank line, the closing fence or because it is a heading
        self.fence = ""  # the marker that opened it
        self.table = False
        self.level = 0
        self.title = ""

    def block(self) -> Block:
        solid = bool(self.fence or self.table or self.level)
        return Block("".join(self.lines), self.level, self.title, solid)

    def start(self, line: str) -> None:
        """See from its first line what kind of block this is."""
        if match := _HEADING.match(line):
            self.heading(len(match[1]), match[2])
        elif match := _FENCE.match(line):
            self.fence = match[1]
        else:
            self.table = line.lstrip().startswith("|")

    def heading(self, level: int, title: str) -> None:
        self.level, self.title, self.ended = level, " ".join(title.split())[:200], True

    def underlined(self, line: str) -> str:
        """The heading that this line underlines, if it does."""
        if len(self.lines) != 1 or self.ended or self.fence or not _UNDERLINE.match(line):
            return ""
        return self.lines[0].strip()

    def continues(self, line: str, markdown: bool) -> bool:
        """Whether the line belongs to this block."""
        if not self.lines or self.size > _LONGEST:
            return False
        if not line.strip() or (self.fence and not self.ended):
            return True
        if self.ended or not markdown:
            return not self.ended
        starts_table = line.lstrip().startswith("|")
        return starts_table == self.table and not (_HEADING.match(line) or _FENCE.match(line))

    def append(self, line: str) -> None:
        if self.fence:
            bare = line.strip()
            closes = bare.startswith(self.fence) and not bare.strip(self.fence[0])
            self.ended = self.ended or (closes and bool(self.lines))
        elif not line.strip():
            self.ended = True
        self.lines.append(line)
        self.size += len(line)


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    """Lines with their ends; one that is too long is cut, after a space or stop if it has any."""
    held = ""
    for piece in pieces:
        *full, held = (held + piece).split("\n")
        yield from (line + "\n" for line in full)
        while len(held) > _LONGEST:
            cut = max(held.rfind(mark, 0, _LONGEST) for mark in " \t。，,") + 1
            cut = cut or _LONGEST
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held
