"""What is made at its first use, once, whatever thread comes first: anything, and an encoder that
an index remembers by name."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mmrag.errors import SpaceMismatch
from mmrag.protocols import ImageEncoder, TextEncoder
from mmrag.types import Role, Space

if TYPE_CHECKING:
    from PIL import Image

    from mmrag.protocols import Matrix, Pixels

__all__ = ["DeferredEncoder", "DeferredImageEncoder", "Lazy", "LazyPool"]

Made = TypeVar("Made")
Encoder = TypeVar("Encoder", bound=TextEncoder)


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
        _ALL.add(self)

    def __call__(self) -> Made:
        """What was made; makes it if this is the first use."""
        if not self._made:
            with self._lock:
                if not self._made:
                    self._made.append(self._make())
        return self._made[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._make,)

    def _forked(self) -> None:
        """In a forked child, whoever held the lock is not there to release it."""
        self._lock = threading.Lock()


class LazyPool(Lazy[ThreadPoolExecutor]):
    """Threads that are started at the first use; in a forked child anew, as the parent's are not
    there."""

    def _forked(self) -> None:
        super()._forked()
        self._made = []


_ALL: weakref.WeakSet[Lazy[Any]] = weakref.WeakSet()


def _after_fork() -> None:
    for lazy in list(_ALL):
        lazy._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Deferred(Generic[Encoder]):
    def __init__(self, load: Callable[[], Encoder], space: Space, field: str) -> None:
        self.space = space
        self._encoder = Lazy(lambda: self._checked(load(), field))

    def encode_texts(self, texts: Sequence[str], role: Role) -> Matrix:
        """As the encoder does."""
        return self._encoder().encode_texts(texts, role)

    def _checked(self, encoder: Encoder, field: str) -> Encoder:
        if encoder.space != self.space:
            raise SpaceMismatch(field, str(self.space), str(encoder.space))
        return encoder


class DeferredEncoder(_Deferred[TextEncoder]):
    """Says which space its vectors live in without loading the model: looking at an index, or
    searching it by routes that do not need this encoder, costs nothing.

    Args:
        load: gives the encoder.
        space: the one that the index was made with.
        field: the field that it is for, for messages.

    Raises (at the first use):
        SpaceMismatch: the encoder is another one by now.
    """


class DeferredImageEncoder(_Deferred[ImageEncoder]):
    """:class:`DeferredEncoder` for an encoder of pictures."""

    @property
    def image_size(self) -> int:
        """As the encoder says."""
        return self._encoder().image_size

    def preprocess(self, image: Image.Image) -> Pixels:
        """As the encoder does."""
        return self._encoder().preprocess(image)

    def encode_pixels(self, pixels: Sequence[Pixels]) -> Matrix:
        """As the encoder does."""
        return self._encoder().encode_pixels(pixels)
