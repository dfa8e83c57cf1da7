"""Nodes on their way into an index: converted, decoded and encoded, before any is written."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from llama_index.core.schema import BaseNode

from llama_index_mm.attachments import uris_of
from llama_index_mm.convert import embed_text, node_to_part
from llama_index_mm.convert_images import is_remote
from mmrag.encode import Prepared
from mmrag.errors import InputError
from mmrag.index import MultimodalIndex
from mmrag.pipeline import ahead, batched, threads

__all__ = ["encoded"]

BATCH = 64  # nodes that are encoded at once
log = logging.getLogger("mmrag")


def encoded(
    index: MultimodalIndex, nodes: Sequence[BaseNode], kept: set[str]
) -> Iterator[Prepared]:
    """Records with all their vectors, in the order of the nodes; of a batch only these remain.

    The text vector is that of ``embed_text``: with the metadata that a node shows to embeddings.
    ``kept`` receives the uris of all files that the nodes' bytes were moved to.

    Raises:
        SourceError: a picture cannot be opened; the message names the node.
        InputError: a node cannot be stored, has nothing but a picture behind a URL, or holds bytes
            while the index has no folder to keep them in.
    """
    with ThreadPoolExecutor(threads(), "mmrag-decode") as pool:
        work = partial(_decoded, index, kept)
        for batch in ahead(pool, work, batched(nodes, BATCH)):
            found = [text for text, _ in batch if text]
            rows = iter(index.encoders.text.encode_texts(found, "passage") if found else ())
            items = [
                Prepared(item.record, item.pixels, {"text": next(rows)} if text else None)
                for text, item in batch
            ]
            for point in index.encoders.points(items):
                yield Prepared(point.record, None, point.vectors)


def _decoded(index: MultimodalIndex, kept: set[str], node: BaseNode) -> tuple[str, Prepared]:
    encoder = index.encoders.image
    part = node_to_part(node, index.folder, encoder.image_size)
    record, image = part.record, part.image
    uris = uris_of(record)
    kept.update(uris)
    if index.folder is None and uris:
        raise InputError(
            f"node {node.node_id!r} holds bytes, and the index has no folder to keep them in: "
            "open it with a path, or give the node a path instead"
        )
    text = embed_text(node).strip()
    if image is None and is_remote(node):
        if not text:
            raise InputError(
                f"node {node.node_id!r} is a picture behind a URL, which is not fetched: "
                "download it, and give the node its path"
            )
        log.warning("node %r: the picture behind a URL is not fetched", node.node_id)
    return text, Prepared(record, None if image is None else encoder.preprocess(image))
