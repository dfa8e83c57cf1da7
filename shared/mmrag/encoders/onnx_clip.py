"""CLIP without torch: the image and text towers that ``mmrag export`` wrote, on onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mmrag.encoders.lazy import Lazy
from mmrag.encoders.onnx_config import ExportConfig
from mmrag.encoders.onnx_runner import Workers, session
from mmrag.encoders.tokens import checked_texts
from mmrag.encoders.windows import pooled
from mmrag.errors import InputError
from mmrag.types import Role, Space

if TYPE_CHECKING:
    from PIL import Image

    from mmrag.encoders.onnx_text import OnnxText
    from mmrag.protocols import Matrix, Pixels, Vector

__all__ = ["OnnxClipEncoder"]

FAMILY = "onnx-clip"

Item = TypeVar("Item")


class OnnxClipEncoder:
    """Texts and pictures in one space, by a CLIP that was exported from open_clip.

    Implements :class:`mmrag.protocols.ImageEncoder` with what mmrag always installs: no torch, no
    open_clip, no transformers. The models are loaded at the first use. Every text and picture is
    run alone, on one thread, and the cores are used by running several at once, so that a vector
    never depends on what else is in the call (int8 would otherwise scale whole batches).

    Texts over the limit are split and pooled as :class:`mmrag.encoders.open_clip.OpenClipEncoder`
    does. The export's vectors are a space of their own: an index made with the original model has
    to be opened with the original model.

    Args:
        folder: what ``mmrag export MODEL --out FOLDER`` wrote.

    Raises (at the first use):
        InputError: it is no such folder, or a file in it is missing or damaged.

    Example:
        >>> encoder = OnnxClipEncoder("clip-int8")  # doctest: +SKIP
        >>> index = MultimodalIndex.open("kb", image_encoder=encoder)  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self._config = Lazy(lambda: ExportConfig.read(self.folder))
        self._loaded = Lazy(lambda: _Loaded.load(self.folder, self.config))

    def __repr__(self) -> str:
        return f"OnnxClipEncoder({str(self.folder)!r})"

    def __reduce__(self) -> tuple[type[OnnxClipEncoder], tuple[str]]:
        return OnnxClipEncoder, (str(self.folder),)

    @property
    def config(self) -> ExportConfig:
        """The export's settings; reading them loads no model."""
        return self._config()

    @property
    def space(self) -> Space:
        """The fingerprint: weights, precision, vocabulary and preprocessing."""
        return Space(FAMILY, self.config.digest, self.config.dim)

    @property
    def image_size(self) -> int:
        """The longest side of what the model sees."""
        return max(side for step in self.config.picture for side in step.size)

    def encode_texts(self, texts: Sequence[str], role: Role) -> Matrix:
        """Unit vectors ``[len(texts), dim]``; queries and passages are encoded alike.

        Raises:
            InputError: a text is not a string, or ``role`` is neither query nor passage.
        """
        checked = checked_texts(texts, role)
        if not checked:
            return self._none()
        ready = self._loaded()
        pieces = [ready.text.pieces(text) for text in checked]
        rows = ready.each(ready.of_text, [piece for parts in pieces for piece, _ in parts])
        return pooled(rows, [[count for _, count in parts] for parts in pieces])

    def preprocess(self, image: Image.Image) -> Pixels:
        """uint8 ``[height, width, 3]``: transparent parts made white, then resized and cropped as
        the model was trained."""
        from mmrag.encoders.onnx_picture import pixels
        from mmrag.media import to_rgb

        return pixels(to_rgb(image), self.config.picture)

    def encode_pixels(self, pixels: Sequence[Pixels]) -> Matrix:
        """Unit vectors ``[len(pixels), dim]`` of what :meth:`preprocess` returned."""
        if not len(pixels):
            return self._none()
        ready = self._loaded()
        return ready.each(ready.of_image, pixels)

    def _none(self) -> Matrix:
        return np.empty((0, self.config.dim), np.float32)


@dataclass(frozen=True)
class _Loaded:
    text: OnnxText
    text_tower: Any
    image_tower: Any
    workers: Workers

    @classmethod
    def load(cls, folder: Path, config: ExportConfig) -> _Loaded:
        from mmrag.encoders.onnx_text import OnnxText

        config.check(folder)
        return cls(
            OnnxText.load(folder / "tokenizer.json", config.text),
            _session(folder / "text.onnx"),
            _session(folder / "image.onnx"),
            Workers(),
        )

    def each(self, encode: Callable[[Item], Vector], items: Sequence[Item]) -> Matrix:
        return np.stack(self.workers.each(encode, items))

    def of_text(self, piece: str) -> Vector:
        return _row(self.text_tower, {"tokens": self.text.tokens(piece)})

    def of_image(self, pixels: Pixels) -> Vector:
        return _row(self.image_tower, {"pixels": pixels[None]})


def _row(tower: Any, feed: dict[str, Any]) -> Vector:
    found = tower.run(None, feed)[0][0]
    vector: Vector = found / np.linalg.norm(found)
    return vector


def _session(path: Path) -> Any:
    try:
        return session(path)
    except Exception as error:  # onnxruntime raises a dozen kinds of its own
        raise InputError(f"'{path}' cannot be loaded: {error}") from None
