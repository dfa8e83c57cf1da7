"""Small ONNX models on all cores: each item is run alone on one thread, several at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmrag.encoders.lazy import LazyPool
from mmrag.pipeline import threads

if TYPE_CHECKING:
    from mmrag.protocols import Vector

__all__ = ["Workers", "session"]

Item = TypeVar("Item")


def session(path: Path) -> Any:
    """The model in a file, on one thread of the CPU. Raises what onnxruntime raises."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Workers:
    """Threads, one a core."""

    def __init__(self) -> None:
        self._pool = LazyPool(_pool)

    def each(self, encode: Callable[[Item], Vector], items: Sequence[Item]) -> list[Vector]:
        """One vector an item, in order."""
        if len(items) == 1:
            return [encode(items[0])]
        return list(self._pool().map(encode, items))


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads(), "mmrag-encode")
