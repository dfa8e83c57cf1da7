"""The bytes in a node: found, taken out into files before it is stored, and put back."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llama_index.core.schema import BaseNode, ImageNode, MediaResource, Node
from mmrag.errors import DamagedSource, SourceError
from mmrag.media import ImageInput, Picture, data_url, load
from mmrag.types import ImageRef, Json

__all__ = ["Put", "image_of", "opened_image", "put_back", "take_out"]

Put = Callable[[bytes, str], str]
"""Keeps bytes under a suffix such as ``.png`` and returns their uri."""

_RESOURCES = ("text_resource", "image_resource", "audio_resource", "video_resource")


def image_of(node: BaseNode) -> ImageInput | None:
    """The picture of a node: bytes if it holds any, else a path; None if it has neither.

    A picture behind a URL is not fetched: it counts as none.

    Raises:
        DamagedSource: the node's base64 is none.
    """
    if isinstance(node, ImageNode):
        if node.image is not None:
            return _decoded(node, node.image)
        return node.image_path
    resource = node.image_resource if isinstance(node, Node) else None
    if resource is None:
        return None
    if resource.data is not None:
        return _decoded(node, resource.data)
    return None if resource.path is None else str(resource.path)


def opened_image(
    node: BaseNode, put: Put | None, image_size: int | None
) -> tuple[ImageRef, Picture] | None:
    """The picture of a node, decoded once, and the reference to it that a record keeps.

    Raises:
        SourceError: it cannot be opened; the message names the node.
    """
    try:
        image = image_of(node)
        if image is None:
            return None
        picture = load(image, target=image_size)
    except SourceError as error:
        raise type(error)(f"the picture of node {node.node_id!r}: {error}") from error
    if isinstance(image, bytes):
        uri = _kept(image, picture.mime, put)
    else:
        uri = image if _is_inline(image) else str(Path(str(image)).absolute())  # type: ignore[arg-type]
    ref = ImageRef(uri, picture.sha256, picture.mime, picture.width, picture.height)
    return ref, picture


def take_out(
    node: BaseNode, content: dict[str, Any], image: ImageRef | None, put: Put | None
) -> dict[str, str]:
    """Replace the bytes in a node's ``content`` (its dump) by paths; the uris by field.

    The path stands in where LlamaIndex's own stores read the node, and for us the uri says where
    the bytes are.
    """
    taken: dict[str, str] = {}
    if isinstance(node, ImageNode) and node.image is not None and image is not None:
        taken["image"] = image.uri
        content["image"] = None
        content["image_path"] = content.get("image_path") or _stand_in(image.uri, put)
    for name in _RESOURCES if isinstance(node, Node) else ():
        resource: MediaResource | None = getattr(node, name)
        if resource is None or resource.data is None:
            continue
        if name == "image_resource" and image is not None:
            taken[name] = image.uri
        else:
            data = base64.b64decode(resource.data)
            taken[name] = _kept(data, resource.mimetype, put)
        content[name]["path"] = content[name].get("path") or _stand_in(taken[name], put)
    return taken
