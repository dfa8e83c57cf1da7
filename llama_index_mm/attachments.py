"""Files of bytes that came in nodes: each is there as long as a record needs it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from llama_index_mm.convert import NODE_KEY
from llama_index_mm.convert_images import ATTACHMENTS
from mmrag.filters import And, Eq, Exists, Filter
from mmrag.index import MultimodalIndex
from mmrag.types import Record

__all__ = ["Attachments", "uris_of"]

_FILES = f"extra.{NODE_KEY}.files"
_locks: WeakKeyDictionary[MultimodalIndex, threading.RLock] = WeakKeyDictionary()


def uris_of(*records: Record) -> set[str]:
    """The uris of the bytes that the nodes of these records held."""
    return {uri for r in records for uri in r.extra.get(NODE_KEY, {}).get("files", ())}


class Attachments:
    """The attachments of an index.

    ``lock``, one an index, is held from before files are written or looked up until after their
    records are written or deleted, so that no thread removes a file that another is about to name.
    """

    def __init__(self, index: MultimodalIndex) -> None:
        self._index = index
        self._folder = None if index.folder is None else index.folder / ATTACHMENTS
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
