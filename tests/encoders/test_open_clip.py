"""``OpenClipEncoder`` against open_clip's own code path, on the same weights."""

from __future__ import annotations

import errno
import json
import logging
import pickle
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
pytest.importorskip("transformers")

import mmrag.encoders  # noqa: E402
from mmrag import media  # noqa: E402
from mmrag.encode import encode_images  # noqa: E402
from mmrag.encoders.open_clip import OpenClipEncoder, QuickGeluWarning  # noqa: E402
from mmrag.errors import InputError, MissingExtra, ModelUnavailable, UnknownName  # noqa: E402

from . import open_clip_models as tiny  # noqa: E402
from .torch_contract import TorchImageEncoderContract  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    # Of open_clip, timm and transformers on what they use themselves.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

FAMILIES: dict[str, Callable[[Path], str]] = {
    "clip": tiny.clip,
    "clip-quickgelu": lambda folder: tiny.clip(folder, quick_gelu=True),
    "siglip": lambda folder: tiny.siglip(folder, {"clean": "canonicalize"}),
    "siglip2": lambda folder: tiny.siglip(folder, {"clean": "lower"}),
    "xlm-roberta": tiny.xlm_roberta,
    "nllb": tiny.nllb,
}
TEXTS = [
    "a red bicycle",
    "A Red BICYCLE, at Sunset!!",
    "如何重置路由器密码",
    "naïve café 🚲\n\ttab &amp; <b>",
    "",
    "404",
]
LONG = "Two dogs play on the beach at sunset. " * 40


def reference(name: str) -> tuple[Any, Any, Any]:
    model, preprocess = open_clip.create_model_from_pretrained(name)
    return model.eval(), preprocess, open_clip.get_tokenizer(name)


def their_texts(parts: tuple[Any, Any, Any], texts: list[str]) -> Any:
    model, _, tokenizer = parts
    with torch.no_grad():
        return model.encode_text(tokenizer(texts), normalize=True).numpy()


def their_pictures(parts: tuple[Any, Any, Any], pictures: list[Image.Image]) -> Any:
    model, preprocess, _ = parts
    with torch.no_grad():
        batch = torch.stack([preprocess(picture) for picture in pictures])
        return model.encode_image(batch, normalize=True).numpy()


def cosines(ours: Any, theirs: Any) -> Any:
    return (ours.astype(np.float64) * theirs).sum(axis=1)


def pictures() -> list[Image.Image]:
    ramp = np.linspace(0, 255, 96 * 64 * 3).astype(np.uint8).reshape(64, 96, 3)
    drawn = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(drawn).ellipse((40, 20, 200, 180), fill=(220, 30, 30))
    noise = np.random.default_rng(2).integers(0, 256, (90, 50, 3)).astype(np.uint8)
    return [Image.fromarray(ramp), drawn, Image.fromarray(noise), Image.new("RGB", (9, 1), "blue")]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tiny models are slower on several threads, which wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    logging.disable(logging.WARNING)  # open_clip tells that the weights are random
    try:
        return {family: make(folder / family) for family, make in FAMILIES.items()}
    finally:
        logging.disable(logging.NOTSET)


@pytest.fixture(scope="module", params=FAMILIES)
def name(request: pytest.FixtureRequest, names: dict[str, str]) -> str:
    return names[request.param]


@pytest.fixture(scope="module")
def parts(name: str) -> tuple[Any, Any, Any]:
    return reference(name)


@pytest.fixture(scope="module")
def encoder(name: str) -> OpenClipEncoder:
    return OpenClipEncoder(name, precision="fp32", batch_size=4)


class TestContract(TorchImageEncoderContract):
    @pytest.fixture
    def encoder(self, encoder: OpenClipEncoder) -> OpenClipEncoder:
        return encoder


def test_texts_are_encoded_as_by_open_clip(encoder: OpenClipEncoder, parts: Any) -> None:
    theirs = their_texts(parts, TEXTS)
    assert cosines(encoder.encode_texts(TEXTS, "passage"), theirs).min() >= 0.99999
    alone = np.concatenate([encoder.encode_texts([text], "query") for text in TEXTS])
    assert cosines(alone, theirs).min() >= 0.99999


