"""How hits show themselves: a line each in a terminal, a gallery in a notebook, a page on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex, overload

from mmrag.display_assets import GALLERY_CSS, PAGE_CSS
from mmrag.display_cards import CARDS, grid, picture, place, route_label, route_order, source_of
from mmrag.display_text import clip, clip_words, columns, flowing, number, visible
from mmrag.types import Hit

if TYPE_CHECKING:
    from mmrag.media import ImageInput

__all__ = ["Hits", "hit_line", "hits_html", "page_html"]

_LINE = 116  # columns; with its number in front, a line of Hits is 120


class Hits(tuple[Hit, ...]):
    """What a search found, best first: a tuple that remembers what was asked and shows itself.

    ``text`` and ``image`` are what was searched for; a slice keeps them.
    """

    text: str | None
    image: ImageInput | None

    def __new__(
        cls, hits: Iterable[Hit] = (), *, text: str | None = None, image: ImageInput | None = None
    ) -> Hits:
        """Keep the hits in the order given."""
        self = super().__new__(cls, hits)
        self.text, self.image = text, image
        return self

    @overload
    def __getitem__(self, at: SupportsIndex) -> Hit: ...
    @overload
    def __getitem__(self, at: slice) -> Hits: ...
    def __getitem__(self, at: SupportsIndex | slice) -> Hit | Hits:
        if isinstance(at, slice):
            return Hits(super().__getitem__(at), text=self.text, image=self.image)
        return super().__getitem__(at)

    def __repr__(self) -> str:
        if not self:
            return "no hits"
        lines = [f"{rank:>2}. {hit_line(hit)}" for rank, hit in enumerate(self[:CARDS], start=1)]
        return "\n".join([*lines, *([f"and {len(self) - CARDS} more"] if self[CARDS:] else [])])

    def _repr_html_(self) -> str:
        return hits_html(self, query=self.text or "", query_image=self.image)


def hit_line(hit: Hit) -> str:
    """One short line: score, kind, file, place, the beginning of the text, the best routes.

    >>> hit  # doctest: +SKIP
    0.0325 image pictures/cat.jpg  [text->image #1 0.310 · keywords #4 2.10]
    """
    record = hit.record
    name = clip(visible(source_of(record)), 40, keep_end=True)
    head = f"{number(hit.score)} {record.modality:<5} {name} {place(record.locator)}".rstrip()
    best = sorted(hit.routes, key=lambda score: -score.contribution)
    parts = [f"{clip(visible(s.route), 16)} #{s.rank} {number(s.score)}" for s in best[:2]]
    more = f" +{len(best) - 2}" if len(best) > 2 else ""
    why = f"  [{' · '.join(parts)}{more}]" if parts else ""
    text = flowing(record.text or (record.caption.brief if record.caption else ""))
    room = _LINE - columns(head) - columns(why) - 4
    quote = f'  "{clip_words(text, room)}"' if text and room >= 12 else ""
    return clip(head + quote + why, _LINE)


def hits_html(
    hits: Sequence[Hit], *, query: str = "", query_image: ImageInput | None = None
) -> str:
    """A gallery as a fragment of HTML: one card a hit, what was asked above them.

    It needs nothing else: pictures are data URLs, the style is in it, there is no script.
    """
    return (
        f'<div class="mmrag"><style>{GALLERY_CSS}</style>\n'
        f"{_asked(query, query_image)}{grid(hits, query)}</div>"
    )


def page_html(title: str, sections: Sequence[tuple[str, str, Hits]]) -> str:
    """A whole document: a title, a legend, and for each (heading, note, hits) a gallery."""
    routes = {score.route for _, _, hits in sections for hit in hits for score in hit.routes}
    body = "\n".join(_section(heading, note, hits) for heading, note, hits in sections)
    name = escape(visible(title))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>{GALLERY_CSS}{PAGE_CSS}</style>
</head>
<body class="mmrag">
<main class="mmrag-document">
<h1>{name}</h1>
{_legend(routes)}
{body}
</main>
</body>
</html>
"""


def _asked(query: str, query_image: ImageInput | None, *, repeated: str = "") -> str:
    """What was asked, unless the heading above it says the same."""
    shown = ""
    if query_image is not None:
        named = isinstance(query_image, str | Path)
        name = str(query_image) if named else "the picture that was asked with"
        shown = picture(query_image, name, "mmrag-ask-picture")
    words = flowing(query)
    if words and words != flowing(repeated):
        shown += f'<div class="mmrag-ask-text" dir="auto">{escape(clip(words, 400))}</div>'
    return f'<div class="mmrag-ask">{shown}</div>' if shown else ""


def _section(heading: str, note: str, hits: Hits) -> str:
    about = f"<p>{escape(flowing(note))}</p>" if note else ""
    text = hits.text or ""
    asked = _asked(text, hits.image, repeated=heading)
    return (
        f"<section>\n<h2>{escape(flowing(heading))}</h2>{about}\n"
        f"{asked}{grid(hits, text)}\n</section>"
    )


def _legend(routes: set[str]) -> str:
    """How to read a bar, and the colours of the routes that occur."""
    keys = "".join(
        f'<span class="mmrag-key">{route_label(route, "mmrag-key-name")}</span>'
        for route in sorted(routes, key=route_order)
    )
    return (
        '<div class="mmrag-legend"><p>Each card is one hit, best first, with its fused score at '
        "the right. The bar shows what each route added to that score: the longer, the more, "
        "compared within one query. Below it stand the rank that the route gave the hit and the "
        "route's own score, which is a cosine similarity, or BM25 for keywords.</p>"
        f'<div class="mmrag-keys">{keys}</div></div>'
    )
