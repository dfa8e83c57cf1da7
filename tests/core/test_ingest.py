"""Files to records: what the report says, what is written, in which order, and what goes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mmrag.ingest
from mmrag import inputs
from mmrag.errors import (
    DamagedSource,
    DiskFull,
    InputError,
    MissingExtra,
    ServiceError,
    StoreError,
    StoreLocked,
)
from mmrag.index import MultimodalIndex
from mmrag.ingest import Report, Status, ingest
from mmrag.journal import Journal, Mark
from mmrag.pipeline import Ended
from mmrag.plan import make_plan
from mmrag.readers.base import MediaFolder, Part, SourceFile
from mmrag.readers.image import ImageReader
from mmrag.readers.pdf import PdfReader
from mmrag.readers.text import TextReader
from mmrag.testing import FakeEncoder
from mmrag.types import Record

from .files import Page, pdf, picture, saved, text_at
from .ingest_files import (
    corpus,
    logical_journal,
    manual,
    memory_index,
    opened,
    records,
    rewrite,
    seen,
    texts,
    working_in,
    write,
)

TORN = saved(picture(200, 200), "JPEG")[:2000]


def counts(report: Report) -> tuple[int, int, int, int, int]:
    return (
        report.added,
        report.updated,
        report.unchanged,
        report.deleted,
        len(report.failed),
    )


def failures(report: Report) -> dict[str, str]:
    return {Path(failure.source).name: failure.error for failure in report.failed}


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p): p.read_bytes() for p in files if p.stat().st_size < 1_000_000}


# Reports


def test_the_life_of_a_folder(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "apples", "b.txt": "pears", "c.jpg": TORN})
    with opened(tmp_path / "kb") as index:
        report = index.add_files([docs])
        assert counts(report) == (2, 0, 0, 0, 1)
        assert failures(report) == {"c.jpg": "DamagedSource"}
        assert report.records == index.count() == 2
        assert report.seconds > 0

        assert counts(index.add_files([docs])) == (0, 0, 2, 0, 1)

        write(docs, {"a.txt": "cherries", "d.txt": "plums"})
        assert counts(index.add_files([docs])) == (1, 1, 1, 0, 1)
        assert texts(index) == ["cherries", "pears", "plums"]

        (docs / "b.txt").unlink()
        assert counts(index.add_files([docs])) == (0, 0, 2, 0, 1)
        assert index.count() == 3
        assert counts(index.add_files([docs], prune=True)) == (0, 0, 2, 1, 1)
        assert texts(index) == ["cherries", "plums"]


def test_a_second_run_reads_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = write(tmp_path / "docs", corpus(1))
    index, store = memory_index(tmp_path / "kb")
    first = ingest(index, [docs])
    assert first.added > 30
    said = logical_journal(tmp_path / "kb")
    before = bytes_of(tmp_path / "kb")
    store.calls.clear()

    def read(*args: Any) -> Iterator[Part]:
        raise AssertionError("a file was read again")

    for reader in (TextReader, ImageReader, PdfReader):
        monkeypatch.setattr(reader, "read", read)
    report = ingest(index, [docs], prune=True)
    assert counts(report) == (0, 0, first.added, 0, len(first.failed))
    assert sorted(report.failed, key=str) == sorted(first.failed, key=str)
    assert store.calls == []
    assert bytes_of(tmp_path / "kb") == before
    assert logical_journal(tmp_path / "kb") == said


def test_the_engines_files_stay_as_they_are_too(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "apples", "b.png": saved(picture(), "PNG")})
    with opened(tmp_path / "kb") as index:
        index.add_files([docs])
    with opened(tmp_path / "kb") as index:
        before = bytes_of(tmp_path / "kb")
        assert len(before) > 10
        assert counts(index.add_files([docs], prune=True)) == (0, 0, 2, 0, 0)
        assert bytes_of(tmp_path / "kb") == before


def test_new_parts_are_written_before_the_old_ones_go(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "old words", "b.txt": "other words"})
    index, store = memory_index(tmp_path / "kb")
    ingest(index, [docs])
    store.calls.clear()
    write(docs, {"a.txt": "new words"})
    ingest(index, [docs])
    assert store.calls == [
        ("upsert", {"new words"}),
        ("flush", set()),  # before the journal says so
        ("delete", {"old words"}),
        ("flush", set()),  # before the journal forgets them
        ("flush", set()),
    ]
    assert texts(index) == ["new words", "other words"]


def test_what_stays_the_same_in_an_edited_file_is_never_deleted(tmp_path: Path) -> None:
    rows = [f"row {n} " + "x" * 700 for n in range(5)]
    docs = write(tmp_path / "docs", {"a.csv": "\n".join(rows)})
    index, store = memory_index(tmp_path / "kb")
    ingest(index, [docs])
    store.calls.clear()
    rows[3] = "another row " + "y" * 700
    write(docs, {"a.csv": "\n".join(rows)})
    ingest(index, [docs])
    gone = [texts for call, texts in store.calls if call == "delete"]
    assert [[text.split(" x")[0] for text in part] for part in gone] == [["row 3"]]
    assert index.count() == 5


def test_failures_are_remembered_and_tried_again_when_it_makes_sense(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.jpg": TORN, "b.xyz": b"\0\1", "c.txt": b""})
    index, _ = memory_index(tmp_path / "kb")
    read: list[str] = []
    original = ImageReader.read

    def read_and_tell(self: Any, source: SourceFile, *args: Any) -> Iterator[Part]:
        read.append(source.path.name)
        return original(self, source, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageReader, "read", read_and_tell)
        expected = {"a.jpg": "DamagedSource", "b.xyz": "UnsupportedSource", "c.txt": "EmptySource"}
        assert failures(ingest(index, [docs])) == expected
        assert read == ["a.jpg"]
        assert failures(ingest(index, [docs])) == expected
        assert read == ["a.jpg"]
        assert failures(index.add_files([docs], retry=True)) == expected
        assert read == ["a.jpg", "a.jpg"]
        write(docs, {"a.jpg": saved(picture(200, 200), "JPEG"), "c.txt": "words"})
        report = ingest(index, [docs])
    # Nothing of them was there before: they are added, not updated.
    assert counts(report) == (2, 0, 0, 0, 1)
    assert index.info().failed == report.failed


def test_a_failure_goes_by_the_name_that_was_given_this_time(tmp_path: Path) -> None:
    write(tmp_path / "docs", {"a.jpg": TORN})
    index, _ = memory_index(tmp_path / "kb")
    with working_in(tmp_path):
        assert [f.source for f in ingest(index, ["docs"]).failed] == ["docs/a.jpg"]
    assert [f.source for f in ingest(index, [tmp_path]).failed] == [f"{tmp_path}/docs/a.jpg"]


def test_when_its_content_is_broken_what_was_good_goes(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.jpg": saved(picture(), "JPEG"), "b.txt": "words"})
    index, _ = memory_index(tmp_path / "kb")
    ingest(index, [docs])
    write(docs, {"a.jpg": TORN, "b.txt": b""})
    report = ingest(index, [docs])
    assert failures(report) == {"a.jpg": "DamagedSource", "b.txt": "EmptySource"}
    assert index.count() == 0
    write(docs, {"a.jpg": saved(picture(), "JPEG")})
    assert counts(ingest(index, [docs])) == (1, 0, 0, 0, 1)


def refused_at(stage: str, patch: pytest.MonkeyPatch) -> None:
    """Let the system refuse the files named ``x``, when they are hashed or when they are read."""
    open_ = Path.open

    def refuse(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        in_plan = sys._getframe(1).f_globals["__name__"] == "mmrag.plan"
        if path.stem == "x" and in_plan == (stage == "hashing"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open_(path, mode, *args, **options)

    open_regular = inputs.open_regular

    def refuse_picture(path: Path) -> Any:
        if path.stem == "x" and stage == "reading":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open_regular(path)

    patch.setattr(Path, "open", refuse)
    patch.setattr(inputs, "open_regular", refuse_picture)


@pytest.mark.parametrize("stage", ["hashing", "reading"])
@pytest.mark.parametrize("name", ["x.txt", "x.png", "x.pdf"])
def test_when_it_cannot_be_read_what_was_good_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, name: str
) -> None:
    def version(n: int) -> dict[str, str | bytes]:
        files = {"x.txt": f"version {n}", "x.png": saved(picture(seed=n), "PNG")}
        return {name: {**files, "x.pdf": manual(2, n)}[name], "other.txt": f"other {n}"}

    docs = write(tmp_path / "docs", version(1))
    with opened(tmp_path / "kb") as index:
        index.add_files([docs])
        before = {r.id: r for r in records(index) if r.source.endswith(name)}
        assert before
        write(docs, version(2))
        with monkeypatch.context() as patch:
            refused_at(stage, patch)
            for _ in range(2):
                report = index.add_files([docs], prune=True)
                assert failures(report) == {name: "UnreadableSource"}
                assert "Permission denied" in report.failed[0].message
                assert {r.id: r for r in records(index) if r.source.endswith(name)} == before
        # It is not held against the file.
        assert counts(index.add_files([docs])) == (0, 1, 1, 0, 0)
        after = seen(index)
    write(tmp_path / "docs", version(2))
    with opened(tmp_path / "kb2") as clean:
        clean.add_files([docs])
        assert after["records"] == seen(clean)["records"]
        assert after["media"] == seen(clean)["media"]


def test_a_new_file_that_cannot_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = write(tmp_path / "docs", {"x.txt": "words"})
    index, _ = memory_index(tmp_path / "kb")
    with monkeypatch.context() as patch:
        refused_at("reading", patch)
        assert failures(ingest(index, [docs])) == {"x.txt": "UnreadableSource"}
    assert counts(ingest(index, [docs])) == (1, 0, 0, 0, 0)


def test_what_the_system_refuses_is_in_the_journal_until_it_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = write(tmp_path / "docs", {"x.txt": "words", "old/x.md": "kept", "fine.txt": "fine"})
    with opened(tmp_path / "kb") as index:
        index.add_files([docs / "old"])
        bad = os.fsdecode(b"bad\xff.txt")
        write(docs, {bad: "x"})
        (docs / "broken.txt").symlink_to("nowhere")
        (docs / "loop").symlink_to("loop")
        (docs / "bad link.txt").symlink_to(bad)
        with monkeypatch.context() as patch:
            refused_at("hashing", patch)
            for prune in (False, True, False):
                report = index.add_files([docs, tmp_path / "nowhere"], prune=prune)
                assert report.deleted == 0
                assert len(report.failed) == 6
                listed = index.info().failed
                assert listed is not None
                # A path that does not exist is no file: it is only reported.
                assert {f.source: f for f in listed} == {
                    f.source: f for f in report.failed if "nowhere" not in f.source
                }
                assert index.count({"source": f"{docs}/old/x.md"}) == 1
            index.add_files([docs / "old" / "x.md"])
            assert len(index.info().failed or ()) == 5
        other = write(tmp_path / "other", {"z.txt": "elsewhere"})
        assert counts(index.add_files([other])) == (1, 0, 0, 0, 0)
        assert len(index.info().failed or ()) == 5
        # Well again: nothing of what was indexed is read once more.
        for name in ("broken.txt", bad, "bad link.txt"):
            (docs / name).unlink()
        (docs / "loop").unlink()
        (docs / "loop").mkdir()
        assert counts(index.add_files([docs])) == (1, 0, 2, 0, 0)
        assert index.info().failed == []


def test_a_link_that_is_given_itself_is_forgotten_when_it_leads_somewhere(tmp_path: Path) -> None:
    (tmp_path / "link.txt").symlink_to("target")
    index, _ = memory_index(tmp_path / "kb")
    with working_in(tmp_path):
        assert counts(ingest(index, ["link.txt"])) == (0, 0, 0, 0, 1)
        assert [f.source for f in index.info().failed or ()] == ["link.txt"]
        write(tmp_path, {"target": ""})
        (tmp_path / "target").rename(tmp_path / "target.txt")
        (tmp_path / "link.txt").unlink()
        (tmp_path / "link.txt").symlink_to("target.txt")
        ingest(index, ["link.txt"])
        assert [f.error for f in index.info().failed or ()] == ["EmptySource"]


def test_a_run_that_finds_the_same_refused_writes_nothing(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "words"})
    (docs / "broken.txt").symlink_to("nowhere")
    index, _ = memory_index(tmp_path / "kb")
    ingest(index, [docs])
    before = {p.name: p.read_bytes() for p in (tmp_path / "kb").iterdir() if p.is_file()}
    assert counts(ingest(index, [docs], prune=True)) == (0, 0, 1, 0, 1)
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "kb").iterdir() if p.is_file()}


def test_an_extra_that_is_missing_is_not_held_against_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = write(tmp_path / "docs", {"a.png": saved(picture(), "PNG")})
    index, _ = memory_index(tmp_path / "kb")

    def read(*args: Any) -> Iterator[Part]:
        raise MissingExtra("HEIC pictures", "heic")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(ImageReader, "read", read)
        report = ingest(index, [docs])
    assert failures(report) == {"a.png": "MissingExtra"}
    assert "pip install 'mmrag[heic]'" in report.failed[0].message
    assert index.info().failed == report.failed
    assert counts(ingest(index, [docs])) == (1, 0, 0, 0, 0)
    assert index.info().failed == []


class Reader(TextReader):
    """Gives many parts, then fails as it is told to."""

    def __init__(self, parts: int, error: BaseException | None) -> None:
        self.parts, self.error = parts, error

    def read(self, source: SourceFile, media: MediaFolder, image_size: int) -> Iterator[Part]:
        for number in range(self.parts):
            uri = media.put(f"{source.path.name} {number}".encode(), ".png")
            yield Part(Record(f"{source.name} {number}", f"part {number}", extra={"uri": uri}))
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (DamagedSource("broken at the end"), set()),
        (OSError(errno.EIO, "Input/output error"), {"good before"}),
        (RuntimeError("a bug"), {"good before"}),
        (MemoryError(), {"good before"}),
    ],
)
def test_a_file_that_fails_after_many_batches_leaves_nothing_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, left: set[str]
) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "good before", "b.txt": "fine"})
    index, store = memory_index(tmp_path / "kb")
    ingest(index, [docs])
    write(docs, {"a.txt": "huge"})
    store.calls.clear()
    reader = Reader(1000, error)
    monkeypatch.setitem(mmrag.readers.READERS, "text", reader)  # type: ignore[arg-type]
    name = {OSError: "UnreadableSource"}.get(type(error), type(error).__name__)
    assert failures(ingest(index, [docs / "a.txt"])) == {"a.txt": name}
    assert sum(len(t) for call, t in store.calls if call == "upsert") == 1000
    assert set(texts(index)) == left | {"fine"}
    assert logical_journal(tmp_path / "kb")["of another generation"] == []
    assert list(MediaFolder(tmp_path / "kb" / "media").files()) == []
    # What the content is to blame for is remembered; the rest is tried again.
    reader.parts, reader.error = 1, None
    again = counts(ingest(index, [docs / "a.txt"]))
    assert again == ((0, 1, 0, 0, 0) if left else (0, 0, 0, 0, 1))


def test_one_record_that_cannot_be_written_harms_its_file_only(tmp_path: Path) -> None:
    class Picky(FakeEncoder):
        def encode_texts(self, texts: Sequence[str], role: Any) -> Any:
            if any("poison" in text for text in texts):
                raise ValueError("this text cannot be encoded")
            return super().encode_texts(texts, role)

    files = {f"{n}.txt": f"text {n}" for n in range(10)}
    docs = write(tmp_path / "docs", {**files, "5.txt": "poison"})
    index, _ = memory_index(tmp_path / "kb", Picky(16))
    report = ingest(index, [docs])
    assert counts(report) == (9, 0, 0, 0, 1)
    assert failures(report) == {"5.txt": "ValueError"}
    assert report.failed[0].message == "this text cannot be encoded"
    assert index.count() == 9
    write(docs, {"5.txt": "text 5"})
    assert counts(ingest(index, [docs])) == (1, 0, 9, 0, 0)


def test_an_encoder_that_is_down_costs_nothing_that_was_there(tmp_path: Path) -> None:
    class Remote(FakeEncoder):
        down = False

        def encode_texts(self, texts: Sequence[str], role: Any) -> Any:
            if self.down:
                raise ConnectionError("no route to the server")
            return super().encode_texts(texts, role)

    docs = write(tmp_path / "docs", {f"{n}.txt": f"old {n}" for n in range(5)})
    encoder = Remote(16)
    index, _ = memory_index(tmp_path / "kb", encoder)
    ingest(index, [docs])
    write(docs, {f"{n}.txt": f"new {n}" for n in range(5)})
    encoder.down = True
    report = ingest(index, [docs])
    assert len(report.failed) == 5
    assert texts(index) == [f"old {n}" for n in range(5)]
    encoder.down = False
    assert counts(ingest(index, [docs])) == (0, 5, 0, 0, 0)
    assert texts(index) == [f"new {n}" for n in range(5)]


# Names and paths


def test_two_files_of_the_same_content_are_two(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "same", "b/a.txt": "same"})
    index, _ = memory_index(tmp_path / "kb")
    assert ingest(index, [docs]).added == 2
    assert sorted(r.source for r in records(index)) == [f"{docs}/a.txt", f"{docs}/b/a.txt"]
    (docs / "a.txt").unlink()
    ingest(index, [docs], prune=True)
    assert [r.source for r in records(index)] == [f"{docs}/b/a.txt"]


def test_one_file_by_several_ways_is_one(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "words"})
    (docs / "link.txt").symlink_to("a.txt")
    (docs / "loop").symlink_to(docs)
    index, _ = memory_index(tmp_path / "kb")
    with working_in(tmp_path):
        assert counts(ingest(index, ["docs", docs, "docs/link.txt"])) == (1, 0, 0, 0, 0)
        assert counts(ingest(index, ["./docs/a.txt"])) == (0, 0, 1, 0, 0)
    assert counts(ingest(index, [docs / "link.txt"])) == (0, 0, 1, 0, 0)
    assert [r.source for r in records(index)] == ["docs/a.txt"]


def test_a_single_path_need_not_be_in_a_list(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "words"})
    index, _ = memory_index(tmp_path / "kb")
    assert ingest(index, str(docs)).added == 1
    assert ingest(index, docs).unchanged == 1


def test_the_index_inside_of_the_folder_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"a.pdf": manual(3, 1), ".hidden/x.txt": "x", "b/.c.txt": "x"})
    with opened(tmp_path / "kb") as index:
        assert counts(index.add_files([tmp_path])) == (1, 0, 0, 0, 0)
        assert list((tmp_path / "kb" / "media").rglob("*.png"))
        assert counts(index.add_files([tmp_path], prune=True)) == (0, 0, 1, 0, 0)
        assert counts(index.add_files([tmp_path / "kb"])) == (0, 0, 0, 0, 0)


def test_strange_names(tmp_path: Path) -> None:
    bad = os.fsdecode(b"bad\xff.txt")
    docs = write(tmp_path / "docs", {"line\nbreak.txt": "one", "🐼 熊猫.txt": "two", bad: "three"})
    (tmp_path / "link.txt").symlink_to(docs / bad)
    with opened(tmp_path / "kb") as index:
        report = index.add_files([docs, tmp_path / "link.txt"])
        assert counts(report) == (2, 0, 0, 0, 1)
        (failure,) = report.failed
        assert failure.error == "UnreadableSource"
        assert failure.source == f"{docs}/bad\\xff.txt"
        assert {r.source for r in records(index)} == {
            f"{docs}/line\nbreak.txt",
            f"{docs}/🐼 熊猫.txt",
        }
        assert index.count({"source": f"{docs}/🐼 熊猫.txt"}) == 1


def test_a_link_to_a_name_that_is_not_unicode_fails_alone(tmp_path: Path) -> None:
    write(tmp_path, {os.fsdecode(b"bad\xff.txt"): "x", "docs/a.txt": "words"})
    (tmp_path / "docs/link.txt").symlink_to(tmp_path / os.fsdecode(b"bad\xff.txt"))
    index, _ = memory_index(tmp_path / "kb")
    report = ingest(index, [tmp_path / "docs"], prune=True)
    assert counts(report) == (1, 0, 0, 0, 1)
    assert report.failed[0].source == f"{tmp_path}/docs/link.txt"


def test_the_folder_of_an_index_does_not_follow_the_working_directory(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.pdf": manual(3, 1), "b.png": saved(picture(), "PNG")})
    (tmp_path / "elsewhere").mkdir()
    with working_in(tmp_path), opened(Path("kb")) as index:
        os.chdir(tmp_path / "elsewhere")
        assert counts(index.add_files([docs])) == (2, 0, 0, 0, 0)
        pictures = [h.record.image for h in index.search(image=picture()) if h.record.image]
        assert len(pictures) == 3
        assert all(Path(image.uri).read_bytes() for image in pictures)
        index.add_files([docs])
    assert list((tmp_path / "elsewhere").iterdir()) == []


# Prune


def test_prune_only_below_the_folders_given(tmp_path: Path) -> None:
    write(tmp_path, {"one/a.txt": "a", "one/b.txt": "b", "oneself/c.txt": "c", "two/d.txt": "d"})
    index, _ = memory_index(tmp_path / "kb")
    ingest(index, [tmp_path / "one", tmp_path / "oneself", tmp_path / "two"])
    for name in ("one/a.txt", "oneself/c.txt", "two/d.txt"):
        (tmp_path / name).unlink()
    report = ingest(index, [tmp_path / "one"], prune=True)
    assert (report.deleted, texts(index)) == (1, ["b", "c", "d"])
    (tmp_path / "link").symlink_to(tmp_path / "two")
    with working_in(tmp_path):
        assert ingest(index, ["./one/../oneself", "link"], prune=True).deleted == 2
    assert texts(index) == ["b"]


def test_prune_spares_a_folder_that_is_gone_itself(tmp_path: Path) -> None:
    disk = write(tmp_path / "disk", {"a.txt": "a", "sub/b.txt": "b"})
    index, _ = memory_index(tmp_path / "kb")
    ingest(index, [disk])
    disk.rename(tmp_path / "unmounted")
    report = ingest(index, [disk, disk / "a.txt"], prune=True)
    assert counts(report) == (0, 0, 0, 0, 2)
    assert index.count() == 2
    assert ingest(index, [tmp_path], prune=True).deleted == 2
    assert sorted(Path(r.source).parts[-2:] for r in records(index)) == [
        ("sub", "b.txt"),
        ("unmounted", "a.txt"),
    ]


def test_prune_takes_what_has_become_something_else(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "a", "b.txt": "b", "c/d.txt": "d"})
    index, _ = memory_index(tmp_path / "kb")
    ingest(index, [docs])
    (docs / "a.txt").unlink()
    (docs / "a.txt").symlink_to("b.txt")
    (docs / "c").rename(docs / "e")
    (docs / "c").symlink_to("e")
    report = ingest(index, [docs], prune=True)
    assert counts(report) == (1, 0, 1, 2, 0)
    assert sorted(Path(r.source).name for r in records(index)) == ["b.txt", "d.txt"]


def test_a_failed_file_that_is_gone_is_forgotten_and_not_counted(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.jpg": TORN})
    index, _ = memory_index(tmp_path / "kb")
    ingest(index, [docs])
    (docs / "a.jpg").unlink()
    assert counts(ingest(index, [docs], prune=True)) == (0, 0, 0, 0, 0)
    assert index.info().failed == []


# What makes a file be read again


def test_another_version_of_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "words", "b.png": saved(picture(), "PNG")})
    index, _ = memory_index(tmp_path / "kb")
    ingest(index, [docs])
    monkeypatch.setattr(TextReader, "version", "another")
    assert counts(ingest(index, [docs])) == (0, 1, 1, 0, 0)
    assert counts(ingest(index, [docs])) == (0, 0, 2, 0, 0)


def test_another_encoder(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "words"})
    index, _ = memory_index(tmp_path / "kb")
    ingest(index, [docs])
    journal = Journal(tmp_path / "kb" / "journal.sqlite")
    same = make_plan([docs], tmp_path / "kb", journal, index.encoders)
    other, _ = memory_index(tmp_path / "kb2", FakeEncoder(17))
    changed = make_plan([docs], tmp_path / "kb", journal, other.encoders)
    journal.close()
    assert (same.unchanged, len(same.jobs)) == (1, 0)
    assert (changed.unchanged, len(changed.jobs)) == (0, 1)


def test_an_index_that_lost_everything_is_not_up_to_date(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "words", "b.jpg": TORN})
    index, _ = memory_index(tmp_path / "kb")
    ingest(index, [docs])
    # The server's collection was dropped, say; the folder with the journal is still there.
    anew, _ = memory_index(tmp_path / "kb")
    assert counts(ingest(anew, [docs])) == (1, 0, 0, 0, 1)
    assert texts(anew) == ["words"]


def test_what_is_refused_by_its_head_is_not_read_to_its_end(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"film.mp4": b"\0\0\0\x18ftypmp42" + b"x" * 8000})
    index, _ = memory_index(tmp_path / "kb")
    ingest(index, [docs])
    sizes: list[int] = []
    open_ = Path.open

    class Counted:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Counted:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def read(self, size: int) -> bytes:
            data: bytes = self.file.read(size)
            sizes.append(len(data))
            return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode: Counted(open_(path, mode)))
        assert failures(ingest(index, [docs])) == {"film.mp4": "UnsupportedSource"}
    assert sizes == [4096]


# Derived pictures


def figures(kb: Path) -> set[str]:
    return {p.relative_to(kb).as_posix() for p in (kb / "media").rglob("*") if p.is_file()}


def of(index: MultimodalIndex, name: str) -> set[str]:
    return {r.image.uri for r in records(index) if r.image and r.source.endswith(name)}


def test_derived_pictures_go_with_the_last_record_that_shows_them(tmp_path: Path) -> None:
    shared = manual(3, seed=1)
    docs = write(tmp_path / "docs", {"a.pdf": shared, "b.pdf": shared, "c.pdf": manual(3, seed=2)})
    kb = tmp_path / "kb"
    with opened(kb) as index:
        index.add_files([docs])
        assert of(index, "a.pdf") == of(index, "b.pdf") != of(index, "c.pdf")
        assert figures(kb) == of(index, "a.pdf") | of(index, "c.pdf")

        (docs / "a.pdf").unlink()
        (docs / "c.pdf").unlink()
        index.add_files([docs], prune=True)
        assert figures(kb) == of(index, "b.pdf") != set()

        write(docs, {"b.pdf": manual(3, seed=3)})
        index.add_files([docs])
        assert figures(kb) == of(index, "b.pdf") != set()

        write(docs, {"b.pdf": b"%PDF-1.7 broken"})
        assert failures(index.add_files([docs])) == {"b.pdf": "DamagedSource"}
        assert figures(kb) == set()


def test_a_derived_picture_that_a_power_cut_left_empty_is_written_anew(tmp_path: Path) -> None:
    media = MediaFolder(tmp_path / "media")
    file = tmp_path / media.put(b"pixels", ".png")
    file.write_bytes(b"")
    assert tmp_path / media.put(b"pixels", ".png") == file
    assert file.read_bytes() == b"pixels"


def test_what_a_killed_run_left_in_the_media_folder_goes(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.pdf": manual(3, seed=1)})
    kb = tmp_path / "kb"
    with opened(kb) as index:
        index.add_files([docs])
        kept = figures(kb)
        write(kb, {"media/ab/.0f.part": "half", "media/ab/" + "ab" * 32 + ".png": "whole"})
        with_journal(kb, clean=False)
        index.add_files([docs])
        assert figures(kb) == kept


def with_journal(kb: Path, *, clean: bool) -> None:
    journal = Journal(kb / "journal.sqlite")
    journal.clean = clean
    journal.close()


def test_a_full_disk_under_the_media_folder_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = write(tmp_path / "docs", {"a.pdf": manual(3, seed=1), "b.txt": "words"})
    index, _ = memory_index(tmp_path / "kb")

    def full(self: Any, data: bytes, suffix: str) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MediaFolder, "put", full)
        with pytest.raises(DiskFull):
            ingest(index, [docs])
    assert counts(ingest(index, [docs])) == (2, 0, 0, 0, 0)


# Runs that do not come to their end


def test_progress_counts_up_to_the_end(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {f"{n}.txt": f"text {n}" for n in range(200)} | {"x.jpg": TORN})
    index, _ = memory_index(tmp_path / "kb")
    told: list[Status] = []
    ingest(index, [docs], progress=told.append)
    assert told[-1] == Status(done=201, total=201, records=200, failed=1)
    assert [s.done for s in told] == sorted(s.done for s in told)
    assert len(told) >= 3
    told.clear()
    ingest(index, [docs], progress=told.append)
    assert told == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_in_the_progress_callback(tmp_path: Path, error: type[BaseException]) -> None:
    docs = write(tmp_path / "docs", {f"{n:03}.txt": f"text {n}" for n in range(300)})

    def stop(status: Status) -> None:
        if status.done >= 100:
            raise error

    index, _ = memory_index(tmp_path / "kb")
    with pytest.raises(error):
        index.add_files([docs], progress=stop)
    assert not [t for t in threading.enumerate() if t.name.startswith("mmrag")]
    kept = index.count()
    assert 100 <= kept < 300
    report = index.add_files([docs])
    assert (report.added, report.unchanged) == (300 - report.unchanged, report.unchanged)
    assert report.unchanged >= 100
    assert texts(index) == sorted(f"text {n}" for n in range(300))


def test_an_interrupt_between_two_batches_keeps_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = write(tmp_path / "docs", {f"{n}.txt": f"text {n}" for n in range(20)})
    index, _ = memory_index(tmp_path / "kb")
    merged = mmrag.ingest.merged
    passed: list[bool] = []  # for each entry, whether it was the end of a file

    def interrupted(*args: Any, **options: Any) -> Any:
        entries = merged(*args, **options)
        for number, entry in enumerate(entries):
            if number == 21:
                raise KeyboardInterrupt
            passed.append(isinstance(entry[1], Ended))
            yield entry

    with monkeypatch.context() as patch:
        patch.setattr(mmrag.ingest, "merged", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ingest(index, [docs])
    # As many files as there are readers may be half done.
    ended = sum(passed)
    assert 0 < ended <= index.count() <= len(passed) - ended
    report = ingest(index, [docs])
    assert (report.added, report.unchanged) == (20 - ended, ended)
    assert index.count() == 20


@pytest.mark.parametrize("at", ["upsert", "flush", "commit", "stale", "delete", "cleared"])
def test_an_interrupt_while_writing(tmp_path: Path, at: str) -> None:
    docs = write(tmp_path / "docs", {f"{n}.txt": f"old {n}" for n in range(20)})
    index, store = memory_index(tmp_path / "kb")
    ingest(index, [docs])
    write(docs, {f"{n}.txt": f"new {n}" for n in range(20)})
    with pytest.MonkeyPatch.context() as patch:
        owner: Any = Journal if at in ("commit", "stale", "cleared") else type(store)

        def interrupt(*args: Any) -> Any:
            raise KeyboardInterrupt

        calls = iter(range(100))
        original = getattr(owner, at)
        first = 1 if at == "stale" else 0  # it is asked once before the work begins

        def sometimes(*args: Any) -> Any:
            return (interrupt if next(calls) == first else original)(*args)

        patch.setattr(owner, at, sometimes)
        with pytest.raises(KeyboardInterrupt):
            ingest(index, [docs])
    ingest(index, [docs])
    assert texts(index) == sorted(f"new {n}" for n in range(20))
    said = logical_journal(tmp_path / "kb")
    assert said["of another generation"] == []
    assert said["clean"]


def test_what_was_half_written_goes_even_if_its_file_is_gone(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "half", "b.txt": "whole"})
    index, _ = memory_index(tmp_path / "kb")
    ingest(index, [docs / "b.txt"])
    with pytest.MonkeyPatch.context() as patch:

        def interrupt(*args: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(Journal, "commit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest(index, [docs])
    assert texts(index) == ["half", "whole"]
    (docs / "a.txt").unlink()
    assert counts(ingest(index, [docs])) == (0, 0, 1, 0, 0)
    assert texts(index) == ["whole"]


def test_records_that_were_deleted_by_hand_stay_away(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.csv": "\n".join(["x" * 700, "y" * 700]), "b.txt": "b"})
    index, _ = memory_index(tmp_path / "kb")
    ingest(index, [docs])
    index.delete([r.id for r in records(index) if r.text.startswith("x")])
    assert counts(ingest(index, [docs])) == (0, 0, 2, 0, 0)
    assert [text[:1] for text in texts(index)] == ["b", "y"]


CHILD = """
import sys
from pathlib import Path
from mmrag.index import MultimodalIndex
from mmrag.testing import FakeEncoder

