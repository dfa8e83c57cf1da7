"""The encoder reranker: query and record compared by the vectors of an encoder."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmrag.pipeline import batched
from mmrag.protocols import ImageEncoder
from mmrag.references import REFERENCE_QUERIES
from mmrag.rerankers.parts import described, opened, words_of
from mmrag.rerankers.scale import evidence_score
from mmrag.types import Modality, Record, Role

if TYPE_CHECKING:
    from mmrag.media import ImageInput
    from mmrag.protocols import Matrix, Pixels, Vector

__all__ = ["EncoderReranker"]

BATCH = 64  # records that are opened and encoded at once

_SAMPLE = Path(__file__).parent.parent / "sample" / "pictures"
# Pictures of the sample corpus that have nothing to do with each other.
_PICTURES = (
    *("acropolis.jpg", "blue-marble.png", "brick-wall.jpg", "chelsea.jpg", "claw-hammer.jpg"),
    *("dahlia.jpg", "espresso.jpg", "express.png", "fruit.bmp", "grace-hopper.jpg"),
    *("led-schematic.png", "monthly-budget.png", "sailing-day.png", "shepherd.jpg"),
    *("six-strings.jpg", "stairway.jpg"),
)


class EncoderReranker:
    """A :class:`mmrag.protocols.Reranker` over an image encoder, by default the bundled one.

    It needs no other model and works offline. It looks at query and record one by one, as the
    search has done, and so sees little that the search has not.

    A record is judged by its text, its caption and its picture; the best of them counts. Cosines of
    texts with texts, of texts with pictures and of pictures with pictures lie apart, so each kind
    is first measured by what unrelated pairs of it score in this encoder: the median of those
    becomes 0 and their 99th percentile becomes 1. That is evidence, which
    :func:`mmrag.rerank.evidence_score` maps to 0..1. For words and a picture together it is the
    mean of both scores. A record with neither text nor picture scores 0.

    Example:
        >>> EncoderReranker().rerank("a cat", None, records)          # doctest: +SKIP
        [0.93, 0.12]
    """

    def __init__(self, encoder: ImageEncoder | None = None) -> None:
        if encoder is None:
            from mmrag.encoders.bundled import BundledEncoder

            encoder = BundledEncoder()
        self.encoder = encoder
        self._scales: dict[tuple[Modality, Modality], tuple[float, float]] = {}
        self._references: dict[tuple[Modality, Role], Matrix] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[EncoderReranker], tuple[ImageEncoder]]:
        return type(self), (self.encoder,)

    @property
    def name(self) -> str:
        """The family of the encoder's space."""
        return f"encoder {self.encoder.space.family}"

    def rerank(
        self, text: str | None, image: ImageInput | None, records: Sequence[Record]
    ) -> list[float]:
        """One score a record in 0..1, in order.

        Raises:
            InputError: the query has neither words nor a picture.
            SourceError: the query's picture cannot be opened.
        """
        words = words_of(text, image)
        query: dict[Modality, Vector] = {}
        if words is not None:
            query["text"] = self.encoder.encode_texts([words], "query")[0]
        if image is not None:
            query["image"] = self.encoder.encode_pixels([self._pixels(image)])[0]
        return [score for batch in batched(records, BATCH) for score in self._scores(query, batch)]

    def _scores(self, query: dict[Modality, Vector], records: list[Record]) -> list[float]:
        parts = self._parts(records)
        return [
            math.fsum(self._best(part, query[part], found) for part in query) / len(query)
            for found in parts
        ]

    def _best(self, part: Modality, vector: Vector, found: list[tuple[Modality, Vector]]) -> float:
        """The score of a part of the query with what fits it best in a record."""
        evidence = [
            (float(vector @ other) - median) / width
            for kind, other in found
            for median, width in [self._scale(part, kind)]
        ]
        return evidence_score(max(evidence)) if evidence else 0.0

    def _parts(self, records: list[Record]) -> list[list[tuple[Modality, Vector]]]:
        """The vectors of what each record consists of, each kind encoded in one call."""
        found: list[list[tuple[Modality, Vector]]] = [[] for _ in records]
        texts = [(i, text) for i, record in enumerate(records) for text in described(record)]
        if texts:
            rows = self.encoder.encode_texts([text for _, text in texts], "passage")
            for (i, _), row in zip(texts, rows, strict=True):
                found[i].append(("text", row))
        pictures = opened(records, self._pixels)
        if pictures:
            rows = self.encoder.encode_pixels([pixels for _, pixels in pictures])
            for (i, _), row in zip(pictures, rows, strict=True):
                found[i].append(("image", row))
        return found

    def _pixels(self, image: ImageInput) -> Pixels:
        from mmrag import media

        return self.encoder.preprocess(media.load(image, target=self.encoder.image_size).image)

    def _scale(self, asked: Modality, kind: Modality) -> tuple[float, float]:
        """How a part of a query scores with unrelated records of a kind: the median, and the way
        from it to the 99th percentile."""
        with self._lock:
            if (asked, kind) not in self._scales:
                scores = self._reference(asked, "query") @ self._reference(kind, "passage").T
                if asked == kind:
                    scores = scores[_unrelated(len(scores), asked)]
                median, tail = map(float, np.quantile(scores, (0.5, 0.99)))
                self._scales[asked, kind] = median, max(tail - median, 1e-6)
            return self._scales[asked, kind]

    def _reference(self, kind: Modality, role: Role) -> Matrix:
        key: tuple[Modality, Role] = (kind, role if kind == "text" else "query")
        if key not in self._references:
            self._references[key] = (
                self.encoder.encode_texts(REFERENCE_QUERIES, role)
                if kind == "text"  # a picture is encoded in one way, whatever its role
                else self.encoder.encode_pixels([self._pixels(_SAMPLE / n) for n in _PICTURES])
            )
        return self._references[key]


def _unrelated(size: int, kind: Modality) -> NDArray[np.bool_]:
    """Which pairs of references are unrelated: not those of one with itself, and of the texts,
    whose second half translates the first, not those of one with its translation."""
    apart = np.subtract.outer(np.arange(size), np.arange(size))
    pairs: NDArray[np.bool_] = (apart % (size // 2) if kind == "text" else apart) != 0
    return pairs
