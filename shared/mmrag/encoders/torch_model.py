"""A torch model on the best device, in the best precision, in batches that fit into memory."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from mmrag.errors import InputError, MissingExtra, UnknownName
from mmrag.pipeline import batched

try:
    import torch
except ModuleNotFoundError as error:
    raise MissingExtra("this encoder", "torch") from error

from mmrag.encoders.torch_lanes import Lanes
from mmrag.encoders.torch_place import device_named, digest, has_bf16, moved, placed

if TYPE_CHECKING:
    from mmrag.protocols import Matrix

__all__ = ["Precision", "TorchModel"]

Precision = Literal["auto", "fp32", "fp16", "bf16"]
Item = TypeVar("Item")
Inputs = Any  # a tensor, or a mapping of names to tensors and other values
Forward = Callable[[Any, Inputs], "torch.Tensor"]

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_BATCH = {"cuda": 256, "mps": 64, "cpu": 16}
_TRIAL = 8  # items that bf16 is tried on; a call of fewer tries nothing
_SAME = 0.999  # the least cosine to fp32 at which a lower precision is taken
_GAIN = 1.1  # and how much faster it has to be
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")

log = logging.getLogger("mmrag")


class TorchModel:
    """Runs a model over items, in batches, without gradients; gives unit vectors in float32.

    On a CPU in several batches side by side (:mod:`mmrag.encoders.torch_lanes`). Not by
    ``torch.compile``: a ViT-B-32 on two cores gains nothing by it in fp32 and a tenth in bf16, and
    has to be compiled for 20 to 50 seconds first, in every process.

    Thread-safe, and picklable if the model is. A model that is not yet on the device, or not in the
    precision, is copied there: the caller's own is only put into evaluation mode.

    Args:
        model: any ``torch.nn.Module``.
        device: ``auto`` is CUDA, then MPS, then the CPU; else a name that torch knows.
        precision: ``auto`` is fp16 on CUDA and fp32 on MPS. On a CPU with bf16 units each tower
            (each ``forward``) is tried on the first 8 items of its first call of 8 or more: it runs
            in bf16 from then on if every vector has a cosine of 0.999 or more to that of fp32, and
            the trial takes clearly less time; else, and before, in fp32. Both copies of the model
            are kept.
        batch_size: how many items at once; halved, and kept so, where memory runs out. On a CPU
            several batches run side by side, and ``auto`` is 16: more gain nothing there.

    Raises:
        InputError: the device does not exist here, the precision is unknown (UnknownName), or the
            batch size is no positive integer.
    """

    def __init__(
        self,
        model: Any,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        if precision not in ("auto", *_DTYPES):
            raise UnknownName("precision", precision, ("auto", *_DTYPES))
        if batch_size != "auto" and (not isinstance(batch_size, int) or batch_size < 1):
            raise InputError(f"batch_size is 'auto' or 1 or more, not {batch_size!r}")
        self.device = device_named(device)
        kind = self.device.type
        self.batch_size = _BATCH.get(kind, 16) if batch_size == "auto" else batch_size
        self.digest = digest(model)
        self._may_lower = precision == "auto" and kind == "cpu" and has_bf16()
        if precision == "auto":
            precision = "fp16" if kind == "cuda" else "fp32"
        self._model = placed(model.eval(), self.device, _DTYPES[precision])
        self._low: Any = None  # the copy in bf16, once a tower has taken it
        self._lowered: dict[Any, bool] = {}  # by tower
        self._lanes = Lanes(self.device)
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        # What was found out on one machine may not hold on the next one.
        return {**self.__dict__, "_lock": None, "_low": None, "_lowered": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def encode(
        self, forward: Forward, items: Sequence[Item], collate: Callable[[list[Item]], Inputs]
    ) -> Matrix:
        """float32 ``[len(items), dim]``, each row of length 1.

        ``collate`` makes the model's input of a batch, on the CPU; floating point tensors in it are
        cast to the model's precision. ``forward`` is called with the model and that input, and
        returns one row an item. Both are called for several batches at once, from several threads:
        what ``forward`` needs of a batch belongs into its input.
        """
        model = self._for(forward, items, collate)
        share = -(-len(items) // self._lanes.count)
        parts = list(batched(items, max(1, min(self.batch_size, share))))

        def work(part: list[Item]) -> Matrix:
            return self._part(model, forward, part, collate)

        rows = self._lanes.run(work, parts)
        return np.concatenate(rows) if rows else np.empty((0, 0), np.float32)

    def _part(
        self,
        model: Any,
        forward: Forward,
        items: list[Item],
        collate: Callable[[list[Item]], Inputs],
    ) -> Matrix:
        """One batch; several smaller ones where memory has run out."""
        rows: list[Matrix] = []
        done = 0
        while done < len(items):
            size = min(self.batch_size, len(items) - done)
            try:
                rows.append(self._run(model, forward, collate(items[done : done + size])))
                done += size
                continue
            except (RuntimeError, MemoryError) as error:
                if size == 1 or not _no_memory(error):
                    raise
            self._smaller(size)  # here, where the error no longer holds on to the batch
        return np.concatenate(rows)

    def precision_of(self, forward: Forward) -> str:
        """What a tower runs in by now: ``fp32``, ``fp16`` or ``bf16``."""
        model = self._low if self._lowered.get(_tower(forward)) else self._model
        dtype = next(model.parameters()).dtype
        return next(name for name, known in _DTYPES.items() if known == dtype)

    def _for(
        self, forward: Forward, items: Sequence[Item], collate: Callable[[list[Item]], Inputs]
    ) -> Any:
        """The copy of the model that this tower runs in."""
        if not self._may_lower:
            return self._model
        tower = _tower(forward)
        if tower not in self._lowered and len(items) >= _TRIAL:
            with self._lock:
                if tower not in self._lowered:
                    self._lowered[tower] = self._pays(forward, collate(list(items[:_TRIAL])))
        return self._low if self._lowered.get(tower) else self._model

    def _pays(self, forward: Forward, inputs: Inputs) -> bool:
        """Whether bf16 gives the same vectors in less time."""
        try:
            low = self._low or placed(self._model, self.device, torch.bfloat16)
            before, slow = self._timed(self._model, forward, inputs)
            now, fast = self._timed(low, forward, inputs)
        except RuntimeError as error:  # a layer without bf16, or no memory for the copy
            log.debug("bf16 is not taken: %s", error)
            return False
        same = float((before * now).sum(axis=1).min())
        log.debug("bf16: lowest cosine %.5f, %.2f times as fast", same, slow / fast)
        pays = same >= _SAME and slow >= _GAIN * fast
        if pays:
            self._low = low
        return pays

    def _timed(self, model: Any, forward: Forward, inputs: Inputs) -> tuple[Matrix, float]:
        """The vectors, and the better of two times after one to warm up."""
        found = self._run(model, forward, inputs)
        times = []
        for _ in range(2):
            started = time.perf_counter()
            self._run(model, forward, inputs)
            times.append(time.perf_counter() - started)
        return found, min(times)

    def _run(self, model: Any, forward: Forward, inputs: Inputs) -> Matrix:
        with torch.inference_mode():
            dtype = next(model.parameters()).dtype
            found = forward(model, moved(inputs, self.device, dtype)).float()
            unit: Matrix = torch.nn.functional.normalize(found, dim=-1).cpu().numpy()
        return unit

    def _smaller(self, size: int) -> None:
        self.batch_size = max(1, min(self.batch_size, size // 2))
        log.warning("memory ran out with %d at once: going on with %d", size, self.batch_size)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _tower(forward: Forward) -> Any:
    """The same for a function that is made anew for every call, as a lambda or a method is."""
    return getattr(forward, "__code__", forward)


def _no_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(said in str(error).lower() for said in _NO_MEMORY)
