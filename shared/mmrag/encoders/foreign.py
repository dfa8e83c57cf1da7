"""ForeignEncoder: a framework's embedding model as a text encoder; a base for the adapters."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmrag.encoders.lazy import Lazy
from mmrag.encoders.tokens import checked_texts
from mmrag.errors import VectorError
from mmrag.types import Role, Space

if TYPE_CHECKING:
    from mmrag.protocols import Matrix

__all__ = ["ForeignEncoder"]

_PROBE = "dimensions"


class ForeignEncoder(ABC):
    """Implements :class:`mmrag.protocols.TextEncoder`; a subclass says how its model is asked and
    what it is called.

    Vectors are brought to length 1. The first use embeds one short text to learn their length.
    ``space`` goes by framework, kind, name and that length, since what an API answers varies a
    little from call to call.
    """

    framework: str
    """Its name in the fingerprint."""

    def __init__(self) -> None:
        self._space = Lazy(self._found)

    @abstractmethod
    def _called(self) -> tuple[str, str]:
        """What kind of model it is (its class), and its name or ``""``."""

    @abstractmethod
    def _query(self, text: str) -> Any:
        """The model's vector of a query."""

    @abstractmethod
    def _passages(self, texts: list[str]) -> Any:
        """The model's vectors of passages, in one call."""

    @property
    def space(self) -> Space:
        """The fingerprint: kind, name and length of the vectors.

        Raises:
            VectorError: the model's answer to the first text is no vector.
        """
        return self._space()

    def encode_texts(self, texts: Sequence[str], role: Role) -> Matrix:
        """float32 ``[len(texts), dim]``, each row of length 1.

        Raises:
            InputError: a text is not a string, or ``role`` is neither query nor passage.
            VectorError: the model's vectors are too few, too many, of different lengths, zero, or
                not finite.
        """
        checked = checked_texts(texts, role)
        dim = self.space.dim
        if not checked:
            return np.empty((0, dim), np.float32)
        if role == "query":
            return self._units([self._query(text) for text in checked], checked, dim)
        return self._units(self._passages(checked), checked, dim)

    def _found(self) -> Space:
        dim = self._units([self._query(_PROBE)], [_PROBE], None).shape[1]
        kind, name = self._called()
        parts = [f"{self.framework} 1", kind, name, str(dim)]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        shown = (self.framework, kind.rpartition(".")[2], name)
        return Space("/".join(part for part in shown if part), digest, dim)

    def _units(self, rows: Any, texts: Sequence[str], dim: int | None) -> Matrix:
        """The rows at length 1; ``dim`` is None as long as it is not known."""
        kind = self._called()[0].rpartition(".")[2]
        try:
            matrix = np.array(list(rows), dtype=np.float64)
        except (TypeError, ValueError):  # no list, no numbers, or rows of different lengths
            raise VectorError(f"{kind} did not return one list of numbers a text") from None
        if len(matrix) != len(texts):
            raise VectorError(f"{kind} returned {len(matrix)} vectors for {len(texts)} texts")
        if matrix.ndim != 2 or not matrix.size:
            raise VectorError(f"{kind} did not return one list of numbers a text")
        if dim not in (None, matrix.shape[1]):
            raise VectorError(
                f"{kind} returned vectors of {matrix.shape[1]} dimensions, and of {dim} before"
            )
        lengths = np.linalg.norm(matrix, axis=1)
        for text, length in zip(texts, lengths, strict=True):
            if not 0 < length < np.inf:
                raise VectorError(f"{kind} returned a zero or infinite vector for {text[:40]!r}")
        units: Matrix = (matrix / lengths[:, None]).astype(np.float32)
        return units
