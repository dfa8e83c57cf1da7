"""Files to parts without an index: in order, lazily, and a bad file stops no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmrag.errors import (
    DamagedSource,
    EmptySource,
    MmragError,
    UnreadableSource,
    UnsupportedSource,
)
from mmrag.readers import READERS
from mmrag.readers.base import Part
from mmrag.reading import read_paths

from .files import Page, media_folder, pdf, picture, saved, text_at


def listed(folder: Path, *names: str) -> list[tuple[str, object]]:
    """What comes out: a file's name, and a record's modality, the type of an error, or None."""
    paths = [folder / name for name in names] or [folder]
    return [
        (source.path.name, item.record.modality)
        if isinstance(item, Part)
        else (source.path.name, item and type(item))
        for source, item in read_paths(paths, media_folder(folder), 16)
    ]


def test_files_come_in_order_and_each_says_how_it_ended(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "b.png").write_bytes(saved(picture(), "PNG")[:80])
    (tmp_path / "c.jpg").write_bytes(saved(picture(), "JPEG"))
    (tmp_path / "d.docx").write_bytes(b"PK")
    (tmp_path / "e.pdf").write_bytes(
        pdf(Page(text_at(50, 700, "Hello")), Page(text_at(50, 9, "x")))
    )
    (tmp_path / "f.txt").write_text(" \n")
    assert listed(tmp_path) == [
        ("a.txt", "text"),
        ("a.txt", None),
        ("b.png", DamagedSource),
        ("c.jpg", "image"),
        ("c.jpg", None),
        ("d.docx", UnsupportedSource),
        ("e.pdf", "text"),
        ("e.pdf", "text"),
        ("e.pdf", None),
        ("f.txt", EmptySource),
    ]
    assert listed(tmp_path, "gone.txt") == [("gone.txt", UnreadableSource)]


def test_a_single_path_is_no_list_of_letters(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    for path in (tmp_path / "a.txt", str(tmp_path / "a.txt")):
        (source, part), _ = read_paths(path, media_folder(tmp_path), 16)
        assert isinstance(part, Part)
        assert part.record.text == "words"
        assert source.name == str(tmp_path / "a.txt")


def test_a_file_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    found = read_paths([tmp_path / "a.txt", tmp_path / "b.txt"], media_folder(tmp_path), 16)
    next(found)
    (tmp_path / "b.txt").write_text("later")
    assert [item.record.text for _, item in found if isinstance(item, Part)] == ["later"]


def test_derived_pictures_are_not_read_again(tmp_path: Path) -> None:
    media_folder(tmp_path).put(saved(picture(), "PNG"), ".png")
    (tmp_path / "a.txt").write_text("words")
    assert listed(tmp_path) == [("a.txt", "text"), ("a.txt", None)]


@pytest.mark.parametrize("error", [OSError(5, "input/output error"), KeyError("x")])
def test_whatever_a_reader_stumbles_over_ends_that_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    class Stumbles:
        version = "1"

        def read(self, *_: object) -> object:
            yield Part(None)  # type: ignore[arg-type]
            raise error

    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "b.png").write_bytes(saved(picture(), "PNG"))
    monkeypatch.setitem(READERS, "text", Stumbles())  # type: ignore[arg-type]
    items = [item for _, item in read_paths(tmp_path, media_folder(tmp_path), 16)]
    assert isinstance(items[1], UnreadableSource if isinstance(error, OSError) else KeyError)
    assert items[1] is error or isinstance(items[1], MmragError)
    assert isinstance(items[2], Part)
    assert items[3] is None
