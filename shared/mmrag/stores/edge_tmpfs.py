"""Opening an index on a disk in memory (tmpfs: ``/dev/shm``, often ``/tmp``) that is nearly full.

When the engine opens its vectors and payload indexes, it touches every page of their files, which
are mostly holes. On other file systems reading a hole takes no room; on tmpfs it does, and if there
is none left, the kernel kills the process with SIGBUS.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mmrag.errors import DiskFull

__all__ = ["check_tmpfs"]

# What opening touches as a whole; of the other files, only what is written in them.
_TOUCHED = (
    "segments/*/vector_storage*/vectors/*",
    "segments/*/payload_index/*/page_*.dat",
    "segments/*/payload_index/*/tracker.dat",
)
_SPARE = 1 << 20  # for what opening writes besides


def check_tmpfs(path: Path) -> None:
    """Refuse to open the engine's files in ``path`` if that would kill the process.

    Raises:
        DiskFull: they are on tmpfs, which has too little room left.
    """
    if not _on_tmpfs(path):
        return
    needed, free = _holes(path), shutil.disk_usage(path).free
    if needed and free < needed + _SPARE:
        raise DiskFull(
            f"{path}: the disk, which is in memory (tmpfs), has {free >> 20} MB left, and it takes "
            f"{(needed + _SPARE) >> 20} MB to open it: make room there, or copy it to another disk"
        )


def _holes(path: Path) -> int:
    """The bytes that opening adds to the engine's files."""
    files = (file for pattern in _TOUCHED for file in path.glob(pattern) if file.is_file())
    stats = [file.stat() for file in files]
    return sum(max(0, info.st_size - 512 * info.st_blocks) for info in stats)


def _on_tmpfs(path: Path) -> bool:
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:  # only Linux has it, as it has tmpfs
        return False
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    # 36 35 0:31 / /tmp rw shared:1 - tmpfs tmpfs rw,size=262144k
    return any(line.split()[2] == number and " - tmpfs " in line for line in mounts)