def test_pictures_are_encoded_as_by_open_clip(
    encoder: OpenClipEncoder, parts: Any, tmp_path: Path
) -> None:
    given = pictures()
    theirs = their_pictures(parts, given)
    assert cosines(encode_images(encoder, given), theirs).min() >= 0.99999
    alone = np.concatenate([encoder.encode_pixels([encoder.preprocess(p)]) for p in given])
    assert cosines(alone, theirs).min() >= 0.99999
    paths = [tmp_path / f"{number}.png" for number in range(len(given))]
    for path, picture in zip(paths, given, strict=True):
        picture.save(path)
    assert cosines(encode_images(encoder, paths), theirs).min() >= 0.99999


def test_texts_may_come_from_a_generator(encoder: OpenClipEncoder) -> None:
    rows = encoder.encode_texts(iter(TEXTS), "query")  # type: ignore[arg-type]
    np.testing.assert_array_equal(rows, encoder.encode_texts(TEXTS, "query"))


def test_the_batch_does_not_change_a_vector(encoder: OpenClipEncoder) -> None:
    texts = [*TEXTS, LONG, "x" * 500]
    together = encoder.encode_texts(texts, "passage")
    alone = np.concatenate([encoder.encode_texts([text], "passage") for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_text_at_the_limit_is_whole_and_one_over_it_is_windows(
    encoder: OpenClipEncoder, parts: Any
) -> None:
    text = encoder._loaded().text
    fits = "a" + " 7" * 200
    while len(text.pieces(fits)) > 1:
        fits = fits[:-2]
    assert text.pieces(fits) == [(fits, text.limit)]
    theirs = their_texts(parts, [fits])
    assert cosines(encoder.encode_texts([fits], "query"), theirs).min() >= 0.99999
    assert len(text.pieces(fits + " 7")) == 2


@pytest.mark.parametrize("long", [LONG, "x" * 700, "路" * 300, "🚲" * 200, "1 " * 400, "ﷺ " * 90])
def test_a_long_text_is_the_mean_of_windows_that_open_clip_takes_whole(
    encoder: OpenClipEncoder, parts: Any, long: str
) -> None:
    pieces = encoder._loaded().text.pieces(long)
    limit = encoder._loaded().text.limit
    assert len(pieces) > 1
    for piece, count in pieces:  # nothing of a window is cut off: with more room it is the same
        assert count <= limit
        rows = parts[2]([piece], context_length=limit + 200)[0]
        np.testing.assert_array_equal(rows[: limit + 2], parts[2]([piece + " "], limit + 2)[0])
    weights = np.array([[count for _, count in pieces]])
    mean = (weights @ their_texts(parts, [piece for piece, _ in pieces]))[0]
    vector = encoder.encode_texts([long], "passage")[0]
    assert float(vector @ mean) / np.linalg.norm(mean) >= 0.99999


def test_the_end_of_a_long_text_counts(encoder: OpenClipEncoder) -> None:
    a, b = encoder.encode_texts([LONG + "zebra", LONG + "a volcano erupts"], "passage")
    assert not np.allclose(a, b, atol=1e-6)


def test_a_copy_by_pickle_is_of_the_same_space(encoder: OpenClipEncoder) -> None:
    copy = pickle.loads(pickle.dumps(encoder))
    assert copy.space == encoder.space
    np.testing.assert_array_equal(
        copy.encode_texts(TEXTS, "query"), encoder.encode_texts(TEXTS, "query")
    )


def test_threads_share_one_model_and_get_what_one_thread_gets(name: str) -> None:
    encoder = OpenClipEncoder(name, precision="fp32")
    mixed = [TEXTS, [LONG], TEXTS[:2], [LONG, "short"]]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda texts: encoder.encode_texts(texts, "query"), mixed * 3))
    for texts, rows in zip(mixed * 3, found, strict=True):
        np.testing.assert_allclose(rows, encoder.encode_texts(texts, "query"), atol=1e-5)


# What differs between families.


