"""``mmrag caption`` and ``mmrag index --caption``: real OCR, a server for the vision model."""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

pytest.importorskip("rapidocr")
pytest.importorskip("openai")

from mmrag import cli
from mmrag.captioners.vlm import VlmCaptioner
from mmrag.cli_output import print_hit
from mmrag.index import MultimodalIndex
from mmrag.types import Hit, Record, RouteScore

from ..captioners.pictures import CHINESE, GOOD, SAMPLE, plain, written
from ..chat_server import Raw, chat_server
from .test_asking import completion, reply, wire

pytestmark = pytest.mark.usefixtures("loopback")
SIGN = (400, 120)  # its size in pixels
VLM = ("--vlm", "m", "--vlm-url", "http://127.0.0.1:1/v1")
COLOURS = ("red", "green", "blue", "white", "black", "cyan", "magenta", "yellow", "brown", "pink")


class Done(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process, in a folder with a drawn sign and a cat."""
    (tmp_path / "docs").mkdir()
    written({(20, 30): "Summer Sale"}, SIGN).save(tmp_path / "docs" / "sign.png")
    (tmp_path / "docs" / "cat.jpg").write_bytes((SAMPLE / "chelsea.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "MMRAG_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*args: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["mmrag", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    return run


def parts_of(run: Run, words: str, kb: str = "kb") -> dict[str, list[str]]:
    """Of the hits by keywords: the name of the file, and the parts that the words are in."""
    done = run("search", words, "--kb", kb, "--route", "keywords", "--json")
    hits = json.loads(done.out)
    return {Path(hit["source"]).name: hit["routes"][0].get("parts", []) for hit in hits}


def test_pictures_are_found_by_what_is_read_and_seen_in_them(run: Run) -> None:
    done = run("index", "docs", "--kb", "kb", "--caption", "ocr,tags")
    assert (done.status, done.err) == (0, "")
    first, second = done.out.splitlines()
    assert first.startswith("2 added")
    assert second.startswith("2 captioned, 0 kept, 0 failed in ")
    assert parts_of(run, "summer") == {"sign.png": ["text_content"]}
    assert parts_of(run, "猫") == {"cat.jpg": ["keywords"]}
    assert " in text_content" in run("search", "summer", "--kb", "kb").out


def test_a_second_run_keeps_the_captions_and_the_json_says_so(run: Run) -> None:
    plain_keys = set(json.loads(run("index", "docs", "--kb", "kb", "--json").out))
    assert "captions" not in plain_keys
    report = json.loads(run("index", "docs", "--kb", "kb", "--caption", "OCR", "--json").out)
    assert set(report) == plain_keys | {"captions"}
    assert set(report["captions"]) == {"captioned", "kept", "failed", "seconds", "usage"}
    assert (report["captions"]["captioned"], report["captions"]["kept"]) == (2, 0)
    report = json.loads(run("index", "docs", "--kb", "kb", "--caption", "ocr", "--json").out)
    assert (report["captions"]["captioned"], report["captions"]["kept"]) == (0, 2)


def test_parts_that_are_known_are_not_asked_again(run: Run) -> None:
    with chat_server(GOOD) as server:
        vlm = ("--vlm", "m", "--vlm-url", server.url)
        assert run("index", "docs", "--kb", "kb", "--caption", "vlm", *vlm).status == 0
        assert len(server.bodies) == 2
        done = run("index", "docs", "--kb", "kb", "--caption", "vlm,ocr", *vlm)
        assert "2 captioned" in done.out
        assert len(server.bodies) == 2
    assert parts_of(run, "summer") == {"sign.png": ["text_content"]}
    assert set(parts_of(run, "bar chart")) == {"sign.png", "cat.jpg"}


def test_what_failed_is_said_and_only_that_is_asked_again(run: Run) -> None:
    def answer(body: dict[str, Any]) -> Raw | str:
        url = body["messages"][0]["content"][1]["image_url"]["url"]
        picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        return refusal if refused and picture.size == SIGN else GOOD

    refusal, refused = Raw(b'{"error": {"message": "not this one"}}', 400), True
    with chat_server(answer) as server:
        vlm = ("--caption", "vlm", "--vlm", "m", "--vlm-url", server.url)
        done = run("index", "docs", "--kb", "kb", *vlm)
        assert done.status == 0  # the other one is whole
        assert "1 captioned, 0 kept, 1 failed" in done.out
        (failure,) = done.err.splitlines()
        assert failure.startswith("docs/sign.png: PictureRefused: ")
        assert "not this one" in failure
        asked, refused = len(server.bodies), False
        done = run("index", "docs", "--kb", "kb", *vlm)
        assert (done.status, done.err) == (0, "")
        assert "1 captioned, 1 kept, 0 failed" in done.out
        assert len(server.bodies) == asked + 1


def test_status_1_only_where_nothing_could_be_captioned(run: Run) -> None:
    with chat_server(Raw(b'{"error": {"message": "no"}}', 400)) as server:
        vlm = ("--vlm", "m", "--vlm-url", server.url)
        done = run("index", "docs", "--kb", "kb", "--caption", "vlm", *vlm, "--json")
        report = json.loads(done.out)
        assert (done.status, report["added"], report["captions"]["captioned"]) == (1, 2, 0)
        assert {failure["error"] for failure in report["captions"]["failed"]} == {"PictureRefused"}
        # OCR works, so both have a part of a caption, but a part is not the whole.
        done = run("index", "docs", "--kb", "kb", "--caption", "ocr,vlm", *vlm)
        assert done.status == 1
        assert done.err.count("PartialCaption") == 2
    Path("note.txt").write_text("no picture in here")
    assert run("index", "note.txt", "--kb", "texts", "--caption", "ocr").status == 0


def test_the_language_and_the_key_reach_the_model(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "second-choice")
    monkeypatch.setenv("MMRAG_API_KEY", "first-choice")
    args = ("caption", "docs/sign.png", "--with", "vlm", "--vlm", "m", "--caption-language", "zh")
    with wire(reply(completion(CHINESE))) as prepared:
        done = run(*args, "--vlm-url", prepared.url)
        assert prepared.keys == ["Bearer first-choice"]
    assert (done.status, done.err) == (0, "")
    assert "一张销售柱状图" in done.out
    assert "choice" not in done.out
    with wire(reply(completion(GOOD))) as prepared:  # in English, also when asked again
        done = run(*args, "--vlm-url", prepared.url)
        assert prepared.keys == ["Bearer first-choice"] * 2
    said = "asked 2 times: it does not say how many tokens\n"
    assert (done.status, done.out) == (1, said)
    assert "AnswerError" in done.err
    assert "choice" not in done.err


def test_the_tokens_are_totalled(run: Run) -> None:
    said = "asked 2 times: 2 tokens in, 2 tokens out"
    with chat_server(GOOD) as server:
        vlm = ("vlm,ocr", "--vlm", "m", "--vlm-url", server.url)
        done = run("index", "docs", "--kb", "kb", "--caption", *vlm)
        assert done.out.splitlines()[-1] == said
        done = run("index", "docs", "--kb", "kb", "--caption", *vlm)
        assert "asked" not in done.out
        report = json.loads(run("index", "docs", "--kb", "b", "--caption", *vlm, "--json").out)
        usage = {"requests": 2, "prompt_tokens": 2, "completion_tokens": 2}
        assert report["captions"]["usage"] == usage
        done = run("caption", "docs/sign.png", "docs/cat.jpg", "--with", *vlm)
        assert (done.out.splitlines()[-1], done.err) == (said, "")
        done = run("caption", "docs/sign.png", "docs/cat.jpg", "--with", *vlm, "--json")
        assert len(json.loads(done.out)) == 2  # one a picture
        assert done.err.splitlines() == [said]


def test_the_pace_is_an_option(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    init = VlmCaptioner.__init__

    def watched(self: VlmCaptioner, model: str, **options: Any) -> None:
        made.append(options)
        init(self, model, **options)

    monkeypatch.setattr(VlmCaptioner, "__init__", watched)
    pace = ("--vlm-rate", "6000", "--vlm-concurrency", "2")
    with chat_server(GOOD) as server:
        vlm = ("vlm", "--vlm", "m", "--vlm-url", server.url)
        assert run("index", "docs", "--kb", "kb", "--caption", *vlm, *pace).status == 0
        assert run("caption", "docs/sign.png", "--with", *vlm, *pace).status == 0
        assert run("caption", "docs/sign.png", "--with", *vlm).status == 0
    told = [(options["requests_per_minute"], options["concurrency"]) for options in made]
    assert told == [(6000, 2), (6000, 2), (None, 4)]


def test_another_server_is_not_sent_the_key_for_openai(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "for-openai")
    with wire(reply(completion(GOOD))) as prepared:
        args = ("docs/sign.png", "--with", "vlm", "--vlm", "m", "--vlm-url", prepared.url)
        assert run("caption", *args).status == 0
        monkeypatch.setenv("OPENAI_BASE_URL", prepared.url)
        assert run("caption", *args).status == 0
        assert prepared.keys == ["Bearer none", "Bearer for-openai"]


def test_caption_prints_what_each_picture_says(run: Run) -> None:
    done = run("caption", "docs/sign.png", "docs/cat.jpg")
    assert (done.status, done.err) == (0, "")
    sign, text, cat, tags = done.out.splitlines()
    assert (sign, cat) == ("docs/sign.png", "docs/cat.jpg")
    assert text.split(maxsplit=1) == ["text", "Summer Sale"]
    assert tags.split(maxsplit=1) == ["keywords", "cat, 猫"]


def test_every_part_of_a_caption_is_printed(run: Run) -> None:
    with chat_server(GOOD) as server:
        vlm = ("--with", "vlm", "--vlm", "m", "--vlm-url", server.url)
        done = run("caption", "docs/sign.png", *vlm)
    assert [line.split(maxsplit=1)[0] for line in done.out.splitlines()[1:]] == [
        *("brief", "detailed", "keywords", "text", "data", "2021:", "asked")
    ]
    assert "2020: 1.50" in done.out


def test_a_picture_without_anything_to_say(run: Run, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(plain("red"))
    done = run("caption", "red.png", "--with", "ocr")
    assert (done.status, done.out.split()) == (0, ["red.png", "nothing", "to", "say"])


def test_json_has_one_item_a_file_in_order(run: Run) -> None:
    done = run("caption", "docs/sign.png", "nope.png", "--with", "ocr", "--json")
    assert done.status == 0
    sign, nope = json.loads(done.out)
    assert sign["source"] == "docs/sign.png"
    assert sign["caption"]["text_content"] == "Summer Sale"
    assert set(sign["caption"]["lines"][0]) == {"text", "bbox"}
    assert set(nope) == {"source", "caption", "error", "message"}
    assert (nope["caption"], nope["error"]) == (None, "UnreadableSource")


def test_files_that_are_no_pictures(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    (tmp_path / "letter.txt").write_text("dear reader")
    (tmp_path / "\x1b[2Jempty.png").touch()
    done = run("caption", "broken.png", "letter.txt", "docs", "nope.png", "\x1b[2Jempty.png")
    assert (done.status, done.out) == (1, "")
    lines = done.err.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        *("DamagedSource", "DamagedSource", "UnreadableSource", "UnreadableSource", "EmptySource")
    ]
    assert "\x1b" not in done.err
    assert all(line.count("letter.txt") < 2 for line in lines)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--caption", "ocr,smell"], "unknown captioner 'smell'; known: ocr, tags, vlm"),
        (["--caption", ""], "name at least one captioner"),
        (["--caption", " , "], "name at least one captioner"),
        (["--caption", "ocr,vlm"], "give --vlm MODEL"),
        (["--caption", "vlm", "--vlm", " ", "--vlm-url", "http://x/v1"], "model is the name"),
        (["--caption", "vlm", "--vlm", "m"], "set MMRAG_API_KEY or OPENAI_API_KEY"),
        (["--caption", "vlm", "--vlm", "m", "--vlm-url", "localhost"], "--llm) begins with"),
        (["--caption", "ocr", "--vlm", "m"], "name it too"),
        (["--vlm-url", "http://x/v1"], "name it too"),
        (["--caption", "ocr", "--caption-language", "zh"], "name it too"),
        (["--caption", "ocr", "--vlm-rate", "5"], "name it too"),
        (["--vlm-concurrency", "5"], "name it too"),
        (["--caption", "vlm", *VLM, "--vlm-rate", "0"], "error: --vlm-rate is above 0"),
        (["--caption", "vlm", *VLM, "--vlm-rate", "nan"], "error: --vlm-rate is above 0"),
        (["--caption", "vlm", *VLM, "--vlm-concurrency", "0"], "--vlm-concurrency is 1 or more"),
    ],
)
def test_wrong_options_leave_no_index_behind(
    run: Run, tmp_path: Path, args: list[str], says: str
) -> None:
    done = run("index", "docs", "--kb", "kb", *args)
    assert (done.status, done.out) == (2, "")
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "kb").exists()


@pytest.mark.parametrize("name", ["ocr", "vlm"])
def test_a_missing_extra_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.setattr("mmrag.captioners.ocr_engine.version", missing)
    vlm = ["--vlm", "m", "--vlm-url", "http://127.0.0.1:1/v1"] if name == "vlm" else []
    for command in (
        ["caption", "docs/cat.jpg", "--with"],
        ["index", "docs", "--kb=kb", "--caption"],
    ):
        done = run(*command, name, *vlm)
        assert (done.status, done.out) == (1, "")
        assert f"pip install 'mmrag[{name}]'" in done.err
    assert not Path("kb").exists()


def test_an_interrupt_loses_no_finished_caption(tmp_path: Path) -> None:
    for colour in COLOURS:
        (tmp_path / "docs").mkdir(exist_ok=True)
        (tmp_path / "docs" / f"{colour}.png").write_bytes(plain(colour))
    go_on, reached = threading.Event(), threading.Event()
    numbers, lock = itertools.count(1), threading.Lock()

    def answer(body: dict[str, Any]) -> Raw | str:
        with lock:
            number = next(numbers)
        # Four at once: who asks for the fifth and the sixth has kept what it has got.
        if number >= 6:
            reached.set()
        return GOOD if number <= 2 else Raw(b"{}", hang=go_on)

    def command(url: str) -> subprocess.Popen[str]:
        args = ("index", "docs", "--kb", "kb", "--caption", "vlm", "--vlm", "m", "--vlm-url", url)
        return subprocess.Popen(
            [sys.executable, "-m", "mmrag", *args],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "MMRAG_API_KEY": "none"},
        )

    with chat_server(answer) as server:
        run = command(server.url)
        assert reached.wait(60)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
        go_on.set()
    assert run.returncode == 130
    assert err.startswith("interrupted; what was finished is kept")
    with chat_server(GOOD) as again:
        out, err = command(again.url).communicate(timeout=60)
    assert "10 captioned, 0 kept, 0 failed" in out, err
    assert len(again.bodies) == 8
    with MultimodalIndex.open(tmp_path / "kb") as index:
        assert all(record.caption for record in index.get(_ids(index)))


def _ids(index: MultimodalIndex) -> list[str]:
    return [record.id for records in index.store.scan() for record in records]


def test_a_hit_says_in_which_parts_the_words_are(capsys: pytest.CaptureFixture[str]) -> None:
    routes = (
        RouteScore("keywords", 1, 4.2, 0.31, ("text_content", "data_points")),
        RouteScore("text->text", 2, 0.5, 0.1),
    )
    print_hit(1, Hit(Record("a", "x"), 0.41, routes), "x")
    said = capsys.readouterr().out
    assert (
        "keywords #1 4.20 (+0.31) in text_content, data_points  text->text #2 0.500 (+0.10)\n"
        in said
    )
