"""Small helpers that the drawing scripts share: SVG fragments, rendering and saving."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import resvg_py
from PIL import Image

FONT = "Noto Sans CJK SC"
MONO = "Noto Sans Mono CJK SC"


def gradient(name: str, top: str, bottom: str, *, horizontal: bool = False) -> str:
    """Return a linear gradient definition of two colours."""
    end = 'x2="1" y2="0"' if horizontal else 'x2="0" y2="1"'
    return (
        f'<linearGradient id="{name}" x1="0" y1="0" {end}><stop offset="0" stop-color="{top}"/>'
        f'<stop offset="1" stop-color="{bottom}"/></linearGradient>'
    )


def ball(name: str, light: str, dark: str) -> str:
    """Return a radial gradient that makes a circle look round."""
    return (
        f'<radialGradient id="{name}" cx="0.38" cy="0.3" r="0.8"><stop offset="0" '
        f'stop-color="{light}"/><stop offset="1" stop-color="{dark}"/></radialGradient>'
    )


def svg(body: str, *, width: int = 400, height: int = 400, defs: str = "") -> str:
    """Wrap a drawing into a document."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><defs>{defs}</defs>{body}</svg>'
    )


def text(
    x: float,
    y: float,
    value: str,
    *,
    size: int = 16,
    anchor: str = "start",
    fill: str = "#222",
    bold: bool = False,
    font: str = FONT,
) -> str:
    """Return one line of text."""
    safe = value.replace("&", "&amp;").replace("<", "&lt;")
    weight = "bold" if bold else "normal"
    return (
        f'<text x="{x}" y="{y}" font-family="{font}" font-size="{size}" text-anchor="{anchor}" '
        f'font-weight="{weight}" fill="{fill}" xml:space="preserve">{safe}</text>'
    )


def box(
    x: float,
    y: float,
    width: float,
    height: float,
    fill: str = "#fff",
    *,
    stroke: str = "none",
    radius: float = 0,
    line: float = 2,
) -> str:
    """Return a rectangle."""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="{line}"/>'
    )


def path(
    d: str, stroke: str = "#333", *, line: float = 2, fill: str = "none", extra: str = ""
) -> str:
    """Return a path with round ends."""
    return (
        f'<path d="{d}" fill="{fill}" stroke="{stroke}" stroke-width="{line}" '
        f'stroke-linecap="round" stroke-linejoin="round" {extra}/>'
    )


def arrow(points: Sequence[tuple[float, float]], stroke: str = "#445", line: float = 2) -> str:
    """Return a horizontal-and-vertical polyline with a head at its end."""
    (x0, y0), (x1, y1) = points[-2], points[-1]
    sx, sy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    head = (
        f"M {x1} {y1} L {x1 - 10 * sx + 5 * sy} {y1 - 10 * sy + 5 * sx} "
        f"L {x1 - 10 * sx - 5 * sy} {y1 - 10 * sy - 5 * sx} Z"
    )
    body = "M " + " L ".join(f"{x} {y}" for x, y in points)
    return path(body, stroke, line=line) + path(head, stroke, line=1, fill=stroke)


SKY = gradient("sky", "#8cc8f0", "#e6f5fd")
SKY_BOX = box(0, 0, 400, 400, "url(#sky)")


def circle(x: float, y: float, r: float, fill: str, stroke: str = "none", line: float = 0) -> str:
    """Return a circle."""
    attributes = f'fill="{fill}" stroke="{stroke}" stroke-width="{line}"'
    return f'<circle cx="{x}" cy="{y}" r="{r}" {attributes}/>'


def oval(x: float, y: float, rx: float, ry: float, fill: str, turn: float = 0) -> str:
    """Return an ellipse, turned if wanted."""
    move = f'transform="rotate({turn} {x} {y})"'
    return f'<ellipse cx="{x}" cy="{y}" rx="{rx}" ry="{ry}" fill="{fill}" {move}/>'


def area(d: str, fill: str) -> str:
    """Return a filled path."""
    return f'<path d="{d}" fill="{fill}"/>'


def cloud(x: float, y: float, scale: float = 1.0) -> str:
    """Return a white cloud."""
    puffs = ((0, 0, 22), (26, -12, 26), (54, -2, 22), (27, 8, 24))
    return "".join(
        circle(x + dx * scale, y + dy * scale, r * scale, "#ffffffd8") for dx, dy, r in puffs
    )


def render(document: str) -> Image.Image:
    """Turn a document into pixels."""
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=document))))


def save(image: Image.Image, target: Path, *, colours: int = 128) -> None:
    """Write a made picture small: PNG, BMP and GIF with a palette, anything else as JPEG."""
    white = Image.new("RGBA", image.size, "white")
    flat = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if target.suffix in {".png", ".bmp", ".gif"}:
        small = flat.quantize(colours, dither=Image.Dither.NONE)
        small.save(target, optimize=target.suffix == ".png")
    else:
        flat.save(target, quality=82, optimize=True)
