"""The cross-encoder reranker: any model that sentence-transformers can load as a CrossEncoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmrag.encoders.hub import cached_only, is_path, loading
from mmrag.encoders.windows import split_windows
from mmrag.errors import InputError
from mmrag.rerankers.model import ModelReranker, Part, need
from mmrag.rerankers.parts import opened, said, words_of
from mmrag.rerankers.scale import logistic
from mmrag.types import Record

if TYPE_CHECKING:
    from PIL import Image
    from sentence_transformers import CrossEncoder

    from mmrag.media import ImageInput

    Query = Any  # a text, or a dict of a text, a picture or both

__all__ = ["CrossEncoderReranker"]

LONGEST_SIDE = 1280  # of a picture, in pixels: what models look at, and what fits into memory
OVERLAP = 0.1  # of a window, that the next one has too
_HEADLESS = ("Model", "ForMaskedLM")  # architectures: sentence-transformers adds a random head


class CrossEncoderReranker(ModelReranker["CrossEncoder"]):
    """A :class:`mmrag.protocols.Reranker` that reads query and candidate together.

    ``model`` is the name of a model on the hub, the path of a local one, or a ``CrossEncoder`` that
    is loaded, as for a model that needs ``trust_remote_code`` or another precision; that one
    stays on its device. A name or a path is loaded at the first call.

    A record is judged by its text and by all that its caption says, each on its own; the best
    counts. A text over the model's limit is judged window by window, never cut, and its best window
    counts. Where the model takes pictures (Qwen3-VL-Reranker, jina-reranker-m0), a record's picture
    is judged too, at most 1280 pixels long, and the query may be a picture, or words and a picture.
    With a model for texts a record that has a picture alone scores 0.

    Scores are the model's own probabilities, not measured against unrelated pairs as those of an
    :class:`mmrag.rerank.EncoderReranker`: a cross-encoder was trained to tell relevant from not,
    texts and pictures go through the same head, and candidates that a search has found lie so far
    above unrelated ones that they would all come out as 1. Where a model's activation is the
    identity or the sigmoid, that is the logistic function of its log-odds, in double precision;
    another one must give 0..1 by itself.

    A candidate that the model fails on counts as not relevant, with a warning that names it, and
    the others keep their scores. A batch that does not fit into memory is halved.

    Raises:
        InputError: there is nothing at the path, or a loaded model was given with a device.
        MissingExtra: sentence-transformers is not installed.

    Example:
        >>> CrossEncoderReranker("BAAI/bge-reranker-v2-m3")           # doctest: +SKIP
        >>> CrossEncoderReranker(CrossEncoder(                        # doctest: +SKIP
        ...     "jinaai/jina-reranker-m0", trust_remote_code=True, model_kwargs={"dtype": "auto"}
        ... ))
    """

    def __init__(self, model: str | CrossEncoder, *, device: str = "auto") -> None:
        need("a cross-encoder", "sentence-transformers", ["sentence_transformers", "torch"])
        if isinstance(model, str):
            is_path(model)
        elif not (hasattr(model, "predict") and hasattr(model, "preprocess")):
            raise InputError(
                "a cross-encoder is a name on the hub, a path, or a CrossEncoder, "
                f"not {type(model).__name__}"
            )
        elif device != "auto":
            raise InputError("a model that is loaded stays on its device: leave device out")
        super().__init__(model, device)

    @property
    def name(self) -> str:
        """``cross-encoder`` and the model's name or path."""
        if isinstance(self._given, str):
            return f"cross-encoder {self._given}"
        return f"cross-encoder {getattr(self._given.config, '_name_or_path', '')}".strip()

    def rerank(
        self, text: str | None, image: ImageInput | None, records: Sequence[Record]
    ) -> list[float]:
        """One score a record in 0..1, in order.

        Raises:
            InputError: the query has neither words nor a picture, or a picture that the model does
                not take; the device does not exist; the model does not give one score a pair.
            SourceError: the query's picture cannot be opened.
            ModelUnavailable: the model is neither in the cache nor to be had from the hub.
            AnswerError: the model fails on everything.
        """
        return self._scores(words_of(text, image), image, records)

    def _load(self) -> CrossEncoder:
        model: CrossEncoder = self._given
        if isinstance(self._given, str):
            from sentence_transformers import CrossEncoder

            from mmrag.encoders.torch_place import device_named

            device = str(device_named(self._device))
            with loading(self._given):
                local = is_path(self._given) or cached_only()
                model = CrossEncoder(self._given, device=device, local_files_only=local)
            names = getattr(model.config, "architectures", None) or ["Model"]
            if all(name.endswith(_HEADLESS) for name in names):
                raise InputError(f"{self._given!r} is no cross-encoder: it has no head for scores")
        if model.num_labels != 1:
            raise InputError(
                f"{self.name} gives {model.num_labels} scores a pair: a reranker gives one"
            )
        return model

    def _parts(
        self,
        model: CrossEncoder,
        text: str | None,
        image: ImageInput | None,
        records: list[Record],
    ) -> list[Part]:
        seeing = "image" in getattr(model, "modalities", ["text"])
        if image is not None and not seeing:
            raise InputError(f"{self.name} takes words only: leave the query's picture out")
        query = _query(text, None if image is None else _picture(image))
        texts = [
            Part(number, "text", (query, piece))
            for number, record in enumerate(records)
            for whole in said(record)
            for piece in self._pieces(model, text or "", whole)
        ]
        # Texts of about the same length next to each other: less of a batch is padding.
        texts.sort(key=lambda part: len(part.pair[1]))
        pictures = opened(records, _picture) if seeing else []
        return texts + [Part(n, "image", (query, {"image": picture})) for n, picture in pictures]

    def _pieces(self, model: CrossEncoder, query: str, text: str) -> list[str]:
        """A text in windows that fit beside the query."""
        limit, tokenizer = model.max_seq_length, model.tokenizer
        if not limit or not getattr(tokenizer, "is_fast", False):
            return [text]
        with self._lock:  # a tokenizer is not for several threads
            found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True,
                              truncation=False, verbose=False)  # fmt: skip
            asked = len(tokenizer(query, add_special_tokens=False, verbose=False)["input_ids"])
            # A chat template adds more than the tokenizer knows of.
            added = limit // 4 if _chats(model) else tokenizer.num_special_tokens_to_add(pair=True)
        # A window's edge may cost a few tokens; and a query that leaves no room is cut itself.
        size = max(limit - asked - added - limit // 32, limit // 4, 1)
        pieces = split_windows(text, found["offset_mapping"], size, int(size * OVERLAP))
        return [piece for piece, _ in pieces]

    def _probabilities(self, model: CrossEncoder, pairs: list[Any]) -> list[float]:
        from torch.nn import Identity, Sigmoid

        odds = isinstance(model.activation_fn, Identity | Sigmoid)
        said = model.predict(
            [tuple(_safe(half, model) for half in pair) for pair in pairs],
            batch_size=len(pairs),
            show_progress_bar=False,
            activation_fn=Identity() if odds else None,
        )
        return [logistic(float(one)) if odds else float(one) for one in said]

    def _trial(self, model: CrossEncoder) -> Any:
        return "a dog", "a dog"


def _query(text: str | None, picture: Image.Image | None) -> Query:
    if picture is None:
        return text or ""
    return {"image": picture} if text is None else {"image": picture, "text": text}


def _picture(image: ImageInput) -> Image.Image:
    from mmrag import media

    picture = media.to_rgb(media.load(image, target=LONGEST_SIDE).image)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return picture


def _chats(model: CrossEncoder) -> bool:
    """Whether the model is asked by messages."""
    return "message" in getattr(model, "modalities", ["text"])


def _safe(half: Query, model: CrossEncoder) -> Query:
    """A text as what it is: in a message, sentence-transformers would take one that is the URL or
    the path of a picture for that picture, and fetch it. Plain messages know texts only."""
    if isinstance(half, str) and _chats(model) and _format(model) == "structured":
        return {"text": half}
    return half


def _format(model: CrossEncoder) -> str:
    formatter = getattr(model[0], "input_formatter", None)
    return getattr(formatter, "message_format", "structured")
