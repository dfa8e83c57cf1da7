"""The journal of ingestion: which version of which file is in the index, and what is half done.

A source's records carry a *generation*. Parts are noted before they are written to the store; the
source's row moves to the new generation only after the store has acknowledged them all; whatever
is of another generation than its source's is then stale and deleted. A process killed at any point
therefore leaves only stale parts, which the next run deletes, and sources that it does again.

A file that cannot be read now has a row too, for its error, but no mark that would keep it from
being tried again; what the index has of it stays.

Between the beginning of a run and its end the journal is not *clean*. A run that finds it so, or
finds it new, also takes in what the index holds and the journal does not know.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmrag.errors import DiskFull, StoreError, StoreLocked

__all__ = ["Failure", "Journal", "JournalDamaged", "Mark", "Source", "journal_errors"]

State = Literal["done", "failed"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sources (
    path TEXT PRIMARY KEY, name TEXT NOT NULL, mark TEXT NOT NULL, generation INTEGER NOT NULL,
    state TEXT NOT NULL, error TEXT, message TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (
    path TEXT NOT NULL, generation INTEGER NOT NULL, id TEXT NOT NULL, media TEXT,
    PRIMARY KEY (path, generation, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TEMP TABLE held (path, id, name, media, PRIMARY KEY (path, id)) WITHOUT ROWID;
"""
_STALE = """
SELECT p.id FROM parts p LEFT JOIN sources s ON s.path = p.path
WHERE p.generation IS NOT s.generation AND NOT EXISTS (
    SELECT 1 FROM parts q WHERE q.path = p.path AND q.generation = s.generation AND q.id = p.id)
"""
_CLEARED = """
DELETE FROM parts
WHERE generation IS NOT (SELECT generation FROM sources s WHERE s.path = parts.path)
"""
# The row of a file that failed for good has a mark, that of one that may be better has none.
_REFUSED = """
SELECT path, name, error, message FROM sources
WHERE error IS NOT NULL AND (state = 'done' OR mark = '')
"""
_REFUSE = """
INSERT INTO sources VALUES (?, ?, '', 0, 'failed', ?, ?)
ON CONFLICT (path) DO UPDATE SET error = excluded.error, message = excluded.message,
    name = CASE state WHEN 'done' THEN name ELSE excluded.name END,
    mark = CASE state WHEN 'done' THEN mark ELSE '' END
"""
_WELL = (
    "DELETE FROM sources WHERE path=? AND state='failed' AND mark=''",
    "UPDATE sources SET error=NULL, message=NULL WHERE path=? AND state='done'",
)
# A file with parts that are not held any more is read again, as its empty mark has it. What is
# held and unknown belongs to generation 0: current for a file that has no row yet, which is then
# read again too, stale for any other.
_ADOPT = (
    """UPDATE sources SET mark = '' WHERE EXISTS (
       SELECT 1 FROM parts p WHERE p.path = sources.path AND p.generation = sources.generation
       AND NOT EXISTS (SELECT 1 FROM held h WHERE h.path = p.path AND h.id = p.id))""",
    "DELETE FROM held WHERE (path, id) IN (SELECT path, id FROM parts)",
    "INSERT OR IGNORE INTO parts SELECT path, 0, id, media FROM held",
    """INSERT OR IGNORE INTO sources
       SELECT path, max(name), '', 0, 'done', NULL, NULL FROM held GROUP BY path""",
    "DELETE FROM held",
)


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
    """The SQLite file ``journal.sqlite`` of an index; one run writes at a time.

    Raises:
        JournalDamaged: the file is not a journal, or is cut short.
        DiskFull: SQLite found no room.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with journal_errors(path):
            self._db = sqlite3.connect(path, isolation_level=None)
        try:
            with journal_errors(path):
                self._db.execute("PRAGMA journal_mode=WAL")
                # A note that a power cut takes back would leave parts that nobody knows of.
                self._db.execute("PRAGMA synchronous=FULL")
                # A last page that is cut short is not noticed by SQLite itself.
                whole = (
                    path.stat().st_size % self._db.execute("PRAGMA page_size").fetchone()[0] == 0
                )
                if not whole or self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                    raise JournalDamaged(f"{path} is damaged")
                self._db.executescript(_SCHEMA)
        except BaseException:
            self._db.close()
            raise

    def source(self, path: str) -> Source | None:
        """What is known of a file."""
        rows = self._rows("SELECT path,name,mark,generation,state FROM sources WHERE path=?", path)
        return Source(*rows[0]) if rows else None

    def sources(self) -> list[Source]:
        """All known files, in the order of their paths."""
        sql = "SELECT path, name, mark, generation, state FROM sources ORDER BY path"
        return [Source(*row) for row in self._rows(sql)]

    def failures(self) -> list[Failure]:
        """All files that could not be indexed, or cannot be read now."""
        sql = "SELECT name, error, message FROM sources WHERE error IS NOT NULL ORDER BY path"
        return [Failure(*row) for row in self._rows(sql)]

    def failure(self, path: str) -> Failure | None:
        """Why this file could not be indexed, if that is why it has no records."""
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
                row: tuple[object, ...] = (path, name, str(mark), generation, "done", None, None)
                if failure is not None:
                    said = (failure.error, failure.message)
                    row = (path, name, str(mark), generation + 1, "failed", *said)
                self._db.execute("INSERT OR REPLACE INTO sources VALUES (?,?,?,?,?,?,?)", row)

    def stale(self, paths: Iterable[str] | None = None) -> list[str]:
        """Ids of parts that no source's current version has, of some files or of all."""
        if paths is None:
            return [row[0] for row in self._rows(_STALE)]
        found = (self._rows(f"{_STALE} AND p.path=?", path) for path in paths)
        return [row[0] for rows in found for row in rows]

    def cleared(self, paths: Iterable[str] | None = None) -> None:
        """The stale parts were deleted from the store: forget them."""
        with self._transaction():
            if paths is None:
                self._db.execute(_CLEARED)
            else:
                self._db.executemany(f"{_CLEARED} AND path=?", ((path,) for path in paths))

    def refused(self) -> dict[str, Failure]:
        """The files, by path, that could not be read when they were last looked for."""
        return {path: Failure(*failure) for path, *failure in self._rows(_REFUSED)}

    def keep_refused(self, refused: Mapping[str, Failure], well: Sequence[str]) -> None:
        """Note files that cannot be read now, and those that are ``well`` again, or gone. Marks and
        parts of what was read before stay."""
        with self._transaction():
            for sql in _WELL:
                self._db.executemany(sql, [(path,) for path in well])
            rows = [(path, f.source, f.error, f.message) for path, f in refused.items()]
            self._db.executemany(_REFUSE, rows)

    def forget(self, paths: Iterable[str]) -> None:
        """Forget files; their parts become stale."""
        with self._transaction():
            sql = "DELETE FROM sources WHERE path=?"
            self._db.executemany(sql, ((path,) for path in paths))

    def forget_all(self) -> None:
        """Forget everything: the index that it speaks of is not there any more."""
        with self._transaction():
            self._db.execute("DELETE FROM sources")
            self._db.execute("DELETE FROM parts")

    def adopt(self, held: Iterable[tuple[str, str, str, str | None]]) -> None:
        """Compare with the parts (path, id, name, media) that the index holds. Those that are not
        known are stale if their file is, else they stay until it is read; a file of which parts
        are missing is read again."""
        with self._transaction():
            self._db.executemany("INSERT OR IGNORE INTO held VALUES (?,?,?,?)", held)
            for sql in _ADOPT:
                self._db.execute(sql)

    def media(self) -> set[str]:
        """The derived pictures that some part needs."""
        return {row[0] for row in self._rows("SELECT media FROM parts WHERE media IS NOT NULL")}

    @property
    def clean(self) -> bool:
        """Whether the last run came to its end; False of a new journal."""
        return bool(self._rows("SELECT 1 FROM facts WHERE name='clean'"))

    @clean.setter
    def clean(self, clean: bool) -> None:
        with self._transaction():
            if clean:
                self._db.execute("INSERT OR REPLACE INTO facts VALUES ('clean', '1')")
            else:
                self._db.execute("DELETE FROM facts WHERE name='clean'")
        if not clean:  # to be known even if the write-ahead log is lost
            self._rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file; idempotent."""
        self._db.close()

    def _rows(self, sql: str, *values: str) -> list[Any]:
        with journal_errors(self.path):
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with journal_errors(self.path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


@contextmanager
def journal_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into our errors."""
    try:
        yield
    except sqlite3.Error as error:
        if "full" in str(error) or "disk I/O" in str(error):
            raise DiskFull(f"no room to write the journal {path}: {error}") from error
        if "locked" in str(error):
            raise StoreLocked(f"another run writes the journal {path}: wait for it") from error
        if type(error) is sqlite3.DatabaseError:
            raise JournalDamaged(f"the journal {path} cannot be read: {error}") from error
        # No permission, say: the file itself may be fine.
        raise StoreError(f"the journal {path} cannot be used: {error}") from error
