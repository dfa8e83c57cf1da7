"""What open_clip's tokenizers cut off without a word: texts over the limit, in pieces that fit.

The tokens themselves always come from open_clip's own tokenizer, which cleans, lower-cases and pads
as the model was trained. Here is only counted, and cut.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from typing import Any

from mmrag.encoders.windows import SLACK, split_windows
from mmrag.errors import InputError

__all__ = ["TextPieces"]

OVERLAP = 8  # tokens that two neighbouring windows share

Offsets = list[tuple[int, int]]


class TextPieces:
    """Cuts texts for one of open_clip's tokenizers; thread-safe.

    Args:
        tokenizer: a ``SimpleTokenizer`` (CLIP's BPE), or an ``HFTokenizer`` or ``SigLipTokenizer``
            (which wrap one of transformers).

    Raises:
        InputError: it is something else.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._inner = getattr(tokenizer, "tokenizer", None)  # the one of transformers
        self._lock = threading.Lock()  # transformers' keep padding and truncation as state
        if self._inner is None and not hasattr(tokenizer, "bpe"):
            raise InputError(
                f"the tokenizer is one that open_clip.get_tokenizer gives, not {tokenizer!r}"
            )
        self.limit = int(tokenizer.context_length) - self._special()
        if self.limit < 2 * (SLACK + OVERLAP):
            raise InputError(f"a tokenizer of {tokenizer.context_length} tokens is of no use")

    @property
    def settings(self) -> str:
        """All that decides which tokens a text becomes: part of the space's fingerprint."""
        vocabulary = self._tokenizer.encoder if self._inner is None else self._inner.get_vocab()
        listed = json.dumps(sorted(vocabulary.items(), key=lambda pair: (pair[1], pair[0])))
        return json.dumps(
            {
                "vocabulary": hashlib.sha256(listed.encode()).hexdigest(),
                "context": self._tokenizer.context_length,
                "cleaned": self._clean("A, b_C"),  # shows lower-casing and lost punctuation
                "mode": getattr(self._tokenizer, "tokenizer_mode", ""),
                "strip_sep": getattr(self._tokenizer, "strip_sep_token", False),
                "language": str(getattr(self._inner, "src_lang", "")),
                "windows": [self.limit - SLACK, OVERLAP],
            }
        )

    def tokens(self, pieces: Sequence[str]) -> Any:
        """The model's input ``[len(pieces), context]``, by open_clip's own tokenizer."""
        with self._lock:
            return self._tokenizer(list(pieces))

    def pieces(self, text: str) -> list[tuple[str, int]]:
        """The text itself if it fits, else windows of it that do, each with its tokens."""
        cleaned = self._clean(text)
        offsets = self._offsets(cleaned)
        if len(offsets) <= self.limit:
            return [(text, len(offsets))]
        cut = split_windows(cleaned, offsets, self.limit - SLACK, OVERLAP)
        # A window that is tokenised by itself may still be over the limit, in a script where one
        # word is a whole sentence: it is cut again.
        return [
            piece
            for part, count in cut
            for piece in (self.pieces(part) if part != cleaned else [(part, count)])
        ]

    def _clean(self, text: str) -> str:
        if hasattr(self._tokenizer, "clean_fn"):
            return str(self._tokenizer.clean_fn(text))
        from open_clip import tokenizer as cleaning

        return str(cleaning.canonicalize_text(cleaning.basic_clean(text)))

    def _offsets(self, cleaned: str) -> Offsets:
        """Where each token stands in a text that was cleaned."""
        if self._inner is None:
            return _bpe_offsets(self._tokenizer, cleaned)
        with self._lock:
            found = self._inner(
                cleaned,
                add_special_tokens=False,
                padding=False,
                truncation=False,
                return_offsets_mapping=True,
                verbose=False,
            )
        return [(int(a), int(b)) for a, b in found["offset_mapping"]]

    def _special(self) -> int:
        """How many of a row's tokens are not the text's."""
        if self._inner is None:
            return 2
        if getattr(self._tokenizer, "tokenizer_mode", "") == "clips":
            return 3
        return int(self._inner.num_special_tokens_to_add())


def _bpe_offsets(tokenizer: Any, cleaned: str) -> Offsets:
    """As ``SimpleTokenizer.encode`` cuts the text. Its tokens are of bytes: one that begins inside
    a character counts as beginning where the character does."""
    offsets = []
    for word in tokenizer.pat.finditer(cleaned):
        ends: list[int] = []  # for each byte of the word, the place of its character
        for place, character in enumerate(word.group(), start=word.start()):
            ends += [place] * len(character.encode())
        coded = "".join(tokenizer.byte_encoder[byte] for byte in word.group().encode())
        start = 0
        for token in tokenizer.bpe(coded).split(" "):
            end = start + len(token.removesuffix("</w>"))
            offsets.append((ends[start], ends[end - 1] + 1))
            start = end
    return offsets
