"""Pictures with text in them, and captions as a model gives them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

SAMPLE = Path(__file__).parents[2] / "shared" / "mmrag" / "sample" / "pictures"

SAID: dict[str, Any] = {
    "brief": "A bar chart of sales",
    "detailed": "Blue bars show sales by year. They rise.",
    "keywords": ["sales", "chart"],
    "text_content": "Sales",
    "data_points": {"2020": 1.50, "2021": "2 %"},
}
GOOD = json.dumps(SAID).replace("1.5,", "1.50,")
GERMAN = json.dumps({**SAID, "brief": "Ein Balkendiagramm", "detailed": "Blaue Balken."})
CHINESE = json.dumps(
    {**SAID, "brief": "一张销售柱状图", "detailed": "蓝色的柱子显示每年的销售额。"},
    ensure_ascii=False,
)


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def plain(colour: str = "red", size: tuple[int, int] = (40, 30)) -> bytes:
    return png(Image.new("RGB", size, colour))


def blank(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), "white")


def written(
    texts: dict[tuple[int, int], str], size: tuple[int, int], points: int = 36
) -> Image.Image:
    """A white picture with texts at places; Chinese ones are in :func:`chinese`."""
    font = ImageFont.load_default(points)
    image = blank(*size)
    draw = ImageDraw.Draw(image)
    for place, text in texts.items():
        draw.text(place, text, font=font, fill="black")
    return image


def chinese(name: str) -> Image.Image:
    """A picture of Chinese, ``"column"``, ``"columns"`` or ``"rows"``: drawn once, as not every
    machine has a font for it. (WenQuanYi Zen Hei, 44 points, columns every 84 pixels and letters
    every 50; rows in 36 points.)"""
    return Image.open(Path(__file__).parent / f"chinese-{name}.png").convert("RGB")
