"""Texts over a model's token limit: cut into windows, embedded by window, pooled to one vector.

Measured on the development set (``python -m benchmarks long_text``: 27 documents of about 400
tokens, 89 queries, 71 tokens at once): nDCG@10 is 0.943 pooled, 0.940 with a vector for each window
of which the best one counts, and 0.902 cut off. Pooled gains 0.040 over cutting off (95 % interval
0.015 to 0.070) and loses nothing against several vectors: so a text has one vector everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mmrag.protocols import Matrix

__all__ = ["SLACK", "pooled", "split_windows"]

SLACK = 4
"""How many tokens a window may gain when its edge cuts a word: what to leave free of a limit."""


def split_windows(
    text: str, offsets: Sequence[tuple[int, int]], size: int, overlap: int
) -> list[tuple[str, int]]:
    """Pieces of a text, each of at most ``size`` tokens, with how many tokens each has.

    Windows end and begin between words where they can, and never inside a character. One of them
    may still get a few tokens more when it is tokenised by itself, since its edge can cut a word
    of many tokens in two: leave the tokenizer some room above ``size`` (:data:`SLACK`).

    Args:
        text: what was tokenised.
        offsets: where each token begins and ends in ``text``, in characters; no special tokens.
        size: the most tokens of a window. A text that has no more is one piece, the text itself.
        overlap: about how many tokens two neighbouring windows share, so that a phrase that one
            of them cuts is whole in the other; below ``size``.

    Example:
        >>> words = [(0, 3), (4, 7), (8, 13), (14, 17)]
        >>> split_windows("one two three six", words, size=3, overlap=1)
        [('one two three', 3), ('three six', 2)]
    """
    total = len(offsets)
    if total <= size:
        return [(text, total)]
    pieces: list[tuple[str, int]] = []
    start = 0
    while True:
        end = min(start + size, total)
        if end < total:
            end = _between_words(text, offsets, start, end, size // 4)
        piece = text[offsets[start][0] : offsets[end - 1][1]]
        if piece.strip() or not pieces:  # spaces at the end are no window
            pieces.append((piece, end - start))
        if end == total:
            return pieces
        latest = max(start + 1, end - overlap)
        start = _between_words(text, offsets, start, latest, overlap)


def pooled(vectors: Matrix, counts: Sequence[Sequence[int]]) -> Matrix:
    """One row of length 1 a text: the mean of its windows' rows, weighted by their tokens.

    Args:
        vectors: unit rows of all windows, text by text.
        counts: for each text, how many tokens each of its windows has.

    A text of one window keeps that window's row exactly as it is.
    """
    rows = np.empty((len(counts), vectors.shape[1]), np.float32)
    end = 0
    for row, parts in enumerate(counts):
        start, end = end, end + len(parts)
        if len(parts) == 1:
            rows[row] = vectors[start]
        else:
            mean = np.asarray(parts, np.float32) @ vectors[start:end]
            rows[row] = mean / np.linalg.norm(mean)
    return rows


def _between_words(
    text: str, offsets: Sequence[tuple[int, int]], after: int, latest: int, back: int
) -> int:
    """The last token up to ``latest`` that begins a word, if there is one at most ``back`` tokens
    before; else the last one that begins a character, for a rare one is several tokens; else
    ``latest``. Always after ``after``."""
    for token in range(latest, max(after, latest - back - 1), -1):
        before, begin = offsets[token - 1][1], offsets[token][0]
        if begin > before or (begin == before and _space_at(text, begin)):
            return token
    for token in range(latest, after, -1):
        if offsets[token][0] >= offsets[token - 1][1]:
            return token
    return latest


def _space_at(text: str, place: int) -> bool:
    """Whether there is a space on either side of this place."""
    return text[place - 1 : place + 1].strip() != text[place - 1 : place + 1]
