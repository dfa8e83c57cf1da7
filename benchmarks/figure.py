"""What a benchmark gives back, and the statistics that several of them need."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. ``at_least`` and ``under`` are its targets; with neither it is only
    reported."""

    benchmark: str
    what: str
    value: float
    unit: str = ""
    at_least: float | None = None
    under: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is none."""
        if self.at_least is None and self.under is None:
            return None
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.under is None or self.value < self.under)

    @property
    def measured(self) -> str:
        return f"{_number(self.value)} {self.unit}".strip()

    @property
    def target(self) -> str:
        low = "" if self.at_least is None else f"≥ {_number(self.at_least)}"
        high = "" if self.under is None else f"< {_number(self.under)}"
        return f"{low}{high} {self.unit}".strip() if low or high else ""

    @property
    def verdict(self) -> str:
        return {True: "met", False: "MISSED", None: ""}[self.met]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of one benchmark, and Markdown tables to print below them."""

    figures: list[Figure]
    tables: list[str] = field(default_factory=list)


Benchmark: TypeAlias = Callable[[Path], Outcome]
"""Takes a folder for its files, which other benchmarks of the same run share."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            c.rjust(w) if i else c.ljust(w)
            for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([line(header), line(rule), *(line(row) for row in rows)])


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
