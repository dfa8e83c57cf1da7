"""Pictures: opened safely, turned upright, made RGB.

Each kind of file goes straight to its own PIL plugin, chosen by the first bytes: EPS, PSD and the
like are never reached, and PIL's process-wide pixel limit, which warns from 89 megapixels on, need
not be changed. ICC profiles are ignored: pixels are taken as sRGB, as encoders are trained on.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import Image

from mmrag.errors import (
    DamagedSource,
    EmptySource,
    InputError,
    MissingExtra,
    TooLarge,
    UnsupportedSource,
)
from mmrag.inputs import (
    DEFAULT_LIMITS,
    ONE_AT_A_TIME,
    Limits,
    check_pixels,
    data_url,
    read_bytes,
)
from mmrag.sniff import sniff

__all__ = [
    "DEFAULT_LIMITS",
    "ImageInput",
    "Limits",
    "Picture",
    "data_url",
    "encode_jpeg",
    "encode_png",
    "load",
    "sniff",
    "thumbnail",
    "to_rgb",
]

ImageInput: TypeAlias = str | Path | bytes | BinaryIO | Image.Image
"""A path, a ``data:image/...;base64,`` URL, a file's bytes, an open binary file or a PIL image."""

_BROKEN = "the picture is broken or truncated: save or download it again"
_ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 swap width and height
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture.

    ``image`` is upright and RGB, or RGBA if some of it is transparent. ``width`` and ``height``
    are the picture's own, as displayed; ``image`` is smaller if it was decoded at a reduced scale.
    ``sha256`` is that of the file's bytes, or of size and pixels where there was no file.
    ``mime`` is the true type, whatever the file's name says.
    """

    image: Image.Image
    sha256: str
    mime: str
    width: int
    height: int


def load(
    image: ImageInput, *, target: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> Picture:
    """Open, check and decode one picture; of an animation or a multi-page TIFF, the first frame.

    Args:
        image: a path, data URL, bytes, open binary file (its position is kept) or PIL image.
        target: the longest side in pixels that will be looked at. A much larger JPEG is then
            decoded at 1/2, 1/4 or 1/8 of its size, several times faster; its longest side stays
            at twice ``target`` or more, and its shortest side at ``target`` or more.
        limits: checked before the file is read and before its pixels are decoded.

    Raises:
        InputError: ``image`` is none of these, or a URL of another kind.
        SourceError: EmptySource, DamagedSource, TooLarge, UnreadableSource, UnsupportedSource.
        MissingExtra: the picture is HEIC and ``mmrag[heic]`` is not installed.
    """
    if isinstance(image, Image.Image):
        return _from_pil(image, limits)
    data = read_bytes(image, limits)
    if not data:
        raise EmptySource("the picture has no bytes: save or download it again")
    mime = sniff(data[:64])
    if mime is None or not mime.startswith("image/"):
        raise DamagedSource("not a picture: expected PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC")
    opener = _opener(mime)
    with _decoding():
        opened = opener(io.BytesIO(data), "")
        # The header's word, before any pixel is decoded; no plugin allocates pixels on opening.
        full = opened.size
        check_pixels(full, limits)
        reduced = target is not None and _reduce(opened, target)
        opened.load()
        upright = _upright(opened)
    width, height = upright.size
    if reduced:
        width, height = full[::-1] if _orientation(opened) >= 5 else full
    return Picture(upright, hashlib.sha256(data).hexdigest(), mime, width, height)


def to_rgb(image: Image.Image, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """The picture without transparency: transparent parts show the background, white by default."""
    image = _colours(image)
    if image.mode == "RGB":
        return image
    ground = Image.new("RGB", image.size, background)
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def thumbnail(image: ImageInput, size: int = 256) -> bytes:
    """A small copy, its longest side at most ``size`` pixels: a JPEG, or a PNG if transparent.
    Raises as :func:`load` does."""
    if size < 1:
        raise InputError(f"size must be 1 pixel or more, not {size}")
    small = load(image, target=size).image
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    return encode_jpeg(small) if small.mode == "RGB" else encode_png(small)


def encode_jpeg(image: Image.Image, quality: int = 85) -> bytes:
    """The bytes of a JPEG file without metadata; transparent parts become white."""
    return _encode(to_rgb(image), "JPEG", quality=quality)


def encode_png(image: Image.Image) -> bytes:
    """The bytes of a PNG file without metadata; the pixels are kept exactly."""
    return _encode(image, "PNG", compress_level=6)


def _encode(image: Image.Image, kind: str, **options: int) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, icc_profile=None, **options)
    return out.getvalue()


def _from_pil(image: Image.Image, limits: Limits) -> Picture:
    """A PIL image: the caller's own is never changed, and later changes to it do not show."""
    if 0 in image.size:
        raise EmptySource("the picture has no pixels")
    check_pixels(image.size, limits)
    with _decoding():
        with ONE_AT_A_TIME:
            image.load()  # the caller may have opened a file that is not decoded yet
        upright = _upright(image)
    digest = hashlib.sha256(f"{upright.mode} {upright.width} {upright.height} ".encode())
    digest.update(upright.tobytes())
    mime = Image.MIME.get(image.format or "", "image/png")
    return Picture(upright, digest.hexdigest(), mime, upright.width, upright.height)


