"""Text for display: made inert, measured in columns, cut, and marked where a query matches."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from html import escape

__all__ = [
    "clip",
    "clip_words",
    "clock",
    "columns",
    "excerpt",
    "fitting",
    "flowing",
    "marked",
    "matches",
    "number",
    "visible",
]

# Control characters, bidirectional overrides, invisible spaces, half surrogate pairs.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_WEIGHTLESS = re.compile("[\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]")

_HAN = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LETTER = rf"[^\W_{_HAN}]"  # a letter or digit of a script that puts spaces between words
_TOKEN = re.compile(rf"[{_HAN}]+|{_LETTER}+")
_LAST_WORD = re.compile(rf"\s{_LETTER}{{1,20}}…$")
_PARTICLE = re.compile("[的了吗呢吧和与或]")
_SUFFIX = re.compile(r"(?<=\w{4})(?:ing|ed)$|(?<=\w{3})(?:es|s)$", re.IGNORECASE)
_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by do does for from how i in is it me my of on or that the this to "
        "was what where which who with",
    )
)


def visible(text: str) -> str:
    """The text on one line, with each control or invisible character written as its escape."""
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def flowing(text: str) -> str:
    """The text as running prose: white space becomes one space, what has no width is left out."""
    return visible(_WEIGHTLESS.sub("", " ".join(text.split())))


def columns(text: str) -> int:
    """How wide a terminal shows the text: 2 for a Chinese character, 0 for a combining mark."""
    return sum(_width(char) for char in text)


def fitting(widths: Sequence[int], room: int, apart: int, wanted: Iterable[int]) -> list[int]:
    """Which columns of a table a terminal has room for, in their order: the first always, and of
    the others those that still fit when they are taken as ``wanted`` lists them.

    >>> fitting([10, 4, 20, 6], 24, 2, wanted=[2, 3, 1])
    [0, 3]
    """
    kept, room = [0], room - widths[0]
    for column in wanted:
        if widths[column] + apart <= room:
            kept.append(column)
            room -= widths[column] + apart
    return sorted(kept)


def _width(char: str) -> int:
    if char.isascii():
        return 1
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clip(text: str, limit: int, *, keep_end: bool = False) -> str:
    """The text in at most ``limit`` columns, an ellipsis where it was cut.

    A path is clipped with ``keep_end``, because its last part says most. However many combining
    marks there are, no more than ``2 * limit`` characters remain.
    """
    if len(text) <= 2 * limit and columns(text) <= limit:
        return text
    room = limit - 1
    kept: list[str] = []
    for char in reversed(text) if keep_end else text:
        room -= _width(char)
        if room < 0 or len(kept) + 1 >= 2 * limit:
            break
        kept.append(char)
    return "…" + "".join(reversed(kept)) if keep_end else "".join(kept).rstrip() + "…"


def clip_words(text: str, limit: int) -> str:
    """:func:`clip` that does not end in the middle of a word."""
    clipped = clip(text, limit)
    return clipped if clipped == text else _LAST_WORD.sub("…", clipped)


def number(value: float) -> str:
    """A score in three significant digits: ``0.830``, ``0.0325``, ``12.4``, ``1234``."""
    if not math.isfinite(value) or abs(value) >= 99.95:
        return f"{value:.0f}"
    return f"{value:#.3g}"


def clock(seconds: float) -> str:
    """Seconds as ``m:ss``, or ``h:mm:ss`` from an hour on."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@lru_cache(maxsize=32)
def _patterns(query: str) -> tuple[re.Pattern[str], ...]:
    """One pattern a term: English words with their common endings, pairs of Chinese characters.

    Pairs that touch are merged by ``marked``, so that the longest common substring is marked
    without knowing where Chinese words end.
    """
    tokens = list(dict.fromkeys(_TOKEN.findall(query.casefold())))[:64]
    tokens = [token for token in tokens if token not in _STOP_WORDS] or tokens
    found: dict[str, None] = {}
    for token in tokens:
        if not re.match(f"[{_HAN}]", token):
            stem = re.escape(_SUFFIX.sub("", token))
            endings = "(?:e|es|s|ed|ing)?" if len(token) > 2 else ""
            found[f"(?<!{_LETTER})({stem}{endings})(?!{_LETTER})"] = None
            continue
        for part in filter(None, _PARTICLE.split(token)):
            pairs = [part[i : i + 2] for i in range(max(1, len(part) - 1))]
            found.update({f"(?=({pair}))": None for pair in pairs})
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in found)


def matches(text: str, query: str) -> list[tuple[int, int, int]]:
    """Where the terms of the query stand: (start, end, number of the term), in order."""
    return sorted(
        (*match.span(1), term)
        for term, pattern in enumerate(_patterns(query))
        for match in pattern.finditer(text)
    )


def excerpt(text: str, query: str, limit: int) -> str:
    """At most ``limit`` columns of the text, around the place where most of the query stands."""
    if columns(text) <= limit:
        return text
    found = matches(text, query)[:500]
    begin, most = 0, 0
    for start, _, _ in found:
        terms = len({term for at, end, term in found if start <= at and end <= start + limit // 2})
        if terms > most:
            begin, most = start, terms
    begin = _sentence_start(text, begin, limit // 4)
    if begin == 0:
        return clip_words(text, limit)
    if columns(text[begin:]) < limit:
        return clip(text, limit, keep_end=True)
    return "…" + clip_words(text[begin:], limit - 1)


def _sentence_start(text: str, at: int, reach: int) -> int:
    """A good place to begin, no more than ``reach`` before ``at``: a sentence, else a word."""
    if at <= reach // 2:
        return 0
    before = text[at - reach if at > reach else 0 : at]
    for stops in (r"[.!?;]\s|[。！？；]", r"[,:]\s|[，、：]", r"\s"):
        ends = [match.end() for match in re.finditer(stops, before)]
        if ends:
            return at - len(before) + (ends[0] if stops == r"\s" else ends[-1])
    return at - len(before) // 2


def marked(text: str, query: str) -> str:
    """The text as HTML, escaped, with what matches the query in ``<mark>``."""
    parts: list[str] = []
    done = 0
    for start, end in _merged(matches(text, query)):
        parts += [escape(text[done:start]), f"<mark>{escape(text[start:end])}</mark>"]
        done = end
    return "".join([*parts, escape(text[done:])])


def _merged(found: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for start, end, _ in found:
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans
