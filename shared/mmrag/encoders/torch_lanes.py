"""Threads that each run a model on a share of the cores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from mmrag.encoders.lazy import LazyPool
from mmrag.pipeline import threads

__all__ = ["Lanes"]

_MOST = 8  # lanes; on more cores each lane has several

Job = TypeVar("Job")
Result = TypeVar("Result")


class Lanes:
    """Runs jobs of torch side by side on the CPU, each within its own cores; one lane elsewhere.

    torch by itself runs one operation at a time on all cores, whose threads wait for the slowest of
    them after each. Two cores do 15 to 30 % more in two lanes, and twice as much when the cores
    are also busy with other work: decoding pictures, say.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = LazyPool(self._started)
        cores = min(threads(), torch.get_num_threads()) if device.type == "cpu" else 1
        self.count = min(cores, _MOST)
        self._width = cores // self.count

    def __reduce__(self) -> tuple[type[Lanes], tuple[torch.device]]:
        return Lanes, (self._device,)

    def run(self, work: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
        """The results, in order. One job alone is run here, on all cores."""
        if len(jobs) < 2 or self.count < 2:
            return [work(job) for job in jobs]
        return list(self._pool().map(work, jobs))

    def _started(self) -> ThreadPoolExecutor:
        mine = torch.get_num_threads()
        return ThreadPoolExecutor(self.count, "mmrag-lane", self._begin, (mine,))

    def _begin(self, others: int) -> None:
        """In a new lane: set its own number of threads, and leave that of all others alone.

        torch keeps one number for each thread that has used it, and one for those that are still
        to come; setting the number sets both. So the second is set back, from a thread that ends.
        """
        torch.get_num_threads()  # from here on this thread has used it
        torch.set_num_threads(self._width)
        back = threading.Thread(target=torch.set_num_threads, args=(others,))
        back.start()
        back.join()
