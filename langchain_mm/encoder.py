"""LangChainEncoder: any embedding model of LangChain's as a text encoder of mmrag's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings

from langchain_mm.embeddings import MultimodalEmbeddings
from mmrag.encoders.foreign import ForeignEncoder
from mmrag.errors import InputError

if TYPE_CHECKING:
    from mmrag.protocols import ImageEncoder, TextEncoder

__all__ = ["LangChainEncoder", "encoders_of"]

# Where LangChain's embedding models keep the name of their model.
_NAMES = ("model", "model_name", "model_id", "repo_id", "deployment", "deployment_name")


class LangChainEncoder(ForeignEncoder):
    """Implements :class:`mmrag.protocols.TextEncoder` with a LangChain embedding model.

    >>> LangChainEncoder(OpenAIEmbeddings(model="text-embedding-3-small"))  # doctest: +SKIP

    Queries go through ``embed_query``, all passages of a call through one ``embed_documents``.
    Vectors are brought to length 1. The first use embeds one short text to learn their length.
    How the model treats a text over its limit is up to the model: split long documents first.

    ``space`` goes by the model's class, its name and the length of its vectors. ``name`` is for
    models that do not say their name, or not well enough: an index made under another name does
    not open.

    Raises:
        InputError: ``embeddings`` is no LangChain embedding model.
    """

    framework = "langchain"

    def __init__(self, embeddings: Embeddings, name: str | None = None) -> None:
        if not isinstance(embeddings, Embeddings):
            raise InputError(
                f"{type(embeddings).__name__} is no LangChain Embeddings; an encoder of mmrag's "
                "can be used as MultimodalEmbeddings(encoder=...)"
            )
        super().__init__()
        self.embeddings = embeddings
        self.name = name

    def __reduce__(self) -> tuple[type[LangChainEncoder], tuple[Embeddings, str | None]]:
        return LangChainEncoder, (self.embeddings, self.name)

    def _called(self) -> tuple[str, str]:
        # CacheBackedEmbeddings: a cache is no other space. Without the module: classes move
        # between LangChain's packages.
        model = getattr(self.embeddings, "underlying_embeddings", self.embeddings)
        return type(model).__qualname__, self.name or _name_of(model)

    def _query(self, text: str) -> Any:
        return self.embeddings.embed_query(text)

    def _passages(self, texts: list[str]) -> Any:
        return self.embeddings.embed_documents(texts)


def encoders_of(embedding: Embeddings) -> tuple[TextEncoder, ImageEncoder | None]:
    """The encoders for texts and for pictures that an embedding model comes to.

    :class:`langchain_mm.MultimodalEmbeddings` are both, in one space. Any other model is for texts
    alone; the None is for the encoder that an index takes by default.

    Raises:
        InputError: it is no LangChain embedding model.
    """
    if isinstance(embedding, MultimodalEmbeddings):
        return embedding.encoder, embedding.encoder
    return LangChainEncoder(embedding), None


def _name_of(model: Embeddings) -> str:
    """The name of the model; one that was set goes before one that is a default, as that of
    Azure's, whose model is the one behind the deployment."""
    known = {name: getattr(model, name, None) for name in _NAMES}
    named = [name for name, value in known.items() if isinstance(value, str) and value]
    chosen: set[str] = getattr(model, "model_fields_set", set())
    first = next((name for name in named if name in chosen), next(iter(named), None))
    return "" if first is None else str(known[first])
