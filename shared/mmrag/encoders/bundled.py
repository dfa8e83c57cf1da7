"""The bundled encoder: Chinese text, English text and pictures in one space, offline.

384 dimensions, 46 MB, onnxruntime, no torch. It knows concrete nouns; take OpenCLIP, SigLIP 2 or
Chinese-CLIP for real use. What it is made of and what to expect of it: ``MODEL_CARD.md`` beside
its files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmrag.encoders.lazy import Lazy
from mmrag.encoders.onnx_runner import Workers, session
from mmrag.encoders.tokens import checked_texts
from mmrag.encoders.windows import pooled
from mmrag.types import Role, Space

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["BundledEncoder"]

FOLDER = Path(__file__).parent.parent / "models" / "bundled"
DIM = 384
SIDE = 260
CUTOUT_FILL = 0.88  # how much of the square a cropped cut-out fills
TOKEN_LIMIT = 512
WINDOW = 400  # tokens of a window of a longer text: room for the role's prefix and special tokens
OVERLAP = 40  # tokens that two neighbouring windows share, so that no sentence is only ever cut
PREPROCESSING = "letterbox260-white-cutout88-windows400/40"

Item = TypeVar("Item")


class BundledEncoder:
    """Text and image encoder of one space; implements :class:`mmrag.protocols.ImageEncoder`.

    Models are loaded at the first use. Every text and every picture is run alone, since int8
    activations are quantised a batch at a time and a text's vector would otherwise depend on its
    neighbours; the cores are used by running several at once, each on one thread (which is also
    the fastest way here: 171 pictures a second on two cores, against 144 in the best batches).
    """

    def __init__(self) -> None:
        self._workers = Workers()
        self._tokenizer = Lazy(_load_tokenizer)
        self._text_model = Lazy(lambda: session(FOLDER / "text_encoder.onnx"))
        self._image_model = Lazy(lambda: session(FOLDER / "image_encoder.onnx"))

    @property
    def image_size(self) -> int:
        """The side of the square that the model sees."""
        return SIDE

    def __reduce__(self) -> tuple[type[BundledEncoder], tuple[()]]:
        return BundledEncoder, ()

    @cached_property
    def space(self) -> Space:
        """The fingerprint: weights, tokenizer and preprocessing."""
        files = json.loads((FOLDER / "canonical.json").read_text("utf-8"))["files"]
        parts = [files[name]["sha256"] for name in sorted(files)] + [PREPROCESSING]
        return Space("mmrag-bundled-1", hashlib.sha256("\n".join(parts).encode()).hexdigest(), DIM)

    def encode_texts(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Unit vectors ``[len(texts), 384]``.

        A text of more than 512 tokens is cut into windows of 400 tokens that overlap by 40; its
        vector is the mean of theirs, weighted by their tokens, at length 1.

        Raises:
            InputError: a text is not a string, ``texts`` is no list, or there is no such role.
        """
        windows = [self._windows(text, f"{role}: ") for text in checked_texts(texts, role)]
        vectors = self._each(self._encode_window, [w for text in windows for w in text])
        return pooled(vectors, [[len(ids) for ids in text] for text in windows])

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        """uint8 ``[3, 260, 260]``: the picture letterboxed on white; a cut-out (any transparency)
        is first cropped to what shows and scaled to fill 0.88 of the square."""
        from PIL import Image as Pillow

        fill = SIDE
        if image.mode == "RGBA":
            box = image.getchannel("A").point(_opaque_enough).getbbox()
            image = image.crop(box) if box else image
            fill = round(SIDE * CUTOUT_FILL)
        scale = fill / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        if size != image.size:
            how = Pillow.Resampling.LANCZOS if scale < 1 else Pillow.Resampling.BICUBIC
            image = image.resize(size, how)
        square = Pillow.new("RGB", (SIDE, SIDE), "white")
        corner = ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2)
        square.paste(image, corner, image if image.mode == "RGBA" else None)
        return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))

    def encode_pixels(self, pixels: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Unit vectors ``[len(pixels), 384]`` of what :meth:`preprocess` returned."""
        return self._each(self._encode_image, pixels)

    def _each(
        self, encode: Callable[[Item], NDArray[np.float32]], items: Sequence[Item]
    ) -> NDArray[np.float32]:
        if not len(items):
            return np.empty((0, DIM), np.float32)
        return np.stack(self._workers.each(encode, items))

    def _encode_image(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._image_model().run(
            None, {"image": pixels[None].astype(np.float32)}
        )[0][0]
        return vector

    def _windows(self, text: str, prefix: str) -> list[list[int]]:
        """The token ids of the whole text, or of each of its windows."""
        whole = self._tokenizer().encode(prefix + text).ids
        if len(whole) <= TOKEN_LIMIT:
            return [whole]
        spans = self._tokenizer().encode(text, add_special_tokens=False).offsets
        starts = range(0, max(1, len(spans) - OVERLAP), WINDOW - OVERLAP)
        cuts = [(spans[i][0], spans[min(i + WINDOW, len(spans)) - 1][1]) for i in starts]
        # A window's edge may split a word into more tokens, hence the room above WINDOW.
        return [self._tokenizer().encode(prefix + text[a:b]).ids[:TOKEN_LIMIT] for a, b in cuts]

    def _encode_window(self, ids: list[int]) -> NDArray[np.float32]:
        tokens = np.array([ids], np.int64)
        feed = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        vector: NDArray[np.float32] = self._text_model().run(None, feed)[0][0]
        return vector


def _opaque_enough(alpha: int) -> int:
    return 255 if alpha > 8 else 0


def _load_tokenizer() -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
