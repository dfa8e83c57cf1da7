"""The ways in which LangChain hands over a picture, as what mmrag opens."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, BinaryIO, TypeAlias, cast

from langchain_core.documents.base import Blob

from mmrag.errors import DamagedSource, InputError
from mmrag.inputs import DEFAULT_LIMITS, is_data_url, read_bytes
from mmrag.media import ImageInput

__all__ = ["AnyImage", "image_input", "reopenable"]

AnyImage: TypeAlias = ImageInput | Blob | Mapping[str, Any]
"""A path, a ``data:`` URL, bytes, an open binary file, a PIL image, a ``Blob``, an image content
block of a message, or the dict that a document has as ``metadata["mmrag_image"]``."""


def image_input(image: AnyImage) -> ImageInput:
    """What :func:`mmrag.media.load` takes. Nothing is opened, and no URL is fetched.

    Content blocks are those of langchain-core 1 (``base64`` or ``url``), of 0.3 (``source_type``
    and ``data``), OpenAI's (``image_url``) and Anthropic's (``source``).

    Raises:
        InputError: a block that is no picture, or whose picture stands behind an id.
        DamagedSource: what should be base64 is not.
    """
    if isinstance(image, Blob):
        if image.data is None:
            return str(image.path)
        return image.as_bytes()
    if isinstance(image, Mapping):
        return _of_block(image)
    return image


def reopenable(image: AnyImage) -> ImageInput:
    """:func:`image_input`, where a file that is open is read: not every one can be read twice.

    Raises:
        InputError, DamagedSource: as there.
        TooLarge: the file is over the limit of bytes.
    """
    picture = image_input(image)
    if hasattr(picture, "read"):
        return read_bytes(cast(BinaryIO, picture), DEFAULT_LIMITS)
    return picture


def _of_block(block: Mapping[str, Any]) -> ImageInput:
    if "type" not in block and isinstance(block.get("uri"), str):
        return str(block["uri"])  # of an ImageRef
    if block.get("type") not in ("image", "image_url"):
        raise InputError(f"a content block of type {block.get('type')!r} is not a picture")
    if isinstance(block.get("source"), Mapping):
        block = block["source"]
    for name in ("base64", "data"):
        if isinstance(block.get(name), str):
            return _decoded(block[name])
    url = block.get("url") or block.get("image_url")
    if isinstance(url, Mapping):
        url = url.get("url")
    if isinstance(url, str):
        return url
    raise InputError("an image block has neither base64 nor a url: ids of files are not resolved")


def _decoded(text: str) -> ImageInput:
    if is_data_url(text):
        return text
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise DamagedSource("the picture in a content block is not valid base64") from None