def test_siglip_pads_to_64_and_siglip2_is_given_lower_case_whatever_its_files_say(
    tmp_path: Path,
) -> None:
    encoder = OpenClipEncoder(tiny.siglip(tmp_path / "siglip2-copy", {}), precision="fp32")
    text = encoder._loaded().text
    assert text.tokens(["a", "A"]).shape == (2, 64)
    assert torch.equal(*text.tokens(["A Red BICYCLE", "a red bicycle"]))
    rows = encoder.encode_texts(["A Red BICYCLE", "a red bicycle"], "query")
    np.testing.assert_array_equal(rows[0], rows[1])


def test_xlm_roberta_keeps_its_capitals(names: dict[str, str]) -> None:
    rows = OpenClipEncoder(names["xlm-roberta"], precision="fp32").encode_texts(
        ["A Red BICYCLE", "a red bicycle"], "query"
    )
    assert not np.allclose(rows[0], rows[1], atol=1e-4)


def test_another_activation_preprocessing_or_tokenizer_is_another_space(tmp_path: Path) -> None:
    plain = OpenClipEncoder(tiny.clip(tmp_path / "plain"))
    same = OpenClipEncoder(tiny.clip(tmp_path / "same"), precision="fp32", batch_size=2)
    quick = OpenClipEncoder(tiny.clip(tmp_path / "quick", quick_gelu=True))
    short = OpenClipEncoder(tiny.clip(tmp_path / "short"))
    config = tmp_path / "short" / "open_clip_config.json"
    said = json.loads(config.read_text("utf-8"))
    said["preprocess_cfg"] = tiny.HALF
    config.write_text(json.dumps(said), "utf-8")
    strict = tmp_path / "strict"
    tiny.clip(strict, text_cfg={**tiny.TEXT, "tokenizer_kwargs": {"clean": "canonicalize"}})
    others = [quick, short, OpenClipEncoder(f"local-dir:{strict}")]
    digests = {encoder.space.digest for encoder in (plain, *others)}
    assert len(digests) == 4
    assert same.space == plain.space


# Where models come from.


def test_a_ready_model_is_of_the_space_of_its_files(names: dict[str, str]) -> None:
    model, preprocess, tokenizer = reference(names["clip"])
    ready = OpenClipEncoder.of(model, preprocess, tokenizer, name="mine", precision="fp32")
    named = OpenClipEncoder(names["clip"], precision="fp32")
    assert ready.space == named.space
    assert repr(ready) == "OpenClipEncoder('mine')"
    copy = pickle.loads(pickle.dumps(ready))
    np.testing.assert_array_equal(
        copy.encode_texts(TEXTS, "query"), named.encode_texts(TEXTS, "query")
    )


def test_a_ready_model_with_a_transform_of_its_own(names: dict[str, str]) -> None:
    model, preprocess, tokenizer = reference(names["clip"])

    def own(image: Image.Image) -> Any:
        return preprocess(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))

    encoder = OpenClipEncoder.of(model, own, tokenizer, precision="fp32")
    theirs = their_pictures((model, own, None), pictures())
    assert cosines(encode_images(encoder, pictures()), theirs).min() >= 0.99999
    assert encoder.space != OpenClipEncoder(names["clip"]).space


def test_transparent_parts_are_white(names: dict[str, str]) -> None:
    encoder = OpenClipEncoder(names["clip"])
    clear = Image.new("RGBA", (80, 60), (10, 20, 30, 0))
    assert (encoder.preprocess(clear) == 255).all()
    assert encoder.preprocess(clear).dtype == np.uint8


