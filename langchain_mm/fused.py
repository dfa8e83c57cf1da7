"""What of documents counts when rankings are fused, and the documents that stand for the result."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from langchain_core.documents import Document

from langchain_mm.convert import HIT_KEY, IMAGE_KEY
from langchain_mm.reranker import SCORE_KEY
from mmrag.fusion import Fused

__all__ = ["document_of", "said_by"]

# What retrievers and rerankers write into the metadata of what they found.
_WRITTEN = frozenset({HIT_KEY, SCORE_KEY, "score", "_id", "_collection_name"})


def said_by(document: Document) -> str:
    """All that a document says, by which it is told from others if it has no id."""
    metadata = {str(k): v for k, v in document.metadata.items() if k not in _WRITTEN}
    return json.dumps([document.page_content, metadata], sort_keys=True, default=repr)


def document_of(result: Fused, found: Mapping[str, list[Document]]) -> Document:
    """A copy of the document that stands for a key, with its fused score and the routes."""
    votes = [(vote, found[vote.route][vote.rank - 1]) for vote in result.routes]
    votes.sort(key=lambda vote: (-vote[0].contribution, vote[0].route))
    routes = [
        {"route": v.route, "rank": v.rank, "score": _score(d), "contribution": v.contribution}
        for v, d in votes
    ]
    best = min(votes, key=lambda vote: (not vote[1].metadata.get(IMAGE_KEY), vote[0].rank))[1]
    hit = {"score": result.score, "routes": routes}
    return best.model_copy(update={"metadata": {**copy.deepcopy(best.metadata), HIT_KEY: hit}})


def _score(document: Document) -> Any:
    hit = document.metadata.get(HIT_KEY)
    noted = hit.get("score") if isinstance(hit, Mapping) else None
    return document.metadata.get(SCORE_KEY, noted)
