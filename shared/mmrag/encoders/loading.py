"""One line for any encoder: by its name in the catalogue, or by family and model."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mmrag.encoders.catalogue import CATALOGUE
from mmrag.encoders.hub import expanded
from mmrag.errors import InputError, UnknownName

if TYPE_CHECKING:
    from mmrag.encoders.entry import CatalogueEntry
    from mmrag.encoders.torch_model import Precision
    from mmrag.protocols import ImageEncoder, TextEncoder

__all__ = ["Named", "entry_named", "load_encoder", "load_image_encoder", "named"]


class _Home(NamedTuple):
    """Where a family's encoders are: the one for texts, the one for pictures."""

    module: str
    text: str
    image: str | None
    torch: bool


_HOMES = {
    "bundled": _Home("bundled", "BundledEncoder", "BundledEncoder", False),
    "open_clip": _Home("open_clip", "OpenClipEncoder", "OpenClipEncoder", True),
    "chinese-clip": _Home("chinese_clip", "ChineseClipEncoder", "ChineseClipEncoder", True),
    "sentence-transformers": _Home(
        "sentence_transformers",
        text="SentenceTransformerEncoder",
        image="SentenceTransformerImageEncoder",
        torch=True,
    ),
    "openai": _Home("openai", "OpenAIEncoder", None, False),
    "onnx": _Home("onnx_clip", "OnnxClipEncoder", "OnnxClipEncoder", False),
}
_FOLDERS = ("open_clip:local-dir", "chinese-clip", "sentence-transformers", "onnx")
_OWN_WEIGHTS = ("hf-hub:", "local-dir:")  # of open_clip's names: they bring their own


@dataclass(frozen=True, slots=True)
class Named:
    """A name that was understood: which family, which model of it, and with which weights."""

    family: str
    model: str
    pretrained: str | None = None

    def __str__(self) -> str:
        """A name that means the same in any working folder: what an index remembers."""
        here = self._absolute()
        for entry in CATALOGUE:
            if Named(entry.family, entry.model, entry.pretrained) == here:
                return entry.name
        weights = f"/{here.pretrained}" if here.pretrained else ""
        return f"{here.family}:{here.model}{weights}"

    def _absolute(self) -> Named:
        weights = Path(expanded(self.pretrained or ""))
        if weights.is_file():
            return replace(self, pretrained=str(weights.absolute()))
        prefix, folder = "", self.model
        if folder.startswith("local-dir:"):
            prefix, folder = "local-dir:", folder.removeprefix("local-dir:")
        path = Path(expanded(folder))
        if self.family == "onnx" or (self.family != "openai" and path.exists()):
            return replace(self, model=f"{prefix}{path.absolute()}")
        return self


def entry_named(name: str) -> CatalogueEntry | None:
    """The catalogue's entry of this name or alias, in capitals or not."""
    wanted = name.lower()
    for entry in CATALOGUE:
        if wanted in (known.lower() for known in (entry.name, *entry.aliases)):
            return entry
    return None


def named(name: str) -> Named:
    """Understand a name, as :func:`load_encoder` does; nothing is loaded.

    Raises:
        UnknownName: it is neither in the catalogue nor of the form ``family:model``.
    """
    if not isinstance(name, str):
        raise InputError(f"the name of an encoder is a string, not {type(name).__name__}")
    entry = entry_named(name)
    if entry is not None:
        return Named(entry.family, entry.model, entry.pretrained)
    family, _, model = name.partition(":")
    if family not in _HOMES or family == "bundled" or not model:
        raise UnknownName("encoder", name, _like(name), _hint(name))
    if family != "open_clip" or model.startswith(_OWN_WEIGHTS):
        return Named(family, model)
    model, _, pretrained = model.partition("/")
    if not (model and pretrained):
        raise InputError(
            f"{name!r} lacks its weights: open_clip:<model>/<tag or path>, "
            "as in open_clip:ViT-B-32/laion2b_s34b_b79k; a folder is open_clip:local-dir:<folder>"
        )
    return Named(family, model, pretrained)


def load_encoder(
    name: str,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int | Literal["auto"] = "auto",
) -> TextEncoder:
    """An encoder by its name. Nothing is loaded before its first use.

    Args:
        name: of :data:`mmrag.encoders.CATALOGUE` (``mmrag encoders`` prints it), or one of

            - ``open_clip:<model>/<tag>``, ``open_clip:<model>/<path of a checkpoint>``,
              ``open_clip:hf-hub:<repository>``, ``open_clip:local-dir:<folder>``
            - ``chinese-clip:<name on the hub, or folder>``
            - ``sentence-transformers:<name on the hub, or folder>``
            - ``openai:<model>``
            - ``onnx:<folder that mmrag export wrote>``
        device: for what runs on torch, as for ``precision`` and ``batch_size``; see
            :class:`mmrag.encoders.torch_model.TorchModel`. The others take no notice.

    Raises:
        UnknownName: no encoder is named so; the message has those that are spelled alike.

    Raises (at the first use):
        MissingExtra: a package that it needs is not installed.
        ModelUnavailable: its model is not on this machine, and cannot be had.

    Example:
        >>> load_encoder("bundled").space.dim
        384
        >>> index = MultimodalIndex.open(  # doctest: +SKIP
        ...     "kb",
        ...     text_encoder=load_encoder("bge-m3"),
        ...     image_encoder=load_image_encoder("siglip2-base"),
        ... )
    """
    return _made(named(name), False, _torch(device, precision, batch_size))  # type: ignore[no-any-return]


def load_image_encoder(
    name: str,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int | Literal["auto"] = "auto",
) -> ImageEncoder:
    """:func:`load_encoder` for an encoder of pictures.

    Raises:
        InputError: it takes texts alone.
    """
    found = named(name)
    entry = entry_named(name)
    if _HOMES[found.family].image is None or (entry is not None and entry.image_size is None):
        pictures = ", ".join(e.name for e in CATALOGUE if e.image_size is not None)
        raise InputError(f"{name!r} takes texts alone; for pictures there are {pictures}")
    return _made(found, True, _torch(device, precision, batch_size))  # type: ignore[no-any-return]


def _made(found: Named, pictures: bool, torch: dict[str, Any]) -> Any:
    home = _HOMES[found.family]
    module = import_module(f"mmrag.encoders.{home.module}")
    make = getattr(module, (home.image if pictures else home.text) or home.text)
    if found.family == "bundled":
        return make()
    weights = () if found.pretrained is None else (found.pretrained,)
    return make(found.model, *weights, **(torch if home.torch else {}))


def _torch(device: str, precision: str, batch_size: int | str) -> dict[str, Any]:
    return {"device": device, "precision": precision, "batch_size": batch_size}


def _hint(name: str) -> str:
    """What a path can be meant as, if the name is one of this machine."""
    path = Path(expanded(name))
    if not name or not path.exists():
        return ""
    if path.is_file():
        return f"it is a file: of weights for open_clip that is 'open_clip:MODEL/{name}'"
    forms = [f"{form}:{name}" for form in _FOLDERS]
    return f"it is a folder: say what it holds, as one of {', '.join(forms)}"


def _like(name: str) -> list[str]:
    """Names that are spelled like this one; all of them if there is none."""
    known = {n.lower(): e.name for e in CATALOGUE for n in (e.name, *e.aliases)}
    near = difflib.get_close_matches(name.lower(), known, n=6, cutoff=0.5)
    near += [n for n in known if name.lower() in n]
    return sorted({known[n] for n in near}) or [entry.name for entry in CATALOGUE]
