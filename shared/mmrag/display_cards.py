"""The parts of a gallery as HTML: one card a hit, its picture or passage, its place, its routes.

Nothing here raises because of what a record holds, and nothing of a record gets into the HTML
without ``html.escape``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag.display_assets import ROUTE_COLOURS
from mmrag.display_marks import inside, line_marks
from mmrag.display_text import clip, clock, excerpt, flowing, marked, matches, number, visible
from mmrag.types import Caption, Hit, Locator, Record, RouteScore

if TYPE_CHECKING:
    from mmrag.media import ImageInput

__all__ = ["CARDS", "card", "grid", "picture", "place", "route_label", "route_order", "source_of"]

CARDS = 60
"""The most hits that one gallery shows, so that a notebook stays small enough to open."""

_THUMBNAIL_BYTES = 150_000
_PASSAGE, _NOTE, _WHOLE = 220, 150, 8_000
_ORDER = {route: number for number, route in enumerate(ROUTE_COLOURS, start=1)}


def grid(hits: Sequence[Hit], query: str) -> str:
    """The cards of a gallery, or a line that says there are none."""
    if not hits:
        return '<div class="mmrag-quiet">no hits</div>'
    longest = max(map(_added, hits))
    cards = "\n".join(card(hit, at, query, longest) for at, hit in enumerate(hits[:CARDS], 1))
    rest = len(hits) - CARDS
    more = f'<div class="mmrag-quiet">and {rest} more</div>' if rest > 0 else ""
    return f'<div class="mmrag-grid">\n{cards}\n</div>{more}'


def card(hit: Hit, rank: int, query: str, longest: float) -> str:
    """One hit; ``longest`` is the sum of contributions that fills a whole bar."""
    record, source = hit.record, source_of(hit.record)
    name = source.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or source
    return (
        f'<div class="mmrag-card">{_media(record, query)}<div class="mmrag-body">'
        f'<div class="mmrag-head"><span class="mmrag-quiet">{rank}</span>'
        f'<span class="mmrag-name" title="{escape(visible(source))}">{escape(visible(name))}</span>'
        f'<span class="mmrag-score" title="fused score">{number(hit.score)}</span></div>'
        f"{_where(record)}{_note(record, query)}"
        f'<div class="mmrag-why">{_bar(hit, longest)}{_rows(hit)}</div>'
        f"{_details(hit)}</div></div>"
    )


def source_of(record: Record) -> str:
    """What a person knows the record by: its file, or its id if it has none."""
    return record.source or record.id


def place(locator: Locator) -> str:
    """Page and time in words: ``p. 3``, ``0:12–0:20``."""
    parts = [] if locator.page is None else [f"p. {locator.page}"]
    ends = (locator.start_s, locator.end_s)
    times = [clock(at) for at in ends if at is not None and math.isfinite(at)]
    return " · ".join([*parts, *(["–".join(times)] if times else [])])


def picture(image: ImageInput, name: str, css: str) -> str:
    """The picture as an ``<img>`` with a data URL, or a tile that says why it is not there."""
    try:
        from mmrag.media import data_url, thumbnail

        data = thumbnail(image, 320)
        if len(data) > _THUMBNAIL_BYTES:
            data = thumbnail(image, 160)
        url = data_url(data, "image/png" if data.startswith(b"\x89PNG") else "image/jpeg")
    except Exception as error:
        # Whatever is wrong with one picture, the other hits are still to be seen.
        missing = isinstance(image, str | Path) and not _is_file(image)
        what = "picture not found" if missing else "picture cannot be shown"
        return (
            f'<div class="mmrag-missing" title="{escape(clip(visible(str(error)), 300))}">'
            f"{what}: {escape(clip(visible(name), 160))}</div>"
        )
    return f'<img class="{css}" src="{escape(url)}" alt="{escape(clip(visible(name), 160))}">'


def _is_file(path: str | Path) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _media(record: Record, query: str) -> str:
    if record.image is not None:
        covers = _crops_well(record)
        fit = "mmrag-picture mmrag-cover" if covers else "mmrag-picture"
        shown = picture(record.image.uri, record.image.uri, fit)
        marks = line_marks(record, query, covers) if shown.startswith("<img") else ""
        style = ' style="position:relative"' if marks else ""
        return f'<div class="mmrag-media"{style}>{shown}{marks}</div>'
    passage = excerpt(flowing(record.text), query, _PASSAGE)
    shown = marked(passage, query) or '<span class="mmrag-quiet">no text</span>'
    passage = f'<div class="mmrag-passage" dir="auto">{shown}</div>'
    return f'<div class="mmrag-media mmrag-text">{passage}</div>'


def _crops_well(record: Record) -> bool:
    """A photograph of about 4:3 may fill its tile; a figure or a tall picture is shown whole."""
    image = record.image
    if image is None or image.height <= 0 or record.locator.bbox is not None:
        return False
    return 1.15 <= image.width / image.height <= 1.6


def _note(record: Record, query: str) -> str:
    """Under a picture, the words that go with it in which most of the query is found."""
    if record.image is None:
        return ""
    caption = record.caption or Caption()
    texts = [record.text, caption.brief, caption.detailed, caption.text_content]
    texts = [flowing(text) for text in texts if text.strip()]
    if not texts:
        return ""
    best = max(texts, key=lambda text: len({term for _, _, term in matches(text, query)}))
    shown = marked(excerpt(best, query, _NOTE), query)
    return f'<div class="mmrag-note" dir="auto">{shown}</div>'


def _where(record: Record) -> str:
    words = escape(place(record.locator))
    return (
        f'<div class="mmrag-where"><span class="mmrag-badge">{record.modality}</span>'
        f"{_page_icon(record.locator)}<span>{words}</span></div>"
    )


def _page_icon(locator: Locator) -> str:
    """A small page with the figure's box on it."""
    box = None if locator.bbox is None else inside(locator.bbox)
    if box is None:
        return ""
    left, top, right, bottom = box
    across, down = f"{left:.0%} to {right:.0%}", f"{top:.0%} to {bottom:.0%}"
    x, y = 1 + 22 * left, 1 + 30 * top
    width, height = max(2.0, 22 * (right - left)), max(2.0, 30 * (bottom - top))
    return (
        '<svg class="mmrag-page" viewBox="0 0 24 32" role="img">'
        f"<title>on the page: {across} across, {down} down</title>"
        '<rect x="1" y="1" width="22" height="30" rx="2" fill="none" stroke="currentColor" '
        'stroke-opacity=".55" stroke-width="1.3"/>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1" '
        'fill="currentColor" fill-opacity=".55"/></svg>'
    )


