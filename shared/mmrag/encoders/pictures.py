"""Pictures for a model with an image processor of transformers."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from PIL.Image import Resampling

from mmrag.media import to_rgb

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Pictures"]

# What of a processor's settings moves a pixel; those of its rest differ between versions.
_RELEVANT = (
    *("do_resize", "size", "resample", "do_center_crop", "crop_size", "do_pad", "pad_size"),
    *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
    *("patch_size", "merge_size", "min_pixels", "max_pixels"),
)
_THINNEST = 8  # the sides of what is resized for a centre crop: 1 to this at most


class Pictures:
    """What an image processor of transformers makes of a picture.

    Args:
        processor: the image processor, not the processor of texts and pictures around it.
    """

    def __init__(self, processor: Any) -> None:
        said = processor.to_dict()
        self._settings = {name: said[name] for name in _RELEVANT if said.get(name) is not None}
        if not self._settings.get("do_center_crop"):
            self._settings.pop("crop_size", None)

    @property
    def settings(self) -> str:
        """All that decides what the model sees of a picture: part of a space's fingerprint."""
        return json.dumps(self._settings, sort_keys=True, default=dict)

    @property
    def side(self) -> int:
        """The longest side, in pixels, that the model looks at."""
        found = self._settings
        size = found.get("crop_size") or found.get("size") or 224
        sides = [size] if isinstance(size, int) else [side for side in dict(size).values() if side]
        # Models that take a picture in its own shape count the pixels of the whole picture.
        whole = "merge_size" in found or "max_pixels" in found
        return math.isqrt(found.get("max_pixels") or max(sides)) if whole else max(sides)

    def fit(self, image: Image.Image) -> Image.Image:
        """The picture in RGB, on white where it is transparent. Of a very long one, what a centre
        crop will keep, with room: resizing all of it would take gigabytes."""
        image = to_rgb(image)
        width, height = image.size
        kept = min(width, height) * _THINNEST
        if self._settings.get("do_center_crop") and max(width, height) > kept:
            left, top = (max(0, side - kept) // 2 for side in (width, height))
            image = image.crop((left, top, left + min(width, kept), top + min(height, kept)))
        if min(image.size) > 3:
            return image
        # transformers before version 5 takes a side of up to 3 pixels for the colours.
        return image.resize((image.width * 4, image.height * 4), Resampling.NEAREST)
