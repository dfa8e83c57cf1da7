"""Threads that work ahead: the order of items, the bound on them, and their end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmrag.pipeline import Ended, ahead, batched, merged, threads


def readers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("mmrag-read")]


def test_batches() -> None:
    assert list(batched(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched([], 3)) == []
    assert threads() >= 1


def test_ahead_is_one_batch_ahead_and_no_further() -> None:
    started: list[int] = []

    def batches() -> Iterator[list[int]]:
        for n in range(4):
            started.append(n)
            yield [n, n + 10]

    with ThreadPoolExecutor(2) as pool:
        results = ahead(pool, lambda n: n * 2, batches())
        assert started == []
        assert next(results) == [0, 20]
        assert started == [0, 1]
        assert list(results) == [[2, 22], [4, 24], [6, 26]]


def test_ahead_raises_what_the_work_raises() -> None:
    with ThreadPoolExecutor(2) as pool:
        results = ahead(pool, lambda n: 1 // n, [[1], [0], [2]])
        assert next(results) == [1]
        with pytest.raises(ZeroDivisionError):
            next(results)


@pytest.mark.parametrize("workers", [1, 3])
def test_merged_gives_every_item_of_a_job_in_order_and_then_its_end(workers: int) -> None:
    jobs = [f"job {n}" for n in range(20)]
    given: dict[str, list[object]] = {job: [] for job in jobs}
    for job, item in merged(
        jobs, lambda job: [f"{job}.{n}" for n in range(7)], workers=workers, depth=2
    ):
        given[job].append(item)
    assert given == {job: [*(f"{job}.{n}" for n in range(7)), Ended(None)] for job in jobs}
    assert readers() == []


def test_a_job_that_fails_ends_with_its_error_and_the_others_go_on() -> None:
    class Panic(BaseException):
        """As Rust's panics are, which are no Exception."""

    def work(job: int) -> Iterator[str]:
        yield f"{job} begins"
        if job == 1:
            raise ValueError("one")
        if job == 2:
            raise Panic("two")

    entries = list(merged([0, 1, 2, 3], work, workers=2, depth=8))
    ends = {job: item.error for job, item in entries if isinstance(item, Ended)}
    assert {job: repr(error) for job, error in ends.items()} == {
        0: "None",
        1: "ValueError('one')",
        2: "Panic('two')",
        3: "None",
    }
    assert sorted(item for _, item in entries if not isinstance(item, Ended)) == [
        f"{n} begins" for n in range(4)
    ]


def test_no_jobs() -> None:
    assert list(merged([], lambda job: [job], workers=2, depth=2)) == []


def test_no_more_items_wait_than_the_depth() -> None:
    made = threading.Semaphore(0)
    count = 0

    def work(job: int) -> Iterator[int]:
        nonlocal count
        while True:
            count += 1
            made.release()
            yield count

    entries = merged([0], work, workers=1, depth=3)
    next(entries)
    # One was taken, three wait, and one is in the thread's hands. A sixth never comes.
    for _ in range(5):
        assert made.acquire(timeout=10)
    assert not made.acquire(timeout=0.3)
    assert count == 5
    entries.close()


def test_closing_stops_the_threads_and_closes_what_they_read() -> None:
    closed: list[int] = []
    all_at_work = threading.Barrier(3)

    def work(job: int) -> Iterator[int]:
        all_at_work.wait(timeout=30)
        try:
            while True:
                yield job
        finally:
            closed.append(job)

    entries = merged(range(100), work, workers=3, depth=2)
    next(entries)
    entries.close()
    assert readers() == []
    assert sorted(closed) == [0, 1, 2]


def test_an_exception_of_the_consumer_leaves_no_thread() -> None:
    def consume() -> None:
        entries = merged(range(100), lambda job: [job] * 50, workers=3, depth=2)
        try:
            for _ in entries:
                raise KeyboardInterrupt
        finally:
            entries.close()

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert readers() == []


def test_a_thread_that_cannot_start_takes_the_others_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name == "mmrag-read-2":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="can't start"):
        next(merged(range(100), lambda job: [job], workers=3, depth=1))
    assert readers() == []
