"""An open_clip transform and tokenizer, as the settings and the ``tokenizer.json`` of an export."""

from __future__ import annotations

import copy
from typing import Any

from open_clip import tokenizer as oc
from open_clip.transform import CenterCropOrPad, ResizeKeepRatio
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from torchvision import transforms

from mmrag.encoders.onnx_config import Step, TextSettings
from mmrag.errors import InputError

__all__ = ["scaling_of", "steps_of", "text_of"]

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_CLEANINGS = ("lower", "whitespace", "canonicalize")


def steps_of(transform: Any) -> tuple[Step, ...]:
    """What a transform for inference does to a picture, up to its pixels.

    Raises:
        InputError: a step of it is none of open_clip's.
    """
    *steps, _, _ = _parts(transform)
    found = (_step(step) for step in steps)
    return tuple(step for step in found if step is not None)


def scaling_of(transform: Any) -> tuple[list[float], list[float]]:
    """The mean and the deviation by channel that a transform ends with."""
    normalize = _parts(transform)[-1]
    return [float(x) for x in normalize.mean], [float(x) for x in normalize.std]


def text_of(tokenizer: Any) -> tuple[Tokenizer, TextSettings]:
    """A tokenizer of open_clip as one of the tokenizers library.

    Raises:
        InputError: it is of a kind that cannot be converted.
    """
    how, context = _cleaning(tokenizer), int(tokenizer.context_length)
    if hasattr(tokenizer, "bpe"):
        return _clip_bpe(tokenizer), TextSettings(clean=how, context=context, pad=0)
    inner = tokenizer.tokenizer
    if getattr(tokenizer, "tokenizer_mode", "") or inner.padding_side != "right":
        raise InputError(
            "a tokenizer that pads on the left, or in the mode 'clips', is not exported"
        )
    backend = getattr(inner, "backend_tokenizer", None)
    if backend is None:
        raise InputError(f"{type(inner).__name__} is no tokenizer of the tokenizers library")
    plain = copy.deepcopy(backend)
    plain.no_truncation()
    plain.no_padding()
    strip = inner.sep_token_id if getattr(tokenizer, "strip_sep_token", False) else None
    return plain, TextSettings(clean=how, context=context, pad=int(inner.pad_token_id), strip=strip)


def _parts(transform: Any) -> list[Any]:
    steps = list(getattr(transform, "transforms", []))
    if len(steps) < 3 or not isinstance(steps[-1], transforms.Normalize):
        raise InputError(
            "the transform is one that open_clip gives for inference, which ends in ToTensor and "
            f"Normalize, not {transform!r}"
        )
    return steps


def _step(step: Any) -> Step | None:
    if "convert" in getattr(step, "__name__", type(step).__name__).lower():
        return None  # to RGB, which pictures are already
    if isinstance(step, transforms.Resize):
        do = (
            "squash" if isinstance(step.size, (tuple, list)) and len(step.size) == 2 else "shortest"
        )
        return _made(do, step.size, filter=step.interpolation.value)
    if isinstance(step, transforms.CenterCrop):
        return _made("crop", step.size)
    if isinstance(step, CenterCropOrPad):
        return _made("crop", step.size, fill=step.fill)
    if isinstance(step, ResizeKeepRatio):
        return _made("ratio", step.size, filter=step.interpolation.value, longest=step.longest)
    raise InputError(f"the transform's step {step!r} is none of open_clip's, and is not exported")


def _made(do: str, size: Any, **settings: Any) -> Step:
    sides = list(size) if isinstance(size, (tuple, list)) else [size]
    return Step.model_validate({"do": do, "size": (sides[0], sides[-1]), **settings})


def _cleaning(tokenizer: Any) -> Any:
    for name in _CLEANINGS:
        if getattr(tokenizer, "clean_fn", None) is oc.get_clean_fn(name):
            return name
    raise InputError(f"{type(tokenizer).__name__} cleans texts in a way of its own: not exported")


def _clip_bpe(tokenizer: Any) -> Tokenizer:
    """CLIP's byte pair encoding. The words "<start_of_text>" and "<end_of_text>" in a text are
    words here, where open_clip's tokenizer takes them for the tokens."""
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.get)
    made = Tokenizer(models.BPE(vocab=tokenizer.encoder, merges=merges, end_of_word_suffix="</w>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    start, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    made.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[("<start>", start), ("<end>", end)],
    )
    return made
