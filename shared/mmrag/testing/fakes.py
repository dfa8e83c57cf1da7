"""Models without weights: an encoder, for which texts that share words and pictures that look alike
are near, a captioner and a reranker."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np

from mmrag import media
from mmrag.captions import full_text
from mmrag.errors import InputError
from mmrag.identity import digest_of
from mmrag.rerankers.parts import opened
from mmrag.types import Caption, Record, Role, Space

if TYPE_CHECKING:
    from PIL import Image

    from mmrag.protocols import Matrix, Vector

__all__ = ["FakeCaptioner", "FakeEncoder", "FakeReranker"]

_GRID = 8
# A word, or one Chinese character: Chinese has no spaces to split at.
_WORD = re.compile(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+")


class FakeEncoder:
    """A deterministic :class:`mmrag.protocols.ImageEncoder`, the same on every machine.

    A text is the sum of one fixed vector a word (case folded); a picture is its 8 x 8 thumbnail
    through one fixed projection. Text and pictures have nothing to say to each other.
    """

    def __init__(self, dim: int = 64) -> None:
        digest = hashlib.sha256(f"mmrag.testing.FakeEncoder 1 {dim}".encode()).hexdigest()
        self._space = Space("fake", digest, dim)
        self._projection = np.stack([_noise(f"pixel {i}", dim) for i in range(3 * _GRID**2 + 1)])

    @property
    def space(self) -> Space:
        """Depends on the dimension only."""
        return self._space

    @property
    def image_size(self) -> int:
        """The side of the thumbnail."""
        return _GRID

    def encode_texts(self, texts: Sequence[str], role: Role) -> Matrix:
        """float32 ``[len(texts), dim]``, each row of length 1; the role makes no difference."""
        return self._rows([self._text(text) for text in texts])

    def preprocess(self, image: Image.Image) -> Vector:
        """The thumbnail, and a constant so that no picture comes out as zero."""
        from PIL import Image as PilImage

        small = image.convert("RGB").resize((_GRID, _GRID), PilImage.Resampling.BOX)
        pixels = np.asarray(small, dtype=np.float32).ravel() / 255 - 0.5
        return np.append(pixels, np.float32(0.1))

    def encode_pixels(self, pixels: Sequence[Vector]) -> Matrix:
        """float32 ``[len(pixels), dim]``, each row of length 1."""
        return self._rows([np.asarray(row, np.float32) @ self._projection for row in pixels])

    def _text(self, text: str) -> Vector:
        words = _WORD.findall(text.casefold()) or [""]
        total = np.zeros(self._space.dim, dtype=np.float32)
        for word in words:
            total += _noise(word, self._space.dim)
        return total

    def _rows(self, rows: list[Vector]) -> Matrix:
        # Row by row: a matrix product may round differently for another number of rows.
        units = [(row / np.linalg.norm(row)).astype(np.float32) for row in rows]
        return np.array(units, dtype=np.float32).reshape(len(rows), self._space.dim)


class FakeCaptioner:
    """A deterministic :class:`mmrag.protocols.Captioner`: it says a picture's size and its colour.

    ``seen`` has the digest of every picture that it was given, in order.
    """

    def __init__(self, name: str = "fake captioner 1") -> None:
        self.name = name
        self.seen: list[str] = []

    def caption(self, images: Sequence[media.ImageInput]) -> list[Caption]:
        """``A red picture``, its size, and the share of each primary colour as data points."""
        return [self._caption(media.load(image)) for image in images]

    def _caption(self, picture: media.Picture) -> Caption:
        self.seen.append(picture.sha256)
        pixel = picture.image.convert("RGB").resize((1, 1)).getpixel((0, 0))
        shares = dict(zip(("red", "green", "blue"), cast(tuple[int, ...], pixel), strict=True))
        colour = max(shares, key=lambda name: shares[name])
        size = f"{picture.width} x {picture.height} pixels"
        return Caption(
            brief=f"A {colour} picture",
            detailed=f"A {colour} picture of {size}",
            keywords=(colour,),
            data_points={name: str(share) for name, share in shares.items()},
        )


class FakeReranker:
    """A deterministic :class:`mmrag.protocols.Reranker`: words count by the share of the query's
    words that the record or its caption has, a picture counts as 1 if it is the record's own.

    Pictures of records are opened only where the query has one too."""

    name = "fake reranker 1"

    def rerank(
        self, text: str | None, image: media.ImageInput | None, records: Sequence[Record]
    ) -> list[float]:
        """One score a record in 0..1; for words and a picture together the mean of both."""
        if not text and image is None:
            raise InputError("an empty query: give words, a picture, or both")
        digest = None if image is None else media.load(image).sha256
        # Not by what the records say: those of nodes and documents say no sha256.
        own = {} if digest is None else dict(opened(records, digest_of))
        scores = []
        for number, record in enumerate(records):
            parts = [_overlap(text, record)] if text else []
            if digest is not None:
                parts.append(float(own.get(number) == digest))
            scores.append(sum(parts) / len(parts))
        return scores


def _overlap(text: str, record: Record) -> float:
    asked = set(_WORD.findall(text.casefold()))
    said = f"{record.text} {full_text(record.caption or Caption())}"
    return len(asked & set(_WORD.findall(said.casefold()))) / max(1, len(asked))


@lru_cache(maxsize=65536)
def _noise(word: str, dim: int) -> Vector:
    """A fixed vector of numbers in -1..1 for a word."""
    data = hashlib.shake_256(word.encode("utf-8", "replace")).digest(4 * dim)
    numbers = np.frombuffer(data, dtype="<u4").astype(np.float64) / 2**31 - 1
    noise = numbers.astype(np.float32)
    noise.flags.writeable = False
    return noise
