"""What an index holds, in figures."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag.journal import Failure, Journal, JournalDamaged
from mmrag.manifest import Manifest

if TYPE_CHECKING:
    from mmrag.index import MultimodalIndex

__all__ = ["Info", "info"]


@dataclass(frozen=True, slots=True)
class Info:
    """What an index holds. ``bytes`` is the room that its folder takes on the disk; ``names`` are
    those of the encoders, if the command made the index with others than the bundled one;
    ``failed`` is None if the journal is damaged, which the next run of ingestion makes anew."""

    records: int
    modalities: dict[str, int]
    fields: dict[str, int]
    encoders: dict[str, str]
    names: dict[str, str]
    bytes: int
    failed: list[Failure] | None


def info(index: MultimodalIndex) -> Info:
    """Count what is in the index and in its folder."""
    folder, store = index.folder, index.store
    return Info(
        records=index.count(),
        modalities={m: index.count({"modality": m}) for m in ("text", "image")},
        fields={f: store.count(having=f) for f in (*index.encoders.spaces(), "keywords")},
        encoders={f: str(space) for f, space in index.encoders.spaces().items()},
        names=_names(index),
        bytes=0 if folder is None else sum(map(_room, folder.rglob("*"))),
        failed=_failed(index),
    )


def _names(index: MultimodalIndex) -> dict[str, str]:
    saved = index.store.manifest()
    return {} if saved is None else Manifest.parse(saved).encoders


def _failed(index: MultimodalIndex) -> list[Failure] | None:
    if index.folder is None or not (index.folder / "journal.sqlite").exists():
        return []
    try:
        with closing(Journal(index.folder / "journal.sqlite")) as journal:
            return journal.failures()
    except JournalDamaged:
        return None


def _room(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512  # files have holes
    except FileNotFoundError:  # a run of ingestion is at work
        return 0
