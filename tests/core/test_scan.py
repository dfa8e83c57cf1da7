"""Which files are meant: each real file once, and a reason for what cannot be read."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mmrag.errors import UnreadableSource
from mmrag.scan import Found, folders, gone, scan

from .ingest_files import working_in, write


def names(*paths: str | Path, leave_out: Path = Path("/nowhere")) -> list[str]:
    return [found.name for found in scan(paths, leave_out)]


def only(*paths: str | Path) -> Found:
    (found,) = scan(paths, Path("/nowhere"))
    return found


def test_files_of_folders_in_order_and_hidden_ones_not(tmp_path: Path) -> None:
    files = ["b/2.txt", "b/10.txt", "a.txt", ".hidden", ".git/config", "b/.x/y.txt", "c/d/e.txt"]
    write(tmp_path, dict.fromkeys(files, "x"))
    root = str(tmp_path)
    assert names(root) == [f"{root}/{n}" for n in ("a.txt", "b/10.txt", "b/2.txt", "c/d/e.txt")]
    assert names(f"{root}/") == names(root)
    assert names(tmp_path / ".hidden", tmp_path / ".git") == [
        f"{root}/.hidden",
        f"{root}/.git/config",
    ]


def test_names_are_as_given_and_paths_are_real(tmp_path: Path) -> None:
    write(tmp_path, {"docs/a.txt": "x"})
    with working_in(tmp_path):
        assert [(f.name, f.path) for f in scan(["docs"], tmp_path / "kb")] == [
            ("docs/a.txt", (tmp_path / "docs/a.txt").resolve())
        ]
        assert names("./docs/../docs") == ["./docs/../docs/a.txt"]
        assert names(".") == ["./docs/a.txt"]


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(write(tmp_path, {"docs/a.txt": "x"})))
    assert only("~/docs").path == (tmp_path / "docs/a.txt").resolve()
    assert only("~/docs").name == "~/docs/a.txt"
    assert folders(["~/docs"]) == {(tmp_path / "docs").resolve()}


def test_a_file_comes_once_whatever_leads_to_it(tmp_path: Path) -> None:
    write(tmp_path, {"a/file.txt": "x", "b/other.txt": "x"})
    (tmp_path / "a/link.txt").symlink_to("file.txt")
    (tmp_path / "b/again").symlink_to(tmp_path / "a")
    (tmp_path / "b/hard.txt").hardlink_to(tmp_path / "b/other.txt")
    root = str(tmp_path)
    assert names(root, tmp_path / "a/link.txt", tmp_path / "b") == [
        f"{root}/a/file.txt",
        f"{root}/b/hard.txt",
    ]
    assert only(tmp_path / "a/link.txt").path == (tmp_path / "a/file.txt").resolve()


def test_links_that_go_in_circles(tmp_path: Path) -> None:
    write(tmp_path, {"a/file.txt": "x"})
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to("self")
    found = list(scan([tmp_path], Path("/nowhere")))
    assert [f.name for f in found if f.error is None] == [f"{tmp_path}/a/file.txt"]
    (error,) = [f.error for f in found if f.error is not None]
    assert isinstance(error, UnreadableSource)
    assert str(error) == f"{tmp_path}/a/self: Too many levels of symbolic links"


def test_the_index_itself_is_left_out_however_it_is_reached(tmp_path: Path) -> None:
    write(tmp_path, {"kb/media/ab/x.png": "x", "kb/notes.txt": "x", "docs/a.txt": "x"})
    (tmp_path / "docs/kb").symlink_to(tmp_path / "kb")
    (tmp_path / "docs/x.png").symlink_to(tmp_path / "kb/media/ab/x.png")
    kb = tmp_path / "kb"
    assert names(tmp_path, kb, kb / "media", kb / "notes.txt", leave_out=kb) == [
        f"{tmp_path}/docs/a.txt"
    ]


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to("nowhere")
    for given, reason in (
        (tmp_path / "absent", "No such file or directory"),
        (tmp_path / "broken", "No such file or directory"),
        ("", "empty"),
        ("a\0b", "null byte"),
        ("~no-such-user/x", "home"),
        ("x" * 300, "File name too long"),
    ):
        found = only(given)
        assert isinstance(found.error, UnreadableSource), given
        assert reason in str(found.error)
        assert found.name == str(given)
    assert folders([tmp_path / "absent", "", "a\0b", "~no-such-user", tmp_path]) == {
        tmp_path.resolve()
    }


def test_a_folder_that_the_system_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"a/1.txt": "x", "b/2.txt": "x"})
    listing = os.scandir

    def refuse(path: Path) -> object:  # root may read everything, so no mode would do
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = list(scan([tmp_path], Path("/nowhere")))
    assert [(f.name, f.error is None) for f in found] == [
        (f"{tmp_path}/a", False),
        (f"{tmp_path}/b/2.txt", True),
    ]
    assert str(found[0].error) == f"{tmp_path}/a: Permission denied"


@pytest.mark.parametrize("name", ["line\nbreak.txt", "emoji 🐼.txt", " .txt", "a'\"b.txt"])
def test_strange_names_are_fine(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: "x"})
    found = only(tmp_path)
    assert (found.name, found.error) == (f"{tmp_path}/{name}", None)


def test_names_that_are_not_unicode_are_shown_by_their_bytes(tmp_path: Path) -> None:
    bad = os.fsdecode(b"bad\xff.txt")
    write(tmp_path, {bad: "x", "good.txt": "x"})
    (tmp_path / "link.txt").symlink_to(bad)
    found = {f.name: f.error for f in scan([tmp_path / "link.txt", tmp_path], Path("/nowhere"))}
    assert list(found) == [f"{tmp_path}/link.txt", f"{tmp_path}/good.txt"]
    assert str(found[f"{tmp_path}/link.txt"]) == (
        f"its name is not valid UTF-8: {tmp_path.resolve()}/bad\\xff.txt"
    )
    assert only(tmp_path / bad).name == f"{tmp_path}/bad\\xff.txt"


def test_sockets_and_pipes_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.txt"))
    assert names(tmp_path) == []
    assert str(only(tmp_path / "pipe.txt").error) == (
        f"{tmp_path}/pipe.txt is neither a file nor a folder"
    )


def test_folders_nested_deeper_than_python_calls(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(1020):  # not even pathlib can make or remove them at once
        deep = deep / "d"
        deep.mkdir()
    file = deep / "a.txt"
    file.write_text("x")
    try:
        assert names(tmp_path) == [str(file)]
    finally:
        file.unlink()
        while deep != tmp_path:
            deep.rmdir()
            deep = deep.parent


def test_gone_is_what_is_certainly_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path.resolve()
    write(root, {"here.txt": "x", "other/b.txt": "x", "folder.txt/x": "x"})
    (root / "link.txt").symlink_to("here.txt")
    (root / "moved").symlink_to("other")
    assert not gone(root / "here.txt")
    for name in ("absent.txt", "here.txt/inner.txt", "link.txt", "moved/b.txt", "folder.txt"):
        assert gone(root / name), name

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "lstat", refuse)
    assert not gone(root / "absent.txt")
