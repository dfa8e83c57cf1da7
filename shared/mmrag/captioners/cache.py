"""Captions on disk, so that no picture is described twice: one SQLite file."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmrag.captioners.base import OneByOne, caption_one, usage_by
from mmrag.errors import DiskFull, InputError, StoreError
from mmrag.identity import digest_of
from mmrag.media import ImageInput
from mmrag.metadata import CAPTION_KEY, caption_of, caption_to_dict
from mmrag.openai_wire import Usage
from mmrag.protocols import Captioner
from mmrag.types import Caption

__all__ = ["CachedCaptioner", "CaptionCache"]

log = logging.getLogger("mmrag")

_PATIENCE = 30.0  # seconds that another process may take to write
_SCHEMA = """
CREATE TABLE IF NOT EXISTS captions (
    digest TEXT NOT NULL, captioner TEXT NOT NULL, prompt TEXT NOT NULL, language TEXT NOT NULL,
    caption TEXT NOT NULL, PRIMARY KEY (digest, captioner, prompt, language)) WITHOUT ROWID
"""
_GET = "SELECT caption FROM captions WHERE digest=? AND captioner=? AND prompt=? AND language=?"
_PUT = "INSERT OR REPLACE INTO captions VALUES (?, ?, ?, ?, ?)"


class CaptionCache:
    """Whole captions by the picture's digest, the captioner's name, the version of its prompt and
    its language. For several threads and several processes at once.

    >>> with CaptionCache("captions.db") as cache:                        # doctest: +SKIP
    ...     CachedCaptioner(captioner, cache).caption(pictures)

    A file that is damaged is put aside as ``<name>.damaged`` with a warning, and a new one made.

    Raises:
        StoreError: the file cannot be opened or made.
    """

    def __init__(self, path: str | Path) -> None:
        if not isinstance(path, str | Path):
            raise InputError(f"path is that of a file, not a {type(path).__name__}")
        self.path = Path(path)
        self._lock = threading.Lock()
        with self._lock:
            self._db = self._opened()

    def __enter__(self) -> CaptionCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, digest: str, captioner: Captioner) -> Caption | None:
        """The caption that this captioner has made of the picture of this digest, if any.

        Raises:
            StoreError: the file cannot be read.
        """
        rows = self._do(_GET, (digest, *_key(captioner)))
        if not rows:
            return None
        try:
            return caption_of({CAPTION_KEY: json.loads(rows[0][0])})
        except (ValueError, TypeError):  # not ours: made anew
            return None

    def put(self, digest: str, captioner: Captioner, caption: Caption) -> None:
        """Keep a caption; it is on disk when this returns.

        Raises:
            StoreError: DiskFull, or the file cannot be written.
        """
        said = json.dumps(caption_to_dict(caption), ensure_ascii=False)
        # Half a surrogate pair, as a model may send it, is a string to Python alone.
        said = said.encode(errors="replace").decode()
        self._do(_PUT, (digest, *_key(captioner), said))

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            self._db.close()

    def _do(self, sql: str, values: tuple[str, ...]) -> list[Any]:
        with self._lock:
            for last in (False, True):
                try:
                    return self._db.execute(sql, values).fetchall()
                except sqlite3.Error as error:
                    if last or not _is_damage(error):
                        raise self._error(error) from error
                    self._db.close()
                    self._db = self._opened()
            raise AssertionError

    def _opened(self) -> sqlite3.Connection:
        """A connection to the file, which is made anew if it is damaged."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return self._connected()
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise
                aside = self.path.with_name(self.path.name + ".damaged")
                log.warning("the caption cache %s is damaged (%s) and made anew", self.path, error)
                self.path.replace(aside)
                for suffix in ("-journal", "-wal", "-shm"):
                    with suppress(FileNotFoundError):
                        self.path.with_name(self.path.name + suffix).unlink()
            return self._connected()
        except (sqlite3.Error, OSError) as error:
            raise self._error(error) from error

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            said = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if said != "ok":
                raise sqlite3.DatabaseError(said)
            db.execute(_SCHEMA)
            db.execute(_GET, ("", "", "", ""))  # another table of this name is no cache of ours
        except BaseException:
            db.close()
            raise
        return db

    def _error(self, error: Exception) -> StoreError:
        full = "full" in str(error) or "disk I/O" in str(error)
        kind = DiskFull if full else StoreError
        return kind(f"the caption cache {self.path} cannot be used: {error}")


def _is_damage(error: sqlite3.Error) -> bool:
    said = str(error)
    return type(error) is sqlite3.DatabaseError or "no such" in said or "has no column" in said


def _key(captioner: Captioner) -> tuple[str, str, str]:
    prompt = getattr(captioner, "prompt_version", "")
    return captioner.name, str(prompt), str(getattr(captioner, "language", ""))


class CachedCaptioner(OneByOne):
    """A captioner with a cache: it asks only what the cache does not have, and stores each caption
    in the moment that it is made, so that stopping a run loses none.

    Only whole captions are kept. A caption that cannot be stored is given all the same, with a
    warning.

    Raises:
        InputError: ``captioner`` is none, or ``cache`` is no CaptionCache.
    """

    def __init__(self, captioner: Captioner, cache: CaptionCache) -> None:
        if not (hasattr(captioner, "caption") and hasattr(captioner, "name")):
            raise InputError(f"a {type(captioner).__name__} is no captioner: it has no caption()")
        if not isinstance(cache, CaptionCache):
            raise InputError(f"pass a CaptionCache, not a {type(cache).__name__}")
        self.captioner, self.cache = captioner, cache
        self.concurrency = getattr(captioner, "concurrency", 1)
        self.language = str(getattr(captioner, "language", ""))

    @property
    def name(self) -> str:
        """The captioner's own."""
        return self.captioner.name

    @property
    def usage(self) -> Usage:
        """What the captioner has asked so far: what the cache has costs nothing."""
        return usage_by(self.captioner)

    def one(self, image: ImageInput) -> Caption:
        """The caption from the cache, or else from the captioner. Raises what that raises."""
        digest = digest_of(image)
        try:
            known = self.cache.get(digest, self.captioner)
        except StoreError as error:
            log.warning("%s", error)
            known = None
        if known is not None:
            return known
        caption = caption_one(self.captioner, image)
        try:
            self.cache.put(digest, self.captioner, caption)
        except StoreError as error:
            log.warning("a caption is not kept: %s", error)
        return caption
