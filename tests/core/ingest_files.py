"""A folder of mixed files in three versions, an index over it, and all that can be seen of one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mmrag.filters import Eq
from mmrag.index import MultimodalIndex
from mmrag.journal import Journal
from mmrag.protocols import Point
from mmrag.testing import FakeEncoder, MemoryStore
from mmrag.types import Record

from .files import Page, pdf, picture, saved, text_at

__all__ = [
    "Diary",
    "corpus",
    "found",
    "logical_journal",
    "manual",
    "memory_index",
    "opened",
    "records",
    "rewrite",
    "seen",
    "texts",
    "write",
]


def opened(folder: Path, **options: Any) -> MultimodalIndex:
    """The index in a folder, with an encoder that needs no model."""
    encoder = FakeEncoder(16)
    return MultimodalIndex.open(folder, text_encoder=encoder, image_encoder=encoder, **options)


def memory_index(folder: Path, encoder: Any = None) -> tuple[MultimodalIndex, Diary]:
    """An index in memory, with its journal in ``folder``, and the diary of its store."""
    encoder = encoder or FakeEncoder(16)
    store = Diary()
    index = MultimodalIndex.open(folder, store=store, text_encoder=encoder, image_encoder=encoder)
    store.calls.clear()
    return index, store


class Diary(MemoryStore):
    """A store that keeps a diary of what is written to it, in ids."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, set[str]]] = []

    def upsert(self, points: Sequence[Point]) -> None:
        super().upsert(points)
        self.calls.append(("upsert", {point.record.text for point in points}))

    def delete(self, keys: Sequence[str]) -> None:
        self.calls.append(("delete", {record.text for record in self.get(keys).values()}))
        super().delete(keys)

    def flush(self) -> None:
        super().flush()
        self.calls.append(("flush", set()))

    def written(self) -> list[tuple[str, set[str]]]:
        return [call for call in self.calls if call[0] != "flush"]


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files by their names, with the folders that they need."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def rewrite(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Make a folder hold these files and no others."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in files:
            path.unlink()
    write(folder, files)


def records(index: MultimodalIndex) -> list[Record]:
    return [record for batch in index.store.scan() for record in batch]


def texts(index: MultimodalIndex) -> list[str]:
    return sorted(record.text for record in records(index))


def logical_journal(folder: Path) -> dict[str, Any]:
    """What the journal says, whatever the numbers of its generations."""
    journal = Journal(folder / "journal.sqlite")
    failures = {f.source: (f.error, f.message) for f in journal.failures()}
    sources = {s.path: (s.name, s.mark, s.state, failures.get(s.name)) for s in journal.sources()}
    generation = {s.path: s.generation for s in journal.sources()}
    rows = journal._rows("SELECT path, generation, id, media FROM parts")
    said = {
        "sources": sources,
        "parts": {(path, part, media) for path, _, part, media in rows},
        "of another generation": [row for row in rows if generation.get(row[0]) != row[1]],
        "clean": journal.clean,
    }
    journal.close()
    return said


def seen(index: MultimodalIndex) -> dict[str, Any]:
    """All that can be seen of an index in a folder, after it was filled."""
    assert index.folder is not None
    held = records(index)
    fields = {name: index.store.sample(name, 10_000) for name in index.encoders.spaces()}
    media = [p for p in (index.folder / "media").rglob("*") if p.is_file()]
    return {
        "records": {record.id: record for record in held},
        "fields": {record.id: _fields(index, record) for record in held},
        "vectors": {name: (matrix.shape, matrix.tobytes()) for name, matrix in fields.items()},
        "journal": logical_journal(index.folder),
        "media": {p.relative_to(index.folder).as_posix(): p.read_bytes() for p in media},
        "answers": [
            found(index, text="the red valve of page 2", routes=["text->text", "text->image"]),
            found(index, image=picture(seed=3)),
            # Without their scores: the engine's counts of words still include what was deleted.
            {record for record, _ in found(index, text="valve gauge 阀", routes=["keywords"])},
        ],
    }


def found(index: MultimodalIndex, **query: Any) -> list[tuple[str, float]]:
    return [(hit.record.id, hit.score) for hit in index.search(**query, limit=1000)]


def _fields(index: MultimodalIndex, record: Record) -> tuple[str, ...]:
    where = Eq("id", record.id)
    fields = (*index.encoders.spaces(), "keywords")
    return tuple(f for f in fields if index.store.count(where, having=f))


def manual(pages: int, seed: int) -> bytes:
    """A PDF of some pages, with text on each and a photograph on every other."""
    made = []
    for number in range(1, pages + 1):
        lines = (f"Manual {seed}, page {number}: close the red valve first.", "Then open it.")
        content = text_at(60, 740, *lines)
        images = {}
        if number % 2:
            images = {"Im0": picture(160, 120, seed=seed * 10 + number)}
            content += f"q {300} 0 0 {225} 100 {300} cm /Im0 Do Q\n"
        made.append(Page(content, images=images))
    return pdf(*made)


def corpus(version: int) -> dict[str, str | bytes]:
    """About forty files. From version to version some are edited, broken, mended, gone, new."""
    files: dict[str, str | bytes] = {}
    for n in range(16):
        edit = version if n % 3 == 0 else 1
        files[f"texts/note {n}.txt"] = f"Note {n} in version {edit}: the pump of hall {n}."
    # Many parts, so that one file is written in several batches.
    paragraphs = [f"# Part {n}\n\nThe gauge {n} reads {n * version % 7}." for n in range(150)]
    files["texts/long.md"] = "\n\n".join(paragraphs)
    files["texts/中文.txt"] = "如何重置路由器密码。" * (20 + version)
    for n in range(8):
        files[f"pictures/{n}.png"] = saved(picture(40 + n, 30, seed=n + version % 2 * n), "PNG")
    for n in range(4):
        files[f"pictures/{n}.jpg"] = saved(picture(64, 48, seed=n), "JPEG")
    for n in range(4):
        files[f"manuals/{n}.pdf"] = manual(3 + n % 2, seed=n + (version if n == 2 else 0))
    files["manuals/copy of 0.pdf"] = files["manuals/0.pdf"]  # figures that two files share
    files["bad/empty.txt"] = b""
    files["bad/torn.jpg"] = saved(picture(300, 300), "JPEG")[: 2000 if version < 3 else None]
    files["bad/unknown.xyz"] = b"\0\1\2"
    files["bad/breaks.png"] = saved(picture(50, 50, seed=7), "PNG")[: None if version != 2 else 60]
    if version == 1:
        files["texts/gone.txt"] = "This goes away with version 2."
        files["manuals/gone.pdf"] = manual(3, seed=40)
    else:
        files[f"texts/new {version}.txt"] = f"This came with version {version}."
        files["manuals/new.pdf"] = manual(3, seed=50 + version)
    return files


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def unit(values: Any) -> Any:
    vector = np.asarray(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)
