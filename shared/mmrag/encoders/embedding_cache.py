"""EmbeddingCache: unit vectors in one SQLite file, shared by encoders, threads and processes."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mmrag.encoders import embedding_file
from mmrag.errors import InputError

if TYPE_CHECKING:
    from mmrag.protocols import Matrix, Vector

__all__ = ["EmbeddingCache"]

LEAST = 1 << 20
USES = 4096  # that are kept in memory before they are written

Result = TypeVar("Result")
log = logging.getLogger("mmrag")


class EmbeddingCache:
    """Keeps vectors of length 1 by key, the most recently used ones up to ``max_bytes``.

    >>> cache = EmbeddingCache("~/.cache/mmrag")                               # doctest: +SKIP
    >>> encoder = CachedEncoder(OpenAIEncoder(), cache)                        # doctest: +SKIP

    Any number of encoders, threads and processes may use it at once. It never stands in the way:
    a process that is killed leaves it whole, a damaged file is deleted and a new one begun (with a
    warning), and where the disk is full or the folder read-only nothing more is kept (with a
    warning too). What is read is checked to be of length 1.

    Args:
        path: the folder of its file; made if there is none.
        max_bytes: about the largest size of that file, 1 GiB by default. SQLite's log of what was
            written last, a few MB, comes on top. A file that is larger already does not shrink.

    Raises:
        InputError: ``path`` is a file, or ``max_bytes`` under 1 MiB.
    """

    def __init__(self, path: str | Path, max_bytes: int = 1 << 30) -> None:
        self.path = Path(path).expanduser().absolute()
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file: an EmbeddingCache is a folder")
        if max_bytes < LEAST:
            raise InputError(f"max_bytes has to be {LEAST:,} or more, not {max_bytes:,}")
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._number = 0  # of the file
        self._used: dict[bytes, int] = {}  # when keys were read, until it is written
        self._silent = False
        _caches.add(self)

    def __reduce__(self) -> tuple[type[EmbeddingCache], tuple[Path, int]]:
        return EmbeddingCache, (self.path, self.max_bytes)

    def __repr__(self) -> str:
        return f"EmbeddingCache({str(self.path)!r}, max_bytes={self.max_bytes})"

    def get(self, keys: Sequence[bytes], dim: int) -> dict[bytes, Vector]:
        """The vectors of this dimension of those keys that it has."""

        def read(db: sqlite3.Connection) -> dict[bytes, Vector]:
            found = _vectors(embedding_file.read(db, keys), dim)
            self._used.update(dict.fromkeys(found, time.time_ns()))
            return found

        nothing: dict[bytes, Vector] = {}
        found = self._try(read, nothing) if len(keys) else nothing
        if len(self._used) > USES:
            self._try(lambda db: self._write(db, []), None)
        return found

    def put(self, vectors: Mapping[bytes, Vector]) -> None:
        """Keep these vectors of one dimension; those that are not of length 1 are left out."""
        if not vectors:
            return
        matrix = np.array(list(vectors.values()), np.float32)
        rows = [
            (key, row.tobytes())
            for key, row, good in zip(vectors, matrix, _unit(matrix), strict=True)
            if good
        ]
        room = self.max_bytes // 2 // embedding_file.size_of(matrix[0].nbytes)
        self._try(lambda db: self._write(db, rows[-room:] if room else []), None)

    def close(self) -> None:
        """Release the file; used again, it is opened again."""
        with self._lock:
            if self._db is not None:
                with suppress(sqlite3.Error):
                    self._write(self._db, [])
                self._db.close()
                self._db = None

    def __enter__(self) -> EmbeddingCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, db: sqlite3.Connection, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Write rows, and what was used since the last time."""
        used, self._used = self._used, {}
        if rows or used:
            embedding_file.write(db, rows, used, self.max_bytes)

    def _try(self, work: Callable[[sqlite3.Connection], Result], otherwise: Result) -> Result:
        """What ``work`` returns; on a damaged file, once more with a new one."""
        with self._lock:
            for _ in range(2):
                try:
                    return work(self._opened())
                except (sqlite3.OperationalError, OSError) as error:  # locked, full, read-only
                    if not self._silent:
                        log.warning("the embedding cache in %s is not used: %s", self.path, error)
                    self._silent = True
                    return otherwise
                except sqlite3.DatabaseError as error:
                    log.warning("the embedding cache in %s begins anew: %s", self.path, error)
                    self._begin_anew()
            return otherwise

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            self.path.mkdir(parents=True, exist_ok=True)
            files = embedding_file.files_in(self.path)
            self._number = max([self._number, *files])
            file = embedding_file.file_of(self.path, self._number)
            self._db = embedding_file.connected(file)
            for number in files.keys() - {self._number}:
                embedding_file.delete(files[number])
        return self._db

    def _begin_anew(self) -> None:
        """The next file is another one: other processes may have this one open."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        self._number += 1

    def _after_fork(self) -> None:
        """SQLite forbids to use, or even to close, what another process has opened."""
        _inherited.append(self._db)
        self._db, self._lock, self._used = None, threading.Lock(), {}


_caches: weakref.WeakSet[EmbeddingCache] = weakref.WeakSet()
_inherited: list[sqlite3.Connection | None] = []


def _after_fork() -> None:
    for cache in _caches:
        cache._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _vectors(rows: Sequence[tuple[bytes, Any]], dim: int) -> dict[bytes, Vector]:
    """Those rows that are sound, as vectors."""
    sound = [row for row in rows if isinstance(row[1], bytes) and len(row[1]) == 4 * dim]
    matrix = np.frombuffer(b"".join(value for _, value in sound), np.float32).reshape(-1, dim)
    good = _unit(matrix)
    return {key: vector for (key, _), vector, ok in zip(sound, matrix, good, strict=True) if ok}


def _unit(matrix: Matrix) -> Any:
    """Which rows have length 1."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.abs(np.einsum("ij,ij->i", matrix, matrix) - 1) < 1e-3
