"""Encoders, one file a family, and the catalogue that knows them by name.

>>> from mmrag.encoders import CATALOGUE, load_encoder
>>> load_encoder("bundled").space.dim
384
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmrag.encoders.catalogue import CATALOGUE
    from mmrag.encoders.entry import CatalogueEntry, Figure
    from mmrag.encoders.loading import load_encoder, load_image_encoder

__all__ = ["CATALOGUE", "CatalogueEntry", "Figure", "load_encoder", "load_image_encoder"]

_HOMES = {
    "CATALOGUE": "catalogue",
    "CatalogueEntry": "entry",
    "Figure": "entry",
    "load_encoder": "loading",
    "load_image_encoder": "loading",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmrag.encoders' has no attribute {name!r}")
    value: object = getattr(import_module(f"mmrag.encoders.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
