"""Threads that work ahead of one consumer, never further than a bound."""

from __future__ import annotations

import itertools
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Ended", "ahead", "batched", "merged", "threads"]

CHUNK = 8

Job = TypeVar("Job")
Item = TypeVar("Item")
Result = TypeVar("Result")


def threads() -> int:
    """How many threads may compute at once: the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of ``size`` items, the last one shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def ahead(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], batches: Iterable[Sequence[Item]]
) -> Iterator[list[Result]]:
    """Map ``work`` over batches in the pool's threads, one batch ahead of the consumer."""

    def several(items: Sequence[Item]) -> list[Result]:
        return [work(item) for item in items]

    waiting: list[Future[list[Result]]] = []
    for batch in batches:
        # A few items a task: handing over a task costs as much as many an item.
        size = max(1, min(CHUNK, -(-len(batch) // threads())))
        started = [pool.submit(several, items) for items in batched(batch, size)]
        if waiting:
            yield [result for future in waiting for result in future.result()]
        waiting = started
    if waiting:
        yield [result for future in waiting for result in future.result()]


@dataclass(frozen=True, slots=True)
class Ended:
    """A job gives no more items: it came to its end, or to this error."""

    error: BaseException | None


@dataclass(slots=True)
class _Shared(Generic[Job]):
    jobs: Iterator[Job]
    lock: threading.Lock
    stop: threading.Event


def merged(
    jobs: Iterable[Job], work: Callable[[Job], Iterable[Item]], *, workers: int, depth: int
) -> Generator[tuple[Job, Item | Ended], None, None]:
    """The items of all jobs as they come, from ``workers`` threads that each do a job at a time.

    At most ``depth`` items wait. The items of one job keep their order; its last one is
    :class:`Ended`, which carries the error that stopped it. Closing the iterator stops the threads.
    """
    shared = _Shared(iter(jobs), threading.Lock(), threading.Event())
    items: queue.Queue[tuple[Job, Item | Ended] | None] = queue.Queue(depth)

    def put(entry: tuple[Job, Item | Ended] | None) -> bool:
        while not shared.stop.is_set():
            try:
                items.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def run() -> None:
        while not shared.stop.is_set():
            with shared.lock:
                job = next(shared.jobs, None)
            if job is None:
                break
            error: BaseException | None = None
            try:
                for item in work(job):
                    if not put((job, item)):
                        return
            except BaseException as raised:  # a Rust panic is no Exception; this thread goes on
                error = raised
            put((job, Ended(error)))
        put(None)

    pool: list[threading.Thread] = []
    try:
        for number in range(workers):
            thread = threading.Thread(target=run, name=f"mmrag-read-{number}")
            thread.start()
            pool.append(thread)
        running = workers
        while running:
            entry = items.get()
            if entry is None:
                running -= 1
            else:
                yield entry
    finally:
        shared.stop.set()
        for thread in pool:
            thread.join()
