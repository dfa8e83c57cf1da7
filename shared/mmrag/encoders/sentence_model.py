"""A loaded model of sentence-transformers, run over texts and pictures."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mmrag.encoders.pictures import Pictures
from mmrag.encoders.tokens import LongTexts, tokenizer_settings
from mmrag.errors import InputError
from mmrag.types import Role, Space

if TYPE_CHECKING:
    from PIL import Image

    from mmrag.encoders.prompts import Prompts
    from mmrag.encoders.torch_model import TorchModel
    from mmrag.protocols import Matrix, Pixels

__all__ = ["SentenceModel"]

FAMILY = "sentence-transformers"
# What sentence-transformers calls the roles, for models that treat them differently.
_TASKS: dict[Role, str] = {"query": "query", "passage": "document"}
# Their positions begin behind that of the padding: two fewer than their configuration says.
_OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet"}

Features = dict[str, Any]


class SentenceModel:
    """Texts and pictures to unit vectors, as ``SentenceTransformer.encode`` would do it.

    Args:
        model: a ``SentenceTransformer``, on the CPU and in fp32.
        prompts: what stands before queries and passages.
        runner: what runs it.

    Raises:
        InputError: it takes no texts.
    """

    def __init__(self, model: Any, prompts: Prompts, runner: Callable[[Any], TorchModel]) -> None:
        if not model.supports("text"):
            raise InputError(f"a model of {', '.join(map(str, model.modalities))} takes no texts")
        self._model, self._prompts = model, prompts
        # Of text alone? Else a text is marked as one: an address would be fetched, a path opened.
        self._plain = set(model.modalities) == {"text"}
        tokenizer = model.tokenizer
        self._texts = LongTexts(tokenizer) if hasattr(tokenizer, "is_fast") else None
        self._limits = {role: self._limit(role) for role in _TASKS}
        self.pictures = _pictures(model)
        self._fixed = self.pictures is not None and self._has_one_shape()
        # Made once each: the runner tells by them what it has tried in a lower precision.
        self._text_towers = {role: partial(self._vectors, role=role) for role in _TASKS}
        self._picture_tower = partial(self._vectors, role="passage")
        dim = self._width()
        self._runner = runner(model)
        self.space = Space(FAMILY, self._digest(), dim)

    def encode_texts(self, texts: Sequence[str], role: Role) -> Matrix:
        """Unit vectors ``[len(texts), dim]`` of texts that were checked, in windows if need be."""

        def features(batch: list[str]) -> Features:
            return self._text_features(batch, role)

        def run(pieces: list[str]) -> Matrix:
            return self._runner.encode(self._text_towers[role], pieces, features)

        limit = self._limits[role]
        if self._texts is None or limit is None:
            return run(list(texts))
        return self._texts.encode(texts, limit, run)

    def preprocess(self, image: Image.Image) -> Pixels:
        """What the model wants of a picture, or the picture's own pixels if what it wants has
        another shape for every picture."""
        picture = self.pictures.fit(image) if self.pictures else image
        if not self._fixed:
            return np.asarray(picture)
        pixels: Pixels = self._features([picture], "passage")["pixel_values"][0].numpy()
        return pixels

    def encode_pixels(self, pixels: Sequence[Pixels]) -> Matrix:
        """Unit vectors ``[len(pixels), dim]`` of what :meth:`preprocess` returned."""
        return self._runner.encode(self._picture_tower, pixels, self._picture_features)

    def _vectors(self, model: Any, features: Features, role: Role) -> Any:
        found = model(features, task=_TASKS[role])["sentence_embedding"]
        return found if model.truncate_dim is None else found[..., : model.truncate_dim]

    def _text_features(self, texts: list[str], role: Role) -> Features:
        inputs = texts if self._plain else [{"text": text} for text in texts]
        if self._texts is None:
            return self._features(inputs, role)
        with self._texts.lock:
            return self._features(inputs, role)

    def _picture_features(self, pixels: list[Pixels]) -> Features:
        import torch

        if self._fixed:
            return {"pixel_values": torch.from_numpy(np.stack(pixels)), "modality": "image"}
        from PIL import Image

        return self._features([Image.fromarray(picture) for picture in pixels], "passage")

    def _features(self, inputs: Sequence[Any], role: Role) -> Features:
        prompt = getattr(self._prompts, role)
        return dict(self._model.preprocess(inputs, prompt=prompt or None, task=_TASKS[role]))

    def _limit(self, role: Role) -> int | None:
        """How many of its tokens a text may have beside the prompt and the special ones."""
        limit = self._model.max_seq_length
        if self._texts is None or limit is None or limit == math.inf:
            return None
        config = getattr(self._model[0], "config", None)
        if getattr(config, "model_type", "") in _OFFSET_POSITIONS:
            limit = min(limit, config.max_position_embeddings - 2)  # type: ignore[union-attr]
        features = self._text_features(["a"], role)
        text = len(self._model.tokenizer.encode("a", add_special_tokens=False))
        return int(limit) - int(features["attention_mask"].sum()) + text

    def _has_one_shape(self) -> bool:
        """Whether pictures of two shapes become tensors of one, and nothing but that."""
        from PIL import Image

        shapes = set()
        for size in ((40, 60), (90, 30)):
            features = self._features([Image.new("RGB", size)], "passage")
            if [name for name, value in features.items() if _is_tensor(value)] != ["pixel_values"]:
                return False
            shapes.add(tuple(features["pixel_values"].shape))
        return len(shapes) == 1 and shapes.pop()[0] == 1

    def _width(self) -> int:
        import torch

        with torch.inference_mode():
            features = self._text_features(["a"], "passage")
            return int(self._vectors(self._model.eval(), features, "passage").shape[-1])

    def _digest(self) -> str:
        said = [
            self._runner.digest,
            tokenizer_settings(self._model.tokenizer),
            json.dumps([*self._prompts, *self._limits.values(), self._model.truncate_dim]),
            json.dumps([_settings(module) for module in self._model]),
            self.pictures.settings if self.pictures else "",
        ]
        return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _pictures(model: Any) -> Pictures | None:
    if not model.supports("image"):
        return None
    processor = getattr(model[0], "processor", None)
    return Pictures(getattr(processor, "image_processor", processor))


def _settings(module: Any) -> list[str]:
    """What a module does beside its weights: how it pools, and its activation."""
    names = ("pooling_mode", "include_prompt")
    activation = getattr(module, "activation_function", None)
    said = [str(getattr(module, name, "")) for name in names]
    return [type(module).__name__, *said, type(activation).__name__]


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
