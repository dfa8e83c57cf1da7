"""Diversity: among good answers, those that do not repeat each other.

Maximal marginal relevance: J. Carbonell and J. Goldstein, "The Use of MMR, Diversity-Based
Reranking for Reordering Documents and Producing Summaries", SIGIR 1998. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmrag.errors import InputError

if TYPE_CHECKING:
    from mmrag.protocols import Matrix, Vector

__all__ = ["mmr", "redundancy"]


def redundancy(candidates: Sequence[Mapping[str, Vector]]) -> Matrix:
    """How much each two candidates repeat each other, ``[n, n]``: the largest cosine in any of the
    fields that both have, and 0 where they have none in common.

    A candidate is its unit vectors by field, as :meth:`mmrag.protocols.Store.vectors` gives them.
    """
    size = len(candidates)
    largest = np.full((size, size), -np.inf, dtype=np.float32)
    for field in sorted({field for candidate in candidates for field in candidate}):
        have = [i for i, candidate in enumerate(candidates) if field in candidate]
        rows = np.stack([candidates[i][field] for i in have]).astype(np.float32, copy=False)
        both = np.ix_(have, have)
        largest[both] = np.maximum(largest[both], rows @ rows.T)
    largest[np.isneginf(largest)] = 0
    return largest


def mmr(
    scores: Sequence[float], redundancy: Matrix, limit: int, lambda_mult: float = 0.5
) -> list[int]:
    """The places of the ``limit`` candidates to take, in the order in which they are taken.

    Each is the one with the highest ``lambda_mult * relevance - (1 - lambda_mult) * repeated``.
    Its relevance is its score, scaled so that the best of all candidates has 1 and the worst 0;
    what it repeats is its largest redundancy with any that was taken before. Of equals the earlier
    one is taken. So with ``lambda_mult`` 1 the order is that of the scores, and with 0 it starts at
    the first candidate and goes on with what is most unlike all before.

    >>> same = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=np.float32)
    >>> mmr([3.0, 2.9, 1.5], same, 2)
    [0, 2]

    Raises:
        InputError: ``lambda_mult`` is not from 0 to 1, or ``limit`` is below 1.
    """
    if isinstance(lambda_mult, bool) or not isinstance(lambda_mult, int | float):
        raise InputError(f"lambda_mult is a number from 0 to 1, not {lambda_mult!r}")
    if not 0 <= lambda_mult <= 1:
        raise InputError(f"lambda_mult is from 0 (diverse) to 1 (relevant), not {lambda_mult!r}")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InputError(f"limit is a whole number from 1, not {limit!r}")
    relevance = _scaled(scores)
    repeated = np.zeros(len(scores))
    taken: list[int] = []
    left = np.ones(len(scores), dtype=bool)
    while left.any() and len(taken) < limit:
        gain = lambda_mult * relevance - (1 - lambda_mult) * repeated
        best = int(np.argmax(np.where(left, gain, -np.inf)))
        repeated = (
            np.maximum(repeated, redundancy[best]) if taken else redundancy[best].astype(float)
        )
        taken.append(best)
        left[best] = False
    return taken


def _scaled(scores: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if not len(values) or values.max() == values.min():
        return np.ones(len(values))
    scaled: NDArray[np.float64] = (values - values.min()) / (values.max() - values.min())
    return scaled
