"""What a picture is called: by the hash of its bytes, or for people by its path."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image

from mmrag.errors import InputError, SourceError
from mmrag.inputs import DEFAULT_LIMITS, read_bytes
from mmrag.media import ImageInput, load

__all__ = ["digest_of", "reference_to"]


def digest_of(image: ImageInput) -> str:
    """The sha256 of a picture's bytes, or of its pixels where there are no bytes.

    Raises:
        SourceError: it cannot be read.
    """
    if isinstance(image, Image.Image):
        return load(image).sha256
    return hashlib.sha256(read_bytes(image, DEFAULT_LIMITS)).hexdigest()


def reference_to(image: ImageInput) -> str:
    """What events and errors call a picture: its path, or its hash where it has no path."""
    if isinstance(image, Path) or (isinstance(image, str) and image[:5].lower() != "data:"):
        return str(image)
    try:
        return f"sha256:{digest_of(image)}"
    except (SourceError, InputError):
        return f"a {type(image).__name__}"
