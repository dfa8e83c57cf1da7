"""Indexing 2,000 photographs end to end, against the encoder alone.

Measured: ``index.add_files`` into a new index, in photographs a second: find and hash the files,
decode and shrink them, encode, write, journal. JPEGs of 512 x 384 to 640 x 480, quality 85.

Against: the bundled encoder alone, ``preprocess`` and ``encode_pixels``, on photographs of the same
kind that were decoded before, in batches of 64 and on all cores: as many, half of them right before
each run and half right after. Three rounds; the figure is the median ratio. Told beside it are the
same ratio of processor time, which leaves out what other processes take and what waiting for the
disk costs, and the ratio to ``encode_pixels`` alone, on what was also preprocessed before.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import photos
from benchmarks.figure import Figure, Outcome, median
from mmrag import BundledEncoder, MultimodalIndex, media
from mmrag.ingest import BATCH
from mmrag.pipeline import batched, threads

COUNT = 2_000
SIZES = [(512, 384), (576, 432), (640, 480)]
ROUNDS = 3
DECODED = 250
RATIO = 0.85

Item = TypeVar("Item")


def run(work: Path) -> Outcome:
    folder = work / "photographs"
    photos.write(folder, COUNT, SIZES, quality=85, grain=5)
    encoder = BundledEncoder()
    files = sorted(folder.rglob("*.jpg"))[:DECODED]
    decoded = [media.load(file, target=encoder.image_size).image for file in files]
    pixels = [encoder.preprocess(image) for image in decoded]
    encoder.encode_pixels(pixels[:BATCH])  # loads the model
    rounds = []
    with ThreadPoolExecutor(threads(), "preprocess") as pool:

        def preprocess(images: list[Image.Image]) -> Iterator[NDArray[np.uint8]]:
            return pool.map(encoder.preprocess, images)

        for _ in range(ROUNDS):
            before = _encode(encoder, decoded, preprocess)
            bare_before = _encode(encoder, pixels, list)
            whole = _add_files(encoder, folder)
            bare_after = _encode(encoder, pixels, list)
            after = _encode(encoder, decoded, preprocess)
            rounds.append(Round(whole, before + after, bare_before + bare_after))
    say = f"{COUNT:,} photographs"
    return Outcome(
        [
            _rate(f"{say}, end to end", [r.whole for r in rounds]),
            _rate(f"{say}, encoder alone", [r.alone for r in rounds]),
            _ratio(
                f"{say}, end to end / alone",
                [r.alone.seconds / r.whole.seconds for r in rounds],
                RATIO,
            ),
            _ratio(
                f"{say}, the same of processor time",
                [r.alone.processor / r.whole.processor for r in rounds],
            ),
            _ratio(
                f"{say}, end to end / alone on what was preprocessed",
                [r.bare.seconds / r.whole.seconds for r in rounds],
            ),
        ]
    )


def _rate(what: str, costs: Sequence[Cost]) -> Figure:
    return Figure("index", what, COUNT / median([cost.seconds for cost in costs]), "/s")


def _ratio(what: str, ratios: Sequence[float], at_least: float | None = None) -> Figure:
    return Figure("index", what, median(list(ratios)), "x", at_least=at_least)


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work took: time, and processor time of all threads."""

    seconds: float
    processor: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.processor + other.processor)


@dataclass(frozen=True, slots=True)
class Round:
    """Indexing, and the encoder alone on as many photographs: decoded, and preprocessed."""

    whole: Cost
    alone: Cost
    bare: Cost


def _cost(work: Callable[[], None]) -> Cost:
    seconds, processor = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - seconds, time.process_time() - processor)


def _encode(
    encoder: BundledEncoder,
    given: list[Item],
    prepare: Callable[[list[Item]], Iterable[NDArray[np.uint8]]],
) -> Cost:
    """Half of COUNT, from the few that fit into memory."""
    many = list(itertools.islice(itertools.cycle(given), COUNT // 2))

    def work() -> None:
        for batch in batched(many, BATCH):
            encoder.encode_pixels(list(prepare(batch)))

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
