"""How hits show themselves: one line in a terminal, a gallery in a notebook."""

from __future__ import annotations

from collections.abc import Sequence

from mmrag.types import Hit

__all__ = ["hit_line", "hits_html"]


def hit_line(hit: Hit) -> str:
    """One short line."""
    return f"<Hit {hit.score:.3f} {hit.record.id}>"


def hits_html(hits: Sequence[Hit]) -> str:
    """A gallery."""
    return ""
