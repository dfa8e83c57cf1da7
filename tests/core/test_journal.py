"""The journal: what is stale, what survives, and what a damaged file says."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmrag.errors import StoreError, StoreLocked
from mmrag.journal import Failure, Journal, JournalDamaged, Mark

MARK = Mark("hash", "TextReader 1", "space")
BROKEN = Failure("a.txt", "DamagedSource", "the file is broken")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


def done(journal: Journal, path: str, generation: int, *parts: str) -> None:
    journal.note((path, generation, part, None) for part in parts)
    journal.commit([(path, path, MARK, generation, None)])


def test_what_is_noted_is_stale_until_its_source_is_committed(journal: Journal) -> None:
    journal.note([("a", 1, "a1", None), ("a", 1, "a2", "media/x.png")])
    assert sorted(journal.stale()) == ["a1", "a2"]
    journal.commit([("a", "name", MARK, 1, None)])
    assert journal.stale() == []
    source = journal.source("a")
    assert source is not None
    assert (source.name, source.mark, source.generation, source.state) == (
        "name",
        "hash TextReader 1 space",
        1,
        "done",
    )
    assert journal.source("b") is None
    assert journal.media() == {"media/x.png"}


def test_of_a_new_generation_what_it_does_not_have_any_more_is_stale(journal: Journal) -> None:
    done(journal, "a", 1, "kept", "old")
    journal.note([("a", 2, "kept", None), ("a", 2, "new", None)])
    assert journal.stale() == ["new"]  # as long as generation 2 is not committed
    journal.commit([("a", "a", MARK, 2, None)])
    assert journal.stale() == ["old"]
    journal.cleared(["a"])
    assert journal.stale() == []
    done(journal, "a", 3)
    assert sorted(journal.stale()) == ["kept", "new"]


def test_stale_and_cleared_of_some_files_leave_the_others_alone(journal: Journal) -> None:
    done(journal, "a", 1, "a old")
    done(journal, "b", 1, "b old")
    done(journal, "a", 2, "a new")
    done(journal, "b", 2, "b new")
    assert journal.stale(["a"]) == ["a old"]
    assert journal.stale([]) == []
    journal.cleared(["a"])
    journal.cleared([])
    assert journal.stale() == ["b old"]
    assert sorted(journal.stale(["a", "b", "c"])) == ["b old"]


def test_all_parts_of_a_failed_file_are_stale(journal: Journal) -> None:
    done(journal, "a", 1, "old")
    journal.note([("a", 2, "half", None), ("a", 2, "old", None)])
    journal.commit([("a", "a.txt", MARK, 2, BROKEN)])
    assert sorted(journal.stale()) == ["half", "old", "old"]
    assert journal.failure("a") == BROKEN
    assert journal.failures() == [BROKEN]
    assert journal.failure("b") is None
    done(journal, "a", 4, "good")
    assert journal.failures() == []


def test_all_parts_of_a_forgotten_file_are_stale(journal: Journal) -> None:
    done(journal, "a", 1, "a1")
    done(journal, "b", 1, "b1")
    journal.forget(["a", "never seen"])
    assert journal.stale() == ["a1"]
    assert [source.path for source in journal.sources()] == ["b"]
    journal.forget_all()
    assert (journal.stale(), journal.sources()) == ([], [])


def test_adopting_what_the_index_holds(journal: Journal) -> None:
    done(journal, "known", 3, "k1")
    done(journal, "less", 1, "s1", "s2")
    journal.note([("begun", 1, "b1", None)])
    held = [
        ("known", "k1", "known.txt", None),
        ("known", "k2", "known.txt", None),
        ("less", "s1", "less.txt", None),
        ("begun", "b1", "begun.txt", None),
        ("lost", "l1", "lost.txt", "media/l.png"),
        ("lost", "l2", "lost.txt", None),
    ]
    for _ in range(2):
        journal.adopt(iter(held))
        # The file that nobody knows stays until it is read again.
        assert sorted(journal.stale()) == ["b1", "k2"]
        assert {s.path: (s.name, s.mark, s.generation) for s in journal.sources()} == {
            "known": ("known", str(MARK), 3),
            "less": ("less", "", 1),
            "lost": ("lost.txt", "", 0),
        }
    assert journal.media() == {"media/l.png"}
    done(journal, "lost", 1, "l1")
    assert sorted(journal.stale()) == ["b1", "k2", "l2"]


def test_an_exception_rolls_back_and_leaves_the_journal_usable(journal: Journal) -> None:
    def parts() -> Iterator[tuple[str, int, str, None]]:
        yield ("a", 1, "a1", None)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        journal.note(parts())
    assert journal.stale() == []
    done(journal, "a", 1, "a1")
    assert len(journal.sources()) == 1


def test_a_new_journal_is_not_clean_and_what_was_set_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    assert not journal.clean
    journal.clean = True
    done(journal, "a", 1, "a1")
    journal.close()
    journal.close()
    journal = Journal(path)
    assert journal.clean
    assert journal.source("a") is not None
    journal.clean = False
    # Known without the write-ahead log too, which may be lost.
    alone = tmp_path / "alone.sqlite"
    alone.write_bytes(path.read_bytes())
    journal.close()
    journal = Journal(alone)
    assert not journal.clean
    journal.close()


def test_commits_survive_a_power_cut(journal: Journal) -> None:
    assert journal._rows("PRAGMA synchronous") == [(2,)]  # full


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + b"\0" * 5000])
def test_a_file_that_is_no_journal(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(content)
    with pytest.raises(JournalDamaged, match=r"journal\.sqlite"):
        Journal(path)


def test_a_journal_cut_short_is_damaged_or_new(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    for n in range(200):
        done(journal, f"path {n}", 1, *(f"part {n} {m}" for m in range(5)))
    journal.clean = True
    journal.close()
    whole = path.read_bytes()
    found = set()
    for size in [0, 1, 99, 100, 1000, 4095, 4096, 5000, 8192, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:size])
        try:
            journal = Journal(path)
        except JournalDamaged:
            found.add("damaged")
        else:
            assert not journal.clean, size
            journal.close()
            found.add("new")
    assert found == {"damaged", "new"}


def test_a_file_that_the_system_refuses_is_not_taken_for_damaged(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        Journal(tmp_path / "no such folder" / "journal.sqlite")
    assert not isinstance(caught.value, JournalDamaged)
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(StoreError) as caught:
        Journal(tmp_path / "folder.sqlite")
    assert not isinstance(caught.value, JournalDamaged)


def test_another_writer_is_a_lock(tmp_path: Path, journal: Journal) -> None:
    journal._db.execute("PRAGMA busy_timeout=0")
    other = sqlite3.connect(journal.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreLocked):
        journal.forget_all()
    other.close()
    journal.forget_all()
