"""LlamaIndex's query modes as routes and a fusion."""

from __future__ import annotations

from functools import partial

from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from mmrag.errors import InputError
from mmrag.fusion import Fusion, rrf
from mmrag.routes import ROUTES

__all__ = ["way_of"]

_WORDS = [name for name, route in ROUTES.items() if route.query == "text"]
_KEYWORDS = [VectorStoreQueryMode.TEXT_SEARCH, VectorStoreQueryMode.SPARSE]
_ALL = [VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.HYBRID]


def way_of(query: VectorStoreQuery) -> tuple[list[str] | None, Fusion | None]:
    """The routes and the fusion that a query's mode means; None for the index's own choice.

    Raises:
        InputError: the index has no such mode, or ``alpha`` does not go with it.
    """
    if query.alpha is not None and query.mode is not VectorStoreQueryMode.HYBRID:
        raise InputError(f"alpha is for the mode 'hybrid', not {query.mode.value!r}")
    if query.mode in _KEYWORDS:
        return ["keywords"], None
    if query.mode not in _ALL:
        known = ", ".join(repr(mode.value) for mode in _ALL + _KEYWORDS)
        raise InputError(f"no query mode {query.mode.value!r}; known: {known}")
    if query.alpha is None:
        return None, None
    if not 0 <= query.alpha <= 1:
        raise InputError(f"alpha is a number from 0 to 1, not {query.alpha!r}")
    weights = {**dict.fromkeys(_WORDS, query.alpha), "keywords": 1 - query.alpha}
    return [name for name in _WORDS if weights[name]], partial(rrf, weights=weights)
