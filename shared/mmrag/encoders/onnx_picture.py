"""From a picture to a model's input with PIL alone, to the same pixels as torchvision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmrag.encoders.onnx_config import Step

__all__ = ["pixels"]


def pixels(image: Image.Image, steps: Sequence[Step]) -> NDArray[np.uint8]:
    """uint8 ``[height, width, 3]`` of an RGB picture; the arithmetic is the graph's."""
    for step in steps:
        image = _crop(image, step) if step.do == "crop" else _resize(image, step)
    return np.array(image)


def _resize(image: Image.Image, step: Step) -> Image.Image:
    size = _size(image, step)
    if size == image.size:
        return image
    return image.resize(size, Image.Resampling[step.filter.upper()])


def _size(image: Image.Image, step: Step) -> tuple[int, int]:
    width, height = image.size
    if step.do == "squash":
        return step.size[1], step.size[0]
    if step.do == "shortest":
        side = step.size[0]
        if width <= height:
            return side, int(side * height / width)
        return int(side * width / height), side
    ratios = height / step.size[0], width / step.size[1]
    ratio = max(ratios) * step.longest + min(ratios) * (1 - step.longest)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def _crop(image: Image.Image, step: Step) -> Image.Image:
    (height, width), fill = step.size, (step.fill,) * 3
    across, down = max(0, width - image.width), max(0, height - image.height)
    if across or down:
        ground = Image.new("RGB", (image.width + across, image.height + down), fill)
        ground.paste(image, (across // 2, down // 2))
        image = ground
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
