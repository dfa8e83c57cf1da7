"""What survives a killed writer and a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmrag.errors import DiskFull
from mmrag.filters import Eq
from mmrag.protocols import Point
from mmrag.stores.edge import EdgeStore
from mmrag.types import Record

_WRITER = """
import sys, numpy as np
from mmrag.protocols import Point
from mmrag.stores.edge import EdgeStore
from mmrag.types import Record
store = EdgeStore(sys.argv[1])
store.prepare({"text": 2, sys.argv[2]: 3})
n = store.count()
while True:
    vectors = {"text": np.array([1, n], np.float32), sys.argv[2]: np.array([1, n, 0], np.float32)}
    store.upsert([Point(Record(f"{n}", "text"), vectors, f"w{n}")])
    store.delete([])
    n += 1
    print(n, flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    acknowledged = 0
    for round_ in range(4):  # each with a field that is new to the index
        command = [sys.executable, "-c", _WRITER, str(tmp_path / "index"), f"field{round_}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for written, line in enumerate(writer.stdout, start=1):
                acknowledged = int(line)
                if written == 150:
                    writer.kill()
                    break
            rest = writer.stdout.read().split()
        acknowledged = int(rest[-1]) if rest else acknowledged
        store = EdgeStore(tmp_path / "index")
        assert store.count() in (acknowledged, acknowledged + 1)
        assert store.count(having="text") == store.count(having="keywords") == store.count()
        assert store.count(having=f"field{round_}") >= 100
        ids = {record.id for batch in store.scan() for record in batch}
        assert ids >= {f"{n}" for n in range(acknowledged)}
        store.close()


_FILLER = """
import sys, numpy as np
from mmrag.errors import DiskFull
from mmrag.protocols import Point
from mmrag.stores.edge import EdgeStore
from mmrag.types import Record
store = EdgeStore(sys.argv[1] + "/index")
store.prepare({"text": 256})
written = 0
try:
    while True:
        batch = range(written, written + 500)
        rng = np.random.default_rng(written)
        rows = rng.standard_normal((500, 256)).astype(np.float32)
        texts = rng.bytes(500 * 2000).hex()
        store.upsert([
            Point(Record(f"{n}", texts[4000 * i : 4000 * i + 4000]), {"text": rows[i]})
            for i, n in enumerate(batch)
        ])
        written += 500
except DiskFull as error:
    store.get([]), store.search([], 1)
    assert store.count() == written
    store.close()
    print(written)
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 260 MB in memory."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=260m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_an_error_and_not_the_end(small_disk: Path) -> None:
    command = [sys.executable, "-c", _FILLER, str(small_disk)]
    filler = subprocess.run(command, capture_output=True, text=True, check=False)
    assert filler.returncode == 0, filler.stderr
    store = EdgeStore(small_disk / "index")
    assert store.count() == int(filler.stdout) > 0
    with pytest.raises(DiskFull):
        store.upsert([Point(Record("big", "x" * 100_000_000))])
    store.delete_where(Eq("id", "0"))
    assert store.count() == int(filler.stdout) - 1
    store.close()


_OPENER = """
import sys
from mmrag.stores.edge import EdgeStore
store = EdgeStore(sys.argv[1])
print(store.count())
store.close()
"""


def test_opening_on_a_nearly_full_disk_in_memory_kills_nobody(small_disk: Path) -> None:
    """The engine fills the holes of its files when it opens them, through memory maps."""
    store = EdgeStore(small_disk / "index")
    store.prepare({"text": 256})
    store.save_manifest({"version": 1})
    store.upsert([Point(Record("a", "words"), {"text": np.ones(256, np.float32)}, "words")])
    store.close()

    def opened() -> str:
        command = [sys.executable, "-c", _OPENER, str(small_disk / "index")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), (done.returncode, done.stderr)
        return done.stdout.strip() or done.stderr.strip().splitlines()[-1]

    with (small_disk / "filler").open("wb") as filler:
        for left in (0, 2 << 20, 16 << 20, 40 << 20):
            os.ftruncate(filler.fileno(), 0)
            free = shutil.disk_usage(small_disk).free
            os.posix_fallocate(filler.fileno(), 0, free - left)
            said = opened()
            assert said.startswith("mmrag.errors.DiskFull"), (left, said)
            assert "to open it" in said
    (small_disk / "filler").unlink()
    assert opened() == "1"
    # Once opened it has hardly a hole of that kind left, and opens though the disk is nearly full.
    with (small_disk / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, shutil.disk_usage(small_disk).free - (8 << 20))
        assert opened() == "1"
