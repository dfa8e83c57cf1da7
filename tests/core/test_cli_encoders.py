"""Encoders by name on the command line: chosen once, remembered, listed, exported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmrag.cli_encoders import opened
from mmrag.demo import SAMPLE
from mmrag.encoders import CATALOGUE
from mmrag.errors import InputError, NotAnIndex, SpaceMismatch, StoreLocked, UnknownName
from mmrag.index import MultimodalIndex
from mmrag.testing import FakeEncoder
from mmrag.types import Record


def mmrag(*args: str | Path, cwd: Path | None = None, columns: int = 200) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "mmrag", *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "COLUMNS": str(columns),
            "PYTHONIOENCODING": "utf-8",
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_CACHE": str(cwd or "/nowhere"),
        },
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


class Fakes:
    """Stands in for the loading of encoders by name, and counts it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loaded: list[str] = []
        monkeypatch.setattr("mmrag.encoders.loading.load_encoder", self)
        monkeypatch.setattr("mmrag.encoders.loading.load_image_encoder", self)

    def __call__(self, name: str) -> Any:
        fakes = self
        dim = {"bundled": 32, "bge-m3": 48}.get(name, 64)

        class Counted(FakeEncoder):
            @property
            def space(self) -> Any:
                fakes.loaded.append(name)
                return super().space

        return Counted(dim)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    return Fakes(monkeypatch)


RECORDS = [Record("a", "a lighthouse at night"), Record("b", "beans and rice")]


def test_names_are_remembered_and_nothing_is_loaded_to_look_at_an_index(
    fakes: Fakes, tmp_path: Path
) -> None:
    with opened(tmp_path / "kb", create=True, image="siglip2-base", text="BAAI/bge-m3") as index:
        index.add(RECORDS)
        assert index.encoders.spaces()["image"].dim == 64
        assert index.encoders.spaces()["text"].dim == 48
    fakes.loaded.clear()
    with opened(tmp_path / "kb") as index:
        known = index.info()
        assert index.search("beans", routes=["keywords"])[0].record.id == "b"
    assert known.names == {"image": "siglip2-base", "text": "bge-m3"}
    assert known.records == 2
    assert fakes.loaded == []
    with opened(tmp_path / "kb") as index:
        assert index.search("beans and rice", routes=["text->text"])[0].record.id == "b"
    assert set(fakes.loaded) == {"bge-m3"}
    with opened(tmp_path / "kb", image="siglip2-base") as index:
        assert index.search("beans and rice")[0].record.id == "b"


def test_one_name_for_both_is_one_encoder_and_one_space(fakes: Fakes, tmp_path: Path) -> None:
    for _ in range(2):
        with opened(tmp_path / "kb", create=True, image="siglip2-base", text="siglip2-base") as kb:
            assert kb.encoders.text is kb.encoders.image
            assert kb.encoders.shared


def test_another_name_than_the_remembered_one_is_a_mismatch(fakes: Fakes, tmp_path: Path) -> None:
    with opened(tmp_path / "kb", create=True, image="siglip2-base"):
        pass
    with pytest.raises(SpaceMismatch), opened(tmp_path / "kb", text="bge-m3"):
        pass
    with pytest.raises(SpaceMismatch), opened(tmp_path / "kb", image="bundled"):
        pass
    with pytest.raises(SpaceMismatch):
        MultimodalIndex.open(tmp_path / "kb")
    with opened(tmp_path / "kb") as index:  # none of them has left a lock or another name
        assert index.info().names == {"image": "siglip2-base", "text": "bundled"}


def test_an_index_made_elsewhere_learns_the_name_it_is_opened_with(
    fakes: Fakes, tmp_path: Path
) -> None:
    MultimodalIndex.open(
        tmp_path / "kb", image_encoder=FakeEncoder(64), text_encoder=FakeEncoder(32)
    ).close()
    with pytest.raises(SpaceMismatch), opened(tmp_path / "kb"):
        pass
    for name in ("siglip2-base", None):
        with opened(tmp_path / "kb", image=name) as index:
            assert index.info().names == {"image": "siglip2-base", "text": "bundled"}


