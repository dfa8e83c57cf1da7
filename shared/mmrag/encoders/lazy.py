"""Something made at its first use, once, whatever thread comes first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Lazy"]

Made = TypeVar("Made")


class Lazy(Generic[Made]):
    """Calls ``make`` at the first use and keeps what it gave; if it raises, the next use tries
    again. A pickled copy has ``make`` alone, and makes its own.

    Example:
        >>> answer = Lazy(lambda: 42)
        >>> answer()
        42
    """

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[Made] = []  # one, once there is one: None may be made too

    def __call__(self) -> Made:
        """What was made; makes it if this is the first use."""
        if not self._made:
            with self._lock:
                if not self._made:
                    self._made.append(self._make())
        return self._made[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return Lazy, (self._make,)
