"""The encoder contract where the same item has the same vector but for the last bits.

A matrix product in torch takes another path for another size of its batch, and its sums are then
added up in another order: 1e-7 of a difference, which no encoder on torch can help.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from mmrag.protocols import ImageEncoder, TextEncoder
from mmrag.testing import EncoderContract, ImageEncoderContract

__all__ = ["TorchEncoderContract", "TorchImageEncoderContract"]

TEXTS = ["a red bicycle", "如何重置路由器密码", "", "naïve café 🚲\n\ttab", "404", "x" * 300]


def same(rows: Any, others: Any) -> None:
    np.testing.assert_allclose(rows, others, rtol=0, atol=1e-6)


class TorchEncoderContract(EncoderContract):
    def test_a_text_alone_and_in_a_batch_gives_the_same_vector(self, encoder: TextEncoder) -> None:
        batch = encoder.encode_texts(TEXTS, "passage")
        same(batch, [encoder.encode_texts([text], "passage")[0] for text in TEXTS])

    def test_rows_are_in_the_order_of_the_texts(self, encoder: TextEncoder) -> None:
        rows = encoder.encode_texts(TEXTS, "passage")
        same(encoder.encode_texts(TEXTS[::-1], "passage"), rows[::-1])


class TorchImageEncoderContract(TorchEncoderContract, ImageEncoderContract):
    def test_a_picture_alone_and_in_a_batch_gives_the_same_vector(
        self, encoder: ImageEncoder
    ) -> None:
        colours = ["red", "green", "blue", "white"]
        pictures = [Image.linear_gradient("L").convert("RGB")]
        pictures += [Image.new("RGB", (40, 30), colour) for colour in colours]
        pixels = [encoder.preprocess(picture) for picture in pictures]
        same(encoder.encode_pixels(pixels), [encoder.encode_pixels([one])[0] for one in pixels])
