"""Nodes of every kind, pictures, and an index for them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from PIL import Image

from mmrag import MultimodalIndex
from mmrag.testing import FakeEncoder

__all__ = [
    "AUDIO",
    "Recipe",
    "attachments",
    "base64_of",
    "common",
    "dump",
    "opened",
    "painted",
    "png",
    "samples",
]

AUDIO = b"RIFF\x24\x00\x00\x00WAVEfmt not quite a recording"


class Recipe(TextNode):
    """A node class of the user's own, which says no class_name of its own either."""

    minutes: int = 0


def painted(path: Path, colour: str = "red") -> Path:
    Image.new("RGB", (40, 30), colour).save(path)
    return path


def png(colour: str = "blue") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (24, 24), colour).save(out, "PNG")
    return out.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def opened(path: Path) -> MultimodalIndex:
    encoder = FakeEncoder()
    return MultimodalIndex.open(path, text_encoder=encoder, image_encoder=encoder)


def attachments(index: MultimodalIndex) -> list[Path]:
    assert index.folder is not None
    return [path for path in (index.folder / "attachments").rglob("*") if path.is_file()]


def common() -> dict[str, Any]:
    """What any node may carry beside its content."""
    return {
        "metadata": {"title": "T", "n": 3, "deep": {"a": [1, 2.5, None]}, "ok": True, "空": "值"},
        "excluded_embed_metadata_keys": ["n"],
        "excluded_llm_metadata_keys": ["deep", "ok"],
        "metadata_template": "{key}={value}",
        "metadata_separator": " | ",
        "text_template": "[{metadata_str}] {content}",
        "relationships": {
            NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc", hash="h", metadata={"x": 1}),
            NodeRelationship.NEXT: RelatedNodeInfo(node_id="next"),
            NodeRelationship.CHILD: [RelatedNodeInfo(node_id="c1"), RelatedNodeInfo(node_id="c2")],
        },
    }


def samples(folder: Path) -> dict[str, BaseNode]:
    """One node of each kind, under ids that are not UUIDs."""
    path = str(painted(folder / "red.png"))
    picture = base64_of(png("green"))
    return {
        node.node_id: node
        for node in (
            TextNode(id_="text", text="a text", start_char_idx=3, end_char_idx=9, **common()),
            TextNode(id_="empty"),
            Recipe(id_="recipe", text="bread", minutes=40, **common()),
            IndexNode(id_="index", text="a summary", index_id="ix", **common()),
            ImageNode(id_="image", text="a red field", image_path=path, **common()),
            ImageNode(id_="image-only", image_path=path),
            ImageNode(id_="image-base64", image=picture, **common()),
            ImageNode(id_="image-both", image=picture, image_path=path, text="both"),
            ImageDocument(id_="imagedoc", text="a document", image_path=path),
            ImageDocument(id_="imagedoc-bytes", image=base64_of(png("blue")).encode()),
            Document(id_="document", text="a whole document", **common()),
            Node(
                id_="node",
                text_resource=MediaResource(text="sound and picture"),
                image_resource=MediaResource(data=png("yellow")),
                audio_resource=MediaResource(data=AUDIO, mimetype="audio/wav"),
                video_resource=MediaResource(path=folder / "clip.mp4"),
                **common(),
            ),
        )
    }


def dump(node: BaseNode) -> dict[str, Any]:
    """Everything of a node, with the bytes that ``model_dump`` leaves out."""
    everything: dict[str, Any] = node.model_dump()
    for name in ("text", "image", "audio", "video"):
        resource = getattr(node, f"{name}_resource", None)
        everything[f"{name} bytes"] = None if resource is None else resource.data
    return {"type": type(node), **everything}
