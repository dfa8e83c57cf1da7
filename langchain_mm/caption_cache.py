"""Captions as a LangChain store of bytes keeps them: their keys, and what is under them."""

from __future__ import annotations

import hashlib
import json

from mmrag.metadata import CAPTION_KEY, caption_of, caption_to_dict
from mmrag.protocols import Captioner
from mmrag.types import Caption

__all__ = ["PREFIX", "key_of", "of_bytes", "to_bytes"]

PREFIX = "mmrag-captions/"
"""What all keys begin with, as for ``store.yield_keys(prefix=PREFIX)``: a folder, in stores on
disk."""


def key_of(captioner: Captioner, digest: str) -> str:
    """Where a captioner's caption of the picture of this digest is kept."""
    # Hashed: stores on disk allow few characters in a key.
    made_by = hashlib.sha256(captioner.name.encode()).hexdigest()[:16]
    return f"{PREFIX}{made_by}/{digest}"


def to_bytes(caption: Caption) -> bytes:
    """A caption as it is kept."""
    return json.dumps(caption_to_dict(caption)).encode()


def of_bytes(data: bytes | None) -> Caption | None:
    """What was kept, if anything; what is broken, as by a killed process, counts as nothing."""
    try:
        return None if data is None else caption_of({CAPTION_KEY: json.loads(data)})
    except (ValueError, TypeError):  # an InputError is a ValueError
        return None
