"""Another process at a cache: ``python cache_child.py FOLDER SEED ROUNDS``; forever if ROUNDS is 0.

It puts vectors that many other processes put too, reads them, and says "wrong" if one is another.
"""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from typing import Any

import numpy as np

from mmrag.encoders.cache import EmbeddingCache

DIM, KEYS = 64, 300


@cache
def key_of(number: int) -> bytes:
    return hashlib.sha256(b"key %d" % number).digest()


@cache
def vector_of(number: int) -> Any:
    row = np.random.default_rng(number).normal(size=DIM)
    return (row / np.linalg.norm(row)).astype(np.float32)


def main(folder: str, seed: int, rounds: int) -> None:
    kept = EmbeddingCache(folder)
    chosen = np.random.default_rng(seed)
    done = 0
    while not rounds or done < rounds:
        numbers = [int(n) for n in chosen.integers(0, KEYS, 20)]
        kept.put({key_of(n): vector_of(n) for n in numbers})
        found = kept.get([key_of(n) for n in range(KEYS)], DIM)
        if not {key_of(n) for n in numbers} <= found.keys():
            print("lost")
        for number in range(KEYS):
            if not np.array_equal(found.get(key_of(number), vector_of(number)), vector_of(number)):
                print("wrong")
        done += 1
        if done == 1:
            print("started", flush=True)
    kept.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
