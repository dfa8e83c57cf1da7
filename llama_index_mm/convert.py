"""LlamaIndex nodes to records and back: the only place where the two meet.

A record keeps a node twice: in its own fields, which is what is searched, and as LlamaIndex's own
payload in ``Record.extra`` (``_node_content`` and its companions), which gives back what a record
has no field for, and lets LlamaIndex's own ``QdrantVectorStore`` read the collection. Where the
two differ, because the record was changed through mmrag, the record is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    MetadataMode,
    Node,
    NodeWithScore,
    TextNode,
)

from llama_index_mm.classes import class_named
from llama_index_mm.convert_images import Keeper, image_of, opened_image, put_back, take_out
from mmrag.attachments import FILES_KEY, keep
from mmrag.captions import full_text
from mmrag.errors import InputError
from mmrag.metadata import (
    CAPTION_KEY,
    CAPTION_TEXT_KEY,
    LOCATOR_KEY,
    TRACE_KEY,
    caption_of,
    caption_to_dict,
    locator_of,
    locator_to_dict,
    source_of,
    trace_of,
)
from mmrag.readers.base import Part
from mmrag.stores.payload import OWN_KEYS
from mmrag.types import Hit, Json, Record

__all__ = [
    "CAPTION_KEY",
    "LOCATOR_KEY",
    "NODE_KEY",
    "TRACE_KEY",
    "caption_to_dict",
    "class_of",
    "embed_text",
    "hit_to_node",
    "image_of",
    "locator_to_dict",
    "node_to_part",
    "node_to_record",
    "record_to_node",
]

NODE_KEY = "mmrag_node"
"""Record extra: what LlamaIndex's payload does not say of a node: its class, its document (itself
if it has none, as in LlamaIndex's pipeline), and the fields whose bytes were moved to files."""

_NAMESPACED = (TRACE_KEY, CAPTION_KEY, LOCATOR_KEY)
# Keys of a payload that metadata must not take: mmrag's, the journal's, and those below.
_RESERVED = {*OWN_KEYS, *_NAMESPACED, NODE_KEY, FILES_KEY, "path"}


def node_to_record(node: BaseNode, folder: Path | None = None) -> Record:
    """The record of a node; its picture is opened, for the reference to it.

    Bytes in the node are kept as files in ``folder``, that of the index; without one they stay in
    the record as ``data:`` URLs. Embeddings are left out: the index's own encoders make them.

    Raises:
        SourceError: the picture cannot be opened; the message names the node.
        InputError: the node cannot be expressed in JSON, or its caption or locator is malformed.
    """
    return node_to_part(node, folder).record


def node_to_part(
    node: BaseNode, folder: Path | None = None, size: int | None = None, keeper: Keeper = keep
) -> Part:
    """:func:`node_to_record`, and the decoded picture, which may be reduced if its longest side
    is looked at in ``size`` pixels; ``keeper`` keeps the bytes. Raises as that does."""
    dump, content = _dump(node)
    metadata: dict[str, Json] = dump["metadata"]
    try:
        caption, locator = caption_of(metadata), locator_of(metadata)
    except InputError as error:
        raise InputError(f"node {node.node_id!r}: {error}") from error
    image, picture = opened_image(node, folder, size, keeper)
    files = take_out(node, dump, image, folder, keeper)
    payload = _payload(node, json.dumps(dump, ensure_ascii=False) if files else content, files)
    record = Record(
        id=node.node_id,
        text=node.get_content(metadata_mode=MetadataMode.NONE),
        image=image,
        caption=caption,
        source=source_of(metadata),
        locator=locator,
        metadata={k: v for k, v in metadata.items() if k not in _NAMESPACED},
        extra={**_top_level(metadata), **payload},
    )
    return Part(record, None if picture is None else picture.image)


def record_to_node(record: Record, folder: Path | None = None) -> BaseNode:
    """A fresh node of the kind that the record was made from, without embedding.

    A record that was not made from a node becomes an ImageNode if it has a picture, else a
    TextNode; file, page, locator and caption are in its metadata. ``folder`` is that of the index:
    without it, bytes that the node held come back as a path to them.
    """
    if "_node_content" not in record.extra:
        return _new_node(record)
    data: dict[str, Any] = json.loads(record.extra["_node_content"])
    about = record.extra.get(NODE_KEY, {})
    files = record.extra.get(FILES_KEY, ())
    put_back(data, dict(zip(about.get("fields", ()), files, strict=True)), folder)
    kept = data["metadata"]
    ours = {k: kept[k] for k in _NAMESPACED if k in kept}
    if record.caption is not None and record.caption != caption_of(kept):
        ours[CAPTION_KEY] = caption_to_dict(record.caption)
    # In the order that the node had, which its embedded text depends on.
    order = {k: ours.get(k, record.metadata.get(k)) for k in kept if k in {*ours, *record.metadata}}
    data["metadata"] = {**order, **record.metadata, **ours}
    node = class_of(record).from_dict(data)
    if node.get_content(metadata_mode=MetadataMode.NONE) != record.text:
        node.set_content(record.text)
    if isinstance(node, ImageNode) and node.image_mimetype and record.image is not None:
        node.image_mimetype = record.image.mime  # LlamaIndex goes by the name of the file
    return node


