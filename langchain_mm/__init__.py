"""mmrag for LangChain: everything of the index, as native parts.

>>> from langchain_mm import MultimodalRetriever, MultimodalVectorStore

Names are loaded at their first use, so that ``import langchain_mm`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_mm.captioner import ChatModelCaptioner
    from langchain_mm.chain import create_multimodal_rag_chain
    from langchain_mm.embeddings import MultimodalEmbeddings
    from langchain_mm.encoder import LangChainEncoder
    from langchain_mm.indexing import content_key
    from langchain_mm.loader import MultimodalLoader
    from langchain_mm.reranker import CrossModalReranker
    from langchain_mm.retriever import MultimodalRetriever
    from langchain_mm.splitter import ImageSafe
    from langchain_mm.tool import create_multimodal_tool
    from langchain_mm.transformer import CaptionTransformer
    from langchain_mm.vector_store import MultimodalVectorStore

__all__ = [
    "CaptionTransformer",
    "ChatModelCaptioner",
    "CrossModalReranker",
    "ImageSafe",
    "LangChainEncoder",
    "MultimodalEmbeddings",
    "MultimodalLoader",
    "MultimodalRetriever",
    "MultimodalVectorStore",
    "content_key",
    "create_multimodal_rag_chain",
    "create_multimodal_tool",
]

_HOMES = {
    "CaptionTransformer": "transformer",
    "ChatModelCaptioner": "captioner",
    "CrossModalReranker": "reranker",
    "ImageSafe": "splitter",
    "LangChainEncoder": "encoder",
    "MultimodalEmbeddings": "embeddings",
    "MultimodalLoader": "loader",
    "MultimodalRetriever": "retriever",
    "MultimodalVectorStore": "vector_store",
    "content_key": "indexing",
    "create_multimodal_rag_chain": "chain",
    "create_multimodal_tool": "tool",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'langchain_mm' has no attribute {name!r}")
    try:
        module = import_module(f"langchain_mm.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "langchain_core":
            raise
        from mmrag.errors import MissingExtra

        raise MissingExtra(name, "langchain") from error
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
