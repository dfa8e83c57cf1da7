"""mmrag for LlamaIndex: everything of the index, as native parts.

>>> from llama_index_mm import MultimodalRetriever, MultimodalVectorStore

Names are loaded at their first use, so that ``import llama_index_mm`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llama_index_mm.captioner import LLMCaptioner
    from llama_index_mm.embedding import MultimodalEmbedding
    from llama_index_mm.encoder import LlamaIndexEncoder
    from llama_index_mm.node_parser import CaptionNodeParser, ImageSafe
    from llama_index_mm.reader import MultimodalReader
    from llama_index_mm.reranker import CrossModalReranker
    from llama_index_mm.retriever import MultimodalRetriever
    from llama_index_mm.sources import NumberSources
    from llama_index_mm.vector_store import MultimodalVectorStore

__all__ = [
    "CaptionNodeParser",
    "CrossModalReranker",
    "ImageSafe",
    "LLMCaptioner",
    "LlamaIndexEncoder",
    "MultimodalEmbedding",
    "MultimodalReader",
    "MultimodalRetriever",
    "MultimodalVectorStore",
    "NumberSources",
]

_HOMES = {
    "CaptionNodeParser": "node_parser",
    "CrossModalReranker": "reranker",
    "ImageSafe": "node_parser",
    "LLMCaptioner": "captioner",
    "LlamaIndexEncoder": "encoder",
    "MultimodalEmbedding": "embedding",
    "MultimodalReader": "reader",
    "MultimodalRetriever": "retriever",
    "MultimodalVectorStore": "vector_store",
    "NumberSources": "sources",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'llama_index_mm' has no attribute {name!r}")
    try:
        module = import_module(f"llama_index_mm.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "llama_index":
            raise
        from mmrag.errors import MissingExtra

        raise MissingExtra(name, "llama-index") from error
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
