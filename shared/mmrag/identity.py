"""What a picture is called, by the hash of its bytes or for people by its path, and whether a file
is still the one that was called so."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image

from mmrag.errors import DamagedSource, InputError, SourceError
from mmrag.inputs import DEFAULT_LIMITS, is_data_url, read_bytes
from mmrag.media import ImageInput, load
from mmrag.types import ImageRef

__all__ = ["checked_bytes", "digest_of", "reference_to"]


def digest_of(image: ImageInput) -> str:
    """The sha256 of a picture's bytes, or of its pixels where there are no bytes.

    Raises:
        SourceError: it cannot be read.
    """
    if isinstance(image, Image.Image):
        return load(image).sha256
    return hashlib.sha256(read_bytes(image, DEFAULT_LIMITS)).hexdigest()


def checked_bytes(image: ImageRef) -> bytes:
    """The bytes of a record's picture, which are those of its sha256 if it says one.

    Raises:
        SourceError: they cannot be read, or the file was replaced by another since.
    """
    data = read_bytes(image.uri, DEFAULT_LIMITS)
    if image.sha256 and hashlib.sha256(data).hexdigest() != image.sha256:
        raise DamagedSource("its picture is not the one that was indexed: the file was replaced")
    return data


def reference_to(image: ImageInput) -> str:
    """What events and errors call a picture: its path, or its hash where it has no path."""
    if isinstance(image, Path) or (isinstance(image, str) and not is_data_url(image)):
        return str(image)
    try:
        return f"sha256:{digest_of(image)}"
    except (SourceError, InputError):
        return f"a {type(image).__name__}"
