"""Run by test_crash: index a folder, say each step on stdout, and be killed at the one asked for.

A script of its own rather than a module of the tests: ``python crash_child.py KB DOCS STEP``.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mmrag.ingest
from mmrag.index import MultimodalIndex
from mmrag.journal import Journal
from mmrag.readers.base import MediaFolder
from mmrag.stores.edge import EdgeStore
from mmrag.testing import FakeEncoder

steps = itertools.count(1)


def step(name: str) -> None:
    """One step of what writing consists of."""
    os.write(1, f"{name}\n".encode())
    if next(steps) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)


def stepwise(owner: Any, name: str) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    def wrapped(*args: Any, **options: Any) -> Any:
        step(f"before {name}")
        result = original(*args, **options)
        step(f"after {name}")
        return result

    setattr(owner, name, wrapped)


def main() -> None:
    for name in ("prepare", "save_manifest", "upsert", "delete", "flush"):
        stepwise(EdgeStore, name)
    stepwise(MediaFolder, "put")
    stepwise(Path, "replace")
    stepwise(Path, "unlink")
    transaction = Journal._transaction

    @contextmanager
    def stepwise_transaction(self: Journal) -> Iterator[None]:
        with transaction(self):
            yield
            step("before COMMIT")
        step("after COMMIT")

    Journal._transaction = stepwise_transaction  # type: ignore[method-assign]
    mmrag.ingest.BATCH = 8  # more steps
    encoder = FakeEncoder(16)
    kb, docs = sys.argv[1:3]
    with MultimodalIndex.open(kb, text_encoder=encoder, image_encoder=encoder) as index:
        index.add_files([docs], prune=True)
    step("end")


if __name__ == "__main__":
    main()