def test_photographs_decoded_at_a_reduced_scale_stay_close(
    names: dict[str, str], tmp_path: Path
) -> None:
    photo = media.load(next(tiny.PHOTOGRAPHS.glob("*.jpg"))).image.resize((1280, 960))
    photo.save(tmp_path / "photo.jpg", quality=90)
    encoder = OpenClipEncoder(names["clip"], precision="fp32")
    assert encoder.image_size == 64
    reduced = media.load(tmp_path / "photo.jpg", target=encoder.image_size)
    assert reduced.image.size == (160, 120)
    theirs = their_pictures(reference(names["clip"]), [Image.open(tmp_path / "photo.jpg")])
    assert cosines(encode_images(encoder, [tmp_path / "photo.jpg"]), theirs).min() >= 0.999


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model ``tiny`` that open_clip knows by name; the path of its weights."""
    tiny.clip(tmp_path / "tiny")
    said = json.loads((tmp_path / "tiny" / "open_clip_config.json").read_text("utf-8"))
    factory = open_clip.factory
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", said["model_cfg"])
    quick = {**said["model_cfg"], "quick_gelu": True}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny-quickgelu", quick)
    weights = tmp_path / "tiny" / "open_clip_model.safetensors"
    tags = {
        "plain": {"file": str(weights), "mean": (0.5,) * 3, "std": (0.5,) * 3},
        "openai": {"file": str(weights), "quick_gelu": True},
    }
    for name in ("tiny", "tiny-quickgelu"):
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, tags)
    return weights


def test_a_name_with_a_checkpoint_or_with_a_tag(registered: Path) -> None:
    by_path = OpenClipEncoder("tiny", registered, precision="fp32")
    assert by_path.space == OpenClipEncoder(f"local-dir:{registered.parent}").space
    by_tag = OpenClipEncoder("tiny", "plain", precision="fp32")
    assert by_tag.space != by_path.space  # the tag says another mean
    model, preprocess = open_clip.create_model_from_pretrained("tiny", "plain")
    theirs = their_pictures((model.eval(), preprocess, None), pictures())
    assert cosines(encode_images(by_tag, pictures()), theirs).min() >= 0.99999


def test_a_checkpoint_and_a_folder_at_home(
    registered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_path = OpenClipEncoder("tiny", registered)
    monkeypatch.setenv("HOME", str(registered.parent))
    assert OpenClipEncoder("tiny", f"~/{registered.name}").space == by_path.space
    assert OpenClipEncoder("local-dir:~").space == by_path.space


def test_weights_that_want_quick_gelu_get_it_and_a_warning(registered: Path) -> None:
    plain = OpenClipEncoder("tiny", "openai", precision="fp32")
    with pytest.warns(QuickGeluWarning, match="as 'tiny-quickgelu'"):
        found = plain.encode_texts(TEXTS, "query")
    right = OpenClipEncoder("tiny-quickgelu", "openai", precision="fp32")
    assert right.space == plain.space
    np.testing.assert_array_equal(found, right.encode_texts(TEXTS, "query"))


@pytest.mark.parametrize(
    ("model", "pretrained", "error", "said"),
    [
        ("ViT-B32", "openai", InputError, "but .*ViT-B-32"),
        ("ViT-L-14", "laion2b_s34b_b79k", UnknownName, "laion2b_s32b_b82k"),
        ("ViT-B-32", "missing.pt", InputError, "no checkpoint 'missing.pt'"),
        ("local-dir:/does/not/exist", "", InputError, "no folder '/does/not/exist'"),
        (None, "openai", InputError, "not None"),
    ],
)
def test_what_is_not_there_is_said(
    model: Any, pretrained: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        _ = OpenClipEncoder(model, pretrained).space


def test_files_that_do_not_fit_are_said(registered: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="open_clip_config"):
        _ = OpenClipEncoder(f"local-dir:{tmp_path / 'empty'}").space
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"cannot be loaded from .*broken"):
        _ = OpenClipEncoder("tiny", tmp_path / "broken.safetensors").space
    with pytest.raises(InputError, match="cannot be loaded from"):
        _ = OpenClipEncoder("ViT-S-32", registered).space
    registered.unlink()
    with pytest.raises(InputError, match="cannot be loaded from"):
        _ = OpenClipEncoder(f"local-dir:{registered.parent}").space


@pytest.mark.parametrize("model", ["ViT-B-32", "hf-hub:timm/ViT-B-16-SigLIP2"])
def test_a_hub_out_of_reach_is_one_clear_error(
    model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailable) as raised:
        OpenClipEncoder(model).encode_texts(["a"], "query")
    for said in (model, str(tmp_path), "could not be reached", "'bundled'"):
        assert said in str(raised.value)
    assert "'open_clip:local-dir:DIR'" in str(raised.value)
    assert "'onnx:DIR'" in str(raised.value)
    assert ("'open_clip:ViT-B-32/FILE'" in str(raised.value)) == (model == "ViT-B-32")


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (
            KeyError("text_cfg"),
            InputError,
            "'ViT-B-32-quickgelu/openai' cannot be loaded: 'text_cfg'",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), OSError, "No space left on device"),
    ],
)
def test_what_is_no_matter_of_the_hub_is_not_said_to_be_one(
    error: Exception, raised: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(open_clip, "create_model_from_pretrained", failing)
    with pytest.raises(raised, match=said):
        _ = OpenClipEncoder("ViT-B-32-quickgelu", "openai").space


@pytest.mark.parametrize("found", [True, False])
def test_the_root_logger_stays_as_it_was(
    names: dict[str, str], found: bool, monkeypatch: pytest.MonkeyPatch, capfd: Any, tmp_path: Path
) -> None:
    """open_clip would give it a handler, and log there what is an error of ours already."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(logging.root, "handlers", [])
    if found:
        _ = OpenClipEncoder(names["clip"]).space
    else:
        with pytest.raises(ModelUnavailable):
            _ = OpenClipEncoder().space
    assert logging.root.handlers == []
    assert logging.root.filters == []
    assert "ERROR" not in capfd.readouterr().err


