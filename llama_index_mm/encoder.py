"""LlamaIndexEncoder: any embedding model of LlamaIndex's as a text encoder of mmrag's."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding

from mmrag.encoders.foreign import ForeignEncoder
from mmrag.errors import InputError

__all__ = ["LlamaIndexEncoder"]

_UNNAMED = "unknown"  # what LlamaIndex calls a model that has no name


class LlamaIndexEncoder(ForeignEncoder):
    """Implements :class:`mmrag.protocols.TextEncoder` with a LlamaIndex embedding model.

    >>> encoder = LlamaIndexEncoder(HuggingFaceEmbedding("BAAI/bge-m3"))       # doctest: +SKIP
    >>> MultimodalIndex.open("kb", text_encoder=encoder)                       # doctest: +SKIP

    Queries go through ``get_query_embedding``, passages through ``get_text_embedding_batch`` and
    so in batches of the model's ``embed_batch_size``; callbacks, events and rate limits work as
    always. Vectors are brought to length 1. The first use embeds one short text to learn their
    length. How the model treats an empty text, or one over its limit, is up to the model.

    An ``embeddings_cache`` of the model's goes by the text alone: for a model that tells queries
    from passages take :class:`mmrag.encoders.cache.CachedEncoder` instead.

    ``space`` goes by the model's ``class_name()``, its ``model_name`` (on Azure, the deployment)
    and the length of its vectors. ``name`` is for models that do not say their name, or not well
    enough: an index made under another name does not open.

    Raises:
        InputError: ``embedding`` is no LlamaIndex embedding model.
    """

    framework = "llama-index"

    def __init__(self, embedding: BaseEmbedding, name: str | None = None) -> None:
        if not isinstance(embedding, BaseEmbedding):
            raise InputError(
                f"{type(embedding).__name__} is no LlamaIndex BaseEmbedding; an encoder of mmrag's "
                "is used as it is"
            )
        super().__init__()
        self.embedding = embedding
        self.name = name

    def __reduce__(self) -> tuple[type[LlamaIndexEncoder], tuple[BaseEmbedding, str | None]]:
        return LlamaIndexEncoder, (self.embedding, self.name)

    def _called(self) -> tuple[str, str]:
        # Azure's model_name is a default, whatever model is behind the deployment.
        deployed = getattr(self.embedding, "azure_deployment", None)
        named = self.name or deployed or self.embedding.model_name
        return self.embedding.class_name(), "" if named == _UNNAMED else str(named or "")

    def _query(self, text: str) -> Any:
        return self.embedding.get_query_embedding(text)

    def _passages(self, texts: list[str]) -> Any:
        return self.embedding.get_text_embedding_batch(texts)
