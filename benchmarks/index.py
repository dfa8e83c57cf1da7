"""Indexing 2,000 photographs end to end, against the encoder alone.

Measured: ``index.add_files`` into a new index, in photographs a second: find and hash the files,
decode and shrink them, encode, write, journal. JPEGs of 512 x 384 to 640 x 480, quality 85.

Against: the bundled encoder's own ``encode_pixels`` on the same photographs, decoded and
preprocessed before, in batches of 64: half of them right before each run and half right after.
Three rounds; the figure is the median ratio. The same ratio of processor time is reported too: it
leaves out what other processes take and what waiting for the disk costs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    whole, alone = [], []
    for _ in range(ROUNDS):
        before = _encode(encoder, pixels[: COUNT // 2])
        whole.append(_add_files(encoder, folder))
        after = _encode(encoder, pixels[COUNT // 2 :])
        alone.append(Cost(before.seconds + after.seconds, before.processor + after.processor))
    pairs = list(zip(whole, alone, strict=True))
    ratio = median([b.seconds / a.seconds for a, b in pairs])
    say = f"{COUNT:,} photographs"
    return Outcome(
        [
            Figure("index", f"{say}, end to end", COUNT / median([a.seconds for a in whole]), "/s"),
            Figure(
                "index", f"{say}, encoder alone", COUNT / median([b.seconds for b in alone]), "/s"
            ),
            Figure("index", f"{say}, end to end / alone", ratio, "x", at_least=RATIO),
            Figure(
                "index",
                f"{say}, the same of processor time",
                median([b.processor / a.processor for a, b in pairs]),
                "x",
            ),
        ]
    )


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work took: time, and processor time of all threads."""

    seconds: float
    processor: float


def _cost(work: Callable[[], None]) -> Cost:
    seconds, processor = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - seconds, time.process_time() - processor)


def _encode(encoder: BundledEncoder, pixels: Sequence[NDArray[np.uint8]]) -> Cost:
    def work() -> None:
        for start in range(0, len(pixels), BATCH):
            encoder.encode_pixels(pixels[start : start + BATCH])

    return _cost(work)


def _add_files(encoder: BundledEncoder, photographs: Path) -> Cost:
    with tempfile.TemporaryDirectory(prefix="mmrag-bench-") as folder:
        opened = MultimodalIndex.open(
            Path(folder) / "index", text_encoder=encoder, image_encoder=encoder
        )

        def work() -> None:
            report = index.add_files([photographs])
            if report.added != COUNT:
                raise RuntimeError(f"{report.added} of {COUNT} indexed: {report.failed[:3]}")

        with opened as index:
            return _cost(work)
