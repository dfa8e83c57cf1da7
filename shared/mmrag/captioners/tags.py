"""TagCaptioner: keywords for pictures from a vocabulary, without a vision model."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmrag.captioners.base import OneByOne
from mmrag.errors import InputError
from mmrag.media import ImageInput, load
from mmrag.protocols import ImageEncoder
from mmrag.types import Caption

if TYPE_CHECKING:
    from mmrag.protocols import Matrix

__all__ = ["TagCaptioner", "bundled_vocabulary"]

SURE = 3.75
"""Standard deviations above the mean of all words."""

Word = str | tuple[str, ...]


class TagCaptioner(OneByOne):
    """A :class:`mmrag.protocols.Captioner` whose captions have ``keywords`` and nothing else.

    >>> TagCaptioner().caption(["red-bicycle.jpg"])[0].keywords           # doctest: +SKIP
    ('bicycle', '自行车', 'wheel', '轮子')

    An image encoder compares the picture with each word of a vocabulary, by default some four
    hundred nouns in English and Chinese. A word is given if it lies ``sure`` standard deviations
    above the mean of all, so most words that are unsure are left out, and with them pictures that
    show nothing of the vocabulary. There is no ``brief``: tags are no sentence, and are not
    embedded as one.

    Expect little of the bundled encoder. Of the 92 pictures of the sample 42 % get tags, and 65 %
    of the tags are right; with ``sure=4.5`` it is 23 % and 79 %. It knows animals, fruit, tools and
    vehicles, and not charts, screens and scenes. (The bound was chosen on the same pictures, and
    one word, which named every chart, taken out: elsewhere it may be less.)

    Args:
        encoder: whose space the words and the pictures are compared in; by default the bundled one.
        vocabulary: words, or tuples of words for one thing, such as ``("cat", "猫")``; at least 30.
        limit: things that are named at most.
        sure: the bound; higher gives fewer tags, of which more are right.

    Raises:
        InputError: an argument cannot be used.
    """

    def __init__(
        self,
        encoder: ImageEncoder | None = None,
        vocabulary: Iterable[Word] | None = None,
        *,
        limit: int = 3,
        sure: float = SURE,
    ) -> None:
        if encoder is None:
            from mmrag.encoders.bundled import BundledEncoder

            encoder = BundledEncoder()
        if not (hasattr(encoder, "encode_pixels") and hasattr(encoder, "preprocess")):
            raise InputError(f"a {type(encoder).__name__} encodes no pictures")
        if limit < 1:
            raise InputError(f"limit is 1 or more, not {limit}")
        self.encoder, self.limit, self.sure = encoder, limit, sure
        self.vocabulary = bundled_vocabulary() if vocabulary is None else _checked(vocabulary)
        self._lock = threading.Lock()
        self._encoded: Matrix | None = None

    @cached_property
    def name(self) -> str:
        """The encoder's space, the vocabulary and the bound."""
        said = "\n".join("\t".join(words) for words in self.vocabulary)
        words = hashlib.sha256(said.encode(errors="replace")).hexdigest()[:8]
        space = self.encoder.space
        return (
            f"tags {space.family} {space.digest[:8]} words {words} {self.limit} from {self.sure:g}"
        )

    def one(self, image: ImageInput) -> Caption:
        """The keywords of one picture, best first; none where the encoder is unsure.

        Raises:
            SourceError: the picture cannot be opened.
        """
        words = self._words()
        picture = load(image, target=self.encoder.image_size).image
        scores = words @ self.encoder.encode_pixels([self.encoder.preprocess(picture)])[0]
        spread = float(scores.std())
        sure = (scores - scores.mean()) / spread if spread > 0 else np.zeros_like(scores)
        best = [int(i) for i in np.argsort(-sure, kind="stable")[: self.limit]]
        tags = [word for i in best if sure[i] >= self.sure for word in self.vocabulary[i]]
        return Caption(keywords=tuple(tags))

    def _words(self) -> Matrix:
        """A unit vector a thing: the mean of its words."""
        with self._lock:
            if self._encoded is None:
                flat = [word for words in self.vocabulary for word in words]
                vectors = self.encoder.encode_texts(flat, "query")
                ends = np.cumsum([len(words) for words in self.vocabulary])[:-1]
                means = np.stack([part.mean(axis=0) for part in np.split(vectors, ends)])
                self._encoded = means / np.linalg.norm(means, axis=1, keepdims=True)
            return self._encoded


def bundled_vocabulary() -> list[tuple[str, ...]]:
    """Some four hundred nouns: what is often in pictures, in English and Chinese."""
    text = (Path(__file__).parent / "vocabulary.tsv").read_text("utf-8")
    return [tuple(line.split("\t")) for line in text.splitlines()]


def _checked(vocabulary: Iterable[Word]) -> list[tuple[str, ...]]:
    if isinstance(vocabulary, str) or not isinstance(vocabulary, Iterable):
        raise InputError(f"vocabulary is a list of words, not a {type(vocabulary).__name__}")
    things: dict[tuple[str, ...], None] = {}
    for thing in vocabulary:
        words = (thing,) if isinstance(thing, str) else thing
        if not isinstance(words, Sequence) or not words:
            raise InputError(f"a word of the vocabulary is a string, not {thing!r}")
        if not all(isinstance(word, str) and word.strip() for word in words):
            raise InputError(f"an empty word in the vocabulary: {thing!r}")
        things[tuple(word.strip() for word in words)] = None
    if len(things) < 30:  # fewer have no spread to be sure against
        raise InputError(f"a vocabulary of {len(things)} words: give at least 30")
    return list(things)
