"""For tests of and with mmrag: fakes without a model or a disk, and contracts to subclass.

The fakes are deterministic: :class:`FakeEncoder`, :class:`FakeCaptioner` and :class:`FakeReranker`
need no weights, :class:`MemoryStore` no engine.
:class:`StoreContract`, :class:`EncoderContract` and :class:`ImageEncoderContract` are classes of
tests that any store or encoder has to pass; they need pytest, the fakes do not.

Three more are for parts of LangChain's that its own standard tests have no suite for, and need
langchain-core as well: :class:`ImageEmbeddingsTests` for embedding models with pictures,
:class:`DocumentTransformerTests` and :class:`DocumentCompressorTests`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmrag.testing.fakes import FakeCaptioner, FakeEncoder, FakeReranker
from mmrag.testing.memory_store import MemoryStore

if TYPE_CHECKING:
    from mmrag.testing.encoder_contract import EncoderContract, ImageEncoderContract
    from mmrag.testing.langchain_compressors import DocumentCompressorTests
    from mmrag.testing.langchain_suites import ImageEmbeddingsTests
    from mmrag.testing.langchain_transformers import DocumentTransformerTests
    from mmrag.testing.store_contract import StoreContract

__all__ = [
    "DocumentCompressorTests",
    "DocumentTransformerTests",
    "EncoderContract",
    "FakeCaptioner",
    "FakeEncoder",
    "FakeReranker",
    "ImageEmbeddingsTests",
    "ImageEncoderContract",
    "MemoryStore",
    "StoreContract",
]

# Late: they need pytest, and some of them LangChain.
_HOMES = {
    "DocumentCompressorTests": "langchain_compressors",
    "DocumentTransformerTests": "langchain_transformers",
    "EncoderContract": "encoder_contract",
    "ImageEmbeddingsTests": "langchain_suites",
    "ImageEncoderContract": "encoder_contract",
    "StoreContract": "store_contract",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "langchain_core":
            raise
        from mmrag.errors import MissingExtra

        raise MissingExtra(name, "langchain") from error
    return getattr(module, name)
