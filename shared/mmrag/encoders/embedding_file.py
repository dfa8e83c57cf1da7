"""The SQLite file of an EmbeddingCache: vectors by key, and when each was used last."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["connected", "delete", "file_of", "files_in", "read", "size_of", "write"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS uses (id INTEGER PRIMARY KEY, used INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS by_use ON uses (used);
"""
_PUT = """INSERT INTO vectors (id, key, value) VALUES (?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value"""
_USE = "INSERT OR REPLACE INTO uses (id, used) SELECT id, ? FROM vectors WHERE key = ?"
_OLDEST = """SELECT id, length(value) FROM uses JOIN vectors USING (id)
    ORDER BY used, id LIMIT ?"""

PAGE = 16384  # holds seven vectors of 512 dimensions, where 4,096 bytes hold one
LOG_PAGES = 256  # of SQLite's write-ahead log, after which it is worked into the file
OVERHEAD = 128  # bytes of a vector beside its numbers: its key, twice, and its use
ASKED = 500  # keys in one query: SQLite's own limit was 999 once
WAIT = 10.0  # seconds for another process that is writing


def files_in(folder: Path) -> dict[int, Path]:
    """The cache's files by number; the one of the highest is in use."""
    named = re.compile(r"embeddings-(\d+)\.sqlite")
    found = ((named.fullmatch(path.name), path) for path in folder.iterdir())
    return {int(name[1]): path for name, path in found if name}


def file_of(folder: Path, number: int) -> Path:
    """Where the file of this number is."""
    return folder / f"embeddings-{number}.sqlite"


def delete(file: Path) -> None:
    """Delete a file that is not used any more; a process that has it open keeps it."""
    for ending in ("", "-wal", "-shm"):
        with suppress(OSError):  # as on Windows, where it cannot be deleted then
            Path(f"{file}{ending}").unlink(missing_ok=True)


def connected(file: Path) -> sqlite3.Connection:
    """The file, opened or made, for any thread that holds a lock."""
    db = sqlite3.connect(file, timeout=WAIT, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA page_size={PAGE}")
        db.execute("PRAGMA journal_mode=WAL")
        # Without waiting for the disk: a power cut may take the last vectors, and no more.
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
        db.execute(f"PRAGMA journal_size_limit={LOG_PAGES * PAGE}")
        db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def read(db: sqlite3.Connection, keys: Sequence[bytes]) -> list[tuple[bytes, Any]]:
    """Key and value of those keys that are in the file, in any order."""
    rows: list[tuple[bytes, Any]] = []
    for start in range(0, len(keys), ASKED):
        some = keys[start : start + ASKED]
        marks = ",".join("?" * len(some))
        rows += db.execute(f"SELECT key, value FROM vectors WHERE key IN ({marks})", some)  # noqa: S608
    return rows


def write(
    db: sqlite3.Connection,
    rows: Sequence[tuple[bytes, bytes]],
    used: Mapping[bytes, int],
    max_bytes: int,
) -> None:
    """Write rows, and when older ones were used, in one transaction.

    What was not used for the longest time makes room. New rows take its places, so that the file
    has no holes and does not grow.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        db.executemany(_USE, [(when, key) for key, when in used.items()])
        free = _make_room(db, sum(size_of(len(value)) for _, value in rows), max_bytes)
        places = [*free[: len(rows)], *[None] * (len(rows) - len(free))]
        db.executemany(_PUT, [(at, *row) for at, row in zip(places, rows, strict=True)])
        now = time.time_ns()
        db.executemany(_USE, [(now, key) for key, _ in rows])
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def size_of(length: int) -> int:
    """About the bytes of the file that a value of so many bytes takes."""
    return length + OVERHEAD


def _make_room(db: sqlite3.Connection, coming: int, max_bytes: int) -> list[int]:
    """Delete as much as has to go for what is coming; the places that it had."""
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    excess = (pages - free) * size + coming - max_bytes
    gone: list[int] = []
    while excess > 0 and (oldest := db.execute(_OLDEST, (64,)).fetchall()):
        places = []
        for place, length in oldest:
            if excess <= 0:
                break
            places.append((place,))
            excess -= size_of(length)
        db.executemany("DELETE FROM vectors WHERE id = ?", places)
        db.executemany("DELETE FROM uses WHERE id = ?", places)
        gone += [place for (place,) in places]
    return gone
