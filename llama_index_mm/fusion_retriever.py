"""FusionRetriever: the rankings of several LlamaIndex retrievers, fused into one."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.schema import BaseNode, ImageNode, IndexNode, Node, NodeWithScore, QueryBundle

from mmrag.errors import InputError, UnknownName
from mmrag.fusion import Fused, rrf
from mmrag.metadata import TRACE_KEY
from mmrag.protocols import Ranking

__all__ = ["FusionRetriever"]


class FusionRetriever(BaseRetriever):
    """Reciprocal rank fusion over any retrievers, each with its own embedding model.

    >>> FusionRetriever({"text": chunks, "image": photos}, weights={"image": 2}) # doctest: +SKIP

    A node's fused score is the sum over retrievers of ``weight / (k + rank)``: ranks count from 1
    in the order that a retriever returned, so scores of different scales, or None, do no harm. A
    node that is twice in one list counts once, at its best rank. The nodes that come back are
    copies: what each retriever contributed is in their metadata under ``mmrag_routes``.

    Each retriever gets its own copy of the query without ``embedding``, so that none searches with
    a vector of another's model. Async awaits all retrievers at once, sync asks one after another.

    An error of a retriever is raised as it is: a ranking that lacks a voice without saying so would
    look like any other. What a retriever makes of a query with only a picture is up to it.

    Args:
        retrievers: by name; the names are those of the weights and of the trace.
        weights: 1 where none is given.
        k: the larger, the less the first ranks stand out.
        key: nodes of the same key are one thing, such as a caption and its picture; the node that
            comes back is the one with a picture, else the best ranked. By default the node's id.
        similarity_top_k: how many nodes are retrieved.
        callback_manager: receives ``CBEventType.RETRIEVE``.
        object_map: for an ``IndexNode`` of this ``index_id``, what stands behind it.
        objects: index nodes with their objects, instead of ``object_map``.
        verbose: print what is retrieved from such objects.

    Raises:
        InputError: no retriever, or ``k``, a weight or ``similarity_top_k`` is out of range.
        UnknownName: a weight is for no retriever.
    """

    def __init__(
        self,
        retrievers: Mapping[str, BaseRetriever],
        *,
        weights: Mapping[str, float] | None = None,
        k: float = 60,
        key: Callable[[BaseNode], str] | None = None,
        similarity_top_k: int = 10,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        objects: list[IndexNode] | None = None,
        verbose: bool = False,
    ) -> None:
        if not retrievers or not isinstance(retrievers, Mapping):
            raise InputError("nothing to fuse: give at least one retriever, each under a name")
        for name, retriever in retrievers.items():
            if not isinstance(retriever, BaseRetriever):
                raise InputError(f"{name!r} is no retriever, but a {type(retriever).__name__}")
        if similarity_top_k < 1:
            raise InputError(f"similarity_top_k is 1 or more, not {similarity_top_k}")
        for name in weights or {}:
            if name not in retrievers:
                raise UnknownName("retriever", name, retrievers)
        rrf({}, k=k, weights=weights)  # a bad weight is an error here, not at the first query
        self.similarity_top_k = similarity_top_k
        self._retrievers = dict(retrievers)
        self._weights = dict(weights or {})
        self._k = k
        self._key = key or _node_id
        super().__init__(callback_manager, object_map, objects, verbose)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._fused([r.retrieve(_fresh(query_bundle)) for r in self._retrievers.values()])

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        asked = [_aretrieve_from(r, _fresh(query_bundle)) for r in self._retrievers.values()]
        # All are waited for, so that a failure leaves no other search running behind it.
        answers = await asyncio.gather(*asked, return_exceptions=True)
        lists = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            lists.append(answer)
        return self._fused(lists)

    def _fused(self, lists: list[list[NodeWithScore]]) -> list[NodeWithScore]:
        found = dict(zip(self._retrievers, lists, strict=True))
        rankings = {
            # RRF looks at ranks alone: no score, None included, has to be made comparable.
            name: Ranking(tuple(self._key(n.node) for n in nodes), (0.0,) * len(nodes))
            for name, nodes in found.items()
        }
        fused = rrf(rankings, k=self._k, weights=self._weights)
        return [_node(result, found) for result in fused[: self.similarity_top_k]]


def _node(result: Fused, found: Mapping[str, list[NodeWithScore]]) -> NodeWithScore:
    """A copy of the node that stands for a key, with its fused score and the trace."""
    votes = [(vote, found[vote.route][vote.rank - 1]) for vote in result.routes]
    trace = [
        {"route": v.route, "rank": v.rank, "score": n.score, "contribution": v.contribution}
        for v, n in votes
    ]
    node = min(votes, key=lambda vote: (not _has_picture(vote[1].node), vote[0].rank))[1].node
    copied = node.model_copy(
        update={
            "metadata": {**copy.deepcopy(node.metadata), TRACE_KEY: trace},
            "relationships": dict(node.relationships),
            "excluded_embed_metadata_keys": _with_trace(node.excluded_embed_metadata_keys),
            "excluded_llm_metadata_keys": _with_trace(node.excluded_llm_metadata_keys),
        }
    )
    return NodeWithScore(node=copied, score=result.score)


def _with_trace(keys: list[str]) -> list[str]:
    return [*keys, *([] if TRACE_KEY in keys else [TRACE_KEY])]


def _node_id(node: BaseNode) -> str:
    return node.node_id


def _has_picture(node: BaseNode) -> bool:
    return isinstance(node, ImageNode) or (
        isinstance(node, Node) and node.image_resource is not None
    )


def _fresh(query: QueryBundle) -> QueryBundle:
    """A copy to give away. Retrievers of LlamaIndex write their vector into a bundle, and the
    next one, of another model, would search with it."""
    strings = query.custom_embedding_strs
    return replace(query, embedding=None, custom_embedding_strs=strings and list(strings))


async def _aretrieve_from(retriever: BaseRetriever, query: QueryBundle) -> list[NodeWithScore]:
    """Its own async, or its sync in a thread: what the base class has for async blocks the loop."""
    if type(retriever)._aretrieve is BaseRetriever._aretrieve:
        return await asyncio.to_thread(retriever.retrieve, query)
    return await retriever.aretrieve(query)