def tell(status):
    print("done", status.done, flush=True)
    sys.stdin.readline()  # wait until the signal is sent

encoder = FakeEncoder(16)
with MultimodalIndex.open(sys.argv[1], text_encoder=encoder, image_encoder=encoder) as index:
    index.add_files([sys.argv[2]], progress=tell)
"""


def test_ctrl_c_keeps_what_was_committed(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {f"{n}.txt": f"text {n}" for n in range(200)})
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, tmp_path / "kb", docs],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    done = int(child.stdout.readline().split()[1])
    child.send_signal(signal.SIGINT)
    _, said = child.communicate("\n" * 10, timeout=60)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert child.returncode in (1, 130, -signal.SIGINT)
    with opened(tmp_path / "kb") as index:
        assert done <= index.count() < 200
        report = index.add_files([docs])
        assert report.unchanged >= done > 0
        assert report.added == 200 - report.unchanged
        assert texts(index) == sorted(f"text {n}" for n in range(200))


# One run at a time


def test_runs_in_several_threads_take_turns(tmp_path: Path) -> None:
    folders = [
        write(tmp_path / str(n), {f"{m}.txt": f"text {n} {m}" for m in range(100)})
        for n in range(3)
    ]
    with opened(tmp_path / "kb") as index:
        reports: list[Report] = []
        runs = [
            threading.Thread(target=lambda f=f: reports.append(index.add_files([f])))
            for f in folders
        ]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
        assert [report.added for report in reports] == [100] * 3
        assert index.count() == 300
        assert logical_journal(tmp_path / "kb")["of another generation"] == []


def test_two_indexes_that_share_a_folder_do_not_write_at_once(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "words"})
    one, _ = memory_index(tmp_path / "kb")
    two, _ = memory_index(tmp_path / "kb")
    refused: list[StoreLocked] = []

    def meanwhile(status: Status) -> None:
        with pytest.raises(StoreLocked) as caught:
            two.add_files([docs])
        refused.append(caught.value)
        assert one.info().records == 1  # looking is allowed

    one.add_files([docs], progress=meanwhile)
    assert "another run" in str(refused[0])
    assert two.add_files([docs]).added == 1  # two is empty, whatever the journal says


# The journal and the index


def test_a_lost_journal_is_made_anew_and_nothing_stale_stays(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", corpus(1))
    with opened(tmp_path / "kb") as index:
        index.add_files([docs])
    (tmp_path / "kb" / "journal.sqlite").unlink()
    rewrite(docs, corpus(2))
    with opened(tmp_path / "kb") as index:
        report = index.add_files([docs], prune=True)
        assert report.unchanged == 0
        assert report.deleted == 2
        after = seen(index)
    with opened(tmp_path / "clean") as clean:
        clean.add_files([docs])
        assert after == seen(clean)


def test_without_prune_a_lost_journal_costs_no_record(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "a", "b.txt": "b"})
    index, _ = memory_index(tmp_path / "kb")
    index.add([Record("mine", "not from a file")])
    ingest(index, [docs])
    for name in ("journal.sqlite", "journal.sqlite-wal"):
        (tmp_path / "kb" / name).unlink(missing_ok=True)
    (docs / "b.txt").unlink()
    assert counts(ingest(index, [docs])) == (0, 1, 0, 0, 0)
    assert texts(index) == ["a", "b", "not from a file"]
    assert ingest(index, [docs], prune=True).deleted == 1
    assert texts(index) == ["a", "not from a file"]


def test_a_run_that_fails_to_open_leaves_no_lock_behind(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "a"})
    index, store = memory_index(tmp_path / "kb")
    store.close()
    for _ in range(2):
        with pytest.raises(StoreError, match="closed"):
            ingest(index, [docs])
    again, _ = memory_index(tmp_path / "kb")
    assert ingest(again, [docs]).added == 1


def test_an_index_without_a_folder_cannot_take_files(tmp_path: Path) -> None:
    encoder = FakeEncoder(16)
    _, store = memory_index(tmp_path / "kb")
    index = MultimodalIndex.open(store=store, text_encoder=encoder, image_encoder=encoder)
    with pytest.raises(InputError, match="folder"):
        index.add_files([tmp_path])


def test_marks_tell_versions_apart() -> None:
    marks = {str(Mark(a, b, c)) for a in "12" for b in "xy" for c in "uv"}
    assert len(marks) == 8


def test_pixels_of_figures_and_pictures_are_those_of_the_files(tmp_path: Path) -> None:
    page = Page(text_at(60, 740, "text") + "q 300 0 0 225 100 300 cm /Im0 Do Q\n")
    page.images["Im0"] = picture(160, 120, seed=5)
    docs = write(
        tmp_path / "docs", {"a.png": saved(picture(160, 120, 5), "PNG"), "b.pdf": pdf(page)}
    )
    with opened(tmp_path / "kb") as index:
        index.add_files([docs])
        hits = index.search(image=picture(160, 120, seed=5), routes=["image->image"])
        assert [Path(hit.record.source).name for hit in hits] == ["a.png", "b.pdf"]
        assert hits[0].routes[0].score == pytest.approx(1, abs=1e-5)
        assert hits[1].routes[0].score > 0.98
        matrix = index.store.sample("image", 10)
        np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-5)


class Refusing(FakeEncoder):
    """An encoder behind a service that answers to nothing, or not to some texts."""

    def __init__(self, word: str) -> None:
        super().__init__(16)
        self.word, self.calls = word, 0

    def encode_texts(self, texts: Sequence[str], role: Any) -> Any:
        self.calls += 1
        if any(self.word in text for text in texts):
            raise ServiceError("no answer")
        return super().encode_texts(texts, role)


def test_a_service_that_is_down_stops_the_run(tmp_path: Path) -> None:
    write(tmp_path / "docs", {f"{number}.txt": f"number {number}" for number in range(30)})
    encoder = Refusing("number")
    with MultimodalIndex.open(
        tmp_path / "kb", text_encoder=encoder, image_encoder=encoder
    ) as index:
        with pytest.raises(ServiceError):
            index.add_files([tmp_path / "docs"])
        assert encoder.calls <= 4  # it is not asked once a file
        encoder.word = "\0"
        assert index.add_files([tmp_path / "docs"]).added == 30


def test_a_text_that_a_service_refuses_harms_its_file_alone(tmp_path: Path) -> None:
    write(tmp_path / "docs", {f"{number}.txt": f"number {number}" for number in range(30)})
    encoder = Refusing("number 17")
    with MultimodalIndex.open(
        tmp_path / "kb", text_encoder=encoder, image_encoder=encoder
    ) as index:
        report = index.add_files([tmp_path / "docs"])
        assert (report.added, [f.error for f in report.failed]) == (29, ["ServiceError"])
        encoder.word = "\0"
        assert index.add_files([tmp_path / "docs"]).added == 1  # it is tried again
