"""Models by open_clip: from its hub, from a folder, from a checkpoint, or ready made."""

from __future__ import annotations

import difflib
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import open_clip

from mmrag.encoders import hub
from mmrag.encoders.open_clip import QuickGeluWarning
from mmrag.errors import InputError, MissingExtra, MmragError, UnknownName

__all__ = ["Parts", "load"]

_FOLDER, _HUB = "local-dir:", "hf-hub:"
_OF_TRANSFORMERS = {"hf_model_name", "hf_tokenizer_name"}
_LOCAL = "a local copy as 'open_clip:local-dir:DIR' or, exported, 'onnx:DIR'"
_switch = threading.Lock()


@dataclass(frozen=True)
class Parts:
    """A model, its transform for inference and its tokenizer."""

    model: Any
    transform: Any
    tokenizer: Any


def load(name: str, pretrained: str) -> Parts:
    """Load, from disk if it is there, else from the hub. Raises as ``OpenClipEncoder`` says."""
    if name.startswith(_HUB):
        return _from_hub(name, None, quick_gelu=False)
    if name.startswith(_FOLDER):
        folder = hub.expanded(name.removeprefix(_FOLDER))
        if not Path(folder).is_dir():
            raise InputError(f"there is no folder {folder!r}")
        return _from_disk(_FOLDER + folder, None)
    architecture = name.replace("/", "-")
    _check_name(name, architecture)
    checkpoint = hub.expanded(pretrained)
    if Path(checkpoint).is_file():
        return _from_disk(architecture, checkpoint)
    quick_gelu = _lacks_quick_gelu(architecture, pretrained)
    return _from_hub(architecture, pretrained, quick_gelu=quick_gelu)


def _check_name(name: str, architecture: str) -> None:
    known = open_clip.list_models()
    if architecture not in known:
        like = difflib.get_close_matches(architecture, known, n=5, cutoff=0.3)
        raise InputError(
            f"open_clip knows no model {name!r}, but {', '.join(like) or 'others'}; "
            "open_clip.list_models() has them all. A repository of the hub is 'hf-hub:<owner>/"
            "<name>', a folder 'local-dir:<folder>'"
        )


def _lacks_quick_gelu(architecture: str, tag: str) -> bool:
    """Whether these weights want QuickGELU and the model of this name has it not.

    Raises:
        UnknownName: open_clip knows no such tag of this model.
    """
    known = open_clip.pretrained.get_pretrained_cfg(architecture, tag)
    if not known:
        if "/" in tag or Path(tag).suffix:
            raise InputError(f"there is no checkpoint {tag!r}")
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        raise UnknownName(f"weights of {architecture}", tag, tags or ["none: give a path"])
    config = open_clip.get_model_config(architecture) or {}
    lacks = bool(known.get("quick_gelu")) and not config.get("quick_gelu", False)
    if lacks:
        warnings.warn(
            f"the weights {tag!r} were trained with QuickGELU, and {architecture} is without: it "
            f"is run with QuickGELU, as {architecture + '-quickgelu'!r}; name that instead",
            QuickGeluWarning,
            stacklevel=2,
        )
    return lacks


def _from_hub(name: str, tag: str | None, *, quick_gelu: bool) -> Parts:
    label = name if tag is None else f"{name}/{tag}"
    local = _LOCAL if tag is None else f"{_LOCAL}, its weights as 'open_clip:{name}/FILE'"
    try:
        with hub.loading(label, local), _no_vain_questions():
            return _made(name, tag, quick_gelu=quick_gelu)
    except (MmragError, OSError):
        raise
    except Exception as error:  # whatever its files make open_clip stumble on
        raise InputError(f"{label!r} cannot be loaded: {hub.first_line(error)}") from error


def _from_disk(name: str, checkpoint: str | None) -> Parts:
    """The weights are here; the tokenizer of a SigLIP by name, say, is still the hub's."""
    try:
        text = _text_config(name)
        if "hf_model_name" in text or (checkpoint and "hf_tokenizer_name" in text):
            with hub.loading(f"{name} (its tokenizer or the like)", _LOCAL), _no_vain_questions():
                return _made(name, checkpoint, quick_gelu=False)
        return _made(name, checkpoint, quick_gelu=False)
    except MmragError:
        raise
    except Exception as error:  # not a checkpoint, another model's, no configuration...
        place = checkpoint or name.removeprefix(_FOLDER)
        said = hub.first_line(error)
        raise InputError(f"{name!r} cannot be loaded from {place!r}: {said}") from error


def _made(name: str, pretrained: str | None, *, quick_gelu: bool) -> Parts:
    if _OF_TRANSFORMERS & _text_config(name).keys() and find_spec("transformers") is None:
        # Before gigabytes are fetched, and before open_clip says so in an error of its own.
        raise MissingExtra(f"{name!r} (its texts need transformers)", "transformers")
    try:
        with _off_the_root_logger():
            model, transform = open_clip.create_model_from_pretrained(
                name, pretrained, force_quick_gelu=quick_gelu
            )
            tokenizer = open_clip.get_tokenizer(name)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{name!r} (it needs {error.name})", "transformers") from error
    if "siglip2" in name.lower() and tokenizer.clean_fn("A") == "A":
        # Trained on lower-case text alone. The files on the hub say so; a copy of them may not.
        tokenizer.clean_fn = open_clip.tokenizer.get_clean_fn("lower")
    return Parts(model, transform, tokenizer)


def _text_config(name: str) -> dict[str, Any]:
    """What the model's configuration says of its texts; that of a repository is fetched."""
    found: dict[str, Any] = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    return found


@contextmanager
def _no_vain_questions() -> Iterator[None]:
    """Where the hub is out of reach, its client is told so: it would ask again and again, half a
    minute for every file, and take the copy in its cache only then."""
    from huggingface_hub import constants

    with _switch:
        if constants.HF_HUB_OFFLINE or not hub.cached_only():
            yield
            return
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = False


@contextmanager
def _off_the_root_logger() -> Iterator[None]:
    """open_clip logs by functions of ``logging`` itself, which give a root logger without handlers
    one for good, and every program its lines. What it logs of a failure, our errors say."""
    root, here, silent = logging.getLogger(), threading.get_ident(), logging.NullHandler()

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != here or "open_clip" not in Path(record.pathname).parts

    root.addHandler(silent)
    root.addFilter(of_others)
    try:
        yield
    finally:
        root.removeFilter(of_others)
        root.removeHandler(silent)
