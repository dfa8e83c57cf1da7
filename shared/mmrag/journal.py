"""The journal of ingestion: which version of which file is in the index, and what is half done.

A source's records carry a *generation*. Parts are noted before they are written to the store; the
source's row moves to the new generation only after the store has acknowledged them all; whatever
is of another generation than its source's is then stale and deleted. A process killed at any point
therefore leaves only stale parts, which the next run deletes, and sources that it does again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmrag.errors import DiskFull, StoreError

__all__ = ["Failure", "Journal", "JournalDamaged", "Mark", "Source"]

State = Literal["done", "failed"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sources (
    path TEXT PRIMARY KEY, name TEXT NOT NULL, mark TEXT NOT NULL, generation INTEGER NOT NULL,
    state TEXT NOT NULL, error TEXT, message TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (
    path TEXT NOT NULL, generation INTEGER NOT NULL, id TEXT NOT NULL, media TEXT,
    PRIMARY KEY (path, generation, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_STALE = """
SELECT p.id FROM parts p LEFT JOIN sources s ON s.path = p.path
WHERE p.generation IS NOT s.generation AND NOT EXISTS (
    SELECT 1 FROM parts q WHERE q.path = p.path AND q.generation = s.generation AND q.id = p.id)
"""


class JournalDamaged(StoreError):
    """The journal's file cannot be read: cut short, or something else."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a source was read as; another mark means that it has to be read again."""

    sha256: str
    reader: str
    space: str

    def __str__(self) -> str:
        return f"{self.sha256} {self.reader} {self.space}"


@dataclass(frozen=True, slots=True)
class Source:
    """A file that the journal knows."""

    path: str
    name: str
    mark: str
    generation: int
    state: State


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be indexed: its name, the error's type, and what it says."""

    source: str
    error: str
    message: str


class Journal:
    """The SQLite file ``journal.sqlite`` of an index; one writer, which holds the store's lock.

    Raises:
        JournalDamaged: the file is not a journal, or is cut short.
        DiskFull: SQLite found no room.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors():
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            if self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise JournalDamaged(f"{path} is damaged")
            self._db.executescript(_SCHEMA)

    def source(self, path: str) -> Source | None:
        """What is known of a file."""
        rows = self._rows("SELECT path,name,mark,generation,state FROM sources WHERE path=?", path)
        return Source(*rows[0]) if rows else None

    def paths(self) -> Iterator[tuple[str, str]]:
        """Path and name of all known files, in order."""
        yield from self._rows("SELECT path, name FROM sources ORDER BY path")

    def failures(self) -> list[Failure]:
        """All files that could not be indexed."""
        sql = "SELECT name, error, message FROM sources WHERE state='failed' ORDER BY path"
        return [Failure(*row) for row in self._rows(sql)]

    def failure(self, path: str) -> Failure | None:
        """Why this file could not be indexed, if it could not."""
        sql = "SELECT name, error, message FROM sources WHERE state='failed' AND path=?"
        return next((Failure(*row) for row in self._rows(sql, path)), None)

    def note(self, parts: Iterable[tuple[str, int, str, str | None]]) -> None:
        """Note parts (path, generation, id, media) that are about to be written."""
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO parts VALUES (?,?,?,?)", parts)

    def commit(self, sources: Iterable[tuple[str, str, Mark, int, Failure | None]]) -> None:
        """Move files (path, name, mark, generation, failure) to a new generation, all of whose
        parts the store has; a failed one moves past it, so that all its parts are stale."""
        with self._transaction():
            for path, name, mark, generation, failure in sources:
                self._db.execute(
                    "INSERT OR REPLACE INTO sources VALUES (?,?,?,?,?,?,?)",
                    (
                        path,
                        name,
                        str(mark),
                        generation + (failure is not None),
                        "failed" if failure else "done",
                        failure.error if failure else None,
                        failure.message if failure else None,
                    ),
                )

    def stale(self, path: str | None = None) -> list[str]:
        """Ids of parts that no source's current version has, of one file or of all."""
        if path is None:
            return [row[0] for row in self._rows(_STALE)]
        return [row[0] for row in self._rows(_STALE + " AND p.path=?", path)]

    def cleared(self, path: str | None = None) -> None:
        """The stale parts were deleted from the store: forget them."""
        sql = """DELETE FROM parts WHERE generation IS NOT
                 (SELECT generation FROM sources s WHERE s.path = parts.path)"""
        with self._transaction():
            self._db.execute(*((sql, ()) if path is None else (sql + " AND path=?", (path,))))

    def forget(self, path: str) -> None:
        """Forget a file; its parts become stale."""
        with self._transaction():
            self._db.execute("DELETE FROM sources WHERE path=?", (path,))

    def media(self) -> set[str]:
        """The derived pictures that some part needs."""
        return {row[0] for row in self._rows("SELECT media FROM parts WHERE media IS NOT NULL")}

    @property
    def unclean(self) -> bool:
        """Whether a run has begun and not come to its end."""
        return bool(self._rows("SELECT 1 FROM facts WHERE name='running'"))

    @unclean.setter
    def unclean(self, running: bool) -> None:
        with self._transaction():
            if running:
                self._db.execute("INSERT OR REPLACE INTO facts VALUES ('running', '1')")
            else:
                self._db.execute("DELETE FROM facts WHERE name='running'")

    def close(self) -> None:
        """Close the file; idempotent."""
        self._db.close()

    def _rows(self, sql: str, *values: str) -> list[Any]:
        with self._errors():
            rows: list[Any] = self._db.execute(sql, values).fetchall()
            return rows

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if "full" in str(error) or "disk I/O" in str(error):
                raise DiskFull(f"no room to write the journal {self.path}: {error}") from error
            if "locked" in str(error):
                raise StoreError(f"another process writes the journal {self.path}") from error
            raise JournalDamaged(f"the journal {self.path} cannot be read: {error}") from error
