"""``OnnxClipEncoder`` on what ``mmrag export`` writes, against open_clip's own code path."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("open_clip")
pytest.importorskip("transformers")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import open_clip
import torch

from mmrag.encoders import load_image_encoder
from mmrag.encoders.exporting import Exported, export_named
from mmrag.encoders.onnx_clip import OnnxClipEncoder
from mmrag.encoders.onnx_export import export_clip
from mmrag.encoders.open_clip import OpenClipEncoder
from mmrag.errors import InputError, UnknownName
from mmrag.testing import ImageEncoderContract

sys.path.insert(0, str(Path(__file__).parent))  # pytest imports this file by its path
import open_clip_models as tiny

sys.path.pop(0)

pytestmark = [
    pytest.mark.torch,
    # Of open_clip, timm, transformers and torch's exporter on what they use themselves.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

FAMILIES: dict[str, Callable[[Path], str]] = {
    "clip": tiny.clip,
    "siglip": lambda folder: tiny.siglip(folder, {"clean": "canonicalize"}),
    "xlm-roberta": tiny.xlm_roberta,
}
TEXTS = [
    "A Red BICYCLE, at Sunset!! isn't it?",
    "如何重置路由器密码",
    "naïve café 🚲\n\ttab &amp; <b> “ﬁne”",
    "",
]
LONG = "Two dogs play on the beach at sunset; the wheel turns, &amp; the chain follows. " * 30

Written = dict[str, tuple[str, Exported]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("exports")
    found: Written = {}
    logging.disable(logging.WARNING)  # open_clip tells that the weights are random
    try:
        for family, make in FAMILIES.items():
            name = make(folder / f"{family}-model")
            found[family] = name, export_named(f"open_clip:{name}", folder / family)
    finally:
        logging.disable(logging.NOTSET)
    return found


@pytest.fixture(scope="module")
def int8(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("int8") / "clip"
    return export_named(f"open_clip:{written['clip'][0]}", folder, precision="int8")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, written: Written) -> tuple[str, OnnxClipEncoder]:
    name, done = written[request.param]
    return name, OnnxClipEncoder(done.folder)


def cosines(ours: Any, theirs: Any) -> Any:
    return (ours.astype(np.float64) * theirs).sum(axis=1)


def pictures() -> list[Image.Image]:
    paths = sorted(tiny.PHOTOGRAPHS.iterdir())[:3]
    drawn = [Image.new("RGB", (9, 1), "blue"), Image.linear_gradient("L").convert("RGB")]
    return [*(Image.open(path).convert("RGB") for path in paths), *drawn]


def test_texts_and_pictures_are_encoded_as_by_open_clip(model: tuple[str, OnnxClipEncoder]) -> None:
    name, encoder = model
    network, preprocess = open_clip.create_model_from_pretrained(name)
    tokenizer, given = open_clip.get_tokenizer(name), pictures()
    with torch.no_grad():
        texts = network.eval().encode_text(tokenizer(TEXTS), normalize=True).numpy()
        batch = torch.stack([preprocess(picture) for picture in given])
        images = network.encode_image(batch, normalize=True).numpy()
    assert cosines(encoder.encode_texts(TEXTS, "query"), texts).min() >= 0.99999
    pixels = [encoder.preprocess(picture) for picture in given]
    assert cosines(encoder.encode_pixels(pixels), images).min() >= 0.99999


def test_long_texts_and_transparent_pictures_are_encoded_as_by_its_open_clip_encoder(
    model: tuple[str, OnnxClipEncoder],
) -> None:
    name, encoder = model
    other = OpenClipEncoder(name, precision="fp32")
    texts = [LONG, LONG + "volcano", "x" * 500, "如何重置路由器密码" * 40]
    ours, theirs = (e.encode_texts(texts, "passage") for e in (encoder, other))
    assert cosines(ours, theirs).min() >= 0.99999
    clear = Image.new("RGBA", (300, 200), (250, 20, 20, 100))
    ours, theirs = (e.encode_pixels([e.preprocess(clear)]) for e in (encoder, other))
    assert cosines(ours, theirs).min() >= 0.99999
    assert encoder.image_size == other.image_size
    assert encoder.space.dim == other.space.dim


def test_texts_may_come_from_a_generator(model: tuple[str, OnnxClipEncoder]) -> None:
    rows = model[1].encode_texts(iter(TEXTS), "query")  # type: ignore[arg-type]
    np.testing.assert_array_equal(rows, model[1].encode_texts(TEXTS, "query"))


class TestContract(ImageEncoderContract):
    @pytest.fixture
    def encoder(self, written: Written) -> OnnxClipEncoder:
        return OnnxClipEncoder(written["clip"][1].folder)


class TestContractOfInt8(ImageEncoderContract):
    @pytest.fixture
    def encoder(self, int8: Exported) -> OnnxClipEncoder:
        return OnnxClipEncoder(int8.folder)


def test_the_report_of_an_export(written: Written, int8: Exported) -> None:
    for _, done in written.values():
        assert done.precision == "fp32"
        assert min(done.image_cosine, done.text_cosine) >= 0.99999
        assert done.bytes == sum(path.stat().st_size for path in Path(done.folder).iterdir())
    assert int8.precision == "int8"
    assert 0.99 < min(int8.image_cosine, int8.text_cosine) < 0.99999

    def towers(done: Exported) -> int:
        return sum(path.stat().st_size for path in Path(done.folder).glob("*.onnx"))

    assert towers(int8) < 0.35 * towers(written["clip"][1])


def test_it_runs_without_torch_and_all_that_goes_with_it(written: Written) -> None:
    code = """
