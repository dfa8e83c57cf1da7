"""Keyword vectors: BM25 of English, Chinese and mixed text, the same for every store.

The weights are Qdrant's own (term frequency and length here, IDF in the engine), so a store only
has to keep sparse vectors under an IDF modifier. Both sides of a search must pass through here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import qdrant_edge

__all__ = ["SparseVector", "encode_document", "encode_query", "parts_with"]

# Mean length of what is indexed, in tokens that survive the stop words. Chunks are about 120
# tokens of running text, of which English keeps half and Chinese two thirds; captions and titles
# are shorter. Qdrant's default of 256 is for whole documents: with it every chunk would count as
# short, and length would hardly tell one from another.
_AVERAGE_LENGTH = 64.0

# The tokenizer drops tokens of digits only. A digit run that touches no Latin letter gets a
# letter in front, so that "404", "3.14" and "第3章" can be found; "X100" and "220V" are whole.
_BARE_NUMBER = re.compile(r"(?<![A-Za-z\d])\d+(?![A-Za-z\d])")


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Token numbers, ascending and each once, and their weights; both empty if no token is left."""

    indices: tuple[int, ...]
    values: tuple[float, ...]

    def __bool__(self) -> bool:
        return bool(self.indices)


def encode_document(text: str) -> SparseVector:
    """The BM25 weights of a text that is stored: term frequency, saturated, by length."""
    if not text:  # as of most pictures
        return SparseVector((), ())
    return _plain(_model().embed_document(_normal(text)))


def encode_query(text: str) -> SparseVector:
    """A weight of 1 for each different token of a text that is searched for."""
    return _plain(_model().embed_query(_normal(text)))


def parts_with(words: str, parts: Mapping[str, str]) -> tuple[str, ...]:
    """The names of those parts that have a token of ``words``."""
    tokens = set(encode_query(words).indices)
    return tuple(n for n, part in parts.items() if tokens & set(encode_document(part).indices))


@cache
def _model() -> qdrant_edge.Bm25:
    languages = {qdrant_edge.Language.English, qdrant_edge.Language.Chinese}
    return qdrant_edge.Bm25(
        qdrant_edge.Bm25Config(
            avg_len=_AVERAGE_LENGTH,
            tokenizer=qdrant_edge.TokenizerType.Multilingual,
            language="english",
            lowercase=True,
            stopwords=qdrant_edge.StopwordsSet(languages=languages),
        )
    )


def _normal(text: str) -> str:
    """Full-width forms folded, half characters (lone surrogates) dropped, numbers made words."""
    text = unicodedata.normalize("NFKC", text.encode("utf-8", "ignore").decode("utf-8"))
    return _BARE_NUMBER.sub(r"n\g<0>", text)


def _plain(vector: qdrant_edge.SparseVector) -> SparseVector:
    pairs = sorted(zip(vector.indices, vector.values, strict=True))
    indices, values = zip(*pairs, strict=True) if pairs else ((), ())
    return SparseVector(indices, values)
