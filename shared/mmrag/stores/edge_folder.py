"""An open folder of an embedded index: one holder of its lock, from opening to closing."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import qdrant_edge as qe

from mmrag.errors import StoreError
from mmrag.stores.edge_files import (
    OpenShard,
    check_room,
    engine_errors,
    open_shard,
    read_manifest,
    write_manifest,
)
from mmrag.types import Json

__all__ = ["EdgeFolder"]


class EdgeFolder:
    """What :class:`mmrag.stores.edge.EdgeStore` is apart from its points."""

    def __init__(self, path: str | Path, create: bool) -> None:
        self._path = Path(path)
        self._writing = threading.Lock()
        self._open: OpenShard | None = open_shard(self._path, create)

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    def manifest(self) -> dict[str, Json] | None:
        """What ``save_manifest`` kept; None in a store that is new."""
        with self._engine():
            return read_manifest(self._path)

    def save_manifest(self, manifest: Mapping[str, Json]) -> None:
        """Keep what the index says of itself, in one step."""
        with self._writing, self._engine():
            write_manifest(self._path, manifest)

    def optimize(self) -> None:
        """Give back the room of deleted points, and build a search graph for each field of more
        than 150 MB (100,000 vectors of 384 numbers); the scan of fewer is fast and exact.

        The engine lets nothing else in this process run meanwhile: a graph of 100,000 vectors
        takes a minute or two, and makes a search several times faster, but no longer exact.
        """
        with self._writing, self._engine() as shard:
            check_room(self._path, 2 * _used(self._path))
            shard.optimize()

    def flush(self) -> None:
        """Return once everything acknowledged would survive a power cut."""
        with self._writing, self._engine() as shard:
            shard.flush()

    def close(self) -> None:
        """Flush, and release the folder; idempotent."""
        with self._writing:
            opened, self._open = self._open, None
            if opened is not None:
                with engine_errors(self._path):
                    opened.close()

    @contextmanager
    def _engine(self) -> Iterator[qe.EdgeShard]:
        opened = self._open
        if opened is None:
            raise StoreError(f"{self._path} was closed")
        with engine_errors(self._path):
            yield opened.shard


def _used(folder: Path) -> int:
    """The bytes that a folder takes on the disk: its files have holes, which Windows counts in."""
    stats = [file.stat() for file in folder.rglob("*") if file.is_file()]
    return sum(512 * s.st_blocks if hasattr(s, "st_blocks") else s.st_size for s in stats)