def route_order(route: str) -> tuple[int, str]:
    """A sort key: the known routes as they are listed, then all others by name."""
    return _ORDER.get(route, len(_ORDER) + 1), route


def route_label(route: str, css: str) -> str:
    """A coloured square and the route's name."""
    name = escape(clip(visible(route.replace("->", " → ")), 40))
    return (
        f'<span class="mmrag-dot {_colour(route)}"></span><span class="{css}" '
        f'title="{name}">{name}</span>'
    )


def _colour(route: str) -> str:
    return f"mmrag-route-{_ORDER[route]}" if route in _ORDER else "mmrag-route"


def _routes(hit: Hit) -> list[RouteScore]:
    return sorted(hit.routes, key=lambda score: route_order(score.route))


def _positive(score: RouteScore) -> float:
    return max(0.0, score.contribution) if math.isfinite(score.contribution) else 0.0


def _added(hit: Hit) -> float:
    return sum(map(_positive, hit.routes))


def _bar(hit: Hit, longest: float) -> str:
    parts = [
        f'<span class="{_colour(score.route)}" style="width:{_positive(score) / longest:.1%}" '
        f'title="{escape(visible(score.route))} adds {number(score.contribution)}"></span>'
        for score in _routes(hit)
        if _positive(score)
    ]
    return f'<div class="mmrag-bar">{"".join(parts)}</div>' if hit.routes else ""


def _rows(hit: Hit) -> str:
    return "".join(
        f'<div class="mmrag-row" title="adds {number(score.contribution)} to the fused score">'
        f"{route_label(score.route, 'mmrag-clip')}"
        f"<span>#{score.rank}</span><span>{number(score.score)}</span></div>"
        for score in _routes(hit)
    )


def _details(hit: Hit) -> str:
    """Folded away: the full path, the id, the metadata and the whole text."""
    record = hit.record
    facts = [("source", record.source), ("id", record.id), *record.metadata.items()]
    rows = "".join(
        f'<div class="mmrag-fact"><span class="mmrag-quiet">{escape(clip(visible(str(key)), 60))}'
        f"</span> {escape(clip(visible(str(value)), 400))}</div>"
        for key, value in facts
        if value not in ("", None)
    )
    lines = "\n".join(visible(line) for line in record.text[:_WHOLE].splitlines())
    cut = "…" if len(record.text) > _WHOLE else ""
    whole = f'<div class="mmrag-whole" dir="auto">{escape(lines)}{cut}</div>' if lines else ""
    return f"<details><summary>details</summary>{rows}{whole}</details>"
