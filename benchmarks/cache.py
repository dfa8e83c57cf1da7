"""From a picture's digest to its vector through the cache of embeddings.

Measured: ``CachedImageEncoder.kept_images`` over 20,000 digests whose vectors of 512 dimensions
are all kept, in batches of 64 as an index asks for them, in random order, and one at a time. The
cache was closed and is opened anew, so that its file is read and not the process's memory; the
machine's own file cache stays warm. It is the median of five passes.

Also: how many new vectors a second are written, in batches of 64; and ``encode_images`` from files
(256 photographs of 1280 x 960, all kept), which is reading the files and hashing them.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import photos
from benchmarks.figure import Figure, Outcome, median
from mmrag.encoders.cache import CachedEncoder, CachedImageEncoder, EmbeddingCache
from mmrag.pipeline import batched
from mmrag.testing import FakeEncoder

COUNT, SINGLE, DIM, BATCH, PASSES = 20_000, 2_000, 512, 64, 5
PHOTOGRAPHS = 256
TARGET = 20_000.0


def run(work: Path) -> Outcome:
    folder = work / "embeddings"
    digests = [hashlib.sha256(b"picture %d" % i).hexdigest() for i in range(COUNT)]
    written = _fill(folder, digests)
    random.Random(3).shuffle(digests)
    with EmbeddingCache(folder) as cache:
        encoder = CachedEncoder(FakeEncoder(DIM), cache)
        hits = [_rate(encoder, digests, BATCH) for _ in range(PASSES)]
        single = [_rate(encoder, digests[:SINGLE], 1) for _ in range(PASSES)]
        files = _from_files(encoder, work / "cached photographs")
    say = f"{COUNT:,} vectors of {DIM} dimensions"
    return Outcome(
        [
            Figure("cache", f"{say}: hits, {BATCH} a call", median(hits), "/s", at_least=TARGET),
            Figure("cache", f"{say}: hits, one a call", median(single), "/s"),
            Figure("cache", f"{say}: written, {BATCH} a call", written, "/s"),
            Figure("cache", f"{PHOTOGRAPHS} photographs from files, all kept", files, "/s"),
        ]
    )


def _fill(folder: Path, digests: Sequence[str]) -> float:
    rows = np.random.default_rng(3).normal(size=(len(digests), DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with EmbeddingCache(folder) as cache:
        encoder = CachedEncoder(FakeEncoder(DIM), cache)
        keyed = list(zip(encoder._image_keys(digests), rows, strict=True))

        def write() -> None:
            for batch in batched(keyed, BATCH):
                cache.put(dict(batch))

        return len(digests) / _seconds(write)


def _rate(encoder: CachedImageEncoder, digests: Sequence[str], size: int) -> float:
    def look_up() -> None:
        for batch in batched(digests, size):
            if any(vector is None for vector in encoder.kept_images(batch)):
                raise RuntimeError("a vector that was kept is gone")

    return len(digests) / _seconds(look_up)


def _from_files(encoder: CachedImageEncoder, folder: Path) -> float:
    photos.write(folder, PHOTOGRAPHS, [(1280, 960)], quality=85)
    paths = sorted(folder.rglob("*.jpg"))
    encoder.encode_images(paths)
    return len(paths) / median([_seconds(lambda: encoder.encode_images(paths)) for _ in range(3)])


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
