"""ChineseClipEncoder against transformers' own ChineseCLIPModel on the same weights."""

from __future__ import annotations

import copy
import pickle
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from mmrag.encode import encode_images  # noqa: E402
from mmrag.encoders.chinese_clip import CONTEXT, ChineseClipEncoder  # noqa: E402
from mmrag.errors import InputError, MissingExtra, ModelUnavailable  # noqa: E402
from mmrag.protocols import ImageEncoder  # noqa: E402

from .torch_contract import TorchImageEncoderContract  # noqa: E402
from .transformers_models import chinese_clip, clip  # noqa: E402

pytestmark = pytest.mark.torch

TEXTS = ["红色自行车", "a RED bicycle", "如何重置路由器密码", "naïve café, the wheel!", "404", ""]
# Each is a word of its own, so that windows may end anywhere; 100 of them are two windows.
LONG = "一二三四五六七八九十" * 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chinese_clip(tmp_path_factory.mktemp("chinese-clip"))


@pytest.fixture(scope="module")
def reference(folder: Path) -> tuple[Any, Any]:
    model = transformers.ChineseCLIPModel.from_pretrained(folder).eval()
    return model, transformers.ChineseCLIPProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> ChineseClipEncoder:
    return ChineseClipEncoder(str(folder), precision="fp32")


class TestContract(TorchImageEncoderContract):
    @pytest.fixture
    def encoder(self, encoder: ChineseClipEncoder) -> ChineseClipEncoder:
        return encoder


def unit(found: Any) -> Any:
    rows = getattr(found, "pooler_output", found).detach()
    return torch.nn.functional.normalize(rows, dim=-1).numpy()


def texts_by_transformers(reference: tuple[Any, Any], texts: list[str]) -> Any:
    model, processor = reference
    inputs = processor(text=texts, padding=True, return_tensors="pt")
    return unit(model.get_text_features(**inputs))


def pictures_by_transformers(reference: tuple[Any, Any], pictures: list[Image.Image]) -> Any:
    model, processor = reference
    return unit(model.get_image_features(**processor(images=pictures, return_tensors="pt")))


def cosines(rows: Any, others: Any) -> Any:
    return (rows * others).sum(axis=1)


def painted(size: tuple[int, int], seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    return Image.fromarray(noise).resize((size[0], size[1]))


def test_it_is_an_image_encoder(encoder: ChineseClipEncoder) -> None:
    assert isinstance(encoder, ImageEncoder)
    assert encoder.space.family == "chinese-clip"
    assert encoder.space.dim == 16
    assert encoder.image_size == 32


@pytest.mark.parametrize("role", ["query", "passage"])
def test_texts_in_a_batch_are_those_of_transformers(
    encoder: ChineseClipEncoder, reference: tuple[Any, Any], role: Any
) -> None:
    wanted = texts_by_transformers(reference, TEXTS)
    assert cosines(encoder.encode_texts(TEXTS, role), wanted).min() >= 0.99999
    assert np.linalg.matrix_rank(wanted) > 3  # the texts do differ


@pytest.mark.parametrize("text", TEXTS)
def test_a_single_text_is_that_of_transformers(
    encoder: ChineseClipEncoder, reference: tuple[Any, Any], text: str
) -> None:
    rows = encoder.encode_texts([text], "query")
    assert cosines(rows, texts_by_transformers(reference, [text])).min() >= 0.99999


def test_pictures_are_those_of_transformers_by_path_and_by_pil(
    encoder: ChineseClipEncoder, reference: tuple[Any, Any], tmp_path: Path
) -> None:
    pictures = [painted(size, seed) for seed, size in enumerate([(60, 40), (33, 90), (32, 32)])]
    paths = [tmp_path / f"{place}.png" for place in range(len(pictures))]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    wanted = pictures_by_transformers(reference, pictures)
    assert cosines(encode_images(encoder, pictures), wanted).min() >= 0.99999
    assert cosines(encode_images(encoder, paths), wanted).min() >= 0.99999
    for picture, row in zip(pictures, wanted, strict=True):
        alone = encoder.encode_pixels([encoder.preprocess(picture)])
        assert cosines(alone, row[None]).min() >= 0.99999


def test_transparent_is_white_and_a_turned_photograph_is_upright(
    encoder: ChineseClipEncoder, tmp_path: Path
) -> None:
    clear = painted((50, 50), 1).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((50, 50)))
    white = Image.new("RGB", (50, 50), "white")
    white.paste(clear, mask=clear.getchannel("A"))
    np.testing.assert_array_equal(encoder.preprocess(clear), encoder.preprocess(white))
    upright, path = painted((64, 32), 2), tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to see it upright
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    rows = encode_images(encoder, [path, upright])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_a_long_text_is_the_mean_of_its_windows(
    encoder: ChineseClipEncoder, reference: tuple[Any, Any]
) -> None:
    """50 tokens are one text as transformers sees it; 100 are three windows by hand."""
    fits = LONG[: CONTEXT - 2]
    rows = encoder.encode_texts([fits], "passage")
    assert cosines(rows, texts_by_transformers(reference, [fits])).min() >= 0.99999
    windows = [LONG[0:46], LONG[42:88], LONG[84:100]]  # of 46, each beginning 4 before the end
    parts = texts_by_transformers(reference, windows)
    mean = (parts * np.array([[46], [46], [16]])).sum(axis=0)
    wanted = mean / np.linalg.norm(mean)
    row = encoder.encode_texts([LONG], "passage")
    assert cosines(row, wanted[None]).min() >= 0.99999


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (3, 300), (300, 3)])
def test_pictures_of_any_shape(tmp_path: Path, size: tuple[int, int], crop: bool) -> None:
    shape = {"do_center_crop": True, "size": {"shortest_edge": 32}} if crop else {}
    encoder = ChineseClipEncoder(str(chinese_clip(tmp_path, **shape)))
    pixels = encoder.preprocess(Image.new("RGB", size, "red"))
    assert pixels.shape == (3, 32, 32)
    assert np.ptp(pixels, axis=(1, 2)).max() < 1e-5  # red all over


