"""The public fakes keep the contracts that they stand in for."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mmrag.testing import FakeEncoder, ImageEncoderContract


class TestFakeEncoder(ImageEncoderContract):
    @pytest.fixture
    def encoder(self) -> FakeEncoder:
        return FakeEncoder()


def test_texts_that_share_words_are_near() -> None:
    dog, dogs, cat = FakeEncoder().encode_texts(
        ["a big dog", "the big dog barks", "one small cat"], "passage"
    )
    assert dog @ dogs > 0.4 > dog @ cat


def test_pictures_that_look_alike_are_near() -> None:
    encoder = FakeEncoder()
    colours = ["red", (250, 10, 10), "blue"]
    red, reddish, blue = encoder.encode_pixels(
        [encoder.preprocess(Image.new("RGB", (20, 20), colour)) for colour in colours]
    )
    assert red @ reddish > 0.99 > red @ blue


def test_the_same_vectors_in_every_process() -> None:
    script = (
        "from mmrag.testing import FakeEncoder;"
        "print(FakeEncoder(4).encode_texts(['a dog'], 'query').tobytes().hex())"
    )
    answers = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
        for _ in range(2)
    ]
    here = FakeEncoder(4).encode_texts(["a dog"], "query")
    assert {bytes.fromhex(answer.decode()) for answer in answers} == {here.tobytes()}


def test_the_space_depends_on_the_dimension() -> None:
    assert FakeEncoder(32).space != FakeEncoder(64).space
    assert FakeEncoder(32).space == FakeEncoder(32).space
    assert FakeEncoder(32).encode_texts(["x"], "query").dtype == np.float32


def test_fakes_do_not_need_pytest() -> None:
    script = "import sys, mmrag.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
