"""mmrag: one index over texts, pictures and PDFs, searched in words, with a picture, or both.

>>> from mmrag import MultimodalIndex
>>> with MultimodalIndex.open("kb") as index:            # doctest: +SKIP
...     index.add_files(["manuals/"])
...     index.search("how do I reset the router?")

Names are loaded at their first use, so that ``import mmrag`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mmrag._version import __version__

if TYPE_CHECKING:
    from mmrag.display import Hits
    from mmrag.encoders import CATALOGUE, load_encoder, load_image_encoder
    from mmrag.encoders.bundled import BundledEncoder
    from mmrag.errors import MmragError
    from mmrag.filters import And, Eq, Exists, In, Not, Or, Range
    from mmrag.fusion import calibrated, dbsf, rrf, weighted
    from mmrag.index import MultimodalIndex
    from mmrag.routes import ROUTES
    from mmrag.stores.edge import EdgeStore
    from mmrag.stores.qdrant import QdrantStore
    from mmrag.types import (
        Caption,
        Hit,
        ImageRef,
        Locator,
        Record,
        RouteScore,
        Space,
        TextLine,
    )

__all__ = [
    "CATALOGUE",
    "ROUTES",
    "And",
    "BundledEncoder",
    "Caption",
    "EdgeStore",
    "Eq",
    "Exists",
    "Hit",
    "Hits",
    "ImageRef",
    "In",
    "Locator",
    "MmragError",
    "MultimodalIndex",
    "Not",
    "Or",
    "QdrantStore",
    "Range",
    "Record",
    "RouteScore",
    "Space",
    "TextLine",
    "__version__",
    "calibrated",
    "dbsf",
    "load_encoder",
    "load_image_encoder",
    "rrf",
    "weighted",
]

_HOMES = {
    "CATALOGUE": "encoders",
    "ROUTES": "routes",
    "BundledEncoder": "encoders.bundled",
    "EdgeStore": "stores.edge",
    "Hits": "display",
    "load_encoder": "encoders",
    "load_image_encoder": "encoders",
    "MmragError": "errors",
    "MultimodalIndex": "index",
    "QdrantStore": "stores.qdrant",
    **dict.fromkeys(("And", "Eq", "Exists", "In", "Not", "Or", "Range"), "filters"),
    **dict.fromkeys(("calibrated", "dbsf", "rrf", "weighted"), "fusion"),
    **dict.fromkeys(
        ("Caption", "Hit", "ImageRef", "Locator", "Record", "RouteScore", "Space", "TextLine"),
        "types",
    ),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmrag' has no attribute {name!r}")
    value: object = getattr(import_module(f"mmrag.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
