"""Maximal marginal relevance, by arithmetic and by its properties."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmrag.diversity import mmr, redundancy
from mmrag.errors import InputError

Matrix = NDArray[np.float32]


def unit(*numbers: float) -> Matrix:
    vector = np.array(numbers, dtype=np.float32)
    vector /= np.linalg.norm(vector)
    return vector


def matrix(*rows: list[float]) -> Matrix:
    return np.array(rows, dtype=np.float32)


NONE = np.zeros((3, 3), dtype=np.float32)
SAME = matrix([1, 1, 0], [1, 1, 0], [0, 0, 1])  # the first two repeat each other


# Redundancy


def test_redundancy_is_the_largest_cosine_in_a_field_of_both() -> None:
    a = {"text": unit(1, 0), "image": unit(0, 1, 0)}
    b = {"text": unit(1, 1), "image": unit(1, 0, 0)}
    c = {"image": unit(1, 1, 0)}
    d = {"caption": unit(1, 0)}
    e: dict[str, Matrix] = {}
    half = math.sqrt(0.5)
    expected = matrix(
        [1, half, half, 0, 0],
        [half, 1, half, 0, 0],
        [half, half, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0],
    )
    np.testing.assert_allclose(redundancy([a, b, c, d, e]), expected, atol=1e-6)


def test_redundancy_of_opposites_is_below_that_of_strangers() -> None:
    left, right = {"text": unit(1, 0)}, {"text": unit(-1, 0)}
    assert redundancy([left, right])[0, 1] == -1
    # In the field that says more alike, not in the sum of both.
    alike = {"text": unit(-1, 0), "image": unit(1, 0)}
    assert redundancy([{**left, "image": unit(1, 0)}, alike])[0, 1] == 1


def test_redundancy_of_nothing() -> None:
    assert redundancy([]).shape == (0, 0)
    assert redundancy([{}, {}]).tolist() == [[0, 0], [0, 0]]


# Choosing


def test_by_hand() -> None:
    # Relevance is (3, 2.9, 1.5) scaled to (1, 0.933, 0): 0.5 * 0.933 - 0.5 * 1 = -0.03 < 0.
    assert mmr([3.0, 2.9, 1.5], SAME, 3) == [0, 2, 1]
    # With 0.6: 0.6 * 0.933 - 0.4 * 1 = 0.16 > 0.
    assert mmr([3.0, 2.9, 1.5], SAME, 3, 0.6) == [0, 1, 2]


def test_what_is_repeated_is_the_most_that_any_chosen_one_says() -> None:
    # The third is 0.9 like the first and 0.1 like the second; the fourth 0.5 like both.
    rows = matrix([1, 0, 0.9, 0.5], [0, 1, 0.1, 0.5], [0.9, 0.1, 1, 0], [0.5, 0.5, 0, 1])
    assert mmr([1.0, 1.0, 1.0, 1.0], rows, 4, 0.5) == [0, 1, 3, 2]


def test_one_is_relevance_alone_and_zero_is_diversity_alone() -> None:
    assert mmr([0.2, 0.9, 0.5], SAME, 3, 1.0) == [1, 2, 0]
    assert mmr([0.9, 0.8, -5.0], SAME, 2, 0.0) == [0, 2]


def test_equals_keep_their_order() -> None:
    assert mmr([1.0, 1.0, 1.0], NONE, 3, 0.5) == [0, 1, 2]
    assert mmr([1.0, 2.0, 2.0], NONE, 3, 1) == [1, 2, 0]


def test_opposites_go_first() -> None:
    rows = matrix([1, 0, -1], [0, 1, 0], [-1, 0, 1])
    assert mmr([1.0, 1.0, 1.0], rows, 2, 0.5) == [0, 2]


def test_no_more_than_there_are() -> None:
    assert mmr([], np.zeros((0, 0), np.float32), 4) == []
    assert mmr([0.3], np.ones((1, 1), np.float32), 4) == [0]


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, "0.5", True, None])
def test_lambda_mult_is_from_0_to_1(value: float) -> None:
    with pytest.raises(InputError, match="lambda_mult"):
        mmr([1.0], np.ones((1, 1), np.float32), 1, value)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True])
def test_limit_is_from_1(limit: int) -> None:
    with pytest.raises(InputError, match="limit"):
        mmr([1.0], np.ones((1, 1), np.float32), limit)


numbers = st.floats(-10, 10, width=32)


@st.composite
def candidates(draw: st.DrawFn) -> list[tuple[float, Mapping[str, Matrix]]]:
    """Scores, best first, and vectors in some of two fields."""
    size = draw(st.integers(0, 8))
    scores = sorted((draw(numbers) for _ in range(size)), reverse=True)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    fields = [draw(st.sets(st.sampled_from(["text", "image"]))) for _ in range(size)]
    return [
        (score, {name: unit(*random.normal(size=4)) for name in sorted(names)})
        for score, names in zip(scores, fields, strict=True)
    ]


@given(candidates(), st.integers(1, 10), st.floats(0, 1))
def test_properties(
    given_: list[tuple[float, Mapping[str, Matrix]]], limit: int, lambda_mult: float
) -> None:
    scores = [score for score, _ in given_]
    rows = redundancy([vectors for _, vectors in given_])
    assert np.array_equal(rows, rows.T) or np.allclose(rows, rows.T, atol=1e-6)
    assert (np.abs(rows) <= 1 + 1e-5).all()
    before = rows.copy()
    taken = mmr(scores, rows, limit, lambda_mult)
    assert np.array_equal(rows, before)
    assert len(taken) == len(set(taken)) == min(limit, len(scores))
    assert taken[:1] == [0][: len(taken)]  # the best is always first
    assert taken == mmr(scores, rows, 10, lambda_mult)[: len(taken)]  # more go after, not between
    assert mmr(scores, rows, limit, 1) == list(range(len(scores)))[:limit]
    # The definition, one choice at a time.
    low, span = min(scores, default=0), max(scores, default=0) - min(scores, default=0)
    gains = [(s - low) / span if span else 1 for s in scores]
    for place in range(1, len(taken)):
        left = [i for i in range(len(scores)) if i not in taken[:place]]
        said = {i: max(float(rows[i, j]) for j in taken[:place]) for i in left}
        values = {i: lambda_mult * gains[i] - (1 - lambda_mult) * said[i] for i in left}
        assert values[taken[place]] >= max(values.values()) - 1e-5
