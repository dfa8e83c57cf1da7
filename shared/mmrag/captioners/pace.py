"""Pace: when a request may be sent, with a limit a minute and a pause where a service asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Pace"]


class Pace:
    """Spaces the requests of all threads evenly, and holds them all back while a service is busy.

    ``per_minute`` is how many may be sent in a minute; None means no limit.
    """

    def __init__(
        self,
        per_minute: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._apart = 60 / per_minute if per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._next = self._held = clock()

    def wait(self) -> None:
        """Return when this thread may send a request."""
        # Turns are taken when they have come, not booked: those that were booked before a hold
        # would all be due at its end.
        while (left := self._left()) > 0:
            self._sleep(left)

    def _left(self) -> float:
        """The seconds until a request may be sent; where there are none, this thread's it is."""
        with self._lock:
            now = self._clock()
            left = max(self._next, self._held) - now
            if left <= 0:
                self._next = now + self._apart
            return left

    def hold(self, seconds: float) -> None:
        """Let nobody send before so many seconds have passed."""
        with self._lock:
            self._held = max(self._held, self._clock() + seconds)
