"""PDF files: the text of every page in chunks, its figures, and scanned pages as pictures."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmrag.errors import DamagedSource, EmptySource, EncryptedSource, SourceError
from mmrag.inputs import refused
from mmrag.readers.base import MediaFolder, Part, SourceFile, record_id
from mmrag.readers.split import split
from mmrag.types import ImageRef, Locator, Record

if TYPE_CHECKING:
    import pypdfium2
    from PIL import Image

    from mmrag.readers.pdf_figures import Survey
    from mmrag.readers.pdf_page import Box

__all__ = ["PdfReader"]

_log = logging.getLogger("mmrag")

# pdfium is not thread-safe, not even on two documents. Held for one page at a time, so that threads
# take turns; re-entrant, because the garbage collector may close an abandoned document within.
_LOCK = threading.RLock()


@dataclass(frozen=True, slots=True)
class _Found:
    """A part of a page before it is a record: ``box`` in fractions, and a text or a picture."""

    box: Box | None
    text: str = ""
    image: Image.Image | None = None
    photo: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the document when a page is read: its logos by their keys, the running
    heads of the pages before, and the longest side that the encoder looks at."""

    logos: frozenset[str]
    heads: set[str]
    image_size: int


class PdfReader:
    """Records for every page: chunks of its text, then its figures.

    Figures are cut out of the rendered page, so they look as they do in print: masks, labels and
    arrows over a photograph included. Pictures that come on many pages are left out as logos. A
    page without a text layer is one picture of the whole page, and has no ``bbox``.
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
            yield from _parts(document, source, media, image_size)
        finally:
            with _LOCK:
                document.close()


def _open(source: SourceFile) -> pypdfium2.PdfDocument:
    import pypdfium2
    from pypdfium2 import raw

    try:
        # Opened here and not by pdfium, which takes no file name that is not valid Unicode and
        # leaves some broken files open. Closing the document closes it.
        file = source.path.open("rb")
    except OSError as error:
        raise refused(source.path, error) from None
    try:
        if not file.read(1):
            raise EmptySource("the file has no bytes")
        with _LOCK:
            # A document of no pages fails without setting an error, so one is set beforehand that
            # cannot come from an open file.
            raw.FPDF_LoadDocument(b"", None)
            return pypdfium2.PdfDocument(file, autoclose=True)
    except pypdfium2.PdfiumError as error:
        file.close()
        raise _refusal(error.err_code) from None
    except (EmptySource, OSError):
        file.close()
        raise


def _refusal(code: int) -> SourceError:
    from pypdfium2 import raw

    if code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
        return EncryptedSource("the PDF needs a password: save a copy without one and add that")
    if code == raw.FPDF_ERR_FILE:
        return EmptySource("the PDF has no pages")
    return DamagedSource("the PDF is broken or truncated: download or export it again")


def _parts(
    document: pypdfium2.PdfDocument, source: SourceFile, media: MediaFolder, image_size: int
) -> Iterator[Part]:
    from mmrag.readers.pdf_figures import repeated

    # Logos are known only once all pages were looked at; no picture is decoded for that.
    surveys = [_survey(document, index) for index in range(_count(document))]
    if not surveys:
        raise EmptySource("the PDF has no pages")
    known = _Known(repeated([survey for survey in surveys if survey]), set(), image_size)
    failed = []
    given = 0
    for number, survey in enumerate(surveys, start=1):
        found = _read_page(document, number, survey, known) if survey else None
        if found is None:
            failed.append(number)
            continue
        for part in _records(found, number, source, media):
            given += 1
            yield part
    if len(failed) == len(surveys):
        raise DamagedSource("no page of the PDF can be read: download or export it again")
    if failed:
        _log.warning("%s: pages that cannot be read: %s", source.name, failed)
    if oversize := [number for number, page in enumerate(surveys, 1) if page and page.oversize]:
        _log.warning("%s: pages with pictures over the pixel limit: %s", source.name, oversize)
    if not given:
        raise EmptySource("the PDF has no text and no picture in it")


def _records(
    found: Sequence[_Found], page: int, source: SourceFile, media: MediaFolder
) -> Iterator[Part]:
    for number, item in enumerate(found):
        where = Locator(page=page, bbox=item.box)
        if item.image is None:
            name = record_id(source, f"p{page}/t{number}", item.text)
            yield Part(Record(name, text=item.text, source=source.name, locator=where))
        else:
            image = _keep(item.image, item.photo, media)
            name = record_id(source, f"p{page}/i{number}", image.sha256)
            yield Part(Record(name, image=image, source=source.name, locator=where), item.image)


def _keep(image: Image.Image, photo: bool, media: MediaFolder) -> ImageRef:
    from mmrag.media import encode_jpeg, encode_png

    data = encode_jpeg(image, quality=90) if photo else encode_png(image)
    uri = media.put(data, ".jpg" if photo else ".png")
    digest = hashlib.sha256(data).hexdigest()
    mime = "image/jpeg" if photo else "image/png"
    return ImageRef(uri, digest, mime, image.width, image.height)


def _count(document: pypdfium2.PdfDocument) -> int:
    with _LOCK:
        return len(document)


def _survey(document: pypdfium2.PdfDocument, index: int) -> Survey | None:
    """What the page shows; None if it cannot be read."""
    from mmrag.readers.pdf_figures import survey

    try:
        with _page(document, index) as page:
            return survey(page)
    except _errors():
        return None


def _read_page(
    document: pypdfium2.PdfDocument, number: int, survey: Survey, known: _Known
) -> list[_Found] | None:
    """The parts of a page; None if it cannot be read."""
    from mmrag.readers.pdf_page import Frame, page_text, text_box
    from mmrag.readers.pdf_render import render, views

    found: list[_Found] = []
    try:
        with _page(document, number - 1) as page:
            frame = Frame(page)
            characters = page.get_textpage()
            text = page_text(characters, frame, known.heads)
            for chunk in split([text.text], markdown=False):
                origin = text.origin[chunk.start : chunk.start + len(chunk.text)]
                box = text_box(characters, frame, min(origin), max(origin))
                found.append(_Found(box and frame.fractions(box), chunk.text))
            for view in views(survey, frame, known.logos, text):
                image = render(page, frame, view, known.image_size)
                if image is not None:
                    box = view.box and frame.fractions(view.box)
                    found.append(_Found(box, image=image, photo=view.photo))
    except _errors():
        return None
    return found


@contextmanager
def _page(document: pypdfium2.PdfDocument, index: int) -> Iterator[pypdfium2.PdfPage]:
    """The page, with pdfium to oneself. Closing it closes what was made of it too."""
    with _LOCK:
        page = document[index]
        try:
            yield page
        finally:
            page.close()


def _errors() -> tuple[type[Exception], ...]:
    """What pdfium and its binding raise for a page that is broken."""
    from pypdfium2 import PdfiumError

    return PdfiumError, ValueError, RuntimeError, MemoryError
