"""What an exported model does without torch, against the packages that it does without."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("open_clip")

import ftfy
import open_clip
from open_clip.tokenizer import canonicalize_text, get_clean_fn
from open_clip.transform import PreprocessCfg, image_transform_v2

from mmrag.encoders.onnx_convert import scaling_of, steps_of, text_of
from mmrag.encoders.onnx_picture import pixels
from mmrag.encoders.onnx_text import OnnxText
from mmrag.encoders.open_clip_text import TextPieces
from mmrag.encoders.text_cleaning import Cleaning, clean
from mmrag.errors import InputError

pytestmark = pytest.mark.torch

CLEANINGS: list[Cleaning] = ["lower", "whitespace", "canonicalize"]
TEXTS = [
    "A Red BICYCLE isn't it? it'll do, we've 1984 of 12",
    "&amp;amp; &lt;b&gt; &eacute; <b>&eacute;</b> &notit; &#x41; &EACUTE;",
    "<a>\n&eacute;",
    "“quoted” it’s ﬁne ＦＵＬＬ　ＷＩＤＴＨ ｶﾞ ǅ ĳ",
    "line\r\nbreak\u2028x\x85y \x1b[31mred\x1b[0m \ufeffbom",
    "naïve café e\u0301 🚲👩‍🚀\n\ttab ½ x² ①",
    "大熊猫，吃竹子。 كيف 한국어 ไทย",
    "a_b-c!? \u200b \xa0 \ud83d\ude00",
    "\x1b[ﬁ \x1b[1;２m \x1b\x93[m",
    "",
    "   ",
]


@pytest.mark.parametrize("how", CLEANINGS)
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_cleaned_as_by_open_clip(text: str, how: Cleaning) -> None:
    assert clean(text, how) == get_clean_fn(how)(text)


def without_guesses(text: str, how: Cleaning) -> str:
    """As open_clip cleans, except for what ftfy guesses of text that was decoded wrongly."""
    import html

    fixed = ftfy.fix_text(text, fix_encoding=False)
    fixed = html.unescape(html.unescape(fixed)).strip()
    if how == "canonicalize":
        return str(canonicalize_text(fixed))
    fixed = " ".join(fixed.split())
    return fixed.lower() if how == "lower" else fixed


@settings(max_examples=300, database=None, deadline=None)
@given(
    st.text(st.sampled_from([*"abXZ &;<>#x01amplt\n\r\t_-'’“”ﬁＡ　\u0301é大\u2028\x1b[m\x93\x81"])),
    st.sampled_from(CLEANINGS),
)
def test_any_text_is_cleaned_as_by_open_clip(text: str, how: Cleaning) -> None:
    assert clean(text, how) == without_guesses(text, how)


def test_what_was_decoded_wrongly_is_not_guessed_at() -> None:
    assert get_clean_fn("lower")("itâ€™s") == "it's"
    assert clean("itâ€™s", "lower") == "itâ€™s"


@pytest.fixture(scope="module")
def clip() -> OnnxText:
    return OnnxText(*text_of(open_clip.SimpleTokenizer()))


def test_clip_tokens_are_those_of_open_clip(clip: OnnxText) -> None:
    tokenizer = open_clip.SimpleTokenizer()
    corpus = Path(open_clip.__file__).parent / "tokenizer.py"
    lines = [line for line in corpus.read_text("utf-8").splitlines() if len(line) < 60]
    lines = [line for line in lines if "_of_text>" not in line]
    letters = random.Random(3)
    odd = ["".join(letters.choices("aBé大🚲'!?.,-_ 0123９ſßﬁ", k=20)) for _ in range(200)]
    for text in [*TEXTS, *lines, *odd]:
        (ours,), theirs = clip.tokens(text), tokenizer([text])[0].numpy()
        np.testing.assert_array_equal(ours, theirs, err_msg=repr(text))


def test_long_texts_are_cut_where_the_open_clip_encoder_cuts_them(clip: OnnxText) -> None:
    other = TextPieces(open_clip.SimpleTokenizer())
    for text in (
        "Two dogs play, isn't it? " * 60,
        "如何重置路由器密码" * 30,
        "x" * 500,
        "🚲" * 300,
    ):
        assert clip.pieces(text) == other.pieces(text)


def test_a_word_of_the_tokens_own_name_is_a_word(clip: OnnxText) -> None:
    """In open_clip it would end the text there."""
    (plain,), (ended,) = clip.tokens("a cat"), clip.tokens("a <end_of_text> cat")
    assert list(plain).count(49407) == list(ended).count(49407) == 1


@pytest.mark.parametrize(
    "size", [(224, 224), (1, 1), (500, 3), (3, 500), (640, 481), (97, 213), (33, 32)]
)
def test_pictures_have_the_pixels_of_open_clip(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)
    image = Image.fromarray(noise)
    for mode, how, side in product(
        ("shortest", "longest", "squash"), ("bicubic", "bilinear"), (32, (32, 32), (32, 48))
    ):
        config = PreprocessCfg(size=side, resize_mode=mode, interpolation=how, fill_color=9)
        transform = image_transform_v2(config, is_train=False)
        if mode == "longest" and min(size) < 10:
            continue  # open_clip rounds the short side to 0 there, and fails
        ours = pixels(image, steps_of(transform)).transpose(2, 0, 1).astype(np.float32)
        mean, std = (np.float32(numbers)[:, None, None] for numbers in scaling_of(transform))
        theirs = transform(image).numpy()
        np.testing.assert_allclose((ours / 255 - mean) / std, theirs, atol=1e-6)


def test_a_thin_picture_keeps_at_least_one_pixel() -> None:
    config = PreprocessCfg(size=32, resize_mode="longest")
    steps = steps_of(image_transform_v2(config, is_train=False))
    assert pixels(Image.new("RGB", (3000, 1)), steps).shape == (32, 32, 3)


def test_a_transform_with_a_step_of_its_own_is_refused() -> None:
    transform: Any = image_transform_v2(PreprocessCfg(), is_train=False)
    transform.transforms.insert(0, lambda image: image.rotate(3))
    with pytest.raises(InputError, match="none of open_clip's"):
        steps_of(transform)
