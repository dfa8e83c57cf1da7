"""Pictures with text in them, and captions as a model gives them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

SAMPLE = Path(__file__).parents[2] / "shared" / "mmrag" / "sample" / "pictures"
FONT = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")

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
    """A white picture with texts at places."""
    # The bundled font of Pillow has no Chinese.
    chinese = not all(text.isascii() for text in texts.values())
    font = ImageFont.truetype(FONT, points) if chinese else ImageFont.load_default(points)
    image = blank(*size)
    draw = ImageDraw.Draw(image)
    for place, text in texts.items():
        draw.text(place, text, font=font, fill="black")
    return image


def columns(texts: list[str], points: int = 44) -> Image.Image:
    """Columns of Chinese, from the right, each downwards."""
    width = 40 + len(texts) * (points + 40)
    step = points + 6
    places = {
        (width - (number + 1) * (points + 40), 30 + row * step): letter
        for number, text in enumerate(texts)
        for row, letter in enumerate(text)
    }
    return written(places, (width, 60 + max(map(len, texts)) * step), points)