@contextmanager
def _decoding() -> Iterator[None]:
    """Turn what PIL raises into our errors."""
    try:
        yield
    except (TooLarge, Image.DecompressionBombError) as error:
        raise TooLarge(str(error)) from None
    except MemoryError:
        raise TooLarge("the picture does not fit into memory: scale it down") from None
    # PIL's parsers raise whatever they stumble on: OSError, SyntaxError, struct.error, KeyError...
    except Exception as error:
        raise DamagedSource(f"{_BROKEN} ({error})") from None


@cache
def _opener(mime: str) -> Callable[[BinaryIO, str], Image.Image]:
    """PIL's own plugin for this kind of file, past ``Image.open``, which would try them all."""
    kind = mime.removeprefix("image/").upper()
    if kind == "HEIC":
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise MissingExtra("HEIC pictures", "heic") from None
        register_heif_opener()
        kind = "HEIF"
    Image.preinit()  # the common kinds; init() loads all fifty
    if kind not in Image.OPEN:
        Image.init()
    if kind not in Image.OPEN:
        raise UnsupportedSource(f"this Pillow cannot read {kind}: pip install -U pillow")
    return Image.OPEN[kind][0]


def _reduce(image: Image.Image, target: int) -> bool:
    """Ask a JPEG's decoder for a smaller picture, where enough of it is left for a good resize."""
    for scale in (8, 4, 2):
        if max(image.size) >= 2 * target * scale and min(image.size) >= target * scale:
            size = (image.width // scale, image.height // scale)
            return image.draft(image.mode, size) is not None  # None: not a JPEG
    return False


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF is common, and no reason to refuse the pixels
        return 1


def _upright(image: Image.Image) -> Image.Image:
    """A copy in RGB or RGBA, turned as EXIF says. Not by PIL's ``exif_transpose``: it rewrites the
    EXIF block too, and fails on the many that are not quite valid."""
    turn = _TURNS.get(_orientation(image))
    turned = _colours(image if turn is None else image.transpose(turn))
    upright = turned.copy() if turned is image else turned
    upright.info = {}  # an orientation left in it would turn the picture again
    return upright


def _colours(image: Image.Image) -> Image.Image:
    """RGB, or RGBA if any pixel is not opaque; the same object if nothing has to change."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_8_bits(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    opaque = rgba.getchannel("A").getextrema() == (255, 255)
    return rgba.convert("RGB") if opaque else rgba


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, 32 bits or floats: the whole range is mapped to 0..255, nothing clipped."""
    grey = np.nan_to_num(np.asarray(image, dtype=np.float32))
    low, high = float(grey.min()), float(grey.max())
    for top in (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,):
        if low >= 0 and high <= top:
            low, high = 0.0, top
            break
    scaled = (grey - low) * (255 / max(high - low, 1e-9))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
