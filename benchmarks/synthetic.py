"""100,000 records that look like an index: clustered unit vectors, words by Zipf's law.

Text and image vectors come from one mixture of 200 Gaussian clusters in 384 dimensions; the text
of a record is about 30 words of the bundled tokenizer's own vocabulary, English in one half of
the records and Chinese in the other. Everything follows from one seed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmrag import ImageRef, MultimodalIndex, Record
from mmrag.encoders import bundled

SEED = 7
DIM = bundled.DIM
CLUSTERS = 200
SPREAD = 0.8  # length of a vector's own part beside its cluster's centre, which has length 1
WORDS = 30
VOCABULARY = 12_000  # of each language

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Corpus:
    """Row ``i`` of everything is the record of id ``str(i)``."""

    texts: list[str]
    text: Matrix
    image: Matrix

    def records(self) -> list[Record]:
        return [
            Record(
                id=str(i),
                text=text,
                image=ImageRef(f"/photos/{i:06}.jpg", f"{i:064x}", "image/jpeg", 640, 480),
                source=f"photos/{i:06}.jpg",
                metadata={"year": 2000 + i % 25},
            )
            for i, text in enumerate(self.texts)
        ]


@dataclass(frozen=True)
class Question:
    """A query in words and with a picture, and the vectors of both."""

    words: str
    text: NDArray[np.float32]
    image: NDArray[np.float32]


@cache
def corpus(size: int) -> Corpus:
    """The records and their vectors."""
    rng = np.random.default_rng(SEED)
    languages = [_words(rng, size * WORDS, *language) for language in _vocabularies()]
    texts = []
    for i in range(size):
        joint, words = languages[i % 2]
        length = int(rng.integers(WORDS // 2, WORDS * 3 // 2 + 1))
        start = int(rng.integers(len(words) - length))
        texts.append(joint.join(words[start : start + length]))
    return Corpus(texts, unit_vectors(rng, size), unit_vectors(rng, size))


def questions(size: int, of: Corpus) -> list[Question]:
    """Queries of three to eight words, each from some record's text."""
    rng = np.random.default_rng(SEED + 1)
    text, image = unit_vectors(rng, size), unit_vectors(rng, size)
    made = []
    for i in range(size):
        source = of.texts[rng.integers(len(of.texts))]
        length = int(rng.integers(3, 9))
        words = " ".join(source.split()[:length]) if " " in source else source[: 2 * length]
        made.append(Question(words, text[i], image[i]))
    return made


def build(work: Path, size: int) -> Path:
    """The folder of an index of this size under ``work``, closed cleanly; made only once."""
    folder = work / f"synthetic-{size}"
    if not folder.exists():
        made = corpus(size)
        with MultimodalIndex.open(folder) as index:
            index.add(made.records(), {"text": list(made.text), "image": list(made.image)})
    return folder


def unit_vectors(rng: np.random.Generator, size: int) -> Matrix:
    """Vectors from the mixture, whose centres are always the same."""
    centres = np.random.default_rng(SEED).standard_normal((CLUSTERS, DIM), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    own = rng.standard_normal((size, DIM), np.float32) * np.float32(SPREAD / DIM**0.5)
    rows = centres[rng.integers(CLUSTERS, size=size)] + own
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _words(
    rng: np.random.Generator, size: int, joint: str, vocabulary: list[str]
) -> tuple[str, list[str]]:
    """So many words in a row, by Zipf's law with Mandelbrot's shift."""
    share = 1 / (np.arange(len(vocabulary)) + 2.7)
    ranks = rng.choice(len(vocabulary), size, p=share / share.sum())
    return joint, [vocabulary[rank] for rank in ranks]


def _vocabularies() -> tuple[tuple[str, list[str]], tuple[str, list[str]]]:
    """English and Chinese words of the tokenizer, in a random order, and what stands between."""
    pieces = json.loads((bundled.FOLDER / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    names = [piece[0] for piece in pieces]
    english = [n[1:] for n in names if n[0] == "▁" and n[1:].isascii() and n[1:].isalpha()]
    chinese = [n for n in names if len(n) >= 2 and all("\u4e00" <= c <= "\u9fff" for c in n)]
    rng = np.random.default_rng(SEED)
    rng.shuffle(english)
    rng.shuffle(chinese)
    return (" ", english[:VOCABULARY]), ("", chinese[:VOCABULARY])