def test_without_open_clip_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    monkeypatch.delitem(sys.modules, "mmrag.encoders.open_clip_loading", raising=False)
    monkeypatch.delattr(mmrag.encoders, "open_clip_loading", raising=False)
    with pytest.raises(MissingExtra, match=r"mmrag\[open-clip\]"):
        _ = OpenClipEncoder().space


@pytest.mark.parametrize("family", ["siglip", "xlm-roberta", "ViT-B-16-SigLIP-256"])
def test_without_transformers_the_extra_is_named_before_anything_is_fetched(
    names: dict[str, str], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr(open_clip, "create_model_from_pretrained", None)
    with pytest.raises(MissingExtra, match=r"texts need transformers.*mmrag\[transformers\]"):
        _ = OpenClipEncoder(names.get(family, family), "webli").space


@pytest.mark.parametrize("bad", [b"bytes", None, 7])
def test_what_is_no_text_is_refused_before_the_model_is_loaded(bad: Any) -> None:
    with pytest.raises(InputError, match="is a string, not"):
        OpenClipEncoder("never loaded").encode_texts(["fine", bad], "query")


def test_a_tokenizer_that_cannot_be_counted_is_refused(names: dict[str, str]) -> None:
    model, preprocess, _ = reference(names["clip"])
    encoder = OpenClipEncoder.of(model, preprocess, lambda texts: None)
    with pytest.raises(InputError, match="get_tokenizer gives"):
        _ = encoder.space


def test_half_a_surrogate_is_a_text_like_any_other(names: dict[str, str]) -> None:
    encoder = OpenClipEncoder(names["clip"], precision="fp32")
    rows = encoder.encode_texts(["half \ud83d a pair", "half ? a pair"], "passage")
    np.testing.assert_array_equal(rows[0], rows[1])


@pytest.mark.filterwarnings("ignore:.*random:UserWarning")
def test_the_whole_graph_of_vit_b_32() -> None:
    model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32")
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    encoder = OpenClipEncoder.of(model, preprocess, tokenizer, precision="fp32")
    assert (encoder.space.dim, encoder.image_size, encoder._loaded().text.limit) == (512, 224, 75)
    rows = encoder.encode_texts([*TEXTS[:2], LONG], "passage")
    assert cosines(rows[:2], their_texts((model, None, tokenizer), TEXTS[:2])).min() >= 0.99999
    theirs = their_pictures((model, preprocess, None), pictures()[:2])
    assert cosines(encode_images(encoder, pictures()[:2]), theirs).min() >= 0.99999
