"""Killed at any point and run again, ingestion ends where a run that was not killed ends."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mmrag.errors import DiskFull

from .files import picture, saved
from .ingest_files import corpus, manual, opened, rewrite, seen, write

pytestmark = pytest.mark.slow

Result = TypeVar("Result")
SEED = int(os.environ.get("MMRAG_TEST_SEED") or random.SystemRandom().randrange(10**6))
CHILD = Path(__file__).with_name("crash_child.py")


def start(kb: Path, docs: Path, step: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, CHILD, kb, docs, str(step)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/")


def steps(kb: Path, docs: Path, step: int = 0) -> list[str]:
    """Index in a process of its own, killed at this step; the steps it took."""
    with start(kb, docs, step) as child:
        out, err = child.communicate(timeout=60)
    assert child.returncode in (0, -signal.SIGKILL), err.decode()
    return out.decode().splitlines()


def kill_after(kb: Path, docs: Path, step: int, milliseconds: float) -> None:
    """Kill from outside, some time after a step; whatever it is doing then."""
    with start(kb, docs, 0) as child:
        assert child.stdout is not None
        for _ in range(step):
            child.stdout.readline()
        select.select([child.stderr], [], [], milliseconds / 1000)  # nothing comes: it is a wait
        child.kill()
        child.communicate()


def copied(source: Path, target: Path) -> Path:
    """A copy of an index; the engine's files are mostly holes, and stay so."""
    for path in source.rglob("*"):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as old, copy.open("wb") as new:
            for start, end in data_of(old.fileno()):
                old.seek(start)
                new.seek(start)
                new.write(old.read(end - start))
            new.truncate(path.stat().st_size)
    return target


def data_of(file: int) -> Iterator[tuple[int, int]]:
    """The stretches of a file that are not holes."""
    size = os.fstat(file).st_size
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError:  # a hole to the end
            return
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end


def finished(kb: Path, docs: Path) -> dict[str, Any]:
    """Index to the end, in this process, and look at the result."""
    with opened(kb) as index:
        index.add_files([docs], prune=True)
        return seen(index)


@dataclass
class World:
    """A folder of files, an index of its first version, and what a clean index of it is like."""

    root: Path
    docs: Path = field(init=False)
    base: Path = field(init=False)
    clean: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.docs = write(self.root / "docs", corpus(1))
        self.base = self.root / "base"
        finished(self.base, self.docs)
        self.become(2)

    def become(self, version: int) -> None:
        rewrite(self.docs, corpus(version))
        self.clean = finished(self.root / f"clean {version}", self.docs)

    @contextmanager
    def index(self, name: str, base: Path | None = None) -> Iterator[Path]:
        kb = self.root / name
        if base is not None:
            copied(base, kb)
        yield kb
        shutil.rmtree(kb)

    def check(self, kb: Path, told: str) -> None:
        try:
            state = finished(kb, self.docs)
        except Exception as error:
            raise AssertionError(f"MMRAG_TEST_SEED={SEED}, {told}") from error
        for name, expected in self.clean.items():
            assert state[name] == expected, f"{name}: MMRAG_TEST_SEED={SEED}, {told}"


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory, if there is room: a kill, other than a power cut, needs no disk."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shutil.disk_usage(shm).free < 1 << 30:
        yield tmp_path_factory.mktemp("crash")
        return
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        yield Path(folder).resolve()


@pytest.fixture(scope="module")
def world(memory: Path) -> World:
    return World(memory / "world")


def two_at_a_time(work: Callable[[int], Result], count: int) -> list[Result]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, range(count)))


def spread(count: int, taken: list[str], name: str) -> list[int]:
    """So many of a run's steps, one at random from each stretch of equal length. Another run may
    take a few steps less, as its threads fill the batches in another way."""
    dice = random.Random(f"{SEED} {name}")
    return [1 + int((n + dice.random()) * (len(taken) - 1) / count) for n in range(count)]


def test_an_update_that_is_not_killed_ends_as_an_index_made_anew(world: World) -> None:
    with world.index("whole", world.base) as kb:
        taken = steps(kb, world.docs)
        assert taken[-1] == "end"
        # All that can go wrong does happen in this world.
        assert {"after upsert", "after delete", "after put", "after unlink", "after replace"} <= {
            *taken
        }
        world.check(kb, "not killed")


def test_killed_at_a_step(world: World) -> None:
    with world.index("whole", world.base) as kb:
        at = spread(24, steps(kb, world.docs), "update")

    def killed(n: int) -> bool:
        with world.index(f"step {n}", world.base) as kb:
            taken = steps(kb, world.docs, at[n])
            world.check(kb, f"killed at step {at[n]}, {taken[-1]}")
            return taken[-1] != "end"

    assert sum(two_at_a_time(killed, len(at))) >= 22


def test_killed_at_any_moment(world: World) -> None:
    with world.index("whole", world.base) as kb:
        at = spread(10, steps(kb, world.docs), "moment")
    dice = random.Random(f"{SEED} wait")
    waits = [dice.uniform(0, 8) for _ in at]

    def work(n: int) -> None:
        with world.index(f"moment {n}", world.base) as kb:
            kill_after(kb, world.docs, at[n], waits[n])
            world.check(kb, f"killed {waits[n]:.2f} ms after step {at[n]}")

    two_at_a_time(work, len(at))


