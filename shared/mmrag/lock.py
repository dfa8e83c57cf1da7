"""A lock between processes, and within one: gone with its holder, however that ends."""

from __future__ import annotations

import sqlite3
from pathlib import Path

__all__ = ["lock_file"]


def lock_file(path: Path) -> sqlite3.Connection | None:
    """Hold SQLite's lock of an empty file until the connection is closed, which any thread may do;
    None where somebody has it. The file stays: removing it would be a race.

    Raises:
        sqlite3.Error: the file cannot be opened or locked.
    """
    lock = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        lock.execute("PRAGMA journal_mode=OFF")  # nothing is written, so a full disk is no matter
        lock.execute("BEGIN EXCLUSIVE")
    except BaseException as error:
        lock.close()
        if isinstance(error, sqlite3.OperationalError) and "is locked" in str(error):
            return None
        raise
    return lock
