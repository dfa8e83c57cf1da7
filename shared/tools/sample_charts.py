"""Charts of the sample corpus, drawn with matplotlib. All numbers are invented."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from sample_svg import save

STYLE: dict[Any, Any] = {
    "font.family": ["Noto Sans CJK JP", "DejaVu Sans"],
    "axes.unicode_minus": False,
}


def _write(figure: Figure, target: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    save(Image.open(buffer), target, colours=64)


def _bar(target: Path) -> None:
    figure = Figure((5.6, 3.6), layout="tight")
    axes = figure.subplots()
    bars = axes.bar(
        ["Jul", "Aug", "Sep"], [4120, 4460, 5230], color=["#8c6239", "#a97c50", "#c69c6d"]
    )
    axes.bar_label(bars)
    axes.set(title="Brightleaf Roasters: beans sold in Q3 (kg)", ylabel="kilograms")
    axes.spines[["top", "right"]].set_visible(False)
    _write(figure, target)


def _bike_bar(target: Path) -> None:
    figure = Figure((5.6, 3.6), layout="tight")
    axes = figure.subplots()
    names = ["东城区", "西城区", "南山区", "北湖区", "新城区"]
    axes.barh(names, [18.2, 15.4, 22.9, 9.6, 12.3], color="#2a9d8f")
    axes.set(title="五个城区共享单车日均骑行量(万次)", xlabel="万次/日")
    axes.grid(axis="x", alpha=0.3)
    _write(figure, target)


def _line(target: Path) -> None:
    figure = Figure((5.6, 3.6), layout="tight")
    axes = figure.subplots()
    months = np.arange(1, 13)
    north = [-3, 0, 7, 15, 21, 25, 27, 26, 20, 13, 5, -1]
    south = [17, 18, 20, 23, 26, 28, 29, 29, 28, 26, 22, 18]
    axes.plot(months, north, "o-", color="#c0392b", label="北京")
    axes.plot(months, south, "s-", color="#2471a3", label="海口")
    axes.set(title="北京与海口月平均气温", xlabel="月份", ylabel="气温(℃)", xticks=months)
    axes.legend()
    axes.grid(alpha=0.3)
    _write(figure, target)


def _solar_line(target: Path) -> None:
    figure = Figure((5.6, 3.6), layout="tight")
    axes = figure.subplots()
    hours = np.linspace(5, 21, 120)
    sunny = 3.6 * np.exp(-(((hours - 13) / 3.2) ** 2))
    cloudy = sunny * (0.45 + 0.12 * np.sin(hours * 3.1))
    axes.plot(hours, sunny, color="#e67e22", label="clear day")
    axes.plot(hours, cloudy, color="#7f8c8d", label="cloudy day")
    axes.fill_between(hours, sunny, color="#f5b041", alpha=0.25)
    axes.set(title="Output of a 4 kW rooftop solar array", xlabel="hour of day", ylabel="kilowatts")
    axes.legend()
    _write(figure, target)


def _pie(target: Path) -> None:
    figure = Figure((5.0, 3.8), layout="tight")
    axes = figure.subplots()
    axes.pie(
        [32, 26, 14, 12, 9, 7],
        labels=["房租", "饮食", "教育", "交通", "娱乐", "医疗"],
        autopct="%d%%",
        startangle=90,
    )
    axes.set(title="家庭月支出构成")
    _write(figure, target)


def _scatter(target: Path) -> None:
    figure = Figure((5.6, 3.6), layout="tight")
    axes = figure.subplots()
    random = np.random.default_rng(7)
    hours = random.uniform(1, 20, 70)
    score = np.clip(42 + 2.6 * hours + random.normal(0, 7, 70), 0, 100)
    axes.scatter(hours, score, s=22, color="#6c3483", alpha=0.7)
    slope, start = np.polyfit(hours, score, 1)
    axes.plot([1, 20], [start + slope, start + 20 * slope], "--", color="#333")
    axes.set(title="Study time and exam score", xlabel="hours of study a week", ylabel="score")
    _write(figure, target)


def _heat_map(target: Path) -> None:
    figure = Figure((5.8, 3.4), layout="tight")
    axes = figure.subplots()
    hours = np.arange(24)
    week = np.exp(-(((hours - 11) / 4) ** 2)) + 0.8 * np.exp(-(((hours - 20) / 2.5) ** 2))
    grid = np.outer([1, 1.05, 1.1, 1.02, 0.95, 0.5, 0.45], week) * 900
    picture = axes.imshow(grid, aspect="auto", cmap="YlOrRd")
    axes.set_yticks(range(7), ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
    axes.set(title="Website visits by weekday and hour", xlabel="hour")
    figure.colorbar(picture, label="visits")
    _write(figure, target)


CHARTS = {
    "quarter-beans.png": _bar,
    "rides-by-district.png": _bike_bar,
    "two-cities.png": _line,
    "panel-day.png": _solar_line,
    "monthly-budget.png": _pie,
    "study-scores.png": _scatter,
    "visits-grid.png": _heat_map,
}


def make_charts(target: Path) -> list[str]:
    """Write every chart; return the names."""
    with mpl.rc_context(STYLE):
        for name, draw in CHARTS.items():
            draw(target / name)
    return list(CHARTS)
