"""Calibration: raw scores of different routes made into evidence that means the same in each.

A nearest-neighbour search always returns its k results, whether or not there is anything to find;
text-text cosines are systematically higher than text-image ones; and an engine's BM25 is on a scale
of its own. So each route is measured by what *unrelated* pairs score in it:

* dense: ``evidence = (score - centre) / width - crowd``. Reference queries (for picture queries:
  the index's own pictures) are scored against a fixed random sample of the field; ``width`` is the
  way from the median of these scores to the mean of the highest 0.2 % of them, so that 1 is what
  the most misleading of unrelated pairs reach. ``centre`` is between that median and the query's
  own mean against the sample, so that an index of one subject does not look like an answer to
  everything about it. ``crowd`` grows with the number of records searched, as the best of many
  unrelated scores does: ``sqrt(2 ln n)`` standard deviations for normal ones, counted from the
  size of the sample.
* keywords: ``evidence = 4 * share ** 2 * min(1, information / 1.6) ** 2``. ``information`` is the
  BM25 score in units of ``ln(1 + n)``, the most that an inverse document frequency can be and what
  singles out one record of ``n``; ``share`` is that over the number of tokens in the query. So a
  common word of a long query says next to nothing, one rare word something, and a line of a
  picture's text that has all the words of the query outweighs whatever else resembles them.

The alternatives and their figures on the development set are in the README.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmrag.encode import Encoders
from mmrag.keywords import encode_query
from mmrag.protocols import FieldQuery, Ranking, Store, TextEncoder
from mmrag.references import REFERENCE_QUERIES
from mmrag.routes import Route

if TYPE_CHECKING:
    from mmrag.protocols import Matrix

__all__ = ["Calibrator", "dense_evidence", "keyword_evidence"]

SAMPLE = 256
STALE = 0.01  # samples are drawn anew when this share of the index was written since
TAIL = 0.998
TAIL_SIGMAS = 3.17  # the mean of a normal distribution above its 99.8th percentile
OWN = 1 / 3  # how far the centre moves to the query's own mean; less where the sample is small
OWN_HALF = 10
FEWEST_PAIRS = 30
KEYWORDS_MOST = 4.0
KEYWORDS_SURE = 1.6


@dataclass(frozen=True, slots=True)
class Null:
    """How unrelated pairs score in a dense route: their median, and the way from it to the mean of
    the highest 0.2 % of them."""

    median: float
    width: float

    @classmethod
    def of(cls, scores: NDArray[np.float32]) -> Null:
        """The null distribution that these scores of unrelated pairs are drawn from; of too few to
        tell, a cautious one for cosines."""
        if len(scores) < FEWEST_PAIRS:
            return cls(0.0, 0.5)
        median, threshold = np.quantile(scores, (0.5, TAIL))
        tail = scores[scores >= threshold].mean()
        return cls(float(median), max(float(tail - median), 1e-6))


def dense_evidence(
    scores: Sequence[float], null: Null, own: NDArray[np.float32], population: int
) -> tuple[float, ...]:
    """The evidence in a dense route's scores.

    ``own`` are the query's scores against the sample of the field, ``population`` the number of
    records that the route has searched.
    """
    share = OWN * len(own) / (len(own) + OWN_HALF)
    centre = (1 - share) * null.median + share * float(own.mean() if len(own) else 0.0)
    crowd = (_extreme(population) - _extreme(SAMPLE)) / TAIL_SIGMAS if population > SAMPLE else 0.0
    return tuple((score - centre) / null.width - crowd for score in scores)


def keyword_evidence(scores: Sequence[float], tokens: int, population: int) -> tuple[float, ...]:
    """The evidence in BM25 scores for a query of so many distinct tokens, from 0 to 4."""
    single = math.log1p(max(1, population))
    found = [max(0.0, score) / single for score in scores]
    return tuple(
        KEYWORDS_MOST * min(1.0, f / max(1, tokens)) ** 2 * min(1.0, f / KEYWORDS_SURE) ** 2
        for f in found
    )


def _extreme(n: int) -> float:
    """About how many standard deviations the largest of ``n`` normal values lies above the mean."""
    return math.sqrt(2 * math.log(n))


@dataclass(frozen=True, slots=True)
class _Field:
    """A field as it was when its sample was drawn; ``keywords`` has no sample."""

    sample: Matrix | None
    population: int


class _Drawn:
    """What was drawn from the store at one time."""

    def __init__(self) -> None:
        self.fields: dict[str, _Field] = {}
        self.nulls: dict[str, Null] = {}


class Calibrator:
    """Adds evidence to an index's rankings.

    The sample of a field are the vectors of its lowest keys, which are uniformly random (see
    ``key_of``): the same for the same content, whatever the order of writing, and nothing that
    would have to be kept in step. The reference queries are encoded once and kept in ``folder``.
    """

    def __init__(self, store: Store, encoders: Encoders, folder: Path | None) -> None:
        self._store, self._encoders, self._folder = store, encoders, folder
        self._lock = threading.Lock()
        self._drawn = _Drawn()
        self._references: dict[str, Matrix] = {}
        self._written = 0

    def calibrate(
        self, routes: Sequence[Route], queries: Sequence[FieldQuery], rankings: Sequence[Ranking]
    ) -> dict[str, Ranking]:
        """The rankings by route name, each with its evidence."""
        drawn = self._drawn  # a write meanwhile replaces it; this search goes on with what it has
        return {
            route.name: replace(ranking, evidence=self._evidence(drawn, route, query, ranking))
            for route, query, ranking in zip(routes, queries, rankings, strict=True)
        }

    def written(self, records: int) -> None:
        """Take note that so many records were written."""
        with self._lock:
            self._written += records
            population = max((f.population for f in self._drawn.fields.values()), default=0)
            if self._written > STALE * population:
                self._drawn, self._written = _Drawn(), 0

    def forget(self) -> None:
        """Draw all samples anew at the next search."""
        with self._lock:
            self._drawn, self._written = _Drawn(), 0

    def _evidence(
        self, drawn: _Drawn, route: Route, query: FieldQuery, ranking: Ranking
    ) -> tuple[float, ...]:
        if not ranking.keys:
            return ()
        field = self._field(drawn, query.field)
        if isinstance(query.value, str):
            sparse = encode_query(query.value)
            tokens = len(sparse.indices) if sparse else 0
            return keyword_evidence(ranking.scores, tokens, field.population)
        own = _scores(query.value[None], field.sample)
        if route.name not in drawn.nulls:
            drawn.nulls[route.name] = Null.of(self._unrelated(drawn, route, field))
        return dense_evidence(ranking.scores, drawn.nulls[route.name], own, field.population)

    def _field(self, drawn: _Drawn, name: str) -> _Field:
        if name not in drawn.fields:
            sample = None if name == "keywords" else self._store.sample(name, SAMPLE)
            drawn.fields[name] = _Field(sample, self._store.count(having=name))
        return drawn.fields[name]

    def _unrelated(self, drawn: _Drawn, route: Route, field: _Field) -> NDArray[np.float32]:
        """The scores of unrelated pairs in a route; none if there are no such pairs."""
        if route.query == "text":
            encoder = self._encoders.text if route.encoder == "text" else self._encoders.image
            return _scores(self._reference(encoder), field.sample)
        pictures = self._field(drawn, "image").sample
        if pictures is None:
            return np.empty(0, np.float32)
        scores = pictures @ field.sample.T if field.sample is not None else pictures[:0]
        if route.field == "image":  # a picture is not unrelated to itself
            scores = scores[~np.eye(len(scores), dtype=bool)]
        return scores.ravel()

    def _reference(self, encoder: TextEncoder) -> Matrix:
        digest = encoder.space.digest[:32]
        with self._lock:
            if digest not in self._references:
                self._references[digest] = self._load_reference(encoder, digest)
            return self._references[digest]

    def _load_reference(self, encoder: TextEncoder, digest: str) -> Matrix:
        version = hashlib.sha256("\n".join(REFERENCE_QUERIES).encode()).hexdigest()[:8]
        file = self._folder / "calibration" / f"{digest}-{version}.npy" if self._folder else None
        if file is not None and file.exists():
            try:
                kept: Matrix = np.load(file, allow_pickle=False)
            except (OSError, ValueError, EOFError):
                kept = np.empty((0, 0), np.float32)  # damaged: made anew
            if kept.shape == (len(REFERENCE_QUERIES), encoder.space.dim):
                return kept
        made = encoder.encode_texts(REFERENCE_QUERIES, "query")
        if file is not None:
            # A folder that is write-protected, or full, stops no search: the next makes them again.
            with suppress(OSError):
                _keep(file, made)
        return made


def _keep(file: Path, vectors: Matrix) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part:
        try:
            np.save(part, vectors, allow_pickle=False)
        except OSError:
            Path(part.name).unlink()
            raise
    Path(part.name).replace(file)


def _scores(queries: Matrix, sample: Matrix | None) -> NDArray[np.float32]:
    if sample is None or not len(sample):
        return np.empty(0, np.float32)
    scores: NDArray[np.float32] = (queries @ sample.T).ravel()
    return scores
