"""What the metadata of a node or a document says of the fields that a record has of its own.

Both frameworks keep metadata as one dict; what stands in it for mmrag is under these keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from mmrag.errors import InputError
from mmrag.types import Caption, Hit, Json, Locator, RouteScore

__all__ = [
    "CAPTION_KEY",
    "CAPTION_TEXT_KEY",
    "LOCATOR_KEY",
    "TRACE_KEY",
    "caption_of",
    "caption_to_dict",
    "locator_of",
    "locator_to_dict",
    "route_to_dict",
    "source_of",
    "trace_of",
]

CAPTION_KEY = "mmrag_caption"
"""The caption of the picture, as a dict of the fields of a ``Caption``."""
CAPTION_TEXT_KEY = "image_caption"
"""All that the caption says, as the text that a language model is shown."""
LOCATOR_KEY = "mmrag_locator"
"""Where in its source it stands, as a dict of the fields of a ``Locator``."""
TRACE_KEY = "mmrag_routes"
"""What each route said of something that was found."""

Kind = TypeVar("Kind", Caption, Locator)


def caption_of(metadata: Mapping[str, Json]) -> Caption | None:
    """The caption in such metadata.

    Raises:
        InputError: it is malformed.
    """
    given = metadata.get(CAPTION_KEY)
    return None if given is None else _parsed(Caption, CAPTION_KEY, given)


def caption_to_dict(caption: Caption) -> dict[str, Json]:
    """A caption as it stands in such metadata; its ``lines`` only if there are any."""
    said = {
        "brief": caption.brief,
        "detailed": caption.detailed,
        "keywords": list(caption.keywords),
        "text_content": caption.text_content,
        "data_points": dict(caption.data_points),
    }
    lines = [{"text": line.text, "bbox": list(line.bbox)} for line in caption.lines]
    return said | ({"lines": lines} if lines else {})


def locator_of(metadata: Mapping[str, Json]) -> Locator:
    """The locator in such metadata, or the page that other readers note, if it is a number.

    Raises:
        InputError: it is malformed.
    """
    if (given := metadata.get(LOCATOR_KEY)) is not None:
        return _parsed(Locator, LOCATOR_KEY, given)
    labels = (str(metadata.get(key, "")) for key in ("page_label", "page"))
    pages = (int(label) for label in labels if label.isascii() and label.isdigit())
    return Locator(page=next((page for page in pages if 0 < page < 2**31), None))


def locator_to_dict(locator: Locator) -> dict[str, Json]:
    """What a locator says, as it stands in such metadata."""
    bbox = None if locator.bbox is None else list(locator.bbox)
    known = {**asdict(locator), "bbox": bbox}
    return {name: value for name, value in known.items() if value is not None}


def source_of(metadata: Mapping[str, Json]) -> str:
    """Where it is from: what readers note under the usual names."""
    names = (metadata.get(key) for key in ("file_path", "source", "file_name", "url"))
    return next((name for name in names if isinstance(name, str) and name), "")


def trace_of(hit: Hit) -> list[dict[str, Json]]:
    """What each route said of a hit, best contribution first."""
    routes = sorted(hit.routes, key=lambda route: (-route.contribution, route.route))
    return [route_to_dict(route) for route in routes]


def route_to_dict(route: RouteScore) -> dict[str, Json]:
    """What a route said; its ``parts`` only if there are any."""
    said = {name: getattr(route, name) for name in ("route", "rank", "score", "contribution")}
    return said | ({"parts": list(route.parts)} if route.parts else {})


def _parsed(kind: type[Kind], key: str, given: Json) -> Kind:
    try:
        parsed = TypeAdapter(kind).validate_python(given)
    except ValidationError as error:
        raise InputError(f"metadata {key!r} is no {kind.__name__}: {error}") from None
    if unknown := set(given) - {field.name for field in fields(kind)}:
        raise InputError(f"metadata {key!r}: a {kind.__name__} has no {sorted(unknown)}")
    return parsed
