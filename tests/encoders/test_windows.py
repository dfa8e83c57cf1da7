"""Long texts cut into windows, and their vectors pooled, by arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag.encoders.windows import pooled, split_windows

Offsets = list[tuple[int, int]]
Tokens = Callable[[str], Offsets]


def words(text: str) -> Offsets:
    """A tokenizer of one token a word."""
    found, place = [], 0
    for word in text.split():
        start = text.index(word, place)
        place = start + len(word)
        found.append((start, place))
    return found


def letters(text: str) -> Offsets:
    """A tokenizer of one token a letter; spaces are none."""
    return [(i, i + 1) for i, letter in enumerate(text) if not letter.isspace()]


def octets(text: str) -> Offsets:
    """A tokenizer of one token a byte, as byte-level BPE is for rare characters."""
    return [(i, i + 1) for i, letter in enumerate(text) for _ in letter.encode()]


def test_a_text_that_fits_is_one_piece_itself() -> None:
    assert split_windows("  a b ", words("  a b "), 2, 1) == [("  a b ", 2)]
    assert split_windows("", [], 5, 1) == [("", 0)]


def test_windows_share_their_overlap() -> None:
    text = "0 1 2 3 4 5 6 7 8 9"
    assert split_windows(text, words(text), 4, 1) == [
        ("0 1 2 3", 4),
        ("3 4 5 6", 4),
        ("6 7 8 9", 4),
    ]
    assert split_windows(text, words(text), 5, 0) == [("0 1 2 3 4", 5), ("5 6 7 8 9", 5)]


def test_windows_are_cut_between_words_if_they_can_be() -> None:
    text = "abcdefg hijklmn opqrstu vwxyz"
    pieces = [piece for piece, _ in split_windows(text, letters(text), 16, 0)]
    assert pieces == ["abcdefg hijklmn", "opqrstu vwxyz"]


def test_a_word_longer_than_a_window_is_cut() -> None:
    assert split_windows("x" * 10, letters("x" * 10), 4, 1) == [
        ("xxxx", 4),
        ("xxxx", 4),
        ("xxxx", 4),
    ]


def test_a_character_of_several_tokens_is_never_cut() -> None:
    text = "🚲🚒🌋🦓"
    pieces = split_windows(text, octets(text), 6, 0)
    assert [piece for piece, _ in pieces] == list(text)
    assert [count for _, count in pieces] == [4] * 4


@given(
    st.lists(st.sampled_from([0x4E00, 0x1F300, ord(" ")]), max_size=200),
    st.sampled_from([words, letters, octets]),
    st.integers(8, 40),
    st.data(),
)
def test_nothing_is_lost_and_no_window_is_too_long(
    bases: list[int], tokens: Tokens, size: int, data: st.DataObject
) -> None:
    # No letter comes twice, so that it is plain where a piece stands.
    text = "".join(" " if b == ord(" ") else chr(b + i) for i, b in enumerate(bases))
    overlap = data.draw(st.integers(0, size - 1))
    pieces = split_windows(text, tokens(text), size, overlap)
    assert all(count <= size for _, count in pieces)
    assert pieces == [(text, len(tokens(text)))] or all(piece for piece, _ in pieces)
    covered = 0
    for piece, _ in pieces:
        start = text.index(piece)
        assert not text[covered:start].strip()
        covered = start + len(piece)
    assert not text[covered:].strip()


def test_pooling_is_the_mean_weighted_by_tokens_at_length_1() -> None:
    rows = np.eye(3, dtype=np.float32)
    got = pooled(rows, [[3, 4], [9]])
    np.testing.assert_allclose(got, [[0.6, 0.8, 0], [0, 0, 1]], atol=1e-7)
    assert got.dtype == np.float32


def test_a_text_of_one_window_keeps_its_row_bit_for_bit() -> None:
    rows = np.random.default_rng(1).normal(size=(4, 7)).astype(np.float32)
    np.testing.assert_array_equal(pooled(rows, [[5], [0], [7], [1]]), rows)


@pytest.mark.parametrize("dim", [1, 384])
def test_no_text_gives_no_row(dim: int) -> None:
    assert pooled(np.empty((0, dim), np.float32), []).shape == (0, dim)


def test_spaces_at_the_end_are_no_window() -> None:
    text = "abcdefgh "
    assert split_windows(text, [*letters("abcdefgh"), (8, 9)], 8, 0) == [("abcdefgh", 8)]
    assert len(split_windows(" " * 20, [(n, n + 1) for n in range(20)], 8, 0)) == 1
