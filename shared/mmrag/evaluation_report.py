"""An evaluation to look at: tables for a terminal, and a plot as an SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from mmrag.display_assets import ROUTE_COLOURS
from mmrag.display_text import clip, columns, fitting, visible
from mmrag.metrics import NDCG, Estimate, metric_names

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from mmrag.evaluate import Evaluation, Outcome

__all__ = ["plot_svg", "tables"]

_SURE = 0.05  # a p-value below it is set in bold
_INTERVAL = "95% interval"
_NARROWEST = 12  # columns of a terminal that the names of the ways have at least


def tables(evaluation: Evaluation, width: int | None = None) -> list[Table]:
    """The metrics of each way, and below it, if there are several, how far each is from the first
    in nDCG@10, in bold where chance hardly explains it. Columns for which ``width`` leaves no room
    are left out, the intervals first."""
    from rich.text import Text

    names, outcomes = metric_names(evaluation.k), evaluation.outcomes
    some = any(outcome.queries != evaluation.queries for outcome in outcomes)
    metrics = []
    for outcome in outcomes:
        found = outcome.metrics
        means = [f"{found[name].mean:.3f}" if found else "–" for name in names]
        count = [str(outcome.queries)] if some else []
        interval = _interval(found[NDCG], ".2f") if found else ""
        metrics.append([visible(outcome.way), *count, *means, interval])
    heads = ["way", *(["queries"] if some else []), *names, _INTERVAL]
    made = [_table(heads, metrics, width, (NDCG, *names[:-1], "queries", _INTERVAL))]
    if not evaluation.comparisons:
        return made
    apart: list[list[str | Text]] = []
    for pair in evaluation.comparisons:
        p = "<0.001" if pair.p_value < 0.001 else f"{pair.p_value:.3f}"
        difference = Text(f"{pair.difference.mean:+.3f}", "bold" if pair.p_value < _SURE else "")
        apart.append([visible(pair.way), difference, _interval(pair.difference, "+.3f"), p])
    heads = [f"{NDCG} against {visible(outcomes[0].way)}", "difference", _INTERVAL, "p"]
    return [*made, _table(heads, apart, width, ("difference", "p", _INTERVAL))]


def _table(
    heads: list[str],
    rows: Sequence[Sequence[str | Text]],
    width: int | None,
    wanted: Iterable[str],
) -> Table:
    """A table of the columns that fit; the first is folded where it is wider than what is left."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    every = [heads, *rows]
    widths = [max(columns(str(row[n])) for row in every) for n in range(len(heads))]
    widths[0] = min(widths[0], _NARROWEST)
    shown: Iterable[int] = range(len(heads))
    if width is not None:
        order = [heads.index(name) for name in wanted if name in heads]
        shown = fitting(widths, width - 2, 3, order)  # what the box below takes
    whole = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for n in shown:
        if n == 0:
            whole.add_column(Text(heads[n]), overflow="fold")
        else:
            whole.add_column(heads[n], justify="right", no_wrap=True)
    for row in rows:
        cells = [row[n] for n in shown]
        whole.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    return whole


def _interval(found: Estimate, form: str) -> str:
    return f"{found.low:{form}} to {found.high:{form}}"


# The plot. One row a way: on the left nDCG@10, on the right the difference from the first way.

_ROW, _TOP, _FOOT = 28, 64, 40
_LEFT, _PANEL, _GAP = 24, 300, 96
_CHARACTER = 7.2  # pixels of 13-pixel type, at most
_LONGEST = 48  # columns of a way's name
_STYLE = (
    "svg{font:13px/1.4 system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans CJK SC',sans-serif;"
    "font-variant-numeric:tabular-nums}"
    "text{fill:#1d2126}.quiet{fill:#5d646d;font-size:11px}.head{font-weight:600}"
    ".line{stroke:#d9dce0}.zero{stroke:#5d646d}.paper{fill:#fff}"
    "@media (prefers-color-scheme:dark){text{fill:#e3e5e8}.quiet{fill:#a3a9b1}"
    ".line{stroke:#3a3f46}.zero{stroke:#a3a9b1}.paper{fill:#15171a}}"
)
_GREY = "#8b929c"


