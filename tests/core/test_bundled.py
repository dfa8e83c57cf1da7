"""The bundled encoder against its canonical vectors, and the promises of its docstrings."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mmrag.encoders.bundled import FOLDER, BundledEncoder
from mmrag.errors import InputError
from mmrag.testing import EncoderContract

CANONICAL: dict[str, Any] = json.loads((FOLDER / "canonical.json").read_text("utf-8"))
TOLERANCE = 0.01  # int8 kernels differ between CPUs


@pytest.fixture(scope="module")
def encoder() -> BundledEncoder:
    return BundledEncoder()


class TestContract(EncoderContract):
    @pytest.fixture
    def encoder(self) -> BundledEncoder:
        return BundledEncoder()


def drawn(name: str) -> Image.Image:
    """The pictures of canonical.json, by the code that stands there."""
    if name == "solid":
        return Image.new("RGB", (260, 260), (30, 100, 220))
    if name == "gradient":
        y, x = np.mgrid[0:200, 0:300]
        planes = [x * 255 // 299, y * 255 // 199, np.full_like(x, 128)]
        return Image.fromarray(np.stack(planes, -1).astype(np.uint8))
    if name == "checkerboard":
        board = (np.arange(256)[:, None] // 32 + np.arange(256)[None] // 32) % 2
        return Image.fromarray((board * 255).astype(np.uint8)[..., None].repeat(3, -1))
    image = Image.new("RGB", (320, 320), (255, 255, 255))
    ImageDraw.Draw(image).ellipse((60, 60, 260, 260), fill=(220, 30, 30))
    return image


@pytest.mark.parametrize("name", sorted(CANONICAL["files"]))
def test_files_are_those_that_the_fingerprint_names(name: str) -> None:
    data = (FOLDER / name).read_bytes()
    assert len(data) == CANONICAL["files"][name]["bytes"]
    assert hashlib.sha256(data).hexdigest() == CANONICAL["files"][name]["sha256"]


@pytest.mark.parametrize("entry", CANONICAL["texts"], ids=lambda e: e["text"])
@pytest.mark.parametrize("role", ["query", "passage"])
def test_canonical_texts(encoder: BundledEncoder, entry: dict[str, Any], role: Any) -> None:
    vector = encoder.encode_texts([entry["text"]], role)[0]
    np.testing.assert_allclose(vector[:8], entry[role], atol=TOLERANCE)


@pytest.mark.parametrize("entry", CANONICAL["images"], ids=lambda e: e["name"])
def test_canonical_pictures(encoder: BundledEncoder, entry: dict[str, Any]) -> None:
    vector = encoder.encode_pixels([encoder.preprocess(drawn(entry["name"]))])[0]
    np.testing.assert_allclose(vector[:8], entry["vector"], atol=TOLERANCE)


def test_canonical_cosines(encoder: BundledEncoder) -> None:
    for pair in CANONICAL["cosines"]:
        query = encoder.encode_texts([pair["query"]], "query")[0]
        image = encoder.encode_pixels([encoder.preprocess(drawn(pair["image"]))])[0]
        assert float(query @ image) == pytest.approx(pair["cos"], abs=TOLERANCE)
    for pair in CANONICAL["text_cosines"]:
        query = encoder.encode_texts([pair["query"]], "query")[0]
        passage = encoder.encode_texts([pair["passage"]], "passage")[0]
        assert float(query @ passage) == pytest.approx(pair["cos"], abs=TOLERANCE)


def test_a_vector_does_not_depend_on_what_else_is_in_the_call(encoder: BundledEncoder) -> None:
    texts = ["short", "红色的消防车", "a longer text about a red fire truck " * 30, "x"]
    together = encoder.encode_texts(texts, "passage")
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_array_equal(row, encoder.encode_texts([text], "passage")[0])
    pixels = [encoder.preprocess(drawn(n)) for n in ("solid", "gradient", "circle")]
    together = encoder.encode_pixels(pixels)
    for row, picture in zip(together, pixels, strict=True):
        np.testing.assert_array_equal(row, encoder.encode_pixels([picture])[0])


def test_long_text_is_split_and_nothing_of_it_is_lost(encoder: BundledEncoder) -> None:
    """The end of a long text moves its vector; 512 tokens alone would not show it."""
    about_ships = "The ship sails over the sea with the wind. " * 80
    cat = "The cat sleeps on the warm window sill all day. " * 80
    query = encoder.encode_texts(["a cat on a window sill"], "query")[0]
    ships, both = encoder.encode_texts([about_ships, about_ships + cat], "passage")
    assert float(query @ both) > float(query @ ships) + 0.1
    assert np.linalg.norm(both) == pytest.approx(1, abs=1e-5)


def test_a_cutout_is_cropped_to_what_shows(encoder: BundledEncoder) -> None:
    """The same shape small in a large transparent picture, or large in a small one."""
    disc = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    ImageDraw.Draw(disc).ellipse((0, 0, 99, 99), fill=(220, 30, 30, 255))
    framed = Image.new("RGBA", (700, 300), (0, 0, 0, 0))
    framed.paste(disc, (500, 20))
    np.testing.assert_array_equal(encoder.preprocess(disc), encoder.preprocess(framed))
    pixels = encoder.preprocess(disc)
    inked = np.argwhere((pixels != 255).any(0))
    assert np.ptp(inked[:, 0]) + 1 == pytest.approx(0.88 * 260, abs=2)


def test_a_fully_transparent_picture_is_white(encoder: BundledEncoder) -> None:
    clear = Image.new("RGBA", (50, 80), (10, 20, 30, 0))
    assert (encoder.preprocess(clear) == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (260, 260), (7, 5)])
def test_pictures_of_any_shape(encoder: BundledEncoder, size: tuple[int, int]) -> None:
    assert encoder.preprocess(Image.new("RGB", size, "red")).shape == (3, 260, 260)


@pytest.mark.parametrize("bad", [b"bytes", None, 7])
def test_what_is_no_text_is_refused(encoder: BundledEncoder, bad: Any) -> None:
    with pytest.raises(InputError, match="is a string, not"):
        encoder.encode_texts(["fine", bad], "query")


def test_texts_are_a_list_and_roles_are_two(encoder: BundledEncoder) -> None:
    with pytest.raises(InputError, match="not one string"):
        encoder.encode_texts("hello", "query")
    with pytest.raises(InputError, match="'qurey'"):
        encoder.encode_texts(["hello"], "qurey")  # type: ignore[arg-type]
    assert encoder.encode_texts((text for text in ("a", "b")), "query").shape == (2, 384)  # type: ignore[arg-type]


def test_an_encoder_survives_pickling(encoder: BundledEncoder) -> None:
    encoder.encode_texts(["loaded"], "query")
    copy = pickle.loads(pickle.dumps(encoder))
    assert copy.space == encoder.space


def test_half_a_surrogate_is_a_text_like_any_other(encoder: BundledEncoder) -> None:
    vectors = encoder.encode_texts(["half \ud83d a pair", "half ? a pair"], "passage")
    np.testing.assert_array_equal(vectors[0], vectors[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_an_encoder_works_in_a_forked_child() -> None:
    """As a DataLoader or a preloading web server forks: the pool's threads stay behind, and a lock
    that one of them holds would be held for ever."""
    script = """
import os, sys
from mmrag.encoders.bundled import BundledEncoder
encoder = BundledEncoder()
before = encoder.encode_texts(["one", "two", "three"], "query")
with encoder._image_model._lock:  # as if another thread was loading a model
    child = os.fork()
if child == 0:
    import numpy as np
    again = encoder.encode_texts(["one", "two", "three"], "query")
    pixels = np.zeros((3, 260, 260), np.uint8)
    assert encoder.encode_pixels([pixels, pixels]).shape == (2, 384)
    os._exit(0 if np.array_equal(before, again) else 1)
encoder.encode_texts(["and", "the", "parent"], "query")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    with subprocess.Popen([sys.executable, "-c", script], start_new_session=True) as process:
        try:
            assert process.wait(timeout=60) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a child that hangs, too
