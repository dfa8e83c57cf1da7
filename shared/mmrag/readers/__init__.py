"""Readers: one file a medium. Which one takes a file, its content says before its name does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmrag.errors import DamagedSource, EmptySource, UnsupportedSource
from mmrag.readers import image, pdf, text
from mmrag.readers.base import Reader
from mmrag.sniff import HEAD, sniff

__all__ = ["HEAD", "READERS", "reader_for"]

READERS: Mapping[str, Reader] = {
    "image": image.ImageReader(),
    "pdf": pdf.PdfReader(),
    "text": text.TextReader(),
}
"""The readers by medium."""


def reader_for(path: Path, head: bytes) -> Reader:
    """The reader that takes this file.

    Args:
        path: only its name is looked at, and only where the content does not tell.
        head: the first :data:`HEAD` bytes of the file, or all of a smaller one.

    Raises:
        EmptySource: there are no bytes.
        DamagedSource: the name says picture or PDF, and the content is neither.
        UnsupportedSource: no reader takes it.
    """
    if not head:
        raise EmptySource("the file has no bytes")
    suffix = path.suffix.lower()
    mime = sniff(head)
    if mime == "application/pdf" or (suffix == ".pdf" and b"%PDF-" in head[:1024]):
        return READERS["pdf"]
    if mime is not None:
        return READERS["image"]
    if suffix == ".pdf" or suffix in image.SUFFIXES:
        kind = "PDF" if suffix == ".pdf" else "image"
        raise DamagedSource(
            f"its name says {kind}, its content is not one: export it again, or rename it"
        )
    if suffix in text.SUFFIXES:
        return READERS["text"]
    known = " ".join(sorted(text.SUFFIXES))
    raise UnsupportedSource(
        f"no reader takes {suffix or 'a file without an ending'}: supported are pictures (PNG, "
        f"JPEG, WebP, GIF, BMP, TIFF, AVIF, HEIC), PDF, and text ({known})"
    )
