"""Text files: plain, Markdown, tables and logs, in chunks, however large they are."""

from __future__ import annotations

from collections.abc import Iterator

from mmrag.errors import EmptySource
from mmrag.inputs import refused
from mmrag.readers.base import MediaFolder, Part, SourceFile, record_id
from mmrag.readers.encoding import encoding_of
from mmrag.readers.split import split
from mmrag.types import Json, Record

__all__ = ["SUFFIXES", "TextReader"]

_ROWS = frozenset({".csv", ".tsv", ".json", ".jsonl", ".log"})
SUFFIXES = _ROWS | {".txt", ".text", ".md", ".markdown", ".rst"}
"""The file names that are read as text."""

_PIECE = 1 << 16  # characters that are read at a time


class TextReader:
    """One record a chunk of text.

    ``metadata`` has the chunk's ``line``, from 1, and below a heading its ``heading``:
    ``Setup > Wi-Fi``. A stray broken character, or a NUL, becomes U+FFFD.
    """

    version = "2"

    def read(self, source: SourceFile, media: MediaFolder, image_size: int) -> Iterator[Part]:
        """The chunks in order; at most a few megabytes of the file are in memory at once.

        Raises:
            SourceError: EmptySource, DamagedSource (not text), UnreadableSource.
        """
        rows = source.path.suffix.lower() in _ROWS
        number = -1
        for number, chunk in enumerate(split(_pieces(source), rows=rows)):
            metadata: dict[str, Json] = {"line": chunk.line}
            if chunk.heading:
                metadata["heading"] = chunk.heading
            record = Record(
                id=record_id(source, f"t{number}", chunk.text),
                text=chunk.text,
                source=source.name,
                metadata=metadata,
            )
            yield Part(record)
        if number < 0:
            raise EmptySource("there is no text in it")


def _pieces(source: SourceFile) -> Iterator[str]:
    """The decoded text with line ends as ``\\n``."""
    try:
        codec = encoding_of(source.path)
        with source.path.open(encoding=codec, errors="replace") as file:
            while piece := file.read(_PIECE):
                yield piece.replace("\0", "\ufffd")
    except OSError as error:
        raise refused(source.path, error) from None
