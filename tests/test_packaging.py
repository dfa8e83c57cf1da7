"""What a user gets by installing: the names, the data, and an import that costs nothing."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import metadata, version
from pathlib import Path

import pytest

import mmrag

HEAVY = ("torch", "onnxruntime", "llama_index", "langchain_core", "numpy", "PIL", "qdrant_edge")


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_nothing_heavy() -> None:
    code = "import sys, mmrag, llama_index_mm, langchain_mm; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in run(code).split()}
    assert not loaded & set(HEAVY)


def test_all_names_are_there_and_no_others() -> None:
    for name in mmrag.__all__:
        assert getattr(mmrag, name) is not None
    assert run("from mmrag import *; print(MultimodalIndex.__module__)") == "mmrag.index"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mmrag.nothing  # type: ignore[attr-defined]


def test_version_is_that_of_the_distribution() -> None:
    assert mmrag.__version__ == version("mmrag")


def test_base_dependencies_are_the_ones_agreed_on() -> None:
    required = metadata("mmrag").get_all("Requires-Dist") or []
    base = {r.split(">")[0].strip() for r in required if "extra ==" not in r}
    assert base == {
        "numpy",
        "onnxruntime",
        "pillow",
        "pydantic",
        "pypdfium2",
        "qdrant-edge-py",
        "rich",
        "tokenizers",
        "typer",
    }


def test_package_data_is_installed() -> None:
    root = Path(mmrag.__file__).parent
    for name in (
        "py.typed",
        "models/bundled/text_encoder.onnx",
        "models/bundled/image_encoder.onnx",
        "models/bundled/tokenizer.json",
        "models/bundled/MODEL_CARD.md",
        "sample/LICENSES.md",
        "sample/manual.pdf",
    ):
        assert (root / name).is_file(), name


def test_every_sample_picture_has_a_licence_row() -> None:
    sample = Path(mmrag.__file__).parent / "sample"
    rows = (sample / "LICENSES.md").read_text("utf-8")
    pictures = sorted((sample / "pictures").iterdir())
    assert len(pictures) >= 60
    assert sum(file.stat().st_size for file in sample.rglob("*") if file.is_file()) < 4_000_000
    for picture in pictures:
        assert picture.name in rows, picture.name
