"""Chinese-CLIP: Chinese texts and pictures in one space, by transformers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmrag.encoders import hub
from mmrag.encoders.lazy import Lazy
from mmrag.encoders.pictures import Pictures
from mmrag.encoders.tokens import LongTexts, checked_texts, tokenizer_settings
from mmrag.errors import InputError, MissingExtra
from mmrag.types import Role, Space

if TYPE_CHECKING:
    from PIL import Image

    from mmrag.encoders.torch_model import Precision, TorchModel
    from mmrag.protocols import Matrix, Pixels

__all__ = ["ChineseClipEncoder"]

FAMILY = "chinese-clip"
CONTEXT = 52  # the tokens that Chinese-CLIP was trained with, [CLS] and [SEP] included


@dataclass(frozen=True)
class _Loaded:
    model: TorchModel
    processor: Any
    texts: LongTexts
    limit: int
    pictures: Pictures
    space: Space

    def tokens(self, texts: list[str]) -> dict[str, Any]:
        with self.texts.lock:
            found = self.processor.tokenizer(
                texts, padding=True, truncation=True, max_length=CONTEXT, return_tensors="pt"
            )
        return dict(found)


class ChineseClipEncoder:
    """Chinese texts and pictures in one space; implements :class:`mmrag.protocols.ImageEncoder`.

    Needs ``pip install 'mmrag[transformers]'``. Made in no time: the model is loaded at the first
    use, ``space`` and ``image_size`` included, since the fingerprint is one of the weights.

    A text of more than 52 tokens, special ones included, which is all that the model was trained
    to read, is not cut off: it becomes windows, and its vector is the mean of theirs, weighted by
    their tokens, at length 1. Queries and passages are encoded alike.

    Args:
        model: a name on the hub (``OFA-Sys/chinese-clip-vit-base-patch16`` of 512 dimensions,
            ``...-vit-large-patch14`` of 768, ``...-vit-huge-patch14`` of 1024) or a local folder
            with the same files.
        device: ``auto`` is CUDA, then MPS, then the CPU; else a name that torch knows.
        precision: see :class:`mmrag.encoders.torch_model.TorchModel`, as for ``batch_size``.
        batch_size: how many pictures or texts at once.

    Raises (at the first use):
        ModelUnavailable: the model is not in the hub's cache and cannot be had.
        InputError: the folder is missing, or is not one of Chinese-CLIP.
        MissingExtra: transformers or torch is not installed.

    Example:
        >>> encoder = ChineseClipEncoder("models/chinese-clip-vit-base-patch16")
        >>> index = MultimodalIndex.open("index", text_encoder=encoder, image_encoder=encoder)
    """

    def __init__(
        self,
        model: str = "OFA-Sys/chinese-clip-vit-base-patch16",
        *,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        self.name = str(model)
        parts = partial(_from_files, self.name)
        self._loaded = Lazy(partial(_load, parts, device, precision, batch_size))

    @classmethod
    def of(
        cls,
        model: Any,
        processor: Any,
        *,
        name: str = "a ready model",
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int | Literal["auto"] = "auto",
    ) -> ChineseClipEncoder:
        """An encoder of a model that is loaded already; it belongs to the encoder from then on.

        Args:
            model: a ``transformers.ChineseCLIPModel``.
            processor: its ``transformers.ChineseCLIPProcessor``.
            name: what messages call it.

        Raises (at the first use):
            InputError: they are something else.

        Example:
            >>> model = ChineseCLIPModel.from_pretrained(folder)
            >>> encoder = ChineseClipEncoder.of(model, ChineseCLIPProcessor.from_pretrained(folder))
        """
        encoder = cls(name)
        parts = partial(_as_given, model, processor)
        encoder._loaded = Lazy(partial(_load, parts, device, precision, batch_size))
        return encoder

    def __repr__(self) -> str:
        return f"ChineseClipEncoder({self.name!r})"

    @property
    def space(self) -> Space:
        """The fingerprint: weights, tokenizer, windows and preprocessing."""
        return self._loaded().space

    @property
    def image_size(self) -> int:
        """The longest side of what the model sees."""
        return self._loaded().pictures.side

    def encode_texts(self, texts: Sequence[str], role: Role) -> Matrix:
        """Unit vectors ``[len(texts), dim]``.

        Raises:
            InputError: a text is not a string, or ``role`` is neither query nor passage.
        """
        checked = checked_texts(texts, role)
        loaded = self._loaded()
        if not checked:
            return np.empty((0, loaded.space.dim), np.float32)

        def run(pieces: list[str]) -> Matrix:
            return loaded.model.encode(_text_features, pieces, loaded.tokens)

        return loaded.texts.encode(checked, loaded.limit, run)

    def preprocess(self, image: Image.Image) -> Pixels:
        """float32 ``[3, side, side]``, by the model's own image processor; a transparent picture
        is laid on white."""
        loaded = self._loaded()
        found = loaded.processor.image_processor(loaded.pictures.fit(image), return_tensors="np")
        pixels: Pixels = found["pixel_values"][0]
        return pixels

    def encode_pixels(self, pixels: Sequence[Pixels]) -> Matrix:
        """Unit vectors ``[len(pixels), dim]`` of what :meth:`preprocess` returned."""
        loaded = self._loaded()
        if not len(pixels):
            return np.empty((0, loaded.space.dim), np.float32)
        return loaded.model.encode(_image_features, pixels, _stacked)


def _load(
    parts: Any, device: str, precision: Precision, batch_size: int | Literal["auto"]
) -> _Loaded:
    model, processor = parts()  # first: it says which extra is missing
    from mmrag.encoders.torch_model import TorchModel

    runner = TorchModel(
        _as_always(model), device=device, precision=precision, batch_size=batch_size
    )
    tokenizer, pictures = processor.tokenizer, Pictures(processor.image_processor)
    limit = CONTEXT - tokenizer.num_special_tokens_to_add()
    said = [runner.digest, tokenizer_settings(tokenizer), pictures.settings, f"{limit}"]
    digest = hashlib.sha256("\n".join(said).encode()).hexdigest()
    space = Space(FAMILY, digest, int(model.config.projection_dim))
    return _Loaded(runner, processor, LongTexts(tokenizer), limit, pictures, space)


def _as_always(model: Any) -> Any:
    """The model with the same weights, and so the same digest, by whatever version it was loaded.
    Version 5 of transformers leaves it in the precision it was saved in, and empties the padding's
    embedding, which no vector depends on."""
    import torch

    words = model.float().text_model.embeddings.word_embeddings
    if words.padding_idx is not None:
        with torch.no_grad():
            words.weight[words.padding_idx] = 0
    return model


def _from_files(name: str) -> tuple[Any, Any]:
    model, processor = _classes()
    name = hub.expanded(name)
    local = hub.is_path(name) or hub.cached_only()
    with hub.loading(name, "a local copy as 'chinese-clip:DIR'"):
        # Of another model's weights transformers takes what fits, and makes the rest up.
        found, said = model.from_pretrained(name, local_files_only=local, output_loading_info=True)
        if missing := sorted(said["missing_keys"]):
            raise InputError(
                f"{name!r} is no Chinese-CLIP: {len(missing)} of its weights are missing, such as "
                f"{missing[0]}"
            )
        return found, processor.from_pretrained(name, local_files_only=local)


def _as_given(model: Any, processor: Any) -> tuple[Any, Any]:
    for given, wanted in zip((model, processor), _classes(), strict=True):
        if not isinstance(given, wanted):
            raise InputError(f"expected a {wanted.__name__}, not {type(given).__name__}")
    return model, processor


def _classes() -> tuple[Any, Any]:
    try:
        import torch  # noqa: F401  # without it transformers has classes that fail when used
        from transformers import ChineseCLIPModel, ChineseCLIPProcessor
    except ImportError as error:
        raise MissingExtra("Chinese-CLIP", "transformers") from error
    return ChineseCLIPModel, ChineseCLIPProcessor


def _text_features(model: Any, inputs: Any) -> Any:
    return _vectors(model.get_text_features(**inputs))


def _image_features(model: Any, pixels: Any) -> Any:
    return _vectors(model.get_image_features(pixel_values=pixels))


def _vectors(found: Any) -> Any:
    """The projected vectors: until version 5 of transformers they were returned by themselves."""
    return getattr(found, "pooler_output", found)


def _stacked(pixels: list[Pixels]) -> Any:
    import torch

    return torch.from_numpy(np.stack(pixels))
