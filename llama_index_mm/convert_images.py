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
from mmrag.inputs import DEFAULT_LIMITS, is_data_url, read_bytes
from mmrag.media import ImageInput, Picture, load
from mmrag.types import ImageRef

__all__ = ["Keeper", "image_of", "is_remote", "opened_image", "put_back", "take_out"]

Keeper = Callable[[bytes, str, Path | None], str]
"""Keeps bytes of a MIME type as a file in the folder of an index, and returns its uri."""

_RESOURCES = ("text_resource", "image_resource", "audio_resource", "video_resource")


def image_of(node: BaseNode) -> ImageInput | None:
    """The picture of a node: its bytes if it holds any, be it in a data URL, else its path; None if
    it has neither.

    A picture behind another URL is not fetched: it counts as none.

    Raises:
        DamagedSource: what should be base64 is not.
    """
    held = _held(node)
    if held is not None:
        return _decoded(held)
    if isinstance(node, ImageNode):
        return node.image_path or None
    resource = node.image_resource if isinstance(node, Node) else None
    return None if resource is None or resource.path is None else str(resource.path)


def is_remote(node: BaseNode) -> bool:
    """Whether the node has a picture behind a URL."""
    if isinstance(node, ImageNode):
        url: object = node.image_url
    else:
        resource = node.image_resource if isinstance(node, Node) else None
        url = None if resource is None else resource.url
    return url is not None and _data_url(url) is None


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
    if isinstance(node, ImageNode) and _held(node) is not None and image is not None:
        taken["image"] = image.uri
        for name in ("image", "image_path", "image_url"):
            if name == "image" or _data_url(dump[name]):
                dump[name] = None
        _stand_in(dump, "image_path", image.uri, folder)
    for name, resource in _resources(node):
        held = _held_by(resource)
        if held is None:
            continue
        if image is not None and name == "image_resource":
            taken[name] = image.uri
        else:
            taken[name] = keeper(_decoded(held), resource.mimetype or "", folder)
        if _data_url(dump[name]["url"]):
            dump[name]["url"] = None
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


def _held(node: BaseNode) -> str | bytes | None:
    """The picture that a node holds: base64, or a data URL."""
    if isinstance(node, ImageNode):
        return node.image or _data_url(node.image_path) or _data_url(node.image_url)
    resource = node.image_resource if isinstance(node, Node) else None
    return None if resource is None else _held_by(resource)


def _held_by(resource: MediaResource) -> str | bytes | None:
    return _data_url(resource.url) if resource.data is None else resource.data


def _data_url(url: object) -> str | None:
    text = "" if url is None else str(url)
    return text if is_data_url(text) else None


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