def test_killed_and_the_run_after_it_too(world: World) -> None:
    with world.index("whole", world.base) as kb:
        taken = steps(kb, world.docs)
    first, second = spread(5, taken, "first"), spread(5, taken[len(taken) // 2 :], "second")
    random.Random(SEED).shuffle(second)

    def work(n: int) -> None:
        with world.index(f"twice {n}", world.base) as kb:
            steps(kb, world.docs, first[n])
            steps(kb, world.docs, second[n])
            steps(kb, world.docs, 3)
            world.check(kb, f"killed at steps {first[n]}, {second[n]} and 3")

    two_at_a_time(work, len(first))


def test_killed_while_the_index_is_made(world: World) -> None:
    with world.index("new") as kb:
        at = [1, 2, 4, 6, 8, *spread(3, steps(kb, world.docs), "new")]

    def work(n: int) -> None:
        with world.index(f"new {n}") as kb:
            taken = steps(kb, world.docs, at[n])
            world.check(kb, f"killed at step {at[n]}, {taken[-1]}, of the first run")

    two_at_a_time(work, len(at))


def test_killed_and_then_the_files_change_once_more(memory: Path) -> None:
    world = World(memory / "another")
    with world.index("whole", world.base) as kb:
        at = spread(4, steps(kb, world.docs), "changed")

    def kill(n: int) -> None:
        kb = copied(world.base, world.root / f"kb {n}")
        steps(kb, world.docs, at[n])
        if n % 2:  # and what the journal says of this run is lost
            (kb / "journal.sqlite-wal").unlink(missing_ok=True)

    two_at_a_time(kill, len(at))
    world.become(3)
    two_at_a_time(lambda n: world.check(world.root / f"kb {n}", f"at step {at[n]}"), len(at))


# A journal that is torn


def torn(kb: Path, how: str) -> None:
    journal, log = kb / "journal.sqlite", kb / "journal.sqlite-wal"
    data = journal.read_bytes()
    if how == "gone":
        journal.unlink()
    elif how == "garbage":
        journal.write_bytes(random.Random(SEED).randbytes(len(data)))
    elif how == "garbage within":
        middle = len(data) // 2
        journal.write_bytes(data[:middle] + random.Random(SEED).randbytes(2000) + data[middle:])
    elif how.startswith("log"):
        size = {"log gone": 0, "log cut": log.stat().st_size // 2}[how]
        log.write_bytes(log.read_bytes()[:size])
    else:
        journal.write_bytes(data[: int(len(data) * float(how))])


HOWS = [
    "gone",
    "garbage",
    "garbage within",
    "log gone",
    "log cut",
    "0",
    "0.01",
    "0.3",
    "0.7",
    "0.999",
]


def test_a_torn_journal_is_made_anew(world: World) -> None:
    with world.index("whole", world.base) as kb:
        taken = steps(kb, world.docs)
    killed = world.root / "killed"
    steps(copied(world.base, killed), world.docs, len(taken) // 2)
    assert (killed / "journal.sqlite-wal").stat().st_size > 10_000

    def work(n: int) -> None:
        with world.index(f"torn {n}", killed) as kb:
            torn(kb, HOWS[n])
            world.check(kb, f"journal torn: {HOWS[n]}")

    two_at_a_time(work, len(HOWS))


@pytest.mark.parametrize("how", ["0", "0.5", "garbage"])
def test_a_journal_that_is_torn_while_nothing_runs(world: World, how: str) -> None:
    with world.index("idle", world.base) as kb:
        torn(kb, how)
        world.check(kb, f"journal torn: {how}")


# A disk that is full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this system does not let even root mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_a_typed_error_and_the_next_run_completes(
    tmp_path: Path, small_disk: Path
) -> None:
    first = {f"a{n}.txt": f"first {n}" for n in range(20)}
    docs = write(tmp_path / "docs", first)
    kb, filler = small_disk / "kb", small_disk / "filler"
    with opened(kb) as index:
        index.add_files([docs])
        write(docs, {f"b{n}.txt": f"second {n}" for n in range(300)})
        write(docs, {f"c{n}.pdf": manual(3, seed=n) for n in range(4)})
        write(docs, {"d.png": saved(picture(), "PNG")})
        for left in (60 << 20, 1 << 20, 0):
            fill(filler, left)
            with pytest.raises(DiskFull):
                index.add_files([docs])
            assert set(first.values()) <= {h.record.text for h in index.search("first", limit=40)}
        filler.unlink()
        report = index.add_files([docs])
        assert report.failed == []
        assert report.added + report.unchanged == 325
        state = seen(index)
    with opened(tmp_path / "clean") as clean:
        clean.add_files([docs])
        assert seen(clean) == state


def fill(filler: Path, left: int) -> None:
    """Make a file that leaves so many bytes of its disk free."""
    filler.touch()
    free = shutil.disk_usage(filler.parent).free
    with filler.open("ab") as file:
        os.posix_fallocate(file.fileno(), filler.stat().st_size, max(1, free - left))


def test_a_full_disk_kills_no_process(tmp_path: Path, small_disk: Path) -> None:
    docs = write(tmp_path / "docs", corpus(1))
    ended = set()
    for left in (0, 30, 65, 67, 70, 110):
        filler, kb = small_disk / "filler", small_disk / f"kb {left}"
        fill(filler, left << 20)
        with start(kb, docs, 0) as child:
            _, err = child.communicate(timeout=60)
        ended.add(child.returncode)
        if child.returncode:
            last = err.decode().rstrip().splitlines()[-1]
            assert last.startswith("mmrag.errors.DiskFull"), (left, err.decode())
        filler.unlink()
        with opened(kb) as index:
            index.add_files([docs])
            assert len(seen(index)["records"]) > 100
        shutil.rmtree(kb)
    assert ended == {0, 1}
