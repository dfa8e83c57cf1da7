"""Reranking: query and record judged together, for the few records that a search has found.

Nothing reranks unless it is asked to: a reranker can lose to the search that it follows, above all
on text, so look at what it does on queries of your own first.

* :class:`EncoderReranker` needs no model of its own, and sees little that the search has not.
* :class:`CrossEncoderReranker` runs a cross-encoder of sentence-transformers over texts, captions
  and, where the model takes them, pictures.
* :class:`ItmReranker` runs BLIP's image-text matching over pictures; texts keep their evidence.

Each is an :class:`mmrag.protocols.Reranker`: the ``CrossModalReranker`` of ``llama_index_mm`` and
of ``langchain_mm`` takes it as it is, and :func:`rerank_hits` orders the hits of an index by it.

>>> from mmrag.rerank import CrossEncoderReranker, rerank_hits
>>> reranker = CrossEncoderReranker("BAAI/bge-reranker-v2-m3")        # doctest: +SKIP
>>> hits = index.search("how do I reset the router?", limit=50)       # doctest: +SKIP
>>> rerank_hits(hits, reranker, top_n=5)                              # doctest: +SKIP
"""

from __future__ import annotations

from mmrag.rerankers.blend import RERANK, arerank_hits, blend, rerank_hits
from mmrag.rerankers.cross_encoder import CrossEncoderReranker
from mmrag.rerankers.encoder import EncoderReranker
from mmrag.rerankers.itm import ItmReranker
from mmrag.rerankers.scale import evidence_score

__all__ = [
    "RERANK",
    "CrossEncoderReranker",
    "EncoderReranker",
    "ItmReranker",
    "arerank_hits",
    "blend",
    "evidence_score",
    "rerank_hits",
]
