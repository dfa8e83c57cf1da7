"""The product manual of the sample corpus: eight pages about an air purifier that never existed.

It has a raster figure, a chart of vector strokes, tables, a Chinese page with an embedded font
subset, and a scanned page without any text layer. A logo and thin rules repeat on every page.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from reportlab.lib.pagesizes import A5
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from sample_drawings_more import purifier
from sample_manual_text import (
    BOX_ITEMS,
    CHINESE,
    CONTROLS,
    FAULTS,
    OPERATION,
    PERFORMANCE,
    SAFETY,
    SPECIFICATIONS,
    WARRANTY,
)
from sample_svg import path, render, svg

WIDTH, HEIGHT = A5
LEFT, RIGHT = 42.0, WIDTH - 42.0
CHINESE_FONT = Path("/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf")
SCAN_FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf")


def _scan() -> Image.Image:
    """Return a slightly turned, speckled page: the warranty card."""
    size = (840, 1190)
    page = Image.new("L", size, 244)
    draw = ImageDraw.Draw(page)
    big = ImageFont.truetype(str(SCAN_FONT), 44)
    normal = ImageFont.truetype(str(SCAN_FONT), 25)
    draw.text((size[0] / 2, 120), "WARRANTY CARD", font=big, fill=40, anchor="mm")
    draw.rectangle((70, 190, 770, 690), outline=60, width=3)
    for row, label in enumerate(WARRANTY[0]):
        y = 250 + row * 90
        draw.text((100, y), label, font=normal, fill=50)
        draw.line((330, y + 32, 740, y + 32), fill=90, width=2)
    for row, line in enumerate(WARRANTY[1]):
        draw.text((80, 740 + row * 42), line, font=normal, fill=55)
    draw.ellipse((540, 930, 740, 1130), outline=70, width=6)
    draw.text((640, 1030), "DEALER\nSTAMP", font=normal, fill=80, anchor="mm", align="center")
    page = page.rotate(1.3, fillcolor=236, resample=Image.Resampling.BICUBIC)
    noise = np.random.default_rng(3).normal(0, 5, (size[1], size[0]))
    shade = np.linspace(-10, 6, size[0])[None, :]
    pixels = np.clip(np.asarray(page, dtype=float) + noise + shade, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.6))


def _as_jpeg(image: Image.Image, quality: int) -> ImageReader:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    return ImageReader(buffer)


def _logo() -> Image.Image:
    return render(
        svg(
            '<circle cx="48" cy="48" r="46" fill="#1f8a64"/>'
            '<path d="M26 66 C22 34 48 22 74 24 C76 52 60 74 34 68 Z" fill="#eafff6"/>'
            + path("M24 76 C38 56 50 44 66 34", "#1f8a64", line=5),
            width=96,
            height=96,
        )
    )


class _Manual:
    def __init__(self, target: Path) -> None:
        self.canvas = Canvas(str(target), pagesize=A5, invariant=1, pageCompression=1)
        self.canvas.setTitle("AirLeaf 300 air purifier: user manual")
        self.canvas.setAuthor("the mmrag contributors")
        self.logo = ImageReader(_logo())
        self.number = 0
        self.y = 0.0

    def start(self, *, words: bool = True) -> None:
        """Begin a page with the logo and the rules and, unless it is a scan, their words."""
        self.number += 1
        page = self.canvas
        page.drawImage(self.logo, LEFT, HEIGHT - 34, 18, 18, mask="auto")
        page.setLineWidth(0.4)
        page.setStrokeGray(0.6)
        page.line(LEFT, HEIGHT - 40, RIGHT, HEIGHT - 40)
        page.line(LEFT, 34, RIGHT, 34)
        self.y = HEIGHT - 68
        if not words:
            return
        page.setFont("Helvetica", 7.5)
        page.setFillGray(0.35)
        page.drawString(LEFT + 24, HEIGHT - 29, "AirLeaf 300  User manual")
        page.drawRightString(RIGHT, 23, str(self.number))
        page.setFillGray(0)

    def heading(self, value: str, *, font: str = "Helvetica-Bold", size: float = 14) -> None:
        self._line(value, font, size)
        self.y -= 8

    def paragraph(self, value: str, *, font: str = "Helvetica", size: float = 9.5) -> None:
        """Draw text, broken between words or, in Chinese, between characters."""
        chinese = font == "Droid"
        line, parts = "", list(value) if chinese else value.split(" ")
        glue = "" if chinese else " "
        for part in parts:
            longer = f"{line}{glue}{part}" if line else part
            fits = self._width(longer, font, size) <= RIGHT - LEFT
            if fits or (chinese and part in "，。；：、"):
                line = longer
                continue
            self._line(line, font, size)
            line = part
        self._line(line, font, size)
        self.y -= 5

    @staticmethod
    def _runs(line: str, font: str) -> list[tuple[str, str]]:
        """Split a line where it changes between Chinese and Latin: no font has both."""
        if font != "Droid":
            return [(font, line)]
        parts = re.findall(r"[\x20-\x7e]+|[^\x20-\x7e]+", line)
        return [("Helvetica" if part.isascii() else font, part) for part in parts]

    def _width(self, line: str, font: str, size: float) -> float:
        runs = self._runs(line, font)
        return float(sum(pdfmetrics.stringWidth(part, name, size) for name, part in runs))

    def _line(self, line: str, font: str, size: float) -> None:
        x = LEFT
        for name, part in self._runs(line, font):
            self.canvas.setFont(name, size)
            self.canvas.drawString(x, self.y, part)
            x += pdfmetrics.stringWidth(part, name, size)
        self.y -= size * 1.42

    def table(self, rows: list[tuple[str, ...]], widths: list[float], *, size: float = 8.2) -> None:
        """Draw a ruled table whose cells may hold several lines (separated by newlines)."""
        page = self.canvas
        for index, row in enumerate(rows):
            height = 8 + (size + 2.4) * max(cell.count("\n") + 1 for cell in row)
            x = LEFT
            for cell, width in zip(row, widths, strict=True):
                page.setStrokeGray(0.55)
                page.setFillColorRGB(*((0.88, 0.95, 0.92) if index == 0 else (1, 1, 1)))
                page.rect(x, self.y - height, width, height, fill=1)
                page.setFillGray(0)
                page.setFont("Helvetica-Bold" if index == 0 else "Helvetica", size)
                for number, line in enumerate(cell.split("\n")):
                    page.drawString(x + 5, self.y - 4 - size - number * (size + 2.4), line)
                x += width
            self.y -= height
        self.y -= 14

    def chart(self) -> None:
        """Draw fan speed against clean air and noise with path operators."""
        page, base, left = self.canvas, self.y - 176, LEFT + 34
        width, height = RIGHT - left - 30, 150.0
        page.setLineWidth(0.8)
        page.setStrokeGray(0.2)
        page.line(left, base, left + width, base)
        page.line(left, base, left, base + height)
        page.setFont("Helvetica", 7.5)
        for i in range(5):
            level = base + height * i / 4
            page.setStrokeGray(0.85)
            page.line(left, level, left + width, level)
            page.drawRightString(left - 5, level - 2.5, str(100 * i))
            page.drawString(left + width + 4, level - 2.5, str(20 + 10 * i))
        clean, noise = (70, 130, 190, 260, 330), (24, 29, 36, 45, 54)
        step = width / 5
        for i, value in enumerate(clean):
            page.setFillColorRGB(0.45, 0.75, 0.62)
            page.rect(
                left + step * (i + 0.22), base, step * 0.56, height * value / 400, stroke=0, fill=1
            )
            page.setFillGray(0)
            page.drawCentredString(left + step * (i + 0.5), base - 11, f"speed {i + 1}")
        points = [
            (left + step * (i + 0.5), base + height * (value - 20) / 40)
            for i, value in enumerate(noise)
        ]
        page.setStrokeColorRGB(0.75, 0.2, 0.15)
        page.setLineWidth(1.8)
        outline = page.beginPath()
        outline.moveTo(*points[0])
        for point in points[1:]:
            outline.lineTo(*point)
        page.drawPath(outline)
        page.setFillColorRGB(0.75, 0.2, 0.15)
        for x, y in points:
            page.circle(x, y, 2.6, stroke=0, fill=1)
        page.drawString(left + width - 120, base + height + 8, "line: noise in dB(A), right scale")
        page.setFillColorRGB(0.2, 0.5, 0.38)
        page.drawString(left, base + height + 8, "bars: clean air in cubic metres an hour")
        page.setFillGray(0)
        self.y = base - 34


def make_manual(target: Path) -> None:
    """Write the manual."""
    pdfmetrics.registerFont(TTFont("Droid", str(CHINESE_FONT)))
    book = _Manual(target)
    page = book.canvas

    book.start()
    page.setFont("Helvetica-Bold", 30)
    page.drawCentredString(WIDTH / 2, HEIGHT - 110, "AirLeaf 300")
    page.setFont("Helvetica", 14)
    page.drawCentredString(WIDTH / 2, HEIGHT - 134, "Air purifier for rooms up to 36 square metres")
    page.drawImage(_as_jpeg(purifier(), 84), WIDTH / 2 - 135, 150, 270, 270)
    page.setFont("Helvetica", 10)
    page.drawCentredString(WIDTH / 2, 110, "User manual. Read it before first use and keep it.")
    page.showPage()

    book.start()
    book.heading("1  Safety and what is in the box")
    for line in SAFETY:
        book.paragraph(line)
    book.table(BOX_ITEMS, [150, 50, 136])
    page.showPage()

    book.start()
    book.heading("2  Setting up and operating")
    for line in OPERATION:
        book.paragraph(line)
    book.table(CONTROLS, [86, 250])
    page.showPage()

    book.start()
    book.heading("3  Performance")
    book.paragraph(PERFORMANCE[0])
    book.y -= 20
    book.chart()
    page.setFont("Helvetica-Oblique", 8)
    page.drawString(
        LEFT, book.y + 12, "Figure 1. Clean air delivery and noise at the five fan speeds."
    )
    book.y -= 10
    for line in PERFORMANCE[1:]:
        book.paragraph(line)
    page.showPage()

    book.start()
    book.heading(CHINESE[0], font="Droid")
    for line in CHINESE[1:]:
        book.paragraph(line, font="Droid", size=10)
    page.showPage()

    book.start()
    book.heading("5  Troubleshooting")
    book.paragraph("Check this list before you call the service line.")
    book.table(FAULTS, [92, 116, 128])
    page.showPage()

    book.start()
    book.heading("6  Specifications")
    book.table(SPECIFICATIONS, [150, 186])
    book.paragraph("Figures were measured at 23 degrees Celsius and 50 percent relative humidity.")
    page.showPage()

    book.start(words=False)
    page.drawImage(_as_jpeg(_scan(), 45), LEFT - 6, 44, RIGHT - LEFT + 12, HEIGHT - 92)
    page.showPage()
    page.save()
