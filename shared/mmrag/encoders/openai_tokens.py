"""How many tokens OpenAI's models see in a text: exactly with tiktoken's file, else at most."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmrag.encoders.windows import split_windows

__all__ = ["Piece", "requests_of", "windows_of"]

Piece = tuple[str, int]
"""A text that fits into a model, and how many tokens it has at most."""

# What tiktoken downloads for cl100k_base, the encoding of OpenAI's embedding models.
_URL = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"


def windows_of(text: str, limit: int, *, cl100k: bool) -> list[Piece]:
    """The text itself if it has at most ``limit`` tokens, else windows of it that have.

    ``cl100k`` says that the model counts as OpenAI's do. They are then counted exactly, if
    tiktoken has its file on this machine (see :func:`_file`); it is never downloaded. Else each
    byte of UTF-8 counts as a token, of which no usual tokenizer makes more: nothing is cut off by
    the model, though a long text becomes about four times as many windows as it has to.
    """
    # The API refuses an empty text.
    text = text or " "
    most = len(text.encode())
    if most <= limit:
        return [(text, most)]
    encoding = _encoding() if cl100k else None
    if encoding is None:
        offsets = [(i, i + 1) for i, character in enumerate(text) for _ in character.encode()]
    else:
        offsets = _offsets(encoding, text)
    if len(offsets) <= limit:
        return [(text, len(offsets))]
    size = limit * 15 // 16  # by itself a window may have a few tokens more: its edge cuts words
    return split_windows(text, offsets, size, size // 16)


def requests_of(pieces: Sequence[Piece], tokens: int, inputs: int) -> Iterator[list[str]]:
    """The texts in as few requests as their order allows, each of at most so many tokens and
    inputs; one text alone may have more tokens."""
    batch: list[str] = []
    total = 0
    for text, count in pieces:
        if batch and (len(batch) == inputs or total + count > tokens):
            yield batch
            batch, total = [], 0
        batch.append(text)
        total += count
    if batch:
        yield batch


def _offsets(encoding: Any, text: str) -> list[tuple[int, int]]:
    """Where each token begins and ends, in characters; one that is a part of a character has all
    of it."""
    offsets = []
    end = 0
    for token in encoding.decode_tokens_bytes(encoding.encode_ordinary(text)):
        begin = end - _goes_on(token[0])
        end += sum(not _goes_on(byte) for byte in token)
        offsets.append((begin, end))
    return offsets


def _goes_on(byte: int) -> bool:
    """Whether a byte of UTF-8 continues a character."""
    return 0x80 <= byte < 0xC0


def _encoding() -> Any:
    """tiktoken's encoding, or None where it would have to be downloaded."""
    return _loaded(_file())


def _file() -> Path:
    """Where tiktoken keeps its file: the folder that TIKTOKEN_CACHE_DIR or DATA_GYM_CACHE_DIR
    names, else one in the folder for temporary files."""
    names = ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
    folder = next((os.environ[name] for name in names if name in os.environ), None)
    if folder is None:
        folder = os.path.join(tempfile.gettempdir(), "data-gym-cache")  # noqa: PTH118
    return Path(folder) / hashlib.sha1(_URL.encode(), usedforsecurity=False).hexdigest()


@lru_cache(maxsize=1)
def _loaded(file: Path) -> Any:
    try:
        import tiktoken

        # tiktoken deletes a file that is not the right one, and downloads another.
        if hashlib.sha256(file.read_bytes()).hexdigest() != _SHA256:
            return None
        return tiktoken.get_encoding("cl100k_base")
    except (ImportError, OSError):
        return None
