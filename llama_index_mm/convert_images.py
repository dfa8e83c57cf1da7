"""The bytes in a node: found, moved into files before it is stored, and put back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llama_index.core.schema import BaseNode, ImageNode, MediaResource, Node

from mmrag.attachments import keep
from mmrag.errors import DamagedSource, SourceError
from mmrag.inputs import DEFAULT_LIMITS, read_bytes
from mmrag.media import ImageInput, Picture, load
from mmrag.types import ImageRef

__all__ = ["Keeper", "image_of", "is_remote", "opened_image", "put_back", "take_out"]

Keeper = Callable[[bytes, str, Path | None], str]
"""Keeps bytes of a MIME type as a file in the folder of an index, and returns its uri."""

_RESOURCES = ("text_resource", "image_resource", "audio_resource", "video_resource")


def image_of(node: BaseNode) -> ImageInput | None:
    """The picture of a node: its bytes if it holds any, else its path; None if it has neither.

    A picture behind a URL is not fetched: it counts as none.

    Raises:
        DamagedSource: what should be base64 is not.
    """
    if isinstance(node, ImageNode):
        return node.image_path if node.image is None else _decoded(node.image)
    resource = node.image_resource if isinstance(node, Node) else None
    if resource is None:
        return None
    if resource.data is not None:
        return _decoded(resource.data)
    return None if resource.path is None else str(resource.path)


def is_remote(node: BaseNode) -> bool:
    """Whether the node has a picture behind a URL."""
    if isinstance(node, ImageNode):
        return node.image_url is not None
    resource = node.image_resource if isinstance(node, Node) else None
    return resource is not None and resource.url is not None


def opened_image(
    node: BaseNode, folder: Path | None, size: int | None, keeper: Keeper = keep
) -> tuple[ImageRef, Picture] | tuple[None, None]:
    """The reference to a node's picture, and the picture, decoded for a longest side of ``size``.

    Raises:
        SourceError: it cannot be opened; the message names the node.
    """
    try:
        image = image_of(node)
        if image is None:
            return None, None
        picture = load(image, target=size)
    except SourceError as error:
        raise type(error)(f"the picture of node {node.node_id!r}: {error}") from error
    if isinstance(image, bytes):
        uri = keeper(image, picture.mime, folder)
    else:
        uri = str(Path(str(image)).absolute())
    return ImageRef(uri, picture.sha256, picture.mime, picture.width, picture.height), picture


def take_out(
    node: BaseNode,
    dump: dict[str, Any],
    image: ImageRef | None,
    folder: Path | None,
    keeper: Keeper = keep,
) -> dict[str, str]:
    """Replace the bytes in a node's ``dump`` by paths; returns their uris by field.

    The paths are for LlamaIndex's own stores, which know nothing of uris.
    """
    taken: dict[str, str] = {}
    if isinstance(node, ImageNode) and node.image is not None and image is not None:
        taken["image"] = image.uri
        dump["image"] = None
        _stand_in(dump, "image_path", image.uri, folder)
    for name, resource in _resources(node):
        if resource.data is None:
            continue
        if image is not None and name == "image_resource":
            taken[name] = image.uri
        else:
            taken[name] = keeper(_decoded(resource.data), resource.mimetype or "", folder)
        _stand_in(dump[name], "path", taken[name], folder)
    return taken


def put_back(data: dict[str, Any], taken: Mapping[str, str], folder: Path | None) -> None:
    """Undo :func:`take_out`; bytes whose file is out of reach stay a path."""
    for name, uri in taken.items():
        holder, path = (data, "image_path") if name == "image" else (data[name], "path")
        content = _fetched(uri, folder)
        if content is not None:
            holder["image" if name == "image" else "data"] = base64.b64encode(content).decode()
            if str(holder.get(path) or "").replace("\\", "/").endswith(uri):
                holder[path] = None


def _resources(node: BaseNode) -> Iterator[tuple[str, MediaResource]]:
    for name in _RESOURCES if isinstance(node, Node) else ():
        if (resource := getattr(node, name)) is not None:
            yield name, resource


def _stand_in(holder: dict[str, Any], key: str, uri: str, folder: Path | None) -> None:
    if folder is not None and not holder.get(key):
        holder[key] = str(folder.absolute() / uri)


def _fetched(uri: str, folder: Path | None) -> bytes | None:
    if uri.startswith("data:"):
        return read_bytes(uri, DEFAULT_LIMITS)
    path = None if folder is None else folder / uri
    return path.read_bytes() if path is not None and path.is_file() else None


def _decoded(data: str | bytes) -> bytes:
    text = data.decode("ascii", "replace") if isinstance(data, bytes) else data
    if text.startswith("data:"):
        return read_bytes(text, DEFAULT_LIMITS)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise DamagedSource("it is not valid base64") from None
