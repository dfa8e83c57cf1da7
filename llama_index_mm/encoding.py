"""Nodes on their way into an index: converted, decoded and encoded, before any is written."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial

from llama_index.core.schema import BaseNode, ImageDocument, ImageNode, MetadataMode

from llama_index_mm.convert import embed_text, node_to_part
from llama_index_mm.convert_images import is_remote
from mmrag.attachments import Kept, uris_of
from mmrag.encode import Prepared
from mmrag.errors import InputError
from mmrag.index import MultimodalIndex

__all__ = ["encoded"]

log = logging.getLogger("mmrag")


def encoded(index: MultimodalIndex, nodes: Sequence[BaseNode], kept: Kept) -> Iterator[Prepared]:
    """Records with all their vectors, in the order of the nodes.

    The text vector is that of ``embed_text``: with the metadata that a node shows to embeddings. A
    picture with nothing but its file's name has none: a name like ``IMG_0042.jpg`` says nothing.
    ``kept`` keeps the nodes' bytes.

    Raises:
        SourceError: a picture cannot be opened; the message names the node.
        InputError: a node cannot be stored, is an image node without a picture and a text, has
            nothing but a picture behind a URL, or holds bytes while the index has no folder to keep
            them in.
    """
    return index.encoders.encoded(nodes, partial(_prepared, index, kept))


def _prepared(index: MultimodalIndex, kept: Kept, node: BaseNode) -> Prepared:
    encoder = index.encoders.image
    part = node_to_part(node, index.folder, encoder.image_size, kept.keep)
    record, image = part.record, part.image
    if index.folder is None and uris_of(record):
        raise InputError(
            f"node {node.node_id!r} holds bytes, and the index has no folder to keep them in: "
            "open it with a path, or give the node a path instead"
        )
    text = "" if image is not None and _is_only_named(node) else embed_text(node).strip()
    if image is None and is_remote(node):
        if not text:
            raise InputError(
                f"node {node.node_id!r} is a picture behind a URL, which is not fetched: "
                "download it, and give the node its path"
            )
        log.warning("node %r: the picture behind a URL is not fetched", node.node_id)
    elif image is None and not text and isinstance(node, ImageNode | ImageDocument):
        raise InputError(
            f"node {node.node_id!r} has neither a picture nor a text. LlamaIndex's cache of "
            "transformations drops a picture's bytes: give the node a path, or the pipeline "
            "disable_cache=True"
        )
    return Prepared(record, None if image is None else encoder.preprocess(image), text=text)


def _is_only_named(node: BaseNode) -> bool:
    shown = node.metadata.keys() - set(node.excluded_embed_metadata_keys)
    return shown == {"file_name"} and not node.get_content(MetadataMode.NONE).strip()
