"""Files of bytes that came with nodes and documents: each is there as long as a record needs it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from weakref import WeakKeyDictionary

from mmrag.filters import And, Eq, Exists, Filter
from mmrag.index import MultimodalIndex
from mmrag.inputs import data_url
from mmrag.readers.base import MediaFolder
from mmrag.types import Record

__all__ = ["FILES_KEY", "Attachments", "keep", "uris_of"]

FILES_KEY = "mmrag_files"
"""Record extra: the uris of the files that hold what came with it as bytes."""

_FOLDER = "attachments"  # in that of the index
_FILES = f"extra.{FILES_KEY}"
_locks: WeakKeyDictionary[MultimodalIndex, threading.RLock] = WeakKeyDictionary()


def keep(data: bytes, mime: str, folder: Path | None) -> str:
    """The uri of a file with these bytes in an index's ``folder``; without one they are it."""
    if folder is None:
        return data_url(data, mime or "application/octet-stream")
    # Not by the mimetypes module: what it knows depends on the machine.
    kind = mime.rpartition("/")[2].removeprefix("x-")
    known = kind.isascii() and kind.isalnum() and len(kind) < 10
    return MediaFolder(folder / _FOLDER).put(data, f".{kind}" if known else ".bin")


def uris_of(*records: Record) -> set[str]:
    """The uris of the bytes that came with these records."""
    return {uri for record in records for uri in record.extra.get(FILES_KEY, ())}


class Attachments:
    """The attachments of an index.

    ``lock``, one an index, is held from before files are written or looked up until after their
    records are written or deleted, so that no thread removes a file that another is about to name.
    """

    def __init__(self, index: MultimodalIndex) -> None:
        self._index = index
        self._folder = None if index.folder is None else index.folder / _FOLDER
        self.lock = _locks.setdefault(index, threading.RLock())

    def of_ids(self, ids: Iterable[str]) -> set[str]:
        """The uris of the records of these ids."""
        return uris_of(*self._index.get(ids)) if self._any() else set()

    def of_matching(self, where: Filter) -> set[str]:
        """The uris of the records that match."""
        if not self._any():
            return set()
        batches = self._index.store.scan(And((where, Exists(_FILES))))
        return {uri for batch in batches for uri in uris_of(*batch)}

    def sweep(self, uris: Iterable[str]) -> None:
        """Remove those of these files that no record names any more."""
        for uri in uris:
            if self._folder is not None and not self._index.count(Eq(_FILES, uri)):
                (self._folder.parent / uri).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all files."""
        if self._folder is not None and self._any():
            shutil.rmtree(self._folder)

    def _any(self) -> bool:
        return self._folder is not None and self._folder.is_dir()
