"""Which files a caller means by the paths given: every real file once, whatever leads to it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmrag.errors import SourceError, UnreadableSource

__all__ = ["Found", "folders", "gone", "journal_key", "scan"]


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
        # A list of what waits, since folders can be nested deeper than calls: paths, names, and
        # whether a path may lead through a link.
        waiting = [(Path(given), os.fspath(given), True)]
        while waiting:
            path, name, linked = waiting.pop()
            is_given = name == os.fspath(given)
            try:
                path = _expanded(name) if is_given else path
                info = path.stat()
                real = path.resolve() if linked else path
                if (info.st_dev, info.st_ino) in seen or real.is_relative_to(left_out):
                    continue
                seen.add((info.st_dev, info.st_ino))
                if stat.S_ISDIR(info.st_mode):
                    waiting += reversed(_inside(real, name))
                    continue
            except (OSError, ValueError, RuntimeError) as error:
                reason = getattr(error, "strerror", None) or error
                yield _refused(path, name, f"{name}: {reason}")
                continue
            if _shown(f"{name}{real}") != f"{name}{real}":
                yield _refused(path, name, f"its name is not valid UTF-8: {real}")
            elif stat.S_ISREG(info.st_mode):
                yield Found(real, name)
            elif is_given:
                yield _refused(real, name, f"{name} is neither a file nor a folder")


def folders(paths: Iterable[str | Path]) -> set[Path]:
    """The real folders among ``paths``, without those that are not there now."""
    found = set()
    for given in paths:
        try:
            path = _expanded(os.fspath(given))
            if stat.S_ISDIR(path.stat().st_mode):
                found.add(path.resolve())
        except (OSError, ValueError, RuntimeError):
            continue
    return found


def gone(path: Path) -> bool:
    """Whether there is certainly no such file any more, or something else in its place."""
    try:
        return not (stat.S_ISREG(path.lstat().st_mode) and path.resolve() == path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def journal_key(path: Path) -> str | None:
    """What the journal calls a path that the system refuses, a link by its own place; None if there
    is certainly nothing."""
    try:
        path = _expanded(os.fspath(path))
        path = path.parent.resolve() / path.name
        path.lstat()
    except PermissionError:
        pass
    except (OSError, ValueError, RuntimeError):
        return None
    return _shown(str(path))


def _expanded(name: str) -> Path:
    if not name:
        raise ValueError("the name is empty")
    return Path(name).expanduser()


def _inside(folder: Path, name: str) -> list[tuple[Path, str, bool]]:
    """What is in a folder, in order."""
    with os.scandir(folder) as listing:
        entries = sorted((entry.name, entry.is_symlink()) for entry in listing)
    return [
        (folder / inner, f"{name.rstrip('/')}/{inner}", linked)
        for inner, linked in entries
        if not inner.startswith(".")
    ]


def _refused(path: Path, name: str, reason: str) -> Found:
    return Found(path, _shown(name), UnreadableSource(_shown(reason)))


def _shown(name: str) -> str:
    """A name with those of its bytes that are not valid UTF-8 as ``\\xff``."""
    return re.sub("[\ud800-\udfff]", lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", name)
