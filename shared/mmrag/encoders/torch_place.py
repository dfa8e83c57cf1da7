"""Where and in which precision a torch model runs, and the fingerprint of its weights."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from typing import Any

import torch

from mmrag.errors import InputError

__all__ = ["device_named", "digest", "has_bf16", "moved", "placed"]


def device_named(name: str) -> torch.device:
    """The device of this name; for ``auto`` CUDA, then MPS, then the CPU.

    Raises:
        InputError: there is no such device here.
    """
    if name == "auto":
        has_mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        said = str(error).split("\n")[0]
        raise InputError(f"the device {name!r} cannot be used: {said}") from error
    return device


def has_bf16() -> bool:
    """Whether this CPU has instructions for bf16: without them it is slower than fp32."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def placed(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """The model itself if all of it is there already, else a copy that shares no weight.

    Whether weights require gradients stays as it is. None are computed, but torch has a quick way
    for products of a batch with weights that do, and a slow one for those that do not: 40 times
    slower for the texts of a CLIP in bf16.
    """
    moves = {}
    for tensor in (*model.parameters(), *model.buffers()):
        new = tensor.detach().to(device, dtype if tensor.is_floating_point() else tensor.dtype)
        if new.device != tensor.device or new.dtype != tensor.dtype:
            is_weight = isinstance(tensor, torch.nn.Parameter)
            moves[id(tensor)] = torch.nn.Parameter(new, tensor.requires_grad) if is_weight else new
    # Copying around these tensors, a copy in the old precision is never made.
    return copy.deepcopy(model, moves) if moves else model


def moved(inputs: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A tensor, or the tensors of a mapping, on the device; floating point ones in ``dtype``.
    Pinned on the way to CUDA, so that the copy runs beside the model."""
    if isinstance(inputs, Mapping):
        return {name: moved(value, device, dtype) for name, value in inputs.items()}
    if not isinstance(inputs, torch.Tensor):
        return inputs
    if device.type == "cuda":
        inputs = inputs.pin_memory()
    kind = dtype if inputs.is_floating_point() else inputs.dtype
    return inputs.to(device, kind, non_blocking=True)


def digest(model: Any) -> str:
    """The hash of all weights, by name: as they were loaded, whatever precision they run in."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
