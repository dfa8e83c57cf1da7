"""PDF files: the text of every page in chunks, its figures, and scanned pages as pictures."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmrag.errors import DamagedSource, EmptySource, EncryptedSource, SourceError
from mmrag.readers.base import MediaFolder, Part, SourceFile, record_id, refused
from mmrag.readers.split import split
from mmrag.types import ImageRef, Locator, Record

if TYPE_CHECKING:
    import pypdfium2
    from PIL import Image

    from mmrag.readers.pdf_figures import Figure, Survey
    from mmrag.readers.pdf_page import Box, Frame, PageText

__all__ = ["PdfReader"]

_log = logging.getLogger("mmrag")

# pdfium is not thread-safe, not even on two documents. Held for one page at a time, so that threads
# take turns; re-entrant, because the garbage collector may close an abandoned document within.
_LOCK = threading.RLock()

_PAGE_SIDE = 1024  # pixels of the longest side of a rendered page or drawing
_FIGURE_SIDE = 1536  # the most for an embedded picture
_SCAN = 0.5  # of the page, covered by one picture, and no text: the page is a scan
_FULL = 0.85  # of the page: its background


@dataclass(frozen=True, slots=True)
class _Found:
    """A part of a page before it is a record."""

    box: Box | None = None  # as fractions
    text: str = ""
    image: Image.Image | None = None
    photo: bool = False


class PdfReader:
    """Records for every page: chunks of its text, then its figures.

    Figures are cut out of the rendered page, so they look as they do in print: masks, labels and
    arrows over a photograph included. Pictures that come on many pages are left out as logos.
    """

    version = "1"

    def read(self, source: SourceFile, media: MediaFolder, image_size: int) -> Iterator[Part]:
        """The parts page by page; no more than one page's pictures are in memory.

        A page that cannot be read is logged as a warning, and the others are given.

        Raises:
            SourceError: EncryptedSource, EmptySource, UnreadableSource, or DamagedSource if no
                page can be read.
        """
        document = _open(source)
        try:
            yield from _Reading(document, source, media, image_size).parts()
        finally:
            with _LOCK:
                document.close()
