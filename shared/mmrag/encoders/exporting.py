"""Exports by name: what can be checked is checked before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from mmrag.encoders.catalogue import CATALOGUE
from mmrag.encoders.hub import expanded
from mmrag.encoders.loading import named
from mmrag.encoders.onnx_config import ExportPrecision
from mmrag.errors import InputError, UnknownName

__all__ = ["Exported", "checked", "export_named"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how near its vectors are to those of the model itself: the lowest
    cosines over a few pictures and texts of the sample corpus."""

    folder: str
    precision: ExportPrecision
    bytes: int
    image_cosine: float
    text_cosine: float


def export_named(name: str, folder: str | Path, *, precision: ExportPrecision = "fp32") -> Exported:
    """:func:`mmrag.encoders.onnx_export.export_clip` for a model by its name.

    Args:
        name: of a model of open_clip, as :func:`mmrag.encoders.load_encoder` takes it.
        folder: where to write; not there yet, or empty.
        precision: ``fp32`` or ``int8``.

    Raises:
        InputError: it is no model of open_clip, the folder is not empty, or the model's graph
            cannot be written faithfully.
        ModelUnavailable: its weights are neither in the cache nor to be had.
        MissingExtra: torch, open_clip, onnx or onnxscript is not installed.

    Example:
        >>> export_named("openai/clip-vit-base-patch32", "clip-b32", precision="int8")
    """
    known = [entry.name for entry in CATALOGUE if entry.family == "open_clip"]
    try:
        found = named(name)
    except UnknownName:
        if Path(expanded(name)).exists():
            raise  # it says how a path is to be given
        # It lists encoders of every family, or those that are spelled alike.
        raise UnknownName("model of open_clip", name, known) from None
    if found.family != "open_clip":
        raise InputError(
            f"only models of open_clip are exported, and {name!r} is none; known: "
            f"{', '.join(sorted(known))}"
        )
    checked(precision, folder)
    from mmrag.encoders.onnx_export import export_clip
    from mmrag.encoders.open_clip_loading import load

    parts = load(found.model, found.pretrained or "")
    return export_clip(
        *(parts.model, parts.transform, parts.tokenizer, folder),
        name=str(found),
        precision=precision,
    )


def checked(precision: str, folder: str | Path) -> Path:
    """The folder to write.

    Raises:
        UnknownName: there is no such precision.
        InputError: the folder is not empty, or a file.
    """
    if precision not in get_args(ExportPrecision):
        raise UnknownName("precision", precision, get_args(ExportPrecision))
    out = Path(folder).expanduser().absolute()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"'{out}' exists already: export into a new folder")
    return out
