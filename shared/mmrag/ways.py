"""The ways to search that an evaluation compares: fusions, a reranker, each route alone or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmrag.errors import InputError
from mmrag.fusion import Fusion
from mmrag.judgements import JudgedQuery
from mmrag.routes import ROUTES, Route

if TYPE_CHECKING:
    from mmrag.index import MultimodalIndex
    from mmrag.media import ImageInput
    from mmrag.protocols import Reranker
    from mmrag.types import Record

__all__ = ["Way", "takes", "ways_of"]

_EVIDENCE = ("calibrated", "weighted")  # fusions whose scores can be blended with a reranker's


@dataclass(frozen=True, slots=True)
class Way:
    """A way to search: some routes (all by default), a fusion, and a reranker over what it found,
    with its weight as in :func:`mmrag.rerank.blend`.

    >>> Way("words alone", routes=("keywords",)).reranker is None
    True
    """

    name: str
    routes: tuple[str, ...] | None = None
    fusion: str | Fusion | None = None
    reranker: Reranker | None = None
    weight: float = 1.0


def ways_of(
    index: MultimodalIndex,
    queries: Sequence[JudgedQuery],
    *,
    fusions: Sequence[str] = ("calibrated",),
    reranker: Reranker | None = None,
    ablate: bool = False,
) -> list[Way]:
    """The fusions, the first of them reranked, each route alone, and the first fusion without each
    route in turn; of the routes those that the index has a field for and a query takes. Where the
    scores of the first fusion are evidence, the reranker comes twice: alone, and with half the
    weight.

    The first way is what :func:`evaluate` compares the others with.
    """
    if not fusions:
        raise InputError("name at least one fusion")
    first = fusions[0]
    routes = [route.name for route in ROUTES.values() if _used(index, queries, route)]
    ways = [Way(name, fusion=name) for name in dict.fromkeys(fusions)]
    if reranker is not None:
        once = _Remembering(reranker)
        ways.append(Way(f"{first}, then {once.name}", None, first, once))
        if first in _EVIDENCE:
            ways.append(Way(f"{first}, half {once.name}", None, first, once, weight=0.5))
    ways += [Way(f"{name} alone", (name,), first) for name in routes]
    if ablate and len(routes) > 1:
        rest = {name: tuple(other for other in routes if other != name) for name in routes}
        ways += [Way(f"{first} without {name}", rest[name], first) for name in routes]
    return ways


def takes(query: JudgedQuery, route: Route) -> bool:
    """Whether the query has the part that the route wants."""
    return bool((query.text or "").strip() if route.query == "text" else query.image)


def _used(index: MultimodalIndex, queries: Sequence[JudgedQuery], route: Route) -> bool:
    held = index.store.count(having=index.encoders.field(route))
    return bool(held) and any(takes(query, route) for query in queries)


class _Remembering:
    """A reranker that is not asked the same twice in a row: ways that differ in its weight alone
    share its work."""

    def __init__(self, reranker: Reranker) -> None:
        self.name = reranker.name
        self._reranker = reranker
        self._last: tuple[object, list[float]] = (None, [])

    def judges(self, record: Record) -> bool:
        """As the reranker says; see :func:`mmrag.rerank.rerank_hits`."""
        return bool(getattr(self._reranker, "judges", lambda _: True)(record))

    def rerank(
        self, text: str | None, image: ImageInput | None, records: Sequence[Record]
    ) -> list[float]:
        asked = (text, image, tuple(records))
        if self._last[0] != asked:
            self._last = asked, self._reranker.rerank(text, image, records)
        return self._last[1]
