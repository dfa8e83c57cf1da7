"""Peak memory while 20,000 photographs of 512 x 512 are indexed, and 5,000 of them.

Measured: the peak resident size of a fresh process that opens a new index with the bundled encoder
and calls ``index.add_files`` once. Not ``ru_maxrss``, which on Linux starts at the size of the
process that started this one, but ``VmHWM``, which starts at zero; elsewhere ``ru_maxrss``.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import photos
from benchmarks.figure import Figure, Outcome

SMALL, LARGE = 5_000, 20_000
LIMIT_MB = 1200.0
GROWTH = 1.1


def run(work: Path) -> Outcome:
    folder = work / "squares"
    photos.write(folder, LARGE, [(512, 512)], quality=60)
    small, large = _peak_mb(folder, SMALL), _peak_mb(folder, LARGE)
    return Outcome(
        [
            Figure("memory", f"peak, {SMALL:,} photographs", small, "MB"),
            Figure("memory", f"peak, {LARGE:,} photographs", large, "MB", under=LIMIT_MB),
            Figure("memory", f"peak, {LARGE:,} / {SMALL:,}", large / small, "x", under=GROWTH),
        ]
    )


def _peak_mb(folder: Path, count: int) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", str(folder), str(count)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(run.stdout)


def _index(folder: Path, count: int) -> None:
    from mmrag import MultimodalIndex

    files = sorted(folder.rglob("*.jpg"))[:count]
    with tempfile.TemporaryDirectory(prefix="mmrag-bench-") as place:
        with MultimodalIndex.open(Path(place) / "index") as index:
            report = index.add_files(files)
        if report.added != count:
            raise RuntimeError(f"{report.added} of {count} were indexed: {report.failed[:3]}")


def _own_peak_mb() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, else kilobytes
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    _index(Path(sys.argv[1]), int(sys.argv[2]))
    print(_own_peak_mb())
