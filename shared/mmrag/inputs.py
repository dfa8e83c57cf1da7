"""What callers hand over as a file or picture: its bytes, within the limits. No PIL here."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mmrag.errors import DamagedSource, InputError, TooLarge, UnreadableSource

__all__ = [
    "DEFAULT_LIMITS",
    "ONE_AT_A_TIME",
    "Limits",
    "check_pixels",
    "data_url",
    "is_data_url",
    "is_url",
    "open_regular",
    "read_bytes",
    "refuse_url",
    "refused",
]


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused as TooLarge: more pixels, or a file of more bytes."""

    max_pixels: int = 100_000_000
    max_bytes: int = 200 * 1024 * 1024


DEFAULT_LIMITS = Limits()
ONE_AT_A_TIME = threading.Lock()
"""Held while an object of the caller's is read: the same one may be given to several threads."""
_LONGEST_NAME = 1000
_URL = re.compile("[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # one letter is a drive of Windows


def read_bytes(image: str | Path | bytes | BinaryIO, limits: Limits) -> bytes:
    """Read a path, a ``data:`` URL, bytes or an open binary file, whose position is kept.

    Raises:
        InputError: it is none of these, an empty path, or a URL of another kind.
        SourceError: UnreadableSource, TooLarge, or DamagedSource for a broken data URL.
    """
    max_bytes = limits.max_bytes
    if isinstance(image, str):
        if not image:
            raise InputError("the path of the picture is empty")
        refuse_url(image)
        if is_data_url(image):
            return _within(_from_data_url(image), max_bytes)
        image = Path(image)
    if isinstance(image, Path):
        return _within(_from_path(image, max_bytes + 1), max_bytes)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _within(bytes(image), max_bytes)
    if hasattr(image, "read"):
        return _within(_from_file(image, max_bytes + 1), max_bytes)
    raise InputError(
        "a picture is a path, a data URL, bytes, an open binary file or a PIL image, "
        f"not {type(image).__name__}"
    )


def check_pixels(size: tuple[int, int], limits: Limits) -> None:
    """Raises TooLarge for a picture of this width and height over the limit of pixels."""
    width, height = size
    if width * height > limits.max_pixels:
        raise TooLarge(
            f"the picture has {width:,} x {height:,} pixels, over the limit of "
            f"{limits.max_pixels:,}: scale it down"
        )


def refused(path: Path, error: Exception) -> UnreadableSource:
    """The error to raise where the operating system refuses a file."""
    name = str(path)
    if len(name) > _LONGEST_NAME:  # base64 without its "data:", say: no message is made of that
        error, name = OSError("the name is too long"), f"{name[:_LONGEST_NAME]}…"
    return UnreadableSource(f"cannot open {name!r} ({error}): check that it exists and may be read")


def open_regular(path: Path) -> BinaryIO:
    """Open a file to be read. Raises OSError for what is none, as a pipe, which may have no end,
    and which may have to be waited for forever to be opened."""
    return open(path, "rb", opener=_opener)


def is_data_url(text: str) -> bool:
    """Whether this is a ``data:`` URL, which holds what it speaks of."""
    return text[:5].lower() == "data:"


def is_url(text: str) -> bool:
    """Whether this is a URL with a ``://``, of any scheme, and so no path."""
    return _URL.match(text) is not None


def refuse_url(text: str) -> None:
    """Raises InputError for a URL with a ``://``: nothing is fetched."""
    if is_url(text):
        file = text[:5].lower() == "file:"
        hint = "give the path alone" if file else "download the picture first, then give its path"
        raise InputError(f"URLs are not fetched: {hint}")


def data_url(data: bytes, mime: str) -> str:
    """The bytes as a ``data:`` URL, as web pages and vision models take them."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def _within(data: bytes, max_bytes: int) -> bytes:
    if len(data) > max_bytes:
        limit = max_bytes / 2**20
        raise TooLarge(f"the picture's file is over the limit of {limit:,.1f} MiB: scale it down")
    return data


def _from_path(path: Path, size: int) -> bytes:
    try:
        with open_regular(path) as file:
            # Room is made for all that is asked for, whatever there is: not for the whole limit.
            return file.read(min(size, os.fstat(file.fileno()).st_size + 1))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise refused(path, error) from None


def _opener(name: str, flags: int) -> int:
    number = os.open(name, flags | getattr(os, "O_NONBLOCK", 0))  # Windows has no such pipes
    if stat.S_ISREG(os.fstat(number).st_mode):
        return number
    os.close(number)
    raise OSError("it is not a regular file")


def _from_file(file: BinaryIO, size: int) -> bytes:
    with ONE_AT_A_TIME:
        return _read(file, size)


def _read(file: BinaryIO, size: int) -> bytes:
    if not (hasattr(file, "seekable") and file.seekable()):
        data = file.read(size)
    else:
        # From the start: a file that was just written stands at its end.
        position = file.tell()
        file.seek(0)
        data = file.read(size)
        file.seek(position)
    if not isinstance(data, bytes):
        raise InputError("the file is open as text: open it in binary mode, open(path, 'rb')")
    return data


def _from_data_url(url: str) -> bytes:
    head, _, body = url.partition(",")
    if not head.lower().endswith(";base64"):
        raise InputError("expected a data URL of the form data:image/png;base64,...")
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise DamagedSource("the data URL is not valid base64: copy it again, whole") from None