def test_the_middle_of_a_very_long_picture_is_what_transformers_sees(tmp_path: Path) -> None:
    chinese_clip(tmp_path, do_center_crop=True, size={"shortest_edge": 32})
    long = painted((2000, 40), 5)
    ours = ChineseClipEncoder(str(tmp_path)).preprocess(long)
    processor = transformers.ChineseCLIPProcessor.from_pretrained(tmp_path)
    theirs = processor.image_processor(long, return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(ours, theirs, atol=0.05)


def test_a_folder_at_home(
    encoder: ChineseClipEncoder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert ChineseClipEncoder(f"~/{folder.name}").space == encoder.space


def test_a_ready_model_and_its_folder_are_one_space(
    encoder: ChineseClipEncoder, reference: tuple[Any, Any]
) -> None:
    ready = ChineseClipEncoder.of(*reference, name="mine")
    used = reference[1].tokenizer(["cut to a few"], truncation=True, max_length=4, padding=True)
    assert len(used["input_ids"][0]) == 4  # which the tokenizer keeps as its state
    assert ready.space == encoder.space
    assert "mine" in repr(ready)


def test_other_weights_or_preprocessing_are_another_space(
    encoder: ChineseClipEncoder, folder: Path, tmp_path: Path
) -> None:
    weights = ChineseClipEncoder(str(chinese_clip(tmp_path / "weights", seed=1)))
    resized = ChineseClipEncoder(str(chinese_clip(tmp_path / "resized", resample=2)))
    cased = Path(shutil.copytree(folder, tmp_path / "cased"))
    (cased / "tokenizer_config.json").write_text('{"do_lower_case": false}', "utf-8")
    spaces = [each.space for each in (encoder, weights, resized, ChineseClipEncoder(str(cased)))]
    assert len(set(spaces)) == 4
    again = ChineseClipEncoder(str(folder), precision="bf16", batch_size=1)
    assert again.space == encoder.space


def test_a_model_saved_in_half_precision_is_the_same_space_however_it_is_loaded(
    folder: Path, tmp_path: Path
) -> None:
    saved = Path(shutil.copytree(folder, tmp_path / "half"))
    half = transformers.ChineseCLIPModel.from_pretrained(folder).half()
    half.save_pretrained(saved)
    processor = transformers.ChineseCLIPProcessor.from_pretrained(saved)
    encoder = ChineseClipEncoder(str(saved))
    assert encoder.space == ChineseClipEncoder.of(half.float(), processor).space


def test_the_embedding_of_padding_makes_no_other_space(
    encoder: ChineseClipEncoder, reference: tuple[Any, Any]
) -> None:
    """Version 5 of transformers empties it when it loads the model, version 4 does not."""
    model = copy.deepcopy(reference[0])
    torch.nn.init.normal_(model.text_model.embeddings.word_embeddings.weight[0].detach())
    other = ChineseClipEncoder.of(model, reference[1], precision="fp32")
    assert other.space == encoder.space
    np.testing.assert_allclose(
        other.encode_texts(TEXTS, "query"), encoder.encode_texts(TEXTS, "query"), atol=1e-6
    )


def test_it_is_made_in_no_time_and_loaded_once_by_many_threads(
    folder: Path, encoder: ChineseClipEncoder
) -> None:
    ChineseClipEncoder("/nowhere/at/all")  # not looked at before it is used
    fresh = ChineseClipEncoder(str(folder), precision="fp32")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: fresh.encode_texts(TEXTS, "query"), range(8)))
    wanted = encoder.encode_texts(TEXTS, "query")
    for rows in found:
        np.testing.assert_allclose(rows, wanted, atol=1e-6)