import json, sys
for name in ("torch", "torchvision", "open_clip", "transformers", "onnx", "ftfy", "timm"):
    sys.modules[name] = None
from mmrag.encoders import load_encoder
print(json.dumps(load_encoder(sys.argv[1]).encode_texts(json.loads(sys.argv[2]), "query").tolist()))
"""
    folder = written["siglip"][1].folder
    done = subprocess.run(
        [sys.executable, "-c", code, f"onnx:{folder}", json.dumps(TEXTS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ours = OnnxClipEncoder(folder).encode_texts(TEXTS, "query")
    np.testing.assert_array_equal(np.float32(json.loads(done.stdout)), ours)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_it_works_in_a_forked_child(written: Written) -> None:
    """Where the threads of the pool are not."""
    code = """
import json, os, sys
from mmrag.encoders.onnx_clip import OnnxClipEncoder
encoder, texts = OnnxClipEncoder(sys.argv[1]), json.loads(sys.argv[2])
before = encoder.encode_texts(texts, "query")
child = os.fork()
if child == 0:
    os._exit(0 if (encoder.encode_texts(texts, "query") == before).all() else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-c", code, written["clip"][1].folder, json.dumps(TEXTS)]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            assert process.wait(timeout=60) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a child that hangs, too


def test_the_space_is_that_of_the_files_and_a_copy_has_the_same(
    written: Written, int8: Exported, tmp_path: Path
) -> None:
    folder = written["clip"][1].folder
    encoder = OnnxClipEncoder(folder)
    copied = OnnxClipEncoder(shutil.copytree(folder, tmp_path / "copy"))
    assert copied.space == encoder.space == pickle.loads(pickle.dumps(encoder)).space
    spaces = [encoder.space, OnnxClipEncoder(int8.folder).space]
    spaces.append(OnnxClipEncoder(written["siglip"][1].folder).space)
    assert len(set(spaces)) == 3
    assert load_image_encoder(f"onnx:{folder}").space == encoder.space
    with pytest.raises(InputError, match="is a string, not int"):
        encoder.encode_texts(["a", 7], "query")  # type: ignore[list-item]


def test_weights_too_large_for_one_file_lie_beside_it(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmrag.encoders.onnx_export._ONE_FILE", 0)
    export_named(f"open_clip:{written['clip'][0]}", tmp_path / "large")
    large, small = OnnxClipEncoder(tmp_path / "large"), OnnxClipEncoder(written["clip"][1].folder)
    assert {"image.onnx.data", "text.onnx.data"} <= set(large.config.files)
    rows = (encoder.encode_texts(TEXTS, "query") for encoder in (large, small))
    assert cosines(*rows).min() >= 0.99999


@pytest.fixture
def copy(written: Written, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written["clip"][1].folder, tmp_path / "copy"))


@pytest.mark.parametrize("name", ["config.json", "image.onnx", "text.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(InputError, match=name):
        _ = OnnxClipEncoder(copy).space


@pytest.mark.parametrize("name", ["image.onnx", "text.onnx", "tokenizer.json"])
def test_a_file_cut_short_is_named(copy: Path, name: str) -> None:
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=f"{name}' is not the file that was exported"):
        OnnxClipEncoder(copy).encode_texts(["a"], "query")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[:50], "is damaged"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "format"),
        (lambda text: text.replace('"lower"', '"upper"'), "text.clean"),
        (lambda text: text.replace('"tokenizer.json":', '"../tokenizer.json":'), "lacks"),
    ],
)
def test_damaged_settings_are_refused(copy: Path, damage: Any, says: str) -> None:
    path = copy / "config.json"
    path.write_text(damage(path.read_text("utf-8")), "utf-8")
    with pytest.raises(InputError, match=says):
        _ = OnnxClipEncoder(copy).space


def test_no_folder_and_any_folder_are_no_exports(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        encoder = OnnxClipEncoder(place)
        with pytest.raises(InputError, match="is not a folder that mmrag export wrote"):
            encoder.encode_texts(["a"], "query")


def test_an_export_never_writes_over_anything(written: Written, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(InputError, match="exists already"):
            export_named(f"open_clip:{written['clip'][0]}", place)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_cannot_be_exported_leaves_nothing_behind(written: Written, tmp_path: Path) -> None:
    name = written["clip"][0]
    network, preprocess = open_clip.create_model_from_pretrained(name)
    tokenizer, out = open_clip.get_tokenizer(name), tmp_path / "out"
    with pytest.raises(UnknownName, match="unknown precision 'int4'"):
        export_clip(network, preprocess, tokenizer, out, precision="int4")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one that open_clip gives for inference"):
        export_clip(network, lambda image: image, tokenizer, out)
    with pytest.raises(InputError, match="in a way of its own"):
        export_clip(network, preprocess, str.split, out)
    with pytest.raises(InputError, match="only models of open_clip"):
        export_named("bge-m3", out)
    assert list(tmp_path.iterdir()) == []
