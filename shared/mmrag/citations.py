"""What an answer says it rests on: its ``[n]`` as the sources that they number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mmrag.types import Record

__all__ = ["Citation", "Citations", "citations"]

_YEARS = 1000  # numbers from here on are years and the like, unless there are that many sources

# A number of ten digits or more numbers nothing.
_ONE = r"[0-9０-９]{1,9}"
_SOME = rf"{_ONE}(?:\s*[-‐‑–—~～]\s*{_ONE})?"
_CITED = re.compile(
    rf"[\[［【]\s*({_SOME}(?:\s*[,;，；、]\s*{_SOME})*)\s*[\]］】]"
    # Not the text of a Markdown link: [1](url), [1](url "title"), [1](<url>).
    r"(?!(?<=\])\((?:<[^<>\n]*>|[^\s()<>]*(?:\([^\s()]*\)[^\s()]*)*)"
    r"""(?:\s+(?:"[^"\n]*"|'[^'\n]*'|\([^()\n]*\)))?\s*\))"""
)
# Fenced code up to its end or that of the text, and code between backticks in one paragraph.
_CODE = re.compile(
    r"^[ \t>]*(?P<fence>`{3,}|~{3,})[^`\n]*$.*?(?:^[ \t>]*(?P=fence)[`~]*[ \t]*$|\Z)"
    r"|(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)(?P=ticks)(?!`)",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Citation:
    """A source that an answer cites, by its number in the prompt, from 1."""

    number: int
    record: Record

    @property
    def source(self) -> str:
        """The file that the record is from; empty if it says none."""
        return self.record.source

    @property
    def page(self) -> int | None:
        """The page, from 1."""
        return self.record.locator.page

    @property
    def bbox(self) -> tuple[float, float, float, float] | None:
        """Left, top, right and bottom on the page, as fractions 0..1."""
        return self.record.locator.bbox

    @property
    def start_s(self) -> float | None:
        """Where it begins in a recording, in seconds."""
        return self.record.locator.start_s

    @property
    def end_s(self) -> float | None:
        """Where it ends in a recording, in seconds."""
        return self.record.locator.end_s


@dataclass(frozen=True, slots=True)
class Citations:
    """``cited`` are the sources of an answer, ``invented`` the numbers in it that no source has;
    each once, in the order of their first mention."""

    cited: tuple[Citation, ...] = ()
    invented: tuple[int, ...] = ()


def citations(answer: str, records: Sequence[Record]) -> Citations:
    """The sources that an answer cites; ``records`` are those of its prompt, in the same order.

    Understood are ``[1]``, ``[1][3]``, ``[1, 3]`` and ``[1-3]``, with brackets, digits, commas and
    dashes of Chinese texts too: ``【1】``, ``［１、３］``. Code and links, ``[1](url)``, cite
    nothing. A number from 1000 on that no source has is taken for a year: ``[2024]`` is neither
    cited nor invented. Of a range, what is not there counts as invented only where it is written
    out: ``[2-9]`` with three sources cites 2 and 3, and invents 9.

    A part of an answer may be given as well, as it comes in a stream: a citation counts from its
    closing bracket on.

    >>> found = citations("It boils [2], or so they say [7].", [Record("a"), Record("b")])
    >>> [citation.record.id for citation in found.cited], found.invented
    (['b'], (7,))
    """
    numbers = dict.fromkeys(_numbers(_CODE.sub(" ", answer), len(records)))
    known = range(1, len(records) + 1)
    return Citations(
        tuple(Citation(number, records[number - 1]) for number in numbers if number in known),
        tuple(number for number in numbers if number not in known),
    )


def _numbers(text: str, count: int) -> Iterator[int]:
    for cited in _CITED.finditer(text):
        for some in re.split("[,;，；、]", cited[1]):
            ends = [int(number) for number in re.findall(_ONE, some)]
            if max(ends) < max(_YEARS, count + 1):
                yield from _from_to(ends[0], ends[-1], count)


def _from_to(first: int, last: int, count: int) -> Iterable[int]:
    """The sources between both ends, and the ends whether they are sources or not."""
    between = range(max(1, first), min(last, count) + 1)
    return (first, *between, last)
