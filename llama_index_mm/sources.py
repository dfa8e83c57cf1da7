"""NumberSources: what the model needs to see of retrieved nodes, in order to cite them."""

from __future__ import annotations

from typing import Any

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, ImageNode, Node, NodeWithScore, QueryBundle

from llama_index_mm.convert import image_of
from mmrag.captions import full_text
from mmrag.errors import MmragError
from mmrag.inputs import DEFAULT_LIMITS, read_bytes
from mmrag.metadata import CAPTION_KEY, CAPTION_TEXT_KEY, caption_of
from mmrag.sniff import sniff

__all__ = ["NumberSources"]

SOURCE, TEXT = "source_number", "image_text"


class NumberSources(BaseNodePostprocessor):
    """Numbers the nodes from 1 and spells out what a stock synthesizer would leave out.

    The last of ``node_postprocessors``, in an engine with ``multimodal=True``:

    >>> RetrieverQueryEngine.from_args(                                 # doctest: +SKIP
    ...     retriever, llm=llm, multimodal=True, node_postprocessors=[NumberSources()]
    ... )

    Of an image node, LlamaIndex sends the metadata and the picture alone. So copies of the nodes
    get the metadata ``source_number``, ``image_caption``, and ``image_text`` where it would be left
    out, before all other metadata; the caption's own dictionary is not sent a second time. The type
    of a picture becomes that of its bytes: LlamaIndex goes by the name of the file.

    ``response.source_nodes`` are the copies: an answer's source 2 is ``source_nodes[1]``.
    """

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised form."""
        return "NumberSources"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return [
            NodeWithScore(node=_shown(n.node, number), score=n.score)
            for number, n in enumerate(nodes, start=1)
        ]


def _shown(node: BaseNode, number: int) -> BaseNode:
    first: dict[str, Any] = {SOURCE: number}
    caption = caption_of(node.metadata)
    if caption is not None and (said := full_text(caption)):
        first[CAPTION_TEXT_KEY] = said
    # An ImageNode's blocks are its metadata and its picture: its text is in neither.
    if isinstance(node, ImageNode) and node.text.strip():
        first[TEXT] = node.text
    hidden = [
        k for k in (SOURCE, CAPTION_TEXT_KEY, TEXT) if k not in node.excluded_embed_metadata_keys
    ]
    return node.model_copy(
        update={
            "metadata": {**first, **{k: v for k, v in node.metadata.items() if k not in first}},
            "relationships": dict(node.relationships),
            "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, CAPTION_KEY],
            "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, *hidden],
            **_typed(node),
        }
    )


def _typed(node: BaseNode) -> dict[str, Any]:
    """The field of the node that says its picture's type, with the true one."""
    try:
        image = image_of(node)
        data = read_bytes(image, DEFAULT_LIMITS) if isinstance(image, str | bytes) else b""
    except MmragError:
        return {}  # a picture that cannot be opened is for those to report who need its pixels
    mime = sniff(data[:64])
    if mime is None:
        return {}
    if isinstance(node, Node) and node.image_resource is not None:
        return {"image_resource": node.image_resource.model_copy(update={"mimetype": mime})}
    return {"image_mimetype": mime}
