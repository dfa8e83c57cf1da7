"""What every encoder has to do, as tests to subclass with an ``encoder`` fixture."""
# ruff: noqa: S101, D102  # tests: they assert, and their names say what

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmrag.protocols import ImageEncoder, TextEncoder

__all__ = ["EncoderContract", "ImageEncoderContract"]

_TEXTS = ["a red bicycle", "如何重置路由器密码", "", "naïve café 🚲\n\ttab", "404", "x" * 300]


class EncoderContract:
    """Subclass and give it a fixture ``encoder``: any :class:`mmrag.protocols.TextEncoder`."""

    @pytest.mark.parametrize("role", ["query", "passage"])
    def test_each_row_is_a_float32_vector_of_length_1(
        self, encoder: TextEncoder, role: str
    ) -> None:
        rows = encoder.encode_texts(_TEXTS, role)  # type: ignore[arg-type]
        assert rows.dtype == np.float32
        assert rows.shape == (len(_TEXTS), encoder.space.dim)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)

    def test_no_text_gives_no_row(self, encoder: TextEncoder) -> None:
        assert encoder.encode_texts([], "passage").shape == (0, encoder.space.dim)

    def test_a_text_alone_and_in_a_batch_gives_the_same_vector(self, encoder: TextEncoder) -> None:
        batch = encoder.encode_texts(_TEXTS, "passage")
        alone = [encoder.encode_texts([text], "passage")[0] for text in _TEXTS]
        np.testing.assert_array_equal(batch, np.stack(alone))

    def test_rows_are_in_the_order_of_the_texts(self, encoder: TextEncoder) -> None:
        rows = encoder.encode_texts(_TEXTS, "passage")
        np.testing.assert_array_equal(encoder.encode_texts(_TEXTS[::-1], "passage"), rows[::-1])

    def test_a_long_text_is_encoded_to_its_end(self, encoder: TextEncoder) -> None:
        long = "the wheel turns and the chain follows " * 500
        rows = encoder.encode_texts([long + "zebra", long + "volcano eruption"], "passage")
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        assert not np.array_equal(rows[0], rows[1])

    def test_the_same_text_is_the_nearest_to_itself(self, encoder: TextEncoder) -> None:
        texts = ["a red bicycle", "the history of Rome", "how to bake bread"]
        passages = encoder.encode_texts(texts, "passage")
        queries = encoder.encode_texts(texts, "query")
        assert (queries @ passages.T).argmax(axis=1).tolist() == [0, 1, 2]

    def test_the_space_stays_the_same(self, encoder: TextEncoder) -> None:
        before = encoder.space
        encoder.encode_texts(["a"], "query")
        assert encoder.space == before
        assert before.family
        assert before.digest


class ImageEncoderContract(EncoderContract):
    """Subclass and give it a fixture ``encoder``: any :class:`mmrag.protocols.ImageEncoder`."""

    def test_pictures_give_float32_vectors_of_length_1(self, encoder: ImageEncoder) -> None:
        rows = encoder.encode_pixels([encoder.preprocess(picture) for picture in _pictures()])
        assert rows.dtype == np.float32
        assert rows.shape == (len(_pictures()), encoder.space.dim)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)

    def test_no_picture_gives_no_row(self, encoder: ImageEncoder) -> None:
        assert encoder.encode_pixels([]).shape == (0, encoder.space.dim)

    def test_a_picture_alone_and_in_a_batch_gives_the_same_vector(
        self, encoder: ImageEncoder
    ) -> None:
        pixels = [encoder.preprocess(picture) for picture in _pictures()]
        alone = [encoder.encode_pixels([one])[0] for one in pixels]
        np.testing.assert_array_equal(encoder.encode_pixels(pixels), np.stack(alone))

    def test_different_pictures_give_different_vectors(self, encoder: ImageEncoder) -> None:
        rows = encoder.encode_pixels([encoder.preprocess(picture) for picture in _pictures()])
        likeness = rows @ rows.T
        assert (likeness.argmax(axis=1) == np.arange(len(rows))).all()

    def test_the_size_that_the_model_looks_at_is_positive(self, encoder: ImageEncoder) -> None:
        assert encoder.image_size > 0


def _pictures() -> list[Image.Image]:
    """Of each mode and shape that a decoder hands over: large, tiny, thin, RGB and RGBA."""
    ramp = np.linspace(0, 255, 96 * 64 * 3).astype(np.uint8).reshape(64, 96, 3)
    return [
        Image.fromarray(ramp),
        Image.fromarray(ramp[::-1]),
        Image.new("RGB", (1, 1), "red"),
        Image.new("RGB", (400, 3), "blue"),
        Image.new("RGBA", (30, 50), (0, 255, 0, 128)),
    ]
