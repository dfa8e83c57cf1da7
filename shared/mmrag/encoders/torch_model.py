"""A torch model on the best device, in the best precision, in batches that fit into memory."""

from __future__ import annotations

import copy
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from mmrag.errors import MissingExtra

try:
    import torch
except ModuleNotFoundError as error:
    raise MissingExtra("this encoder", "torch") from error

if TYPE_CHECKING:
    from mmrag.protocols import Matrix

__all__ = ["Precision", "TorchModel"]

Precision = Literal["auto", "fp32", "fp16", "bf16"]
Item = TypeVar("Item")
Inputs = Any  # a tensor, or a mapping of names to tensors
Forward = Callable[[Any, Inputs], "torch.Tensor"]

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_BATCH = {"cuda": 256, "mps": 64, "cpu": 32}
_SAME = 0.999  # the least cosine to fp32 at which a lower precision is taken
_GAIN = 1.1  # and how much faster it has to be
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")

log = logging.getLogger("mmrag")


class TorchModel:
    """Runs a model over items, in batches, without gradients; gives unit vectors in float32.

    Args:
        model: any ``torch.nn.Module``; it is put into evaluation mode.
        device: ``auto`` is CUDA, then MPS, then the CPU; else a name that torch knows.
        precision: ``auto`` is fp16 on CUDA, fp32 on MPS, and on a CPU with bf16 units bf16 if, on
            the first batch, every vector has a cosine of 0.999 or more to that of fp32 and the
            batch takes clearly less time; else fp32.
        batch_size: how many items at once; halved, and kept so, where memory runs out.
    """

    def __init__(
        self,
        model: Any,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        self.device = torch.device(_best_device() if device == "auto" else device)
        self.digest = _digest(model)
        self.batch_size = _BATCH.get(self.device.type, 32) if batch_size == "auto" else batch_size
        self._lock = threading.Lock()
        self._settled = not (precision == "auto" and self.device.type == "cpu" and _has_bf16())
        if precision == "auto":
            precision = "fp16" if self.device.type == "cuda" else "fp32"
        self.precision: str = precision
        self._model = model.eval().requires_grad_(False).to(self.device, _DTYPES[precision])

    def encode(
        self, forward: Forward, items: Sequence[Item], collate: Callable[[list[Item]], Inputs]
    ) -> Matrix:
        """float32 ``[len(items), dim]``, each row of length 1.

        ``collate`` makes the model's input of a batch, on the CPU; floating point tensors in it are
        cast to the model's precision. ``forward`` is called with the model and that input, and
        returns one row an item.
        """
        rows: list[Matrix] = []
        start = 0
        while start < len(items):
            size = self.batch_size
            batch = list(items[start : start + size])
            try:
                rows.append(self._batch(forward, collate(batch)))
            except RuntimeError as error:
                if len(batch) == 1 or not any(said in str(error).lower() for said in _NO_MEMORY):
                    raise
                self._smaller(size)
                continue
            start += len(batch)
        return np.concatenate(rows) if rows else np.empty((0, 0), np.float32)

    def _batch(self, forward: Forward, inputs: Inputs) -> Matrix:
        if not self._settled:
            with self._lock:
                if not self._settled:
                    self._settle(forward, inputs)
                    self._settled = True
        return self._run(self._model, forward, inputs)

    def _run(self, model: Any, forward: Forward, inputs: Inputs) -> Matrix:
        with torch.inference_mode():
            dtype = next(model.parameters()).dtype
            found = forward(model, _moved(inputs, self.device, dtype)).float()
            unit: Matrix = torch.nn.functional.normalize(found, dim=-1).cpu().numpy()
        return unit

    def _settle(self, forward: Forward, inputs: Inputs) -> None:
        """Take bf16 if it gives the same vectors in less time."""
        trial = copy.deepcopy(self._model).to(torch.bfloat16)
        try:
            before, now = (self._timed(m, forward, inputs) for m in (self._model, trial))
        except RuntimeError as error:  # a layer without bf16
            log.debug("bf16 is not taken: %s", error)
            return
        same = float((before[0] * now[0]).sum(axis=1).min())
        gain = before[1] / now[1]
        log.debug("bf16: lowest cosine %.5f, %.2f times as fast", same, gain)
        if same >= _SAME and gain >= _GAIN:
            self._model, self.precision = trial, "bf16"

    def _timed(self, model: Any, forward: Forward, inputs: Inputs) -> tuple[Matrix, float]:
        self._run(model, forward, inputs)
        started = time.perf_counter()
        found = self._run(model, forward, inputs)
        return found, time.perf_counter() - started

    def _smaller(self, size: int) -> None:
        self.batch_size = max(1, min(self.batch_size, size // 2))
        log.warning("memory ran out with %d at once: going on with %d", size, self.batch_size)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _has_bf16() -> bool:
    """Whether this CPU has instructions for bf16: without them it is slower than fp32."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def _moved(inputs: Inputs, device: Any, dtype: Any) -> Inputs:
    if isinstance(inputs, Mapping):
        return {name: _moved(value, device, dtype) for name, value in inputs.items()}
    if device.type == "cuda":
        inputs = inputs.pin_memory()
    kind = dtype if inputs.is_floating_point() else inputs.dtype
    return inputs.to(device, kind, non_blocking=True)


def _digest(model: Any) -> str:
    """The hash of all weights, by name: as they were loaded, whatever precision they run in."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