def hit_to_node(hit: Hit, trace: bool = True, folder: Path | None = None) -> NodeWithScore:
    """A fresh node with the fused score.

    With ``trace``, ``metadata["mmrag_routes"]`` says what each route said, best contribution
    first; neither an embedding nor a language model gets to see it.
    """
    node = record_to_node(hit.record, folder)
    if trace:
        node.metadata[TRACE_KEY] = trace_of(hit)
        for keys in (node.excluded_embed_metadata_keys, node.excluded_llm_metadata_keys):
            if TRACE_KEY not in keys:
                keys.append(TRACE_KEY)
    return NodeWithScore(node=node, score=hit.score)


def embed_text(node: BaseNode) -> str:
    """What of a node is embedded as text: its text, and the metadata it does not exclude."""
    return node.get_content(metadata_mode=MetadataMode.EMBED)


def _dump(node: BaseNode) -> tuple[dict[str, Any], str]:
    """The node as JSON data and as its text, without embeddings and without the trace of an
    earlier search."""
    vectors = {"embedding", "text_embedding"} & type(node).model_fields.keys()
    try:
        dump = node.model_dump(mode="json", exclude=vectors) | dict.fromkeys(vectors)
        for name, value in dump.items():
            if name.endswith("_resource") and value is not None:
                value["embeddings"] = None
        if dump["metadata"].pop(TRACE_KEY, None) is not None:
            for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys"):
                dump[name] = [key for key in dump[name] if key != TRACE_KEY]
        content = json.dumps(dump, ensure_ascii=False, allow_nan=False)
        content.encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"node {node.node_id!r} cannot be stored as JSON: {error}") from error
    return dump, content


def _payload(node: BaseNode, content: str, files: Mapping[str, str]) -> dict[str, Json]:
    """What LlamaIndex's ``node_to_metadata_dict`` writes beside the metadata, and ours."""
    document = node.ref_doc_id
    about: dict[str, Json] = {"class": type(node).__name__, "document": document or node.node_id}
    if files:  # in the order of the files, which are listed where a filter reaches them
        about["fields"] = list(files)
    return {
        **({FILES_KEY: list(files.values())} if files else {}),
        "_node_content": content,
        "_node_type": _stock_type(node),
        **dict.fromkeys(("document_id", "doc_id", "ref_doc_id"), document or "None"),
        NODE_KEY: about,
    }


def _stock_type(node: BaseNode) -> str:
    """The class that LlamaIndex's own store is to read. It takes what it does not know, documents
    for one, for a TextNode, which loses their picture and fails if they have no text."""
    bare = isinstance(node, Node) and node.image_resource is None and node.text_resource is not None
    return node.class_name() if bare or not isinstance(node, Node) else Node.class_name()


def _top_level(metadata: Mapping[str, Json]) -> dict[str, Json]:
    """The metadata that LlamaIndex's own store filters on, where the payload has room for it."""
    simple = (str, int, float, bool, list)
    return {k: v for k, v in metadata.items() if k not in _RESERVED and isinstance(v, simple)}


def class_of(record: Record) -> type[BaseNode]:
    """That of a record's node."""
    if "_node_content" not in record.extra:
        return TextNode if record.image is None else ImageNode
    name = record.extra.get(NODE_KEY, {}).get("class", "")
    return class_named(name, record.extra.get("_node_type", ""))


def _new_node(record: Record) -> BaseNode:
    """The node of a record that was read by mmrag."""
    facts: dict[str, Json] = {}
    if record.source:
        facts["file_path"] = record.extra.get("path", record.source)
        facts["file_name"] = Path(record.source).name
    if record.locator.page is not None:
        facts["page_label"] = str(record.locator.page)
    if where := locator_to_dict(record.locator):
        facts[LOCATOR_KEY] = where
    if record.caption is not None:
        facts[CAPTION_KEY] = caption_to_dict(record.caption)
        facts[CAPTION_TEXT_KEY] = full_text(record.caption)
    common: dict[str, Any] = {
        "id_": record.id,
        "text": record.text,
        "metadata": {**facts, **record.metadata},
        "excluded_embed_metadata_keys": list(facts),
        "excluded_llm_metadata_keys": [
            k for k in ("file_path", LOCATOR_KEY, CAPTION_KEY) if k in facts
        ],
    }
    if record.image is None:
        return TextNode(**common)
    image = record.image
    return ImageNode(**common, image_path=image.uri, image_mimetype=image.mime)
