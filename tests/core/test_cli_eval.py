"""``mmrag eval``: its tables, its JSON, its plot, its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

pytest.importorskip("ir_measures")

from mmrag import cli, cli_eval
from mmrag.demo import SAMPLE
from mmrag.index import MultimodalIndex

QUERIES = [
    {"id": "panda", "text": "a panda eats bamboo", "relevant": ["bamboo-eater.jpg"]},
    {"id": "熊猫", "text": "大熊猫", "relevant": {"giant-panda.txt": 2, "bamboo-eater.jpg": 1}},
    {"id": "router", "text": "reset the router", "relevant": ["texts/router-setup.md"]},
    {"id": "dog", "image": "shepherd.jpg", "relevant": ["shepherd.jpg"]},
]


class Done(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eval")
    names = ("texts/giant-panda.txt", "texts/router-setup.md")
    pictures = ("pictures/bamboo-eater.jpg", "pictures/shepherd.jpg")
    with MultimodalIndex.open(folder / "kb") as index:
        assert index.add_files([SAMPLE / name for name in (*names, *pictures)]).added == 4
    (folder / "shepherd.jpg").write_bytes((SAMPLE / pictures[1]).read_bytes())
    lines = (json.dumps(query, ensure_ascii=False) for query in QUERIES)
    (folder / "queries.jsonl").write_text("\n".join(lines), "utf-8")
    return folder / "kb"


@pytest.fixture
def run(kb: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    cli_eval.register(app)
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*args: str | Path, queries: str | Path = kb.parent / "queries.jsonl") -> Done:
        words = ["mmrag", "eval", str(queries), "--kb", str(kb), *map(str, args)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    return run


def test_the_table_says_how_each_way_does(run: Run) -> None:
    done = run("--k", "1")
    assert done.status == 0, done.err
    rows = {line.split("  ")[0].strip(): line.split() for line in done.out.splitlines()}
    assert rows["way"][1:6] == ["queries", "recall@1", "hit@1", "MRR", "nDCG@10"]
    assert rows["calibrated"][1:5] == ["4", "0.875", "1.000", "1.000"]
    assert "nDCG@10 against calibrated" in done.out
    assert "image->image alone" in rows
    assert "4 queries" in done.out


def test_json_with_every_part_asked_for(run: Run) -> None:
    done = run("--json", "--ablate", "--fusion", "rrf", "--fusion", "dbsf", "--rerank", "encoder")
    assert done.status == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    ways = {outcome["way"]: outcome for outcome in found["outcomes"]}
    name = "encoder mmrag-bundled-1"
    assert list(ways)[:3] == ["rrf", "dbsf", f"rrf, then {name}"]
    assert {"keywords alone", "rrf without keywords", "rrf without image->image"} <= set(ways)
    assert ways["rrf"]["queries"] == found["queries"] == 4
    assert set(ways["rrf"]["metrics"]) == {"recall@10", "hit@10", "MRR", "nDCG@10"}
    assert set(ways["rrf"]["metrics"]["MRR"]) == {"mean", "low", "high"}
    assert ways["rrf"]["per_query"]["dog"]["recall@10"] == 1
    assert {pair["baseline"] for pair in found["comparisons"]} == {"rrf"}
    assert found["missing"] == []
    assert found["failed"] == {}


def test_the_plot(run: Run, tmp_path: Path) -> None:
    done = run("--plot", tmp_path / "plot.svg")
    assert done.status == 0, done.err
    assert (tmp_path / "plot.svg").read_text("utf-8").startswith("<svg ")


def test_queries_and_qrels_of_trec(run: Run, tmp_path: Path) -> None:
    (tmp_path / "topics.tsv").write_text("1\treset the router\n")
    (tmp_path / "qrels").write_text("1 0 router-setup.md 1\n")
    done = run("--json", "--qrels", tmp_path / "qrels", queries=tmp_path / "topics.tsv")
    assert json.loads(done.out)["outcomes"][0]["per_query"] == {
        "1": {"recall@10": 1.0, "hit@10": 1.0, "MRR": 1.0, "nDCG@10": 1.0}
    }


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--k", "0"], "k is a whole number from 1 to 1000"),
        (["--fusion", "magic"], "unknown fusion 'magic'"),
        (["--rerank", "magic"], "unknown reranker 'magic'; known: cross-encoder:MODEL"),
        (["--rerank", "cross-encoder:"], "unknown reranker"),
        (["--plot", "plot.png"], "a plot is an SVG: name it 'plot.svg'"),
        (["--k", "many"], "valid integer"),
    ],
)
def test_wrong_usage(run: Run, args: list[str], says: str) -> None:
    done = run(*args)
    assert (done.status, done.out) == (2, "")
    assert says in done.err


def test_files_that_are_no_queries(run: Run, kb: Path, tmp_path: Path) -> None:
    done = run(queries=tmp_path / "nowhere.jsonl")
    assert (done.status, done.out) == (1, "")
    assert "nowhere.jsonl" in done.err
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"id": 1}\n')
    assert run(queries=broken).err.startswith(f"error: {broken}, line 1: ")
    broken.write_text("")
    done = run(queries=broken)
    assert done.status == 2
    assert "the file is empty" in done.err


def test_what_the_index_does_not_hold_is_said_once(kb: Path, tmp_path: Path) -> None:
    """In a process of its own, as the command is run: the words come by the log."""
    lines = [
        '{"id": "1", "text": "router", "relevant": ["router-setup.md", "no\\u001bwhere.md"]}',
        '{"id": "2", "image": "gone.png", "relevant": ["shepherd.jpg"]}',
    ]
    (tmp_path / "queries.jsonl").write_text("\n".join(lines))
    code = "from mmrag import cli, cli_eval; cli_eval.register(cli.app); cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "eval", tmp_path / "queries.jsonl", "--kb", kb, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["missing"] == ["no\x1bwhere.md"]
    assert list(found["failed"]) == ["2"]
    first, second = done.stderr.splitlines()
    assert first == r"1 relevant names are not in the index and count as missed: 'no\x1bwhere.md'"
    assert second.startswith("query '2' cannot be asked: ")
