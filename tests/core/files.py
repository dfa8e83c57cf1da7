"""Files that tests need, made by hand: a PDF writer of forty lines, and damaged pictures."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from mmrag.readers.base import MediaFolder, SourceFile

__all__ = ["Page", "media_folder", "pdf", "picture", "png_header", "saved", "source", "text_at"]


def source(path: Path) -> SourceFile:
    return SourceFile(path=path.absolute(), name=path.name, sha256="")


def media_folder(tmp_path: Path) -> MediaFolder:
    return MediaFolder(tmp_path / "media")


def picture(width: int = 96, height: int = 64, seed: int = 0) -> Image.Image:
    """A smooth colour gradient: survives JPEG, and no two corners look alike."""
    red = Image.linear_gradient("L").resize((width, height))
    green = Image.linear_gradient("L").rotate(90).resize((width, height))
    return Image.merge("RGB", (red, green, Image.new("L", (width, height), seed * 37 % 256)))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG of this size whose pixels are a tiny stream: what a decompression bomb looks like."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000)))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


@dataclass
class Page:
    """A page of a PDF: what is drawn, in PDF's own operators, and what that names.

    ``/F1`` is Helvetica, ``/F2`` a Chinese font for UTF-16-BE hex strings.
    """

    content: str = ""
    images: dict[str, Image.Image] = field(default_factory=dict)
    forms: dict[str, tuple[str, str]] = field(default_factory=dict)  # matrix and content
    size: tuple[float, float] = (600, 800)
    crop: tuple[float, float, float, float] | None = None
    rotate: int = 0


def text_at(x: float, y: float, *lines: str, size: int = 12) -> str:
    """Operators that write lines, the first at x, y from the bottom left."""
    out = f"BT /F1 {size} Tf {size * 1.2} TL {x} {y} Td\n"
    for line in lines:
        if line.isascii():
            escaped = line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
            out += f"/F1 {size} Tf ({escaped}) Tj T*\n"
        else:
            out += f"/F2 {size} Tf <{line.encode('utf-16-be').hex()}> Tj T*\n"
    return out + "ET\n"


_FONTS = (
    "/Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> /F2 << /Type /Font "
    "/Subtype /Type0 /BaseFont /STSong-Light /Encoding /UniGB-UCS2-H /DescendantFonts [ << /Type "
    "/Font /Subtype /CIDFontType0 /BaseFont /STSong-Light /CIDSystemInfo << /Registry (Adobe) "
    "/Ordering (GB1) /Supplement 4 >> /FontDescriptor << /Type /FontDescriptor /FontName "
    "/STSong-Light /Flags 6 /FontBBox [0 -200 1000 900] /ItalicAngle 0 /Ascent 880 /Descent -120 "
    "/CapHeight 880 /StemV 80 >> >> ] >> >>"
)


def pdf(*pages: Page, trailer: str = "") -> bytes:
    """A PDF file of these pages."""
    objects: list[bytes] = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]

    def add(body: bytes | str) -> str:
        objects.append(body.encode() if isinstance(body, str) else body)
        return f"{len(objects)} 0 R"

    def stream(head: str, data: bytes) -> str:
        return add(f"<< {head} /Length {len(data)} >> stream\n".encode() + data + b"\nendstream")

    def image(picture: Image.Image) -> str:
        head = f"/Type /XObject /Subtype /Image /Width {picture.width} /Height {picture.height}"
        head += " /BitsPerComponent 8"
        if picture.mode == "RGBA":
            mask = f"{head} /ColorSpace /DeviceGray /Filter /FlateDecode"
            alpha = zlib.compress(picture.getchannel("A").tobytes())
            head += f" /SMask {stream(mask, alpha)}"
        data = zlib.compress(picture.convert("RGB").tobytes())
        return stream(f"{head} /ColorSpace /DeviceRGB /Filter /FlateDecode", data)

    shared: dict[int, str] = {}
    kids = []
    for page in pages:
        named = {}
        for name, picture in page.images.items():
            named[name] = shared.setdefault(id(picture), "") or image(picture)
            shared[id(picture)] = named[name]
        for name, (matrix, content) in page.forms.items():
            inner = " ".join(f"/{key} {value}" for key, value in named.items())
            head = f"/Type /XObject /Subtype /Form /BBox [-9999 -9999 9999 9999] /Matrix [{matrix}]"
            head += f" /Resources << {_FONTS} /XObject << {inner} >> >>"
            named[name] = stream(head, content.encode())
        objects_used = " ".join(f"/{key} {value}" for key, value in named.items())
        box = f"/MediaBox [0 0 {page.size[0]} {page.size[1]}]"
        if page.crop:
            box += " /CropBox [{} {} {} {}]".format(*page.crop)
        kids.append(
            add(
                f"<< /Type /Page /Parent 2 0 R {box} /Rotate {page.rotate} /Resources << {_FONTS} "
                f"/XObject << {objects_used} >> >> /Contents {stream('', page.content.encode())} >>"
            )
        )
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    return _file(objects, trailer)


def _file(objects: list[bytes], trailer: str) -> bytes:
    out = b"%PDF-1.7\n"
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    head = f"xref\n0 {size}\n0000000000 65535 f \n{table}"
    end = f"trailer << /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + (head + end).encode()
