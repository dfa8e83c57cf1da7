"""Which files a caller means by the paths given: every real file once, whatever leads to it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmrag.errors import SourceError, UnreadableSource

__all__ = ["Found", "scan"]


@dataclass(frozen=True, slots=True)
class Found:
    """A file to be indexed: its real path, its name as the caller gave it, or why it cannot be."""

    path: Path
    name: str
    error: SourceError | None = None


def scan(paths: Iterable[str | Path], leave_out: Path) -> Iterator[Found]:
    """The files of ``paths``, in order; each real file once, whatever links lead to it.

    Hidden files and folders inside of a given folder are passed over, and so is the folder
    ``leave_out`` (the index itself).
    """
    seen: set[tuple[int, int]] = set()
    for given in paths:
        name = os.fspath(given)
        path = Path(name).expanduser()
        try:
            info = path.stat()
        except (OSError, ValueError) as error:
            yield _unreadable(path, name, error)
            continue
        if path.is_dir():
            yield from _walk(path, name, leave_out.absolute(), seen)
        elif (info.st_dev, info.st_ino) not in seen:
            seen.add((info.st_dev, info.st_ino))
            yield _found(path, name)


def _walk(folder: Path, name: str, leave_out: Path, seen: set[tuple[int, int]]) -> Iterator[Found]:
    try:
        info = folder.stat()
        if (info.st_dev, info.st_ino) in seen or folder.resolve() == leave_out.resolve():
            return
        seen.add((info.st_dev, info.st_ino))
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        yield _unreadable(folder, name, error)
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path, inner = Path(entry.path), f"{name.rstrip('/')}/{entry.name}"
        try:
            info = entry.stat()
            if entry.is_dir():
                yield from _walk(path, inner, leave_out, seen)
                continue
        except OSError as error:
            yield _unreadable(path, inner, error)
            continue
        if entry.is_file() and (info.st_dev, info.st_ino) not in seen:
            seen.add((info.st_dev, info.st_ino))
            yield _found(path, inner)


def _found(path: Path, name: str) -> Found:
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
        return Found(path, shown, UnreadableSource(f"its name is not valid UTF-8: {shown}"))
    if not path.is_file():
        return Found(path, name, UnreadableSource(f"{name} is neither a file nor a folder"))
    return Found(path.resolve(), name)


def _unreadable(path: Path, name: str, error: OSError | ValueError) -> Found:
    reason = getattr(error, "strerror", None) or str(error)
    shown = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return Found(path.absolute(), shown, UnreadableSource(f"{shown}: {reason}"))