def plot_svg(evaluation: Evaluation) -> str:
    """nDCG@10 of each way with its 95% interval, and its difference from the first way: a whole
    SVG file, light or dark as the reader's screen, without a script."""
    outcomes = [outcome for outcome in evaluation.outcomes if outcome.metrics]
    names = [clip(visible(outcome.way), _LONGEST) for outcome in outcomes]
    left = _LEFT + _CHARACTER * max(map(columns, names)) + 20
    right, end = left + _PANEL + _GAP, left + 2 * (_PANEL + _GAP) - 16
    bottom = _TOP + _ROW * len(outcomes)
    pairs = {pair.way: pair.difference for pair in evaluation.comparisons}
    reach = max((max(abs(d.low), abs(d.high)) for d in pairs.values()), default=0.0)
    reach = max(0.1, -(-reach * 10 // 1) / 10)
    scores, apart = _Scale(left, 0, 1), _Scale(right, -reach, reach)
    parts = [
        _axis(scores, [0, 0.25, 0.5, 0.75, 1], bottom, NDCG, "{:.2f}"),
        _axis(
            apart,
            [-reach, 0, reach],
            bottom,
            f"difference from {clip(visible(evaluation.outcomes[0].way), _LONGEST)}",
            "{:+.1f}",
        ),
    ]
    for number, (outcome, name) in enumerate(zip(outcomes, names, strict=True)):
        at = _TOP + _ROW * number + _ROW / 2
        parts.append(f'<text x="{_LEFT}" y="{at + 4.5:.1f}">{escape(name)}</text>')
        found = [(scores, outcome.metrics[NDCG], ".3f")]
        found += [(apart, pairs[outcome.way], "+.3f")] if outcome.way in pairs else []
        for scale, estimate, form in found:
            parts.append(_estimate(estimate, scale, at, _colour(outcome)))
            figure = f'<text class="quiet" text-anchor="end" x="{scale.end + 56:.1f}"'
            parts.append(f'{figure} y="{at + 4}">{estimate.mean:{form}}</text>')
    height = bottom + _FOOT
    about = f"{evaluation.queries} queries; lines are 95% intervals of the bootstrap"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {end:.0f} {height}" '
        f'width="{end:.0f}" height="{height}" role="img">\n'
        f"<title>{NDCG} of each way to search</title><style>{_STYLE}</style>\n"
        f'<rect class="paper" width="100%" height="100%"/>\n{"".join(parts)}\n'
        f'<text class="quiet" x="{_LEFT}" y="{height - 14}">{about}</text>\n</svg>\n'
    )


class _Scale(NamedTuple):
    """From values between ``low`` and ``high`` to pixels across."""

    start: float
    low: float
    high: float

    @property
    def end(self) -> float:
        return self.start + _PANEL

    def __call__(self, value: float) -> float:
        return self.start + _PANEL * (value - self.low) / (self.high - self.low)


def _axis(scale: _Scale, ticks: list[float], bottom: float, title: str, form: str) -> str:
    """The title of a panel, and a line with its number at each tick."""
    middle = (scale(ticks[0]) + scale(ticks[-1])) / 2
    parts = [
        f'<text class="head" text-anchor="middle" x="{middle:.1f}" y="24">{escape(title)}</text>'
    ]
    for tick in ticks:
        css = "zero" if ticks[0] < 0 == tick else "line"
        words = form.format(tick) if tick else "0"
        parts.append(
            f'<line class="{css}" x1="{scale(tick):.1f}" x2="{scale(tick):.1f}" y1="{_TOP - 8}" '
            f'y2="{bottom}"/><text class="quiet" text-anchor="middle" x="{scale(tick):.1f}" '
            f'y="{_TOP - 14}">{words}</text>'
        )
    return "".join(parts)


def _estimate(found: Estimate, scale: _Scale, at: float, colour: str) -> str:
    """A dot at the mean, on the line of its interval."""
    low, mean, high = (scale(value) for value in (found.low, found.mean, found.high))
    return (
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{at}" y2="{at}" stroke="{colour}" '
        f'stroke-width="2" stroke-linecap="round"/><circle cx="{mean:.1f}" cy="{at}" r="4.5" '
        f'fill="{colour}"/>'
    )


def _colour(outcome: Outcome) -> str:
    """A route alone has the colour that it has in a gallery."""
    return ROUTE_COLOURS.get(outcome.way.removesuffix(" alone"), _GREY)
