"""The routes: which part of a query is encoded by which encoder and searches which field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mmrag.errors import UnknownName
from mmrag.types import Modality

__all__ = ["ROUTES", "Route", "routes_named"]


@dataclass(frozen=True, slots=True)
class Route:
    """One way from a query to a field.

    ``query`` is the part of the query that it uses, ``encoder`` the one that encodes it (none for
    keywords), ``field`` what is searched, ``channel`` whether it judges what a record shows or
    what it says (weighted fusion weighs the two).
    """

    name: str
    query: Modality
    encoder: Literal["text", "image"] | None
    field: str
    channel: Literal["visual", "text"]


ROUTES: dict[str, Route] = {
    route.name: route
    for route in (
        Route("text->text", "text", "text", "text", "text"),
        Route("text->caption", "text", "text", "caption", "text"),
        Route("text->image", "text", "image", "image", "visual"),
        Route("image->image", "image", "image", "image", "visual"),
        Route("image->text", "image", "image", "cross_text", "text"),
        Route("keywords", "text", None, "keywords", "text"),
    )
}
"""All routes by name. ``image->text`` searches ``text`` where both encoders are of one space."""


def routes_named(names: Iterable[str] | None) -> list[Route]:
    """The routes of these names, each once; all of them for ``None``.

    Raises:
        UnknownName: a name is not a route's.
    """
    if names is None:
        return list(ROUTES.values())
    if isinstance(names, str):
        names = [names]
    wanted = dict.fromkeys(names)
    for name in wanted:
        if name not in ROUTES:
            raise UnknownName("route", name, ROUTES)
    return [ROUTES[name] for name in wanted]
