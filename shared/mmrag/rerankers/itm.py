"""The image-text matching reranker: BLIP's cross-attention between a question and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmrag.encoders.hub import cached_only, is_path, loading
from mmrag.errors import InputError
from mmrag.rerankers.model import ModelReranker, Part, need
from mmrag.rerankers.parts import opened, words_of
from mmrag.types import Record

if TYPE_CHECKING:
    from PIL import Image

    from mmrag.media import ImageInput
    from mmrag.protocols import Reranker

__all__ = ["ItmReranker"]

DECODED = 512  # a little over the 384 pixels of the models, for a good resize

_SAMPLE = Path(__file__).parent.parent / "sample" / "pictures" / "chelsea.jpg"


class _Blip(NamedTuple):
    model: Any
    processor: Any
    longest: int  # tokens of a question


class ItmReranker(ModelReranker[_Blip]):
    """A :class:`mmrag.protocols.Reranker` in which every word of a question attends to every patch
    of a picture.

    ``model`` is the name on the hub, or the path, of a BLIP model with an image-text matching head;
    it is loaded at the first call. A score is the probability of a match, by the softmax of that
    head, as the model was trained to tell a picture's own caption from others.

    It judges pictures by words: a query with a picture is refused. What a record says, its text
    and caption, is judged by ``text``, another reranker for words, and the better of the two
    counts. Without one a record is judged by its picture alone, and one that has none scores 0.
    That says nothing about it, and :meth:`judges` says so: a search, and
    :func:`mmrag.rerank.rerank_hits`, leave such a record its evidence. Who calls :meth:`rerank`
    by itself, as the frameworks' ``CrossModalReranker`` does, gets texts after all pictures: give
    it a ``text``. A question over the model's limit (512 tokens) is cut.

    A candidate that the model fails on counts as not relevant, with a warning that names it, and
    the others keep their scores. A batch that does not fit into memory is halved.

    Raises:
        InputError: there is nothing at the path, or ``text`` is no reranker.
        MissingExtra: transformers is not installed.

    Example:
        >>> texts = CrossEncoderReranker("BAAI/bge-reranker-v2-m3")   # doctest: +SKIP
        >>> ItmReranker(text=texts).rerank("a cat", None, records)    # doctest: +SKIP
        [0.98, 0.03]
    """

    def __init__(
        self,
        model: str = "Salesforce/blip-itm-base-coco",
        *,
        text: Reranker | None = None,
        device: str = "auto",
    ) -> None:
        need("image-text matching", "transformers", ["transformers", "torch", "torchvision"])
        if not isinstance(model, str):
            raise InputError(f"a model is a name on the hub or a path, not {type(model).__name__}")
        is_path(model)
        if text is not None and not (hasattr(text, "rerank") and hasattr(text, "name")):
            raise InputError(f"{text!r} is not an mmrag.protocols.Reranker")
        super().__init__(model, device)
        self.text = text

    def __reduce__(self) -> Any:
        return partial(type(self), text=self.text, device=self._device), (self._given,)

    @property
    def name(self) -> str:
        """``image-text matching``, the model, and the reranker of texts if there is one."""
        beside = "" if self.text is None else f" and {self.text.name}"
        return f"image-text matching {self._given}{beside}"

    def judges(self, record: Record) -> bool:
        """Whether a score of 0 would say anything about the record."""
        return self.text is not None or record.image is not None

    def rerank(
        self, text: str | None, image: ImageInput | None, records: Sequence[Record]
    ) -> list[float]:
        """One score a record in 0..1, in order.

        Raises:
            InputError: the query has no words, or a picture; the device does not exist.
            ModelUnavailable: the model is neither in the cache nor to be had from the hub.
            AnswerError: the model fails on every picture.
        """
        words = words_of(text, image)
        if image is not None:
            raise InputError("image-text matching takes words only: leave the query's picture out")
        scores = self._scores(words, None, records)
        if self.text is None:
            return scores
        said = self.text.rerank(words, None, [replace(record, image=None) for record in records])
        return [max(both) for both in zip(scores, said, strict=True)]

    def _load(self) -> _Blip:
        from transformers import BlipForImageTextRetrieval, BlipProcessor

        from mmrag.encoders.torch_place import device_named

        name, device = self._given, device_named(self._device)
        with loading(name):
            local = is_path(name) or cached_only()
            processor = BlipProcessor.from_pretrained(name, local_files_only=local)
            loaded: Any = BlipForImageTextRetrieval.from_pretrained(
                name, local_files_only=local, output_loading_info=True
            )
        model, found = loaded
        if any(key.startswith("itm_head") for key in found["missing_keys"]):
            raise InputError(f"the model {name!r} has no head for image-text matching")
        longest = model.config.text_config.max_position_embeddings
        return _Blip(model.eval().to(device), processor, longest)

    def _parts(
        self, model: _Blip, text: str | None, image: ImageInput | None, records: list[Record]
    ) -> list[Part]:
        return [Part(n, "image", (text, picture)) for n, picture in opened(records, _picture)]

    def _probabilities(self, model: _Blip, pairs: list[Any]) -> list[float]:
        import torch

        inputs = model.processor(
            text=[text for text, _ in pairs],
            images=[picture for _, picture in pairs],
            padding=True,
            truncation=True,
            max_length=model.longest,
            return_tensors="pt",
        )
        with torch.inference_mode():
            matching = model.model(**inputs.to(model.model.device)).itm_score
            # The second class is the match.
            found: list[float] = matching.double().softmax(dim=-1)[:, 1].tolist()
        return found

    def _trial(self, model: _Blip) -> Any:
        return "a picture", _picture(_SAMPLE)


def _picture(image: ImageInput) -> Image.Image:
    from mmrag import media

    return media.to_rgb(media.load(image, target=DECODED).image)
