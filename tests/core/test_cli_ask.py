"""``mmrag ask``: what it prints, its JSON, its exit status, over a server on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

pytest.importorskip("openai")

from mmrag import cli, cli_ask
from mmrag.demo import SAMPLE
from mmrag.index import MultimodalIndex

from ..chat_server import ChatServer, chat_server
from .test_asking import completion, reply, wire

pytestmark = pytest.mark.usefixtures("loopback")


class Done(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ask")
    for name in ("texts/router-setup.md", "pictures/bamboo-eater.jpg", "manual.pdf"):
        shutil.copy(SAMPLE / name, folder)
    with MultimodalIndex.open(folder / "kb") as index:
        names = ("router-setup.md", "bamboo-eater.jpg", "manual.pdf")
        assert index.add_files([folder / name for name in names]).added == 3
    return folder / "kb"


@pytest.fixture
def run(kb: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    cli_ask.register(app)
    monkeypatch.setattr(cli, "app", app)
    for name in ("OPENAI_API_KEY", "MMRAG_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(server: ChatServer | str, question: str, *args: str | Path) -> Done:
        url = server if isinstance(server, str) else server.url
        words = ["mmrag", "ask", question, "--kb", str(kb), "--llm", url, "--model", "m"]
        monkeypatch.setattr(sys, "argv", [*words, *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_the_answer_and_then_its_sources(run: Run, kb: Path, stream: str) -> None:
    with chat_server("Hold the button\nfor ten seconds [1].") as server:
        done = run(server, "how do I reset the router?", "--limit", "2", stream)
        assert bool(server.bodies[0].get("stream")) is (stream == "--stream")
    assert (done.status, done.err) == (0, "")
    first, second, blank, source, *rest = done.out.splitlines()
    assert (first, second, blank) == ("Hold the button", "for ten seconds [1].", "")
    assert source.startswith("[1] ")
    assert source.endswith(("router-setup.md",)) or "manual.pdf  p. " in source
    assert rest == []


def test_a_figure_is_cited_with_its_page_its_box_and_its_picture(run: Run, kb: Path) -> None:
    numbers = "".join(f"[{n}]" for n in range(1, 30))
    with chat_server(f"See {numbers}") as server:
        done = run(server, "white air purifier next to a potted plant", "--limit", "5")
        assert {part[0] for part in server.parts()} == {"text", "image"}
    figures = [line for line in done.out.splitlines() if "box 0." in line and "kb/media/" in line]
    assert figures
    _, place, box, picture = figures[0].split("  ")
    assert place.startswith("p. ")
    assert len(box.split()) == 5
    assert Path(picture).is_file()


def test_json(run: Run) -> None:
    with chat_server("Yes [1], and no [99].") as server:
        done = run(server, "a panda eats bamboo", "--json", "--limit", "1")
    said = json.loads(done.out)
    assert done.status == 0
    assert said["text"] == "Yes [1], and no [99]."
    (cited,) = said["citations"]
    assert set(cited) == {"number", "id", "modality", "source", "locator", "image"}
    assert cited["number"] == 1
    assert Path(cited["source"]).is_file()
    assert said["invented"] == [99]
    assert said["usage"] == {"requests": 1, "prompt_tokens": 1, "completion_tokens": 1}


def test_a_number_that_no_source_has_is_flagged(run: Run) -> None:
    with chat_server("So it is [99][98].") as server:
        done = run(server, "router", "--limit", "1")
    assert done.status == 0
    assert "the answer cites no source" in done.out
    assert done.err == "warning: cited, but no source: [99], [98]\n"


def test_a_picture_is_asked_about(run: Run, kb: Path) -> None:
    with chat_server("A panda.") as server:
        done = run(server, "", "--image", kb.parent / "bamboo-eater.jpg", "--limit", "1")
        images = [part for part in server.parts() if part[0] == "image"]
    assert done.status == 0
    assert len(images) == 2  # the source, which is the same picture, and the question


def test_an_answer_cannot_command_the_terminal(run: Run) -> None:
    for stream in ("--stream", "--no-stream"):
        with chat_server("\x1b[2J\x1b]0;title\x07 red\tcell 中文 👩‍🔬") as server:
            done = run(server, "router", stream)
        assert "\x1b" not in done.out
        assert "\x07" not in done.out
        assert "中文 👩‍🔬" in done.out


def test_the_key_is_the_one_of_the_environment_and_is_not_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "second-choice")
    monkeypatch.setenv("MMRAG_API_KEY", "first-choice")
    with wire(reply(completion("[1]"))) as prepared:
        assert run(prepared.url, "router", "--no-stream").status == 0
        monkeypatch.delenv("MMRAG_API_KEY")
        assert run(prepared.url, "router", "--no-stream").status == 0
        monkeypatch.setenv("OPENAI_BASE_URL", prepared.url + "/")
        assert run(prepared.url, "router", "--no-stream").status == 0
        # A server that nobody has called OpenAI's is not sent OpenAI's key.
        told = ["first-choice", "none", "second-choice"]
        assert prepared.keys == [f"Bearer {key}" for key in told]
    with chat_server() as server:
        server.refuses = "messages"
        done = run(server, "router")
    assert done.status == 1
    assert "unknown option messages" in done.err
    assert "choice" not in done.err
    assert "choice" not in run(server, "router", "--help").out


def test_wrong_usage(run: Run, kb: Path, tmp_path: Path) -> None:
    with chat_server() as server:
        for question, args, status, says in (
            ("  ", [], 2, "empty query"),
            ("x", ["--limit", "0"], 2, "limit is a whole number"),
            ("x", ["--model", " "], 2, "model is the name"),
            ("x", ["--llm", "localhost:11434"], 2, "--vlm-url or --llm) begins with http://"),
            ("x", ["--image", "no-such.png"], 1, "no-such.png"),
            ("x", ["--kb", str(tmp_path / "nowhere")], 1, "nowhere"),
        ):
            done = run(server, question, *args)
            assert (done.status, done.out) == (status, ""), args
            assert says in done.err
            assert len(done.err.splitlines()) == 1
        assert server.bodies == []


def test_a_service_that_is_not_there(run: Run) -> None:
    with chat_server() as server:
        pass
    done = run(server, "router")
    assert (done.status, done.out) == (1, "")
    assert "cannot be reached" in done.err


def test_an_empty_answer(run: Run) -> None:
    for option in ("--stream", "--no-stream", "--json"):
        with chat_server("") as server:
            done = run(server, "router", option)
        assert (done.status, done.out) == (1, ""), option
        assert "empty answer" in done.err


def test_in_a_process_of_its_own_it_streams(kb: Path) -> None:
    code = "from mmrag import cli, cli_ask; cli_ask.register(cli.app); cli.main()"
    with chat_server("It is so [1].") as server:
        words = ["ask", "router", "--kb", kb, "--llm", server.url, "--model", "m"]
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("It is so [1].\n\n[1] ")
