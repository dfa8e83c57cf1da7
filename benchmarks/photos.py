"""Photographs for the ``index`` and ``memory`` benchmarks: crops of the sample photographs.

Each differs from every other in place, size and brightness, and so in its bytes. The sample's
photographs are small; ``grain`` makes up for what enlarging them smooths away, so that a file has
as many bytes a pixel as a camera's, which is what decoding time depends on.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from mmrag.pipeline import threads

SEED = 11
IN_FOLDER = 1000  # pictures in each of the folders 00, 01, ...


def write(
    folder: Path, count: int, sizes: Sequence[tuple[int, int]], quality: int, grain: float = 0
) -> None:
    """Write so many JPEGs of these sizes in turn, on all cores; ``grain`` is the standard
    deviation of a pixel's noise."""
    folder.mkdir(parents=True, exist_ok=True)
    # Forking would share the threads of onnxruntime, which may be running by now.
    with ProcessPoolExecutor(threads(), get_context("spawn")) as pool:
        started = [
            pool.submit(_write, folder, range(part, count, threads()), sizes, quality, grain)
            for part in range(threads())
        ]
        for future in started:
            future.result()


def _write(
    folder: Path, numbers: range, sizes: Sequence[tuple[int, int]], quality: int, grain: float
) -> None:
    bases = _bases()
    for number in numbers:
        rng = np.random.default_rng([SEED, number])
        base, (width, height) = bases[number % len(bases)], sizes[number % len(sizes)]
        scale = rng.uniform(0.5, 1.0) * min(base.width / width, base.height / height)
        box_width, box_height = scale * width, scale * height
        left = rng.uniform(0, base.width - box_width)
        top = rng.uniform(0, base.height - box_height)
        box = (left, top, left + box_width, top + box_height)
        picture = base.resize((width, height), Image.Resampling.BILINEAR, box)
        picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.7, 1.3))
        if grain:
            noise = rng.normal(0, grain, (height, width, 1)).astype(np.float32)
            grainy = np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)
            picture = Image.fromarray(grainy)
        path = folder / f"{number // IN_FOLDER:02}" / f"{number:06}.jpg"
        path.parent.mkdir(exist_ok=True)
        picture.save(path, quality=quality)


def _bases() -> list[Image.Image]:
    folder = Path(str(files("mmrag") / "sample" / "pictures"))
    return [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.jpg"))]
