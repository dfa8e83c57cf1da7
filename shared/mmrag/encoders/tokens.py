"""Texts for a model with a tokenizer of transformers: in windows that fit, pooled to one row."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from mmrag.encoders.windows import SLACK, pooled, split_windows
from mmrag.errors import InputError
from mmrag.types import Role

if TYPE_CHECKING:
    from mmrag.protocols import Matrix

__all__ = ["LongTexts", "checked_texts", "tokenizer_settings"]

SHARED = 10  # a tenth of a window is the next one's too, so that no phrase is only ever cut

_PROBE = "A naïve CAFÉ: don't_stop  ﬁ １２\n如何重置路由器密码 🚲 ß x"

Pieces = list[tuple[str, int]]


class LongTexts:
    """Runs a model over texts of any length; thread-safe.

    Args:
        tokenizer: a fast one of transformers.

    Raises:
        InputError: the tokenizer does not say where its tokens stand.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise InputError(
                f"{type(tokenizer).__name__} cannot say where its tokens stand in a text: load the "
                "fast tokenizer of this model (use_fast=True)"
            )
        self._tokenizer = tokenizer
        self.lock = threading.Lock()
        """Hold it to use the tokenizer elsewhere: it keeps padding and truncation as its state."""

    def encode(
        self, texts: Sequence[str], limit: int, run: Callable[[list[str]], Matrix]
    ) -> Matrix:
        """One unit row a text, by ``run``, which is given texts within the limit, the longest
        first: little padding in a batch, and if memory is to run out it does so at once.

        Args:
            texts: at least one, and checked.
            limit: the most tokens that the model reads of a text, without those that are not the
                text's (special tokens, a prompt).
        """
        windows = self.cut(texts, limit)
        pieces = [piece for parts in windows for piece in parts]
        order = sorted(range(len(pieces)), key=lambda at: -pieces[at][1])
        found = run([pieces[at][0] for at in order])
        rows = np.empty_like(found)
        rows[order] = found
        return pooled(rows, [[count for _, count in parts] for parts in windows])

    def cut(self, texts: Sequence[str], limit: int) -> list[Pieces]:
        """For each text its windows, each with its tokens; the text itself if it fits.

        Raises:
            InputError: the limit is too small to say anything in.
        """
        if limit < 2 * SLACK:
            raise InputError(f"{limit} tokens are no room for a text: shorten the prompt")
        with self.lock:
            found = self._tokenizer(
                list(texts),
                add_special_tokens=False,
                padding=False,
                truncation=False,
                return_offsets_mapping=True,
                verbose=False,
            )["offset_mapping"]
        return [self._pieces(text, at, limit) for text, at in zip(texts, found, strict=True)]

    def _pieces(self, text: str, offsets: list[tuple[int, int]], limit: int) -> Pieces:
        if len(offsets) <= limit:
            return [(text, len(offsets))]
        parts = split_windows(text, offsets, limit - SLACK, (limit - SLACK) // SHARED)
        # A window tokenised by itself may still be over the limit, in a script where one word is
        # a whole sentence: it is cut again.
        again = self.cut([part for part, _ in parts], limit)
        return [
            piece
            for part, pieces in zip(parts, again, strict=True)
            for piece in (pieces if part[0] != text else [part])
        ]


def checked_texts(texts: Iterable[str], role: Role) -> list[str]:
    """The texts, fit for a tokenizer: half a surrogate pair is a string to Python, and an error
    to it.

    Raises:
        InputError: one of them is not a string, ``texts`` is itself one or no list, or ``role`` is
            neither query nor passage.
    """
    if role not in get_args(Role):
        raise InputError(f"a text is a 'query' or a 'passage', not {role!r}")
    if isinstance(texts, str):
        raise InputError("texts to encode are a list of strings, not one string")
    if not isinstance(texts, Iterable):
        raise InputError(f"texts to encode are a list of strings, not {type(texts).__name__}")
    listed = list(texts)  # of a generator, say, which can be read only once
    for text in listed:
        if not isinstance(text, str):
            raise InputError(f"a text to encode is a string, not {type(text).__name__}")
    return [text.encode(errors="replace").decode() for text in listed]


def tokenizer_settings(tokenizer: Any) -> str:
    """All that decides which tokens a text becomes: part of a space's fingerprint.

    The vocabulary, and what becomes of a text with accents, capitals, Chinese and an emoji. Not
    the tokenizer's serialised form: that holds the state of its last call, and other versions of
    the packages write it otherwise.
    """
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda pair: (pair[1], pair[0]))
    tokens = tokenizer.encode(_PROBE)
    ids = [int(token) for token in getattr(tokens, "ids", tokens)]
    return hashlib.sha256(json.dumps([vocabulary, ids]).encode()).hexdigest()
