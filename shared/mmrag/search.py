"""Searching: a query to its routes, one round trip to the store, fused and calibrated hits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmrag.calibration import Calibrator
from mmrag.display import Hits
from mmrag.encode import Encoders, keyword_parts
from mmrag.errors import InputError, SpaceMismatch, VectorError
from mmrag.filters import Filter, Where, parse_filter
from mmrag.fusion import KEYWORDS, Fusion, fusion_named
from mmrag.keywords import parts_with
from mmrag.protocols import FieldQuery
from mmrag.routes import ROUTES, Route, routes_named
from mmrag.types import Hit, Record, RouteScore

if TYPE_CHECKING:
    from mmrag.media import ImageInput
    from mmrag.protocols import Store, TextEncoder, Vector

__all__ = ["DEPTH", "MAX_LIMIT", "Searcher"]

DEPTH = 50
"""How many candidates a route gives, at least."""
MAX_LIMIT = 10_000
"""The most hits of one search."""


@dataclass(frozen=True, slots=True)
class Searcher:
    """The reading half of an index; see :meth:`mmrag.MultimodalIndex.search` for its arguments."""

    store: Store
    encoders: Encoders
    calibrator: Calibrator
    folder: Path | None

    def search(
        self,
        text: str | None,
        image: ImageInput | None,
        *,
        limit: int,
        where: Where,
        routes: Iterable[str] | None,
        fusion: str | Fusion | None,
    ) -> Hits:
        """The best records for words, a picture, or both together."""
        wanted = _Wanted.of(limit, where, fusion)
        if text is not None and not isinstance(text, str):
            raise InputError(f"the text of a query is a string, not {type(text).__name__}")
        # Half a character, as it comes from a cut string, is nothing that an encoder could take.
        words = (text or "").encode(errors="replace").decode().strip()
        if not words and image is None:
            raise InputError("an empty query: give words, a picture, or both")
        pixels = None
        if image is not None:
            from mmrag import media

            pixels = media.load(image, target=self.encoders.image.image_size).image
        chosen = _routes(routes, bool(words), image is not None)
        queries = self.encoders.queries(words or None, pixels, chosen)
        return Hits(self._hits(chosen, queries, wanted), text=words or None, image=pixels)

    def search_vector(
        self,
        vector: Sequence[float] | Vector,
        encoder: TextEncoder | None,
        *,
        limit: int,
        where: Where,
        fusion: str | Fusion | None,
    ) -> Hits:
        """The best records for a vector that one of the encoders made of words."""
        wanted = _Wanted.of(limit, where, fusion)
        space, spaces = (encoder or self.encoders.text).space, self.encoders.spaces()
        chosen = [r for r in ROUTES.values() if r.query == "text" and spaces.get(r.field) == space]
        if not chosen:
            raise SpaceMismatch("text", str(self.encoders.text.space), str(space))
        try:
            value = np.asarray(vector, dtype=np.float32)
        except (TypeError, ValueError):
            raise VectorError("a query vector is a list of numbers") from None
        queries = [FieldQuery(route.field, value) for route in chosen]
        return Hits(self._hits(chosen, queries, wanted))

    def localised(self, record: Record) -> Record:
        """The record with a picture that can be opened as it is."""
        if record.image is None:
            return record
        uri = str(self.resolve(record.image.uri))
        if uri == record.image.uri:
            return record
        return replace(record, image=replace(record.image, uri=uri))

    def resolve(self, uri: str) -> Path:
        """The file that a record's picture is in."""
        path = Path(uri)
        return path if path.is_absolute() or self.folder is None else self.folder / path

    def _hits(
        self, routes: Sequence[Route], queries: Sequence[FieldQuery], wanted: _Wanted
    ) -> list[Hit]:
        rankings = self.store.search(queries, max(DEPTH, 2 * wanted.limit), wanted.condition)
        fused = wanted.fuse(self.calibrator.calibrate(routes, queries, rankings))[: wanted.limit]
        found = self.store.get([f.key for f in fused])
        words = next((q.value for q in queries if isinstance(q.value, str)), "")
        return [
            Hit(self.localised(found[f.key]), f.score, _explained(f.routes, words, found[f.key]))
            for f in fused
            if f.key in found  # deleted between the two calls
        ]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a search is to give, checked."""

    limit: int
    condition: Filter | None
    fuse: Fusion

    @classmethod
    def of(cls, limit: int, where: Where, fusion: str | Fusion | None) -> _Wanted:
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
            raise InputError(f"limit is a whole number from 1 to {MAX_LIMIT}, not {limit!r}")
        return cls(limit, parse_filter(where), fusion_named(fusion))


def _explained(
    routes: tuple[RouteScore, ...], words: str, record: Record
) -> tuple[RouteScore, ...]:
    """The routes, of which keywords say in which parts of the record they were found."""
    if record.caption is None or not any(score.route == KEYWORDS for score in routes):
        return routes  # without a caption there is but one part
    found = parts_with(words, keyword_parts(record))
    return tuple(replace(s, parts=found) if s.route == KEYWORDS else s for s in routes)


def _routes(names: Iterable[str] | None, text: bool, image: bool) -> list[Route]:
    chosen = routes_named(names)
    if names is None:
        chosen = [r for r in chosen if (text if r.query == "text" else image)]
    if not chosen:
        raise InputError("a search needs at least one route")
    return chosen
