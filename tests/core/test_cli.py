"""The command, in a process of its own: what it prints, its JSON, its exit status."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmrag.demo import SAMPLE
from mmrag.index import MultimodalIndex


def mmrag(*args: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "mmrag", *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def answer(*args: str | Path, cwd: Path | None = None) -> Any:
    done = mmrag(*args, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "docs").mkdir()
    for name in ("texts/giant-panda.txt", "texts/router-setup.md", "pictures/bamboo-eater.jpg"):
        shutil.copy(SAMPLE / name, folder / "docs")
    shutil.copy(SAMPLE / "manual.pdf", folder / "docs")
    (folder / "docs" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    return folder


@pytest.fixture(scope="module")
def kb(docs: Path) -> Path:
    done = mmrag("index", "docs", "--kb", "kb", cwd=docs)
    assert done.returncode == 0, done.stderr
    assert "4 added, 0 updated, 0 unchanged, 0 deleted, 1 failed" in done.stdout
    assert "docs/broken.png: DamagedSource" in done.stderr
    return docs / "kb"


def test_index_again_as_json(docs: Path, kb: Path) -> None:
    report = answer("index", "docs", "--kb", kb, cwd=docs)
    failed = report.pop("failed")
    seconds = report.pop("seconds")
    with MultimodalIndex.open(kb) as index:
        assert report == {
            "added": 0,
            "updated": 0,
            "unchanged": 4,
            "deleted": 0,
            "records": index.count(),
        }
    assert seconds >= 0
    assert [(f["source"], f["error"]) for f in failed] == [("docs/broken.png", "DamagedSource")]


def test_search_by_words_as_json(docs: Path, kb: Path) -> None:
    hits = answer("search", "giant panda", "--kb", kb, "--limit", "3", cwd=docs)
    assert [set(hit) for hit in hits] == [
        {"id", "score", "modality", "source", "locator", "text", "routes"}
    ] * 3
    assert {"docs/giant-panda.txt", "docs/bamboo-eater.jpg"} <= {hit["source"] for hit in hits}
    for hit in hits:
        assert (docs / hit["source"]).exists()
        assert set(hit["locator"]) == {"page", "bbox", "start_s", "end_s"}
        assert hit["score"] == pytest.approx(sum(r["contribution"] for r in hit["routes"]))
        assert all(set(r) == {"route", "rank", "score", "contribution"} for r in hit["routes"])
    assert [hit["score"] for hit in hits] == sorted((h["score"] for h in hits), reverse=True)


def test_search_by_a_picture_and_one_route(docs: Path, kb: Path) -> None:
    picture = docs / "docs" / "bamboo-eater.jpg"
    (hit,) = answer(
        "search", "--image", picture, "--kb", kb, "--route", "image->image", "--limit", "1"
    )
    assert hit["source"] == "docs/bamboo-eater.jpg"
    assert hit["routes"][0]["route"] == "image->image"
    assert hit["routes"][0]["score"] == pytest.approx(1, abs=1e-4)


def test_search_reranked(docs: Path, kb: Path) -> None:
    hits = answer("search", "panda", "--kb", kb, "--rerank", "encoder", "--limit", "3", cwd=docs)
    assert len(hits) == 3
    for rank, hit in enumerate(hits, start=1):
        reranked = {route["route"]: route for route in hit["routes"]}["rerank"]
        assert reranked["rank"] == rank
        assert hit["score"] == pytest.approx(reranked["score"])
    done = mmrag("search", "panda", "--kb", kb, "--rerank", "encoder", cwd=docs)
    assert "rerank #1 " in done.stdout


def test_where_takes_numbers_and_words(kb: Path) -> None:
    pages = answer("search", "filter", "--kb", kb, "--where", "page=3", "--where", "modality=text")
    assert pages
    assert {hit["locator"]["page"] for hit in pages} == {3}
    assert {hit["modality"] for hit in pages} == {"text"}


def test_where_on_an_unknown_key_says_so(kb: Path) -> None:
    done = mmrag("search", "panda", "--kb", kb, "--where", "colour=red")
    assert done.returncode == 0
    assert "no hits" in done.stdout
    assert "no record has the key 'colour'" in done.stderr


def test_human_output_says_why(docs: Path, kb: Path) -> None:
    done = mmrag("search", "大熊猫", "--kb", kb, cwd=docs)
    assert "docs/giant-panda.txt" in done.stdout
    assert "text->text #1" in done.stdout


def test_info(kb: Path) -> None:
    known = answer("info", "--kb", kb)
    assert known["records"] == sum(known["modalities"].values())
    assert known["fields"]["image"] == known["modalities"]["image"] >= 2
    assert known["bytes"] > 0
    assert [f["source"] for f in known["failed"]] == ["docs/broken.png"]
    assert "mmrag-bundled-1" in known["encoders"]["text"]
    assert "mmrag-bundled-1" in mmrag("info", "--kb", kb).stdout


def test_info_without_its_journal(docs: Path, kb: Path, tmp_path: Path) -> None:
    """Cut short by a full disk, say: what is in the index is known all the same."""
    shutil.copytree(kb, tmp_path / "kb")
    journal = tmp_path / "kb" / "journal.sqlite"
    journal.write_bytes(journal.read_bytes()[:6000])
    known = answer("info", "--kb", tmp_path / "kb")
    assert known["records"] == answer("info", "--kb", kb)["records"]
    assert known["failed"] is None
    assert "until the next 'mmrag index'" in mmrag("info", "--kb", tmp_path / "kb").stdout
    mmrag("index", "docs", "--kb", tmp_path / "kb", cwd=docs)
    assert [f["source"] for f in answer("info", "--kb", tmp_path / "kb")["failed"]] == [
        "docs/broken.png"
    ]


def test_optimize_says_what_is_left(docs: Path, kb: Path, tmp_path: Path) -> None:
    shutil.copytree(kb, tmp_path / "kb")
    records = answer("info", "--kb", kb)["records"]
    said = answer("optimize", "--kb", tmp_path / "kb")
    assert said == {"records": records, "bytes": said["bytes"]}
    assert said["bytes"] > 0
    done = mmrag("optimize", "--kb", "kb", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"optimized: {records} records in kb, ")


def test_status_1_when_nothing_could_be_indexed(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    done = mmrag("index", tmp_path / "empty.txt", "--kb", tmp_path / "kb")
    assert done.returncode == 1
    assert "EmptySource" in done.stderr


def test_a_missing_path_is_a_reported_failure(tmp_path: Path) -> None:
    done = mmrag("index", tmp_path / "nowhere", "--kb", tmp_path / "kb", "--json")
    assert done.returncode == 1
    (failed,) = json.loads(done.stdout)["failed"]
    assert failed["error"] == "UnreadableSource"
    assert "No such file" in failed["message"]


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (["search", "x", "--limit", "0"], 2, "limit is a whole number"),
        (["search", "x", "--limit", "-1"], 2, "limit is a whole number"),
        (["search", "x", "--limit", "many"], 2, "valid integer"),
        (["search"], 2, "empty query"),
        (["search", "   "], 2, "empty query"),
        (["search", "x", "--route", "text->smell"], 2, "unknown route 'text->smell'"),
        (["search", "x", "--route", "image->image"], 2, "needs a query with a picture"),
        (["search", "x", "--fusion", "magic"], 2, "unknown fusion 'magic'"),
        (["search", "x", "--rerank", "magic"], 2, "unknown reranker 'magic'"),
        (["search", "x", "--rerank", "cross-encoder:"], 2, "unknown reranker"),
        (["search", "x", "--where", "colour"], 2, "KEY=VALUE"),
        (["search", "--image", "no-such.png"], 1, "no-such.png"),
        (["search", "--image", __file__], 1, "error:"),
        (["index"], 2, "Missing argument"),
        (["dance"], 2, "No such command"),
    ],
)
def test_wrong_usage(kb: Path, args: list[str], status: int, says: str) -> None:
    done = mmrag(*args, "--kb", kb)
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("args", "names"),
    [
        (["index", "", "--kb", "kb"], "paths"),
        (["index", "--prune", "", "--kb", "kb"], "paths"),
        (["index", "--kb", "kb", "--", ""], "paths"),
        (["index", "docs", "--kb", ""], "--kb"),
        (["index", "docs", "--kb="], "--kb"),
        (["search", "--image", "", "--kb", "kb"], "--image"),
        (["demo", "--out", ""], "--out"),
        (["ask", "x", "--kb", "", "--llm", "http://localhost/v1", "--model", "m"], "--kb"),
        (["caption", ""], "files"),
        (["eval", "", "--kb", "kb"], "queries"),
        (["eval", "q", "--kb", "kb", "--plot", ""], "--plot"),
        (["export", "ViT-B-32", "--out", ""], "--out"),
    ],
)
def test_an_empty_argument_is_not_the_working_directory(
    tmp_path: Path, args: list[str], names: str
) -> None:
    """As an unset variable of the shell makes it: ``mmrag index "$DOCS" --kb kb``."""
    (tmp_path / "private.txt").write_text("nobody has asked for this to be indexed")
    done = mmrag(*args, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert f"Invalid value for '{names}': the path is empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["private.txt"]


@pytest.mark.parametrize(
    "args",
    [
        ["index", "https://example.com/a.jpg", "--kb", "kb"],
        ["search", "--image", "https://example.com/a.jpg", "--kb", "kb"],
        ["caption", "HTTPS://example.com/a.jpg"],
    ],
)
def test_an_address_of_the_web_is_not_taken_for_a_path(tmp_path: Path, args: list[str]) -> None:
    done = mmrag(*args, cwd=tmp_path)
    assert done.returncode == 2
    assert "URLs are not fetched: download it first, then give its path" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_searching_what_is_no_index(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear reader")
    for folder in (tmp_path, tmp_path / "nowhere", tmp_path / "letter.txt"):
        done = mmrag("search", "x", "--kb", folder)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


def test_an_index_that_is_open_elsewhere(kb: Path) -> None:
    with MultimodalIndex.open(kb):
        done = mmrag("search", "x", "--kb", kb)
    assert done.returncode == 1
    assert "another process" in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "cp1252"])
def test_a_stream_that_is_not_utf8(encoding: str, tmp_path: Path) -> None:
    """As a pipe is on Chinese Windows, or in a container without a locale."""
    text = "大熊猫 ½ 🐼 zebra"
    (tmp_path / "a.txt").write_text(text, "utf-8")
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}

    def run(*args: str) -> bytes:
        done = subprocess.run(
            [sys.executable, "-m", "mmrag", *args, "--kb", "kb"],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            env=env,
        )
        assert b"Traceback" not in done.stderr, done.stderr
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("index", "a.txt", "nowhere-大🐼.txt")
    (hit,) = json.loads(run("search", "zebra", "--json").decode(encoding))
    assert hit["text"] == text
    assert "\\U0001f43c zebra" in run("search", "zebra").decode(encoding)


def test_a_closed_pipe_is_no_traceback(kb: Path) -> None:
    command = f"'{sys.executable}' -m mmrag search panda --kb '{kb}' --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_an_interrupt_ends_the_command_whatever_threads_are_left() -> None:
    """Seen once: Ctrl-C while the encoder's pool started its first thread, and the command hung."""
    code = """
import threading
from mmrag import cli

@cli.app.command()
def wait():
    threading.Thread(target=threading.Event().wait).start()
    raise KeyboardInterrupt

cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "wait"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 130
    assert done.stderr.startswith("interrupted; what was finished is kept")


@pytest.mark.parametrize("run", ["-mmmrag", "-cfrom mmrag.__main__ import main; main()"])
def test_an_interrupt_while_the_command_is_imported(tmp_path: Path, run: str) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, run, "encoders"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_demo_writes_a_page(tmp_path: Path) -> None:
    done = mmrag("demo", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "demo.html").read_text("utf-8")
    assert page.count("<section") == 8
    assert page.count("data:image/") > 20
    assert "http://" not in page
    assert "picture not found" not in page
    first = done.stdout.split("\n\n")[0]
    for source in ("pour-over-coffee.md", "espresso.jpg"):
        assert source in first, "texts and pictures compete in the first section"
    section = page.split("<section")[1]
    for source in ("pour-over-coffee.md", "espresso.jpg", "manual.pdf"):
        assert source in section


def test_version_and_help() -> None:
    assert mmrag("--version").stdout.startswith("mmrag 0.")
    listed = mmrag("--help").stdout
    for command in ("index", "search", "info", "demo", "ask", "caption", "eval", "encoders"):
        assert f" {command} " in listed
