"""Qdrant Edge: the contract, and what only a folder on a disk can go through."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmrag.errors import NotAnIndex, StoreError, StoreLocked
from mmrag.filters import Eq, Exists, Or, Range
from mmrag.keywords import encode_document
from mmrag.protocols import FieldQuery, Point, Store
from mmrag.stores.edge import EdgeStore
from mmrag.testing import StoreContract
from mmrag.types import Record, key_of


class TestEdgeStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        self.opened = [EdgeStore(tmp_path / "index")]
        yield self.opened[0]
        for store in self.opened:
            store.close()

    def reopen(self, store: Store) -> Store:
        assert isinstance(store, EdgeStore)
        store.close()
        self.opened.append(EdgeStore(store.path))
        return self.opened[-1]


def points(start: int, stop: int) -> list[Point]:
    return [
        Point(Record(f"{n}", metadata={"n": n}), {"text": np.array([1, n], np.float32)}, f"w{n}")
        for n in range(start, stop)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A closed index of 10 records."""
    with_ten(tmp_path / "index").close()
    return tmp_path / "index"


def with_ten(path: Path) -> EdgeStore:
    store = EdgeStore(path)
    store.prepare({"text": 2})
    store.save_manifest({"version": 1})
    store.upsert(points(0, 10))
    return store


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# ---------------------------------------------------------------------- opening


def test_a_second_opening_is_refused(folder: Path) -> None:
    store = EdgeStore(folder)
    with pytest.raises(StoreLocked, match="open already"):
        EdgeStore(folder)
    script = "import sys; from mmrag.stores.edge import EdgeStore; EdgeStore(sys.argv[1])"
    assert "StoreLocked" in run(script, folder).stderr
    store.close()
    assert run(script, folder).returncode == 0


@pytest.mark.parametrize("elsewhere", [True, False])
def test_whoever_is_refused_leaves_the_holder_alone(tmp_path: Path, elsewhere: bool) -> None:
    """The engine puts the files in order before it looks whether somebody has them open."""
    with_ten(tmp_path / "index").close()
    store = EdgeStore(tmp_path / "index")
    store.upsert(points(10, 11))
    store.flush()
    if elsewhere:
        script = "import sys; from mmrag.stores.edge import EdgeStore; EdgeStore(sys.argv[1])"
        assert "StoreLocked" in run(script, tmp_path / "index").stderr
    else:
        with pytest.raises(StoreLocked):
            EdgeStore(tmp_path / "index")
    store.upsert(points(11, 12))
    store.flush()
    store.close()
    store = EdgeStore(tmp_path / "index")
    assert store.count() == 12
    store.close()


def test_nothing_is_made_unless_asked(tmp_path: Path) -> None:
    with pytest.raises(NotAnIndex):
        EdgeStore(tmp_path / "new", create=False)
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").touch()
    with pytest.raises(NotAnIndex):
        EdgeStore(tmp_path / "empty", create=False)
    EdgeStore(tmp_path / "empty").close()
    EdgeStore(tmp_path / "empty", create=False).close()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(NotAnIndex):
        EdgeStore(tmp_path)
    with pytest.raises(NotAnIndex):
        EdgeStore(tmp_path / "notes.txt")
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("part", ["edge", "edge/segments", "edge/wal", "edge/edge_config.json"])
def test_a_missing_part_is_not_made_anew(folder: Path, part: str) -> None:
    gone = folder / part
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(NotAnIndex, match="missing"):
        EdgeStore(folder)
    assert not gone.exists()


@pytest.mark.parametrize("leftover", [[], ["wal"], ["wal", "segments"]])
def test_a_creation_that_was_cut_short_is_completed(tmp_path: Path, leftover: list[str]) -> None:
    for name in ["", *leftover]:
        (tmp_path / "index" / "edge" / name).mkdir(parents=True, exist_ok=True)
    store = with_ten(tmp_path / "index")
    assert store.count() == 10
    store.close()


@pytest.mark.parametrize("damage", [b"", b"\x00\xff" * 2048])
@pytest.mark.parametrize("file", ["edge_config.json", "wal/open-1", "segment.json"])
def test_damage_is_reported_with_its_reason(folder: Path, file: str, damage: bytes) -> None:
    (found,) = [path for path in folder.rglob(Path(file).name) if str(path).endswith(file)][:1]
    found.write_bytes(damage)
    with pytest.raises(StoreError, match=str(folder)):
        EdgeStore(folder).get([key_of("1")])


def test_a_damaged_manifest_is_reported(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")
    store = EdgeStore(folder)
    with pytest.raises(StoreError):
        store.manifest()
    store.close()


# ---------------------------------------------------------------------- engine


def test_deleted_points_leave_no_trace_after_optimising(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    store.prepare({"text": 2})
    store.upsert(points(0, 3000))
    store.delete([key_of(f"{n}") for n in range(2000)])
    store.optimize()
    query = [FieldQuery("text", np.array([1, 0], np.float32)), FieldQuery("keywords", "w2500")]
    text, keywords = store.search(query, 5)
    assert text.keys == tuple(key_of(f"{n}") for n in range(2000, 2005))
    assert keywords.keys == (key_of("2500"),)
    # Until now the engine's IDF counted deleted texts: one of 1,000, not of 3,000, has the word.
    weight = encode_document("w2500").values[0]
    assert keywords.scores == pytest.approx([math.log(1 + 999.5 / 1.5) * weight], rel=1e-5)
    assert store.count() == 1000
    store.close()


def test_a_filtered_key_is_indexed_once_and_for_good(folder: Path) -> None:
    store = EdgeStore(folder)
    for _ in range(2):
        assert store.count(Eq("n", 3)) == 1
    assert "metadata.n" in store._indexed
    assert store.count(Eq("n", "3")) == 0  # of another kind than the index
    store.upsert(points(3, 4))
    store.close()
    again = EdgeStore(folder)
    assert "metadata.n" in again._indexed
    assert [r.id for batch in again.scan(Eq("n", 3)) for r in batch] == ["3"]
    again.close()


def test_not_every_key_that_is_filtered_on_gets_an_index(folder: Path) -> None:
    store = EdgeStore(folder)
    keys = {f"key {n}": n for n in range(40)}
    store.upsert([Point(Record("many", metadata=keys), {"text": np.ones(2, np.float32)}, "w")])
    for key, n in keys.items():
        assert store.count(Eq(key, n)) == 1
    assert len(store._indexed) == 24
    store.close()


def test_a_key_that_no_record_has_gets_no_index(folder: Path) -> None:
    """Misspelt once each, 24 keys had used up the indexes that the real ones need."""
    store = EdgeStore(folder)
    before = store._indexed
    for n in range(40):
        assert store.count(Eq(f"key {n}", 1)) == 0
        assert store.count(Exists(f"key {n}") | Eq("also not there", "x")) == 0
    store.delete_where(Range("nor this", gt=1))
    assert store._indexed == before
    assert store.count(Or((*(Eq(f"key {n}", 1) for n in range(40)), Eq("n", 3)))) == 1
    assert store._indexed == before | {"metadata.n"}
    store.close()


def test_a_key_that_records_have_later_is_indexed_then(folder: Path) -> None:
    store = EdgeStore(folder)
    late = Eq("late", "x")
    assert store.count(late) == 0
    store.upsert([Point(Record("l", metadata={"late": ["x"]}), {"text": np.ones(2)}, "w")])
    assert store.count(late) == 1
    assert "metadata.late" in store._indexed
    store.close()