def test_what_cannot_be_opened_leaves_nothing_behind(fakes: Fakes, tmp_path: Path) -> None:
    with pytest.raises(NotAnIndex), opened(tmp_path / "kb"):
        pass
    with pytest.raises(UnknownName), opened(tmp_path / "kb", create=True, image="siglop"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_open_index_stays_locked(tmp_path: Path) -> None:
    with opened(tmp_path / "kb", create=True), pytest.raises(StoreLocked):
        opened(tmp_path / "kb").__enter__()


def test_a_text_encoder_takes_no_pictures(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="'bge-m3' takes texts alone; for pictures"),
        opened(tmp_path / "kb", create=True, image="bge-m3"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_index_of_the_bundled_encoder_names_none(tmp_path: Path) -> None:
    with opened(tmp_path / "kb", create=True, image="bundled", text="bundled") as index:
        assert index.info().names == {}
        assert index.encoders.shared


def test_encoders_as_a_table_and_as_json() -> None:
    for columns in (40, 60, 80, 200):
        printed = mmrag("encoders", columns=columns).stdout
        table, _, notes = printed.partition("\n\n")
        assert "onnx:FOLDER" in notes
        lines = table.splitlines()
        assert len(lines) == len(CATALOGUE) + 1
        assert max(map(len, lines)) <= columns
        for line, entry in zip(lines[1:], CATALOGUE, strict=True):
            assert line.startswith(f"{entry.name} ")
        assert "…" not in table
        assert table.split()[1] == {40: "dim", 60: "languages"}.get(columns, "dim")
    assert "65.0 Flickr30k" in table
    assert "OpenAI's terms" in table
    listed = json.loads(mmrag("encoders", "--json").stdout)
    assert [entry["name"] for entry in listed] == [entry.name for entry in CATALOGUE]
    assert {"space", "dimension", "text_limit", "image_size", "languages", "licence"} < set(
        listed[0]
    )
    assert listed[2]["figures"][0] == {
        "dataset": "Flickr30k",
        "task": "text->image",
        "recall_at_1": 65.0,
        "recall_at_5": 87.2,
        "source": CATALOGUE[2].figures[0].source,
    }


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (["--encoder", "siglip2"], 2, "unknown encoder 'siglip2'; known:"),
        (["--encoder", "bge-m3"], 2, "takes texts alone"),
        (["--encoder", "onnx:nowhere"], 2, "is not a folder that mmrag export wrote"),
        (["--encoder", "open_clip:ViT-B-32"], 2, "lacks its weights"),
    ],
)
def test_wrong_names_on_the_command_line(
    tmp_path: Path, args: list[str], status: int, says: str
) -> None:
    shutil.copy(SAMPLE / "texts" / "giant-panda.txt", tmp_path / "a.txt")
    done = mmrag("index", "a.txt", "--kb", "kb", *args, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("args", [["nothing"], ["bge-m3"], ["siglip2-base", "--precision", "int4"]])
def test_wrong_exports(tmp_path: Path, args: list[str]) -> None:
    done = mmrag("export", *args, "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    if "--precision" not in args:
        assert "siglip2-base" in done.stderr
        assert "multilingual-e5" not in done.stderr  # it cannot be exported
    assert list(tmp_path.iterdir()) == []


def test_export_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import sys
sys.modules["onnxscript"] = None
from mmrag.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "export", "siglip2-base", "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "error: exporting a model needs an extra: pip install 'mmrag[export]'\n"


@pytest.mark.torch
@pytest.mark.slow
def test_from_export_to_search(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    pytest.importorskip("onnxscript")
    sys.path.insert(0, str(Path(__file__).parent.parent / "encoders"))
    import open_clip_models as tiny

    sys.path.pop(0)
    name = tiny.clip(tmp_path / "model")
    done = mmrag("export", f"open_clip:{name}", "--out", "out", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["image_cosine"] > 0.99999
    (tmp_path / "docs").mkdir()
    for picture in ("bamboo-eater.jpg", "chelsea.jpg"):
        shutil.copy(SAMPLE / "pictures" / picture, tmp_path / "docs")
    done = mmrag("index", "docs", "--kb", "kb", "--encoder", "onnx:out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # From another folder, and without a word about the encoder.
    picture = tmp_path / "docs" / "chelsea.jpg"
    done = mmrag("search", "--image", picture, "--kb", tmp_path / "kb", "--json")
    assert json.loads(done.stdout)[0]["source"] == "docs/chelsea.jpg"
    printed = mmrag("info", "--kb", tmp_path / "kb").stdout
    assert f"named    image       onnx:{tmp_path / 'out'}" in printed
