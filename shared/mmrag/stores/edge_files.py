"""The folder of an embedded index: what is in it, its errors in our words, room on its disk."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import qdrant_edge as qe

from mmrag.errors import DiskFull, MmragError, NotAnIndex, StoreError, StoreLocked
from mmrag.lock import lock_file
from mmrag.stores.edge_tmpfs import check_tmpfs
from mmrag.types import Json

__all__ = [
    "OpenShard",
    "check_room",
    "engine_errors",
    "has_room",
    "open_shard",
    "read_dims",
    "read_manifest",
    "shard_path",
    "write_manifest",
]

_CONFIG, _MANIFEST, _LOCK = "edge_config.json", "manifest.json", ".lock"
_PARTS = {"segments", "wal"}

# The engine writes through memory maps: on a full disk the kernel would kill the process with
# SIGBUS rather than report an error, so we stop while there is still room.
_RESERVE = 64 << 20

# From this size of a field on, ``optimize`` builds a graph for it. Below, scanning takes under
# 10 ms and finds everything; the graph of 100,000 vectors takes minutes to build.
_GRAPH_KB = 150_000


class OpenShard(NamedTuple):
    """The engine, and the lock that keeps all others out as long as it is open."""

    shard: qe.EdgeShard
    lock: sqlite3.Connection

    def close(self) -> None:
        """Flush, and release the folder."""
        with closing(self.lock), closing(self.shard):
            self.shard.flush()


def open_shard(folder: Path, create: bool) -> OpenShard:
    """Load the shard of the index in ``folder``, or create one if there is nothing yet.

    Raises:
        StoreLocked: this or another process has it open.
        NotAnIndex: something else is there, a part is missing, or nothing is there and ``create``
            is false; nothing is written.
        DiskFull: it is on a disk in memory that has no room left for it to be opened.
        StoreError: the engine cannot read it.
    """
    path = shard_path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotAnIndex(f"{folder} is a file, not the folder of an index")
    with engine_errors(folder):
        known = (folder / _MANIFEST).exists()
        if (path / _CONFIG).exists():
            _require(path, _PARTS)
            return _alone(path, _load)
        if known:
            raise NotAnIndex(f"{folder}: the vectors ({path.name}) are missing")
        # What a creation leaves behind that was cut short is nothing.
        blank = _names(folder) <= {path.name} and _names(path) <= _PARTS
        if not blank:
            raise NotAnIndex(f"{folder} holds something else than an index; take an empty folder")
        if not create:
            raise NotAnIndex(f"there is no index in {folder}")
        path.mkdir(parents=True, exist_ok=True)
        return _alone(path, _create)


def shard_path(folder: Path) -> Path:
    """Where the engine's own files are in the folder of an index."""
    return folder / "edge"


def read_manifest(folder: Path) -> dict[str, Json] | None:
    """What :func:`write_manifest` kept; None if nothing was kept yet.

    Raises:
        StoreError: the file is damaged.
    """
    file = folder / _MANIFEST
    if not file.exists():
        return None
    with engine_errors(folder):
        manifest = json.loads(file.read_text("utf-8"))
        if not isinstance(manifest, dict):
            raise StoreError(f"{file} is damaged")
        return manifest


def write_manifest(folder: Path, manifest: Mapping[str, Json]) -> None:
    """Replace the manifest in one step: a reader, or a power cut, finds the old one or the new."""
    file = folder / _MANIFEST
    draft = shard_path(folder) / f"{_MANIFEST}.new"  # not beside it: see ``blank`` above
    with engine_errors(folder):
        with draft.open("w", encoding="utf-8") as stream:
            json.dump(dict(manifest), stream, ensure_ascii=False, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)


def read_dims(folder: Path) -> dict[str, int]:
    """The dense fields of the shard and their dimensions."""
    with engine_errors(folder):
        config = json.loads((shard_path(folder) / _CONFIG).read_text("utf-8"))
        return {name: int(params["size"]) for name, params in config.get("vectors", {}).items()}


def has_room(folder: Path, size: int = 0) -> bool:
    """Whether ``size`` more bytes leave the disk short of full."""
    return shutil.disk_usage(folder).free >= _RESERVE + size


def check_room(folder: Path, size: int = 0) -> None:
    """Refuse to write about ``size`` bytes if the disk would come close to full.

    Raises:
        DiskFull: too little room is left.
    """
    if not has_room(folder, size):
        needed = (_RESERVE + size) >> 20
        raise DiskFull(f"{folder}: the disk has less than the {needed} MB left that writing takes")


@contextmanager
def engine_errors(path: Path) -> Iterator[None]:
    """Turn what the engine raises into a StoreError that names the folder."""
    try:
        yield
    except MmragError:
        raise
    except Exception as error:
        raise _ours(error, path) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a Rust panic is no Exception
            raise
        raise StoreError(
            f"{path}: the engine gave up, the index may be damaged: {error}"
        ) from error


def _alone(path: Path, made: Callable[[Path], qe.EdgeShard]) -> OpenShard:
    """With a lock of ours. The engine has one too, but before it looks at that, it puts the files
    in order, and what their holder flushes next then fails."""
    lock = lock_file(path / _LOCK)
    if lock is None:
        raise _locked(path)
    try:
        return OpenShard(made(path), lock)
    except BaseException:
        lock.close()
        raise


def _load(path: Path) -> qe.EdgeShard:
    check_tmpfs(path)
    return qe.EdgeShard.load(str(path))


def _create(path: Path) -> qe.EdgeShard:
    check_room(path)
    sparse = {"keywords": qe.EdgeSparseVectorParams(modifier=qe.Modifier.Idf)}
    optimizers = qe.EdgeOptimizersConfig(indexing_threshold=_GRAPH_KB)
    config = qe.EdgeConfig(sparse_vectors=sparse, optimizers=optimizers)
    # ``create`` refuses the leftovers of a creation that was cut short; ``load`` completes them.
    load = qe.EdgeShard.load if _names(path) else qe.EdgeShard.create
    return load(str(path), config)


def _names(folder: Path) -> set[str]:
    """What is in a folder; hidden files are nothing."""
    names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    return {name for name in names if not name.startswith(".")}


def _require(path: Path, parts: set[str]) -> None:
    """The engine would make a missing part anew, empty, without a word."""
    if missing := parts - _names(path):
        raise NotAnIndex(f"{path}: {', '.join(sorted(missing))} missing")


def _locked(path: Path) -> StoreLocked:
    return StoreLocked(
        f"{path} is open already, in another process or in this one: close it there first, "
        "with index.close(), or store.index.close()"
    )


def _ours(error: Exception, path: Path) -> StoreError:
    text = str(error)
    if "WouldBlock" in text:
        return _locked(path)
    if "os error 28" in text or "No space left" in text:
        return DiskFull(f"{path}: no room left on the disk: {text}")
    return StoreError(f"{path}: {text}")
