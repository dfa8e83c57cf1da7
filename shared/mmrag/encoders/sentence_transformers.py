"""BGE, E5, GTE, Qwen3-Embedding and whatever else sentence-transformers loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmrag.encoders import hub
from mmrag.encoders.lazy import Lazy
from mmrag.encoders.prompts import Prompts, find_prompts, own_prompts
from mmrag.encoders.tokens import checked_texts
from mmrag.errors import InputError, MissingExtra
from mmrag.types import Role, Space

if TYPE_CHECKING:
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    from mmrag.encoders.pictures import Pictures
    from mmrag.encoders.sentence_model import SentenceModel
    from mmrag.encoders.torch_model import Precision, TorchModel
    from mmrag.protocols import Matrix, Pixels

__all__ = ["SentenceTransformerEncoder", "SentenceTransformerImageEncoder"]


class SentenceTransformerEncoder:
    """Texts by any model of sentence-transformers; implements
    :class:`mmrag.protocols.TextEncoder`.

    Needs ``pip install 'mmrag[sentence-transformers]'``. Made in no time: the model is loaded at
    the first use, ``space`` included, since the fingerprint is one of the weights.

    A text over the model's ``max_seq_length`` (512 tokens for most, 8192 for ``bge-m3``) is not
    cut off: it becomes windows that share a tenth, each with the prompt before it, and its vector
    is the mean of theirs, weighted by their tokens, at length 1.

    Args:
        model: a name on the hub, a local folder with the same files, or a ready
            ``SentenceTransformer``, which belongs to the encoder from then on. By name, models
            that need code of their own (``trust_remote_code``) are not loaded.
        query_prompt: what stands before a query. None is the right one for the model: what the
            model says itself (its ``prompts``), else what :data:`mmrag.encoders.prompts.PROMPTS`
            knows of models by this name (BGE, E5, GTE, ...), else nothing.
        passage_prompt: what stands before a passage, likewise.
        device: ``auto`` is CUDA, then MPS, then the CPU; else a name that torch knows.
        precision: see :class:`mmrag.encoders.torch_model.TorchModel`, as for ``batch_size``.
        batch_size: how many texts at once.

    Raises (at the first use):
        ModelUnavailable: the model is not in the hub's cache and cannot be had.
        InputError: the folder is missing or holds no such model, or the model takes no texts.
        MissingExtra: sentence-transformers is not installed, or older than 5.4.

    Example:
        >>> encoder = SentenceTransformerEncoder("BAAI/bge-m3")
        >>> encoder = SentenceTransformerEncoder("models/my-e5", query_prompt="query: ")
    """

    def __init__(
        self,
        model: str | Path | SentenceTransformer = "BAAI/bge-small-zh-v1.5",
        *,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        ready = not isinstance(model, str | Path)
        self.name = type(model).__name__ if ready else str(model)
        run = partial(_run, device=device, precision=precision, batch_size=batch_size)
        self._loaded = Lazy(partial(_load, model, (query_prompt, passage_prompt), run))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def space(self) -> Space:
        """The fingerprint: weights, tokenizer, prompts, windows, pooling and preprocessing."""
        return self._loaded().space

    def encode_texts(self, texts: Sequence[str], role: Role) -> Matrix:
        """Unit vectors ``[len(texts), dim]``, each text with the prompt of its role before it.

        Raises:
            InputError: a text is not a string, or ``role`` is neither query nor passage.
        """
        checked = checked_texts(texts, role)
        if not checked:
            return np.empty((0, self.space.dim), np.float32)
        return self._loaded().encode_texts(checked, role)


class SentenceTransformerImageEncoder(SentenceTransformerEncoder):
    """Texts and pictures in one space, by a multimodal model of sentence-transformers (CLIP,
    SigLIP, and those that take pictures as chat messages); implements
    :class:`mmrag.protocols.ImageEncoder`.

    Everything else is as with :class:`SentenceTransformerEncoder`, whose texts live in the same
    space if it has the same model. Pictures have the prompt of passages, where the model puts one
    before a picture.

    Raises (at the first use):
        InputError: the model takes no pictures.

    Example:
        >>> encoder = SentenceTransformerImageEncoder("sentence-transformers/clip-ViT-B-32")
        >>> index = MultimodalIndex.open("index", text_encoder=encoder, image_encoder=encoder)
    """

    @property
    def image_size(self) -> int:
        """The longest side of what the model sees."""
        return self._seeing()[1].side

    def preprocess(self, image: Image.Image) -> Pixels:
        """What the model's own processor makes of the picture, on white where it is transparent.
        Of models for which every picture becomes another shape: its RGB pixels, which are
        processed with the batch."""
        return self._seeing()[0].preprocess(image)

    def encode_pixels(self, pixels: Sequence[Pixels]) -> Matrix:
        """Unit vectors ``[len(pixels), dim]`` of what :meth:`preprocess` returned."""
        if not len(pixels):
            return np.empty((0, self.space.dim), np.float32)
        return self._seeing()[0].encode_pixels(pixels)

    def _seeing(self) -> tuple[SentenceModel, Pictures]:
        loaded = self._loaded()
        if loaded.pictures is None:
            raise InputError(f"{self.name!r} takes no pictures: use SentenceTransformerEncoder")
        return loaded, loaded.pictures


def _load(
    given: Any,
    wanted: tuple[str | None, str | None],
    run: Callable[[Any], TorchModel],
) -> SentenceModel:
    from mmrag.encoders.sentence_model import SentenceModel

    by_name = isinstance(given, str | Path)
    model = _from_files(str(given)) if by_name else _as_given(given)
    names = [str(given)] if by_name else []
    config = getattr(model.transformers_model, "config", None)
    names.append(str(getattr(config, "_name_or_path", "")))
    found = own_prompts(model.prompts, model.default_prompt_name)
    found = found or find_prompts(names) or Prompts()
    query, passage = (
        of_model if said is None else said for said, of_model in zip(wanted, found, strict=True)
    )
    # In half precision if it was saved so, by some versions only: the digest is to be the same.
    return SentenceModel(model.float().cpu(), Prompts(query, passage), run)


def _run(
    model: Any, *, device: str, precision: Precision, batch_size: int | Literal["auto"]
) -> TorchModel:
    from mmrag.encoders.torch_model import TorchModel

    return TorchModel(model, device=device, precision=precision, batch_size=batch_size)


def _from_files(name: str) -> Any:
    kind = _kind()
    name = hub.expanded(name)
    local = hub.is_path(name) or hub.cached_only()
    with hub.loading(name, "a local copy as 'sentence-transformers:DIR'"):
        return kind(name, device="cpu", local_files_only=local)


def _as_given(model: Any) -> Any:
    if not isinstance(model, _kind()):
        raise InputError(f"expected a SentenceTransformer or its name, not {type(model).__name__}")
    return model


def _kind() -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtra("SentenceTransformerEncoder", "sentence-transformers") from error
    if not hasattr(SentenceTransformer, "preprocess"):  # before 5.4, which knows of modalities
        feature = "SentenceTransformerEncoder (sentence-transformers 5.4 or later)"
        raise MissingExtra(feature, "sentence-transformers")
    return SentenceTransformer
