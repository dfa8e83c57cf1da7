"""What rerankers with a model of their own share: loaded once, run in batches that fit, and a
candidate that the model fails on costs no other one its score."""

from __future__ import annotations

import importlib.util
import logging
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from mmrag.errors import AnswerError, MissingExtra
from mmrag.pipeline import batched
from mmrag.types import Modality, Record

if TYPE_CHECKING:
    from mmrag.media import ImageInput

__all__ = ["ModelReranker", "Part", "need"]

RECORDS = 32  # whose pictures are open at once
# How many pairs the model gets at once, as long as memory lasts; a picture may be 2,000 tokens.
BATCH: dict[Modality, int] = {"text": 32, "image": 8}

Model = TypeVar("Model")
Outcome = float | Exception

log = logging.getLogger("mmrag")


class Part(NamedTuple):
    """A pair of query and candidate: the place of the record, what of it, and the pair as the model
    takes it."""

    record: int
    kind: Modality
    pair: Any


class ModelReranker(ABC, Generic[Model]):
    """A :class:`mmrag.protocols.Reranker` over a model that judges pairs.

    Thread-safe: the model is loaded at the first call, and runs one batch at a time. Picklable: a
    copy loads the model anew.
    """

    def __init__(self, model: Any, device: str) -> None:
        self._given, self._device = model, device
        self._model: Model | None = None
        self._lock = threading.RLock()
        self._sizes = dict(BATCH)

    def __reduce__(self) -> Any:
        return partial(type(self), device=self._device), (self._given,)

    @abstractmethod
    def _load(self) -> Model:
        """The model, on its device."""

    @abstractmethod
    def _parts(
        self, model: Model, text: str | None, image: ImageInput | None, records: list[Record]
    ) -> list[Part]:
        """The pairs to judge."""

    @abstractmethod
    def _probabilities(self, model: Model, pairs: list[Any]) -> list[float]:
        """How likely the two of each pair belong together, in one pass."""

    @abstractmethod
    def _trial(self, model: Model) -> Any:
        """A pair that the model can judge if it can judge anything."""

    def _loaded(self) -> Model:
        with self._lock:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _scores(
        self, text: str | None, image: ImageInput | None, records: Sequence[Record]
    ) -> list[float]:
        """The best of a record's parts; 0 for a record that has none, or none that the model can
        judge.

        Raises:
            AnswerError: the model can judge nothing at all.
        """
        if not records:
            return []
        model = self._loaded()
        scores: list[float] = []
        failures: list[Exception] = []
        judged = 0
        for batch in batched(records, RECORDS):
            best = [0.0] * len(batch)
            for part, outcome in self._outcomes(model, self._parts(model, text, image, batch)):
                if isinstance(outcome, Exception):
                    failures.append(outcome)
                    message = "record %r is judged without its %s, on which %s failed: %s"
                    log.warning(message, batch[part.record].id, part.kind, self.name, outcome)
                else:
                    judged += 1
                    best[part.record] = max(best[part.record], outcome)
            scores += best
        if failures and not judged:
            self._try(model, failures[0])
        return scores

    def _outcomes(self, model: Model, parts: list[Part]) -> list[tuple[Part, Outcome]]:
        """Each part with its probability, or with what the model raised; kinds are not mixed."""
        found: list[tuple[Part, Outcome]] = []
        for kind in BATCH:
            same = [part for part in parts if part.kind == kind]
            start = 0
            while start < len(same):
                batch = same[start : start + self._sizes[kind]]
                outcomes = self._run(model, kind, [part.pair for part in batch])
                found += zip(batch, outcomes, strict=True)
                start += len(batch)
        return found

    def _run(self, model: Model, kind: Modality, pairs: list[Any]) -> list[Outcome]:
        """What the model says of the pairs. If it fails, the two halves are tried, and so on."""
        try:
            with self._lock:
                said = self._probabilities(model, pairs)
            return [_checked(probability) for probability in said]
        except Exception as error:  # a model may raise anything
            # Without the traceback, which would hold on to the memory of the batch.
            failure = error.with_traceback(None)
        if len(pairs) == 1:
            return [failure]
        half = len(pairs) // 2
        halves = [self._run(model, kind, pairs[:half]), self._run(model, kind, pairs[half:])]
        found = [*halves[0], *halves[1]]
        # All are well without the others: it was not a candidate, it was their number.
        if half < self._sizes[kind] and not any(isinstance(one, Exception) for one in found):
            self._sizes[kind] = half
            message = "%s failed on %d at once (%s): going on with %d"
            log.warning(message, self.name, len(pairs), failure, half)
        return found

    def _try(self, model: Model, failure: Exception) -> None:
        (outcome,) = self._run(model, "text", [self._trial(model)])
        if isinstance(outcome, Exception):
            raise AnswerError(f"{self.name} judges nothing at all: {failure}") from failure

    @property
    @abstractmethod
    def name(self) -> str:
        """The model, for logs and events."""


def _checked(probability: float) -> Outcome:
    if 0 <= probability <= 1:
        return float(probability)
    wrong = "not a number" if math.isnan(probability) else f"{probability}, which is not in 0..1"
    return ValueError(f"the model's score is {wrong}")


def need(feature: str, extra: str, packages: Sequence[str]) -> None:
    """Raises MissingExtra unless the packages can be imported; imports none of them."""
    if any(importlib.util.find_spec(package) is None for package in packages):
        raise MissingExtra(feature, extra)
