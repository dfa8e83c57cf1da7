"""Indexing 2,000 photographs end to end, against the encoder alone.

Measured: ``index.add_files`` into a new index, in photographs a second: find and hash the files,
decode and shrink them, encode, write, journal. JPEGs of 512 x 384 to 640 x 480, quality 85.

Against: the bundled encoder's own ``encode_pixels`` on the same photographs, decoded and
preprocessed before, in batches of 64: half of them right before each run and half right after.
Three rounds; the figure is the median ratio.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import photos
from benchmarks.figure import Figure, Outcome, median
from mmrag import BundledEncoder, MultimodalIndex, media
from mmrag.ingest import BATCH

COUNT = 2_000
SIZES = [(512, 384), (576, 432), (640, 480)]
ROUNDS = 3
RATIO = 0.85


def run(work: Path) -> Outcome:
    folder = work / "photographs"
    photos.write(folder, COUNT, SIZES, quality=85, grain=5)
    encoder = BundledEncoder()
    files = sorted(folder.rglob("*.jpg"))
    pixels = [
        encoder.preprocess(media.load(file, target=encoder.image_size).image) for file in files
    ]
    encoder.encode_pixels(pixels[:BATCH])  # loads the model
    alone, whole = [], []
    for _ in range(ROUNDS):
        seconds = _encode(encoder, pixels[: COUNT // 2])
        whole.append(COUNT / _add_files(encoder, folder))
        seconds += _encode(encoder, pixels[COUNT // 2 :])
        alone.append(COUNT / seconds)
    ratios = [a / b for a, b in zip(whole, alone, strict=True)]
    say = f"{COUNT:,} photographs"
    return Outcome(
        [
            Figure("index", f"{say}, end to end", median(whole), "/s"),
            Figure("index", f"{say}, the encoder alone", median(alone), "/s"),
            Figure("index", f"{say}, end to end / alone", median(ratios), "x", at_least=RATIO),
        ]
    )


def _encode(encoder: BundledEncoder, pixels: Sequence[NDArray[np.uint8]]) -> float:
    started = time.perf_counter()
    for start in range(0, len(pixels), BATCH):
        encoder.encode_pixels(pixels[start : start + BATCH])
    return time.perf_counter() - started


def _add_files(encoder: BundledEncoder, photographs: Path) -> float:
    with tempfile.TemporaryDirectory(prefix="mmrag-bench-") as folder:
        opened = MultimodalIndex.open(
            Path(folder) / "index", text_encoder=encoder, image_encoder=encoder
        )
        with opened as index:
            started = time.perf_counter()
            report = index.add_files([photographs])
            seconds = time.perf_counter() - started
    if report.added != COUNT:
        raise RuntimeError(
            f"{report.added} of {COUNT} photographs were indexed: {report.failed[:3]}"
        )
    return seconds
