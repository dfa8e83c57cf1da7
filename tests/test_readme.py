"""Every Python and shell block of the README runs, in order, in a folder like the one it names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmrag.demo import SAMPLE

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    manuals = tmp_path / "manuals"
    manuals.mkdir()
    for name in ("texts/router-setup.md", "texts/giant-panda.txt", "pictures/bamboo-eater.jpg"):
        shutil.copy(SAMPLE / name, manuals)
    shutil.copy(SAMPLE / "manual.pdf", manuals)
    shutil.copy(SAMPLE / "pictures" / "chelsea.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_blocks_run(folder: Path) -> None:
    found = blocks("python")
    assert len(found) >= 5
    names: dict[str, object] = {}
    for block in found:
        exec(compile(block, "README.md", "exec"), names)
    hits = names["hits"]
    assert (folder / "kb").is_dir()
    assert hits


def test_shell_blocks_run(folder: Path) -> None:
    (block,) = blocks("sh")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "router-setup.md" in done.stdout
    assert "bamboo-eater.jpg" in done.stdout


def test_make_targets_that_are_named_exist() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text("utf-8")
    for target in re.findall(r"\bmake ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.M), target
