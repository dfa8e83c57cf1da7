"""Peak memory while 20,000 photographs of 512 x 512 are indexed, and 5,000 of them.

Measured: the peak resident size (``VmHWM``) of a fresh process that opens a new index with the
bundled encoder and calls ``index.add_files`` once. It is ``ru_maxrss`` without a flaw of that on
Linux: it would start at the size of the process that started this one.

The growth of the peak is told, and that of the process's own memory (``RssAnon``, sampled 20 times
a second). The rest are the index's files, which the engine maps: they grow with the index, and are
cache that the system takes back when it needs the room.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from benchmarks import photos
from benchmarks.figure import Figure, Outcome

SMALL, LARGE = 5_000, 20_000
LIMIT_MB = 1200.0
GROWTH = 1.1


def run(work: Path) -> Outcome:
    folder = work / "squares"
    photos.write(folder, LARGE, [(512, 512)], quality=60)
    (small, small_own), (large, large_own) = _peaks(folder, SMALL), _peaks(folder, LARGE)
    growth = f"{LARGE:,} / {SMALL:,}"
    return Outcome(
        [
            Figure("memory", f"peak, {SMALL:,} photographs", small, "MB"),
            Figure("memory", f"peak, {LARGE:,} photographs", large, "MB", under=LIMIT_MB),
            Figure("memory", f"peak, {growth}", large / small, "x", under=GROWTH),
            Figure("memory", f"own memory, {SMALL:,} photographs", small_own, "MB"),
            Figure("memory", f"own memory, {LARGE:,} photographs", large_own, "MB"),
            Figure("memory", f"own memory, {growth}", large_own / small_own, "x", under=GROWTH),
        ]
    )


def _peaks(folder: Path, count: int) -> tuple[float, float]:
    """Peak resident size and peak of own memory, in MB."""
    command = [sys.executable, "-m", "benchmarks.memory", str(folder), str(count)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    peak, own = map(float, run.stdout.split())
    return peak, own


def _index(folder: Path, count: int) -> None:
    from mmrag import MultimodalIndex

    folders = sorted(folder.iterdir())[: count // photos.IN_FOLDER]
    with tempfile.TemporaryDirectory(prefix="mmrag-bench-") as place:
        with MultimodalIndex.open(Path(place) / "index") as index:
            report = index.add_files(folders)
        if report.added != count:
            raise RuntimeError(f"{report.added} of {count} were indexed: {report.failed[:3]}")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def _main(folder: Path, count: int) -> None:
    ended, own = threading.Event(), [0.0]

    def watch() -> None:
        while not ended.wait(0.05):
            own.append(_status("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        _index(folder, count)
    finally:
        ended.set()
        watcher.join()
    print(_status("VmHWM"), max(own))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
