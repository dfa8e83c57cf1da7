"""What a reader is: a file goes in, records come out, with pixels beside those that have any."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mmrag.types import Record

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MediaFolder", "Part", "Reader", "SourceFile", "record_id"]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to read: ``path`` is absolute, ``name`` is the path as the caller gave it and goes
    into ``Record.source``, ``sha256`` is that of the file's bytes."""

    path: Path
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Part:
    """A record, and the upright decoded pixels of its picture, so that nothing is decoded twice."""

    record: Record
    image: Image.Image | None = None


class Reader(Protocol):
    """Turns one kind of file into parts. ``version`` changes when its output would: what an older
    version read is read again."""

    version: str

    def read(self, source: SourceFile, media: MediaFolder, image_size: int) -> Iterator[Part]:
        """The parts of the file, lazily and in reading order.

        ``media`` keeps derived pictures. ``image_size`` is the longest side in pixels that the
        image encoder looks at: a photograph may be decoded at a reduced scale as long as it stays
        at or above it.

        Raises:
            SourceError: the file cannot be read, before or after some parts were given.
        """


class MediaFolder:
    """Derived pictures, each kept once under the hash of its bytes: ``media/ab/abcd….png``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes, suffix: str) -> str:
        """Keep these bytes and return their uri, relative to the folder above ``root``."""
        digest = hashlib.sha256(data).hexdigest()
        path = self.root / digest[:2] / f"{digest}{suffix}"
        # A power cut can leave an empty file under its final name: it is written anew.
        if not path.exists() or path.stat().st_size != len(data):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Renamed into place, so that a killed process leaves no half-written picture.
            part = path.with_name(f".{uuid.uuid4().hex}.part")
            part.write_bytes(data)
            part.replace(path)
        return f"{self.root.name}/{digest[:2]}/{path.name}"

    def files(self) -> Iterator[Path]:
        """All files in the folder, unfinished ones included."""
        yield from (path for path in self.root.glob("*/*") if path.is_file())


def record_id(source: SourceFile, place: str, content: str) -> str:
    """The id of a part: the same for the same file, the same place in it and the same content.

    ``place`` is unique within the file (``p3/t0``); ``content`` is the text or the picture's hash.
    """
    named = f"{source.path}\0{place}\0{content}"
    # Not every file name on Linux is valid Unicode; surrogateescape gives such a name its bytes.
    return hashlib.sha256(named.encode(errors="surrogateescape")).hexdigest()[:32]
