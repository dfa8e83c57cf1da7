"""Which files a caller means by the paths given: every real file once, whatever leads to it."""

from __future__ import annotations

import os
import stat
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

    Hidden files and folders inside of a given folder are passed over, and so is all that is in
    the folder ``leave_out`` (the index itself).
    """
    left_out = leave_out.resolve()
    seen: set[tuple[int, int]] = set()
    for given in paths:
        # A stack, since folders can be nested deeper than Python calls.
        waiting = [os.fspath(given)]
        while waiting:
            name = waiting.pop()
            try:
                path = Path(name).expanduser() if name else Path("/dev/null/no name")
                info, real = path.stat(), path.resolve()
                if (info.st_dev, info.st_ino) in seen or real.is_relative_to(left_out):
                    continue
                seen.add((info.st_dev, info.st_ino))
                if stat.S_ISDIR(info.st_mode):
                    waiting += reversed(_inside(path, name))
                    continue
            except (OSError, ValueError, RuntimeError) as error:
                yield _unreadable(name, error)
                continue
            if stat.S_ISREG(info.st_mode):
                yield _found(real, name)
            elif name == os.fspath(given):
                reason = f"{name} is neither a file nor a folder"
                yield Found(real, name, UnreadableSource(reason))


def _inside(folder: Path, name: str) -> list[str]:
    """The names of what is in a folder, in order."""
    with os.scandir(folder) as listing:
        names = sorted(entry.name for entry in listing if not entry.name.startswith("."))
    return [f"{name.rstrip('/')}/{inner}" for inner in names]


def _found(path: Path, name: str) -> Found:
    try:
        f"{name}{path}".encode()
    except UnicodeEncodeError:
        shown = _shown(name if not name.isprintable() else str(path))
        return Found(path, _shown(name), UnreadableSource(f"its name is not valid UTF-8: {shown}"))
    return Found(path, name)


def _unreadable(name: str, error: Exception) -> Found:
    reason = getattr(error, "strerror", None) or str(error)
    return Found(Path(name), _shown(name), UnreadableSource(f"{_shown(name)}: {reason}"))


def _shown(name: str) -> str:
    """A name that may not be Unicode as text that is."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