def test_an_encoder_survives_pickling(
    folder: Path, encoder: ChineseClipEncoder, reference: tuple[Any, Any]
) -> None:
    encoder.encode_texts(["loaded"], "query")
    again = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_allclose(
        again.encode_texts(TEXTS, "query"), encoder.encode_texts(TEXTS, "query"), atol=1e-6
    )
    ready = pickle.loads(pickle.dumps(ChineseClipEncoder.of(*reference)))
    assert ready.space == encoder.space


@pytest.mark.parametrize("bad", [b"bytes", None, 7])
def test_what_is_no_text_is_refused(encoder: ChineseClipEncoder, bad: Any) -> None:
    with pytest.raises(InputError, match="is a string, not"):
        encoder.encode_texts(["fine", bad], "query")
    with pytest.raises(InputError, match="not one string"):
        encoder.encode_texts("one string", "query")


def test_half_a_surrogate_is_a_text_like_any_other(encoder: ChineseClipEncoder) -> None:
    rows = encoder.encode_texts(["half \ud83d a pair", "half ? a pair"], "passage")
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_weights_of_another_model_are_not_filled_up_with_random_ones(
    folder: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "clip"))
    for file in clip(tmp_path / "other").glob("*.safetensors"):
        shutil.copy(file, other)
    with pytest.raises(InputError, match=r"clip' is no Chinese-CLIP: \d+ of its weights"):
        ChineseClipEncoder(str(other)).encode_texts(["a"], "query")


def test_a_folder_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    missing = ChineseClipEncoder(str(tmp_path / "missing"))
    with pytest.raises(InputError, match=r"there is no file or folder .*missing"):
        missing.encode_texts(["a"], "query")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty.*holds no model that can be loaded"):
        ChineseClipEncoder(str(tmp_path / "empty")).encode_texts(["a"], "query")


def test_damaged_weights_are_named(folder: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    (damaged / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match=r"damaged.*holds no model that can be loaded"):
        ChineseClipEncoder(str(damaged)).encode_texts(["a"], "query")


def test_a_name_that_cannot_be_had_is_model_unavailable() -> None:
    says = r"OFA-Sys/chinese-clip.*could not be reached.*'chinese-clip:DIR'"
    with pytest.raises(ModelUnavailable, match=says):
        _ = ChineseClipEncoder().space


def test_a_pair_of_something_else_is_refused(reference: tuple[Any, Any]) -> None:
    with pytest.raises(InputError, match="expected a ChineseCLIPProcessor, not"):
        ChineseClipEncoder.of(reference[0], reference[1].tokenizer).encode_texts(["a"], "query")


@pytest.mark.parametrize("missing", [["transformers"], ["torch"], ["torch", "transformers"]])
def test_without_its_packages_it_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, missing: list[str]
) -> None:
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "mmrag.encoders.torch_model", raising=False)
    with pytest.raises(MissingExtra, match=r"mmrag\[transformers\]"):
        ChineseClipEncoder(str(folder)).encode_texts(["a"], "query")
