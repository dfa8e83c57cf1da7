"""Files of bytes that came with nodes and documents: each is there as long as a record needs it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

from mmrag.encode import Prepared
from mmrag.filters import And, Eq, Exists, Filter, In
from mmrag.index import MultimodalIndex
from mmrag.inputs import data_url
from mmrag.readers.base import MediaFolder
from mmrag.types import Record

__all__ = ["FILES_KEY", "Attachments", "Kept", "keep", "uris_of"]

FILES_KEY = "mmrag_files"
"""Record extra: the uris of the files that hold what came with it as bytes."""

_FOLDER = "attachments"  # in that of the index
_FILES = f"extra.{FILES_KEY}"


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


@dataclass
class _Shared:
    """What all that write to an index share: ``pending`` counts, for a file, those that are about
    to name it."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    pending: Counter[str] = field(default_factory=Counter)


_shared: WeakKeyDictionary[MultimodalIndex, _Shared] = WeakKeyDictionary()


class Kept:
    """Keeps the files of what is being added, until records name them."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self.uris: set[str] = set()

    def keep(self, data: bytes, mime: str, folder: Path | None) -> str:
        """:func:`keep`, where nobody removes the file until a record names it or the add fails."""
        with self._shared.lock:
            uri = keep(data, mime, folder)
            if uri not in self.uris:
                self.uris.add(uri)
                self._shared.pending[uri] += 1
        return uri


class Attachments:
    """Writes and deletes the records of an index whose bytes are files in its folder.

    One lock an index is held from before files are looked up until after their records are written
    or deleted, so that no thread removes a file that another is about to name.
    """

    def __init__(self, index: MultimodalIndex) -> None:
        self._index = index
        self._folder = None if index.folder is None else index.folder / _FOLDER
        self._shared = _shared.setdefault(index, _Shared())
        self._lock = self._shared.lock

    def write(self, encode: Callable[[Kept], Iterable[Prepared]]) -> None:
        """Write the records that ``encode`` makes, whose bytes it keeps by what it is given; none
        if it fails. Of several with one id the last one is written.

        Files that no record names then are removed, those of records that were replaced too.
        """
        kept = Kept(self._shared)
        try:
            # Without the lock: an encoder may be an API, for which no other thread need wait.
            made = {item.record.id: item for item in encode(kept)}
            with self._lock:
                replaced = self._of_ids(made)
                named = uris_of(*(item.record for item in made.values()))
                self._index.write(list(made.values()))
                self._let_go(kept, named)
                self._sweep(replaced - named)
        finally:
            with self._lock:
                given_up = set(kept.uris)
                self._let_go(kept, given_up)
                self._sweep(given_up)

    def delete(self, ids: Sequence[str] | None = None, where: Filter | None = None) -> None:
        """Delete the records of these ids that match the filter, each if given, and their files.

        Raises:
            InputError: neither was given.
        """
        if ids is not None and where is not None:
            where, ids = And((In("id", tuple(ids)), where)), None
        with self._lock:
            files = self._of_ids(ids or ()) if where is None else self._of_matching(where)
            self._index.delete(ids, where=where)
            self._sweep(files)

    def clear(self) -> None:
        """Delete all records, and all files but those that records are about to name."""
        with self._lock:
            self._index.delete(where=And(()))
            if self._folder is not None:
                for path in MediaFolder(self._folder).files():
                    if not self._shared.pending[path.relative_to(self._folder.parent).as_posix()]:
                        path.unlink()

    def _let_go(self, kept: Kept, uris: set[str]) -> None:
        """Those of the kept files that are among ``uris`` have records now, or are not needed."""
        self._shared.pending -= Counter(kept.uris & uris)
        kept.uris -= uris

    def _of_ids(self, ids: Iterable[str]) -> set[str]:
        return uris_of(*self._index.get(ids)) if self._any() else set()

    def _of_matching(self, where: Filter) -> set[str]:
        if not self._any():
            return set()
        batches = self._index.store.scan(And((where, Exists(_FILES))))
        return {uri for batch in batches for uri in uris_of(*batch)}

    def _sweep(self, uris: Iterable[str]) -> None:
        """Remove those of these files that no record names any more, nor is about to."""
        for uri in uris:
            if self._folder is None or self._shared.pending[uri]:
                continue
            if not self._index.count(Eq(_FILES, uri)):
                (self._folder.parent / uri).unlink(missing_ok=True)

    def _any(self) -> bool:
        return self._folder is not None and self._folder.is_dir()
