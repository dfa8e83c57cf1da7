"""open_clip's transform of a picture in two halves: pixels in threads, arithmetic in batches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torchvision import transforms

if TYPE_CHECKING:
    from PIL import Image

    from mmrag.protocols import Pixels

__all__ = ["Transform"]

_SETTINGS = ("size", "interpolation", "longest", "fill", "mean", "std")


class Transform:
    """Gives exactly the numbers that the transform gives.

    Resizing and cropping are done picture by picture and leave bytes; what follows in every
    transform of open_clip, bytes to floats and mean and deviation, is done to a whole batch on the
    model's device. Bytes are a quarter of the memory of floats, and torch's own threads are kept
    out of the threads that decode. A transform that ends in other steps is run whole.
    """

    def __init__(self, transform: Any) -> None:
        steps = list(getattr(transform, "transforms", [transform]))
        self._scaling = None
        if len(steps) > 2 and _ends_in_scaling(steps):
            *steps, _, normalize = steps
            self._scaling = (list(normalize.mean), list(normalize.std))
        self._steps = steps

    @property
    def settings(self) -> str:
        """All that decides what becomes of a picture: part of the space's fingerprint."""
        return json.dumps([self._scaling, [_said(step) for step in self._steps]])

    def picture(self, image: Image.Image) -> Pixels:
        """One RGB picture, resized and cropped: uint8 ``[height, width, 3]``."""
        found: Any = image
        for step in self._steps:
            found = step(found)
        return np.array(found)

    @staticmethod
    def batch(pixels: Sequence[Pixels]) -> torch.Tensor:
        """The input of :meth:`encode`."""
        return torch.from_numpy(np.stack(pixels))

    def encode(self, model: Any, pixels: torch.Tensor) -> torch.Tensor:
        """The image tower's rows for a batch of what :meth:`picture` gave."""
        weight = next(model.visual.parameters())
        if self._scaling is not None:
            mean, std = (
                torch.tensor(s, device=pixels.device)[:, None, None] for s in self._scaling
            )
            scaled = pixels.permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(255)
            pixels = scaled.sub_(mean).div_(std)
        rows: torch.Tensor = model.encode_image(pixels.to(weight.dtype))
        return rows


def _ends_in_scaling(steps: Sequence[Any]) -> bool:
    return isinstance(steps[-2], transforms.ToTensor) and isinstance(
        steps[-1], transforms.Normalize
    )


def _said(step: Any) -> list[Any]:
    """A step's name and settings. Not its ``repr``, which changes with torchvision's versions."""
    name = getattr(step, "__qualname__", type(step).__qualname__)
    values = [(key, getattr(step, key)) for key in _SETTINGS if hasattr(step, key)]
    return [name, [(key, getattr(value, "value", value)) for key, value in values]]
