"""CrossModalReranker: texts and pictures judged together with the query, whatever found them."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from llama_index.core.bridge.pydantic import ConfigDict, Field, model_validator
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    MetadataMode,
    Node,
    NodeWithScore,
    QueryBundle,
)
from llama_index_instrumentation import get_dispatcher
from typing_extensions import Self

from llama_index_mm.convert import image_of
from llama_index_mm.pickling import PickledWhole
from llama_index_mm.reader import DIGEST_KEY
from mmrag.errors import InputError, MmragError
from mmrag.inputs import data_url, refuse_url
from mmrag.metadata import caption_of
from mmrag.rerank import EncoderReranker
from mmrag.sniff import HEAD, sniff
from mmrag.types import ImageRef, Record

__all__ = ["CrossModalReranker"]

log = logging.getLogger("mmrag")
dispatcher = get_dispatcher(__name__)


class CrossModalReranker(PickledWhole, BaseNodePostprocessor):
    """Orders nodes by how well their text, caption or picture fits the query.

    >>> RetrieverQueryEngine.from_args(                                 # doctest: +SKIP
    ...     retriever, node_postprocessors=[CrossModalReranker(top_n=3)]
    ... )

    The query is a text, a picture (``QueryBundle.image_path``), or both together. ``reranker`` is
    an :class:`mmrag.protocols.Reranker`, by default an :class:`mmrag.rerank.EncoderReranker`, and
    gets all nodes in one call. What comes back are new ``NodeWithScore`` with scores from 0 to 1,
    best first, and among equals in the order that they came in; the nodes in them are those that
    were given, unchanged. A picture that cannot be opened counts as none, with a warning; so does
    one that was replaced since a MultimodalReader read it.

    Events name the nodes without the bytes that they hold.
    """

    model_config = ConfigDict(extra="forbid")

    needed: ClassVar[tuple[str, ...]] = ("reranker",)

    top_n: int = Field(default=5, gt=0, description="How many nodes are kept.")
    reranker: Any = Field(
        default=None, exclude=True, repr=False, description="An mmrag.protocols.Reranker."
    )
    model_name: str = Field(default="", description="The reranker's name; checked if given.")

    @model_validator(mode="after")
    def _with_reranker(self) -> Self:
        if self.reranker is None:
            self.reranker = EncoderReranker()
        if not (hasattr(self.reranker, "rerank") and hasattr(self.reranker, "name")):
            raise InputError(f"{self.reranker!r} is not an mmrag.protocols.Reranker")
        if self.model_name not in ("", self.reranker.name):
            raise InputError(
                f"the reranker is {self.reranker.name}, not {self.model_name}: pass reranker="
            )
        self.model_name = self.reranker.name
        return self

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised form."""
        return "CrossModalReranker"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError("a reranker needs the query: pass query_bundle= or query_str=")
        if not nodes:
            return []
        shown = _without_bytes(nodes)
        dispatcher.event(
            ReRankStartEvent(
                query=query_bundle, nodes=shown, top_n=self.top_n, model_name=self.model_name
            )
        )
        payload: dict[str, Any] = {
            EventPayload.NODES: shown,
            EventPayload.MODEL_NAME: self.model_name,
            EventPayload.QUERY_STR: query_bundle.query_str,
            EventPayload.TOP_K: self.top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            best = self._ranked(nodes, query_bundle)[: self.top_n]
            shown = _without_bytes(best)
            event.on_end(payload={EventPayload.NODES: shown})
        dispatcher.event(ReRankEndEvent(nodes=shown))
        return best

    def _ranked(self, nodes: list[NodeWithScore], query: QueryBundle) -> list[NodeWithScore]:
        text = query.query_str.strip() or None
        records = [_record(found.node) for found in nodes]
        scores = self.reranker.rerank(text, query.image_path or None, records)
        if len(scores) != len(nodes):
            raise InputError(
                f"{self.model_name} gave {len(scores)} scores for {len(nodes)} nodes: one each"
            )
        # The retriever's own scores are not looked at: they may be None, or of different scales.
        order = sorted(range(len(nodes)), key=lambda number: -scores[number])
        return [NodeWithScore(node=nodes[i].node, score=float(scores[i])) for i in order]


def _record(node: BaseNode) -> Record:
    """What a reranker looks at; its picture is not opened yet."""
    try:
        caption = caption_of(node.metadata)
    except InputError as error:
        raise InputError(f"node {node.node_id!r}: {error}") from error
    try:
        image = _picture(node)
    except MmragError as error:
        log.warning("node %r is judged without its picture: %s", node.node_id, error)
        image = None
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    return Record(id=node.node_id, text=text, image=image, caption=caption)


def _picture(node: BaseNode) -> ImageRef | None:
    image = image_of(node)
    if image is None:
        return None
    if isinstance(image, bytes):
        mime = sniff(image[:HEAD]) or ""
        return ImageRef(data_url(image, mime), sha256="", mime=mime, width=0, height=0)
    path, digest = str(image), node.metadata.get(DIGEST_KEY)
    refuse_url(path)
    sha256 = digest if isinstance(digest, str) else ""  # what MultimodalReader has read
    return ImageRef(path, sha256=sha256, mime="", width=0, height=0)


def _without_bytes(nodes: list[NodeWithScore]) -> list[NodeWithScore]:
    return [NodeWithScore(node=_bare(found.node), score=found.score) for found in nodes]


def _bare(node: BaseNode) -> BaseNode:
    """The node, or a copy of it without the bytes that it holds."""
    if isinstance(node, ImageNode) and node.image is not None:
        return node.model_copy(update={"image": None})
    held = {}
    for name in ("image_resource", "audio_resource", "video_resource"):
        resource = getattr(node, name) if isinstance(node, Node) else None
        if resource is not None and resource.data is not None:
            held[name] = resource.model_copy(update={"data": None})
    return node.model_copy(update=held) if held else node
