"""LangChainEncoder: any embedding model of LangChain's as a text encoder of mmrag's."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.embeddings import Embeddings

from langchain_mm.embeddings import MultimodalEmbeddings
from mmrag.errors import InputError, VectorError
from mmrag.types import Role, Space

if TYPE_CHECKING:
    from mmrag.protocols import ImageEncoder, Matrix, TextEncoder

__all__ = ["LangChainEncoder", "encoders_of"]

# Where LangChain's embedding models keep the name of their model.
_NAMES = ("model", "model_name", "model_id", "repo_id", "deployment", "deployment_name")
_PROBE = "dimensions"


class LangChainEncoder:
    """Implements :class:`mmrag.protocols.TextEncoder` with a LangChain embedding model.

    >>> LangChainEncoder(OpenAIEmbeddings(model="text-embedding-3-small"))  # doctest: +SKIP

    Vectors are brought to length 1. The first use embeds one short text to learn their length.
    How the model treats a text over its limit is up to the model: split long documents first.

    ``space`` goes by the model's class, its name and the length of its vectors, since what an API
    answers varies a little from call to call. ``name`` is for models that do not say their name,
    or not well enough: an index made under another name does not open.

    Raises:
        InputError: ``embeddings`` is no LangChain embedding model.
    """

    def __init__(self, embeddings: Embeddings, name: str | None = None) -> None:
        if not isinstance(embeddings, Embeddings):
            raise InputError(
                f"{type(embeddings).__name__} is no LangChain Embeddings; an encoder of mmrag's "
                "can be used as MultimodalEmbeddings(encoder=...)"
            )
        self.embeddings = embeddings
        self.name = name
        self._lock = threading.Lock()
        self._space: Space | None = None

    def __reduce__(self) -> tuple[type[LangChainEncoder], tuple[Embeddings, str | None]]:
        return LangChainEncoder, (self.embeddings, self.name)

    @property
    def space(self) -> Space:
        """The fingerprint: class, name and length of the vectors.

        Raises:
            VectorError: the model's answer to the first text is no vector.
        """
        with self._lock:
            if self._space is None:
                self._space = self._found()
            return self._space

    def encode_texts(self, texts: Sequence[str], role: Role) -> Matrix:
        """float32 ``[len(texts), dim]``, each row of length 1: ``embed_query`` for each query, one
        ``embed_documents`` for all passages.

        Raises:
            InputError: a text is not a string.
            VectorError: the model's vectors are too few, too many, of different lengths, zero, or
                not finite.
        """
        for text in texts:
            if not isinstance(text, str):
                raise InputError(f"a text to encode is a string, not {type(text).__name__}")
        dim = self.space.dim
        if not len(texts):
            return np.empty((0, dim), np.float32)
        # Half a surrogate pair is a string to Python, and an error to most models.
        clean = [text.encode(errors="replace").decode() for text in texts]
        if role == "query":
            rows = [self.embeddings.embed_query(text) for text in clean]
        else:
            rows = self.embeddings.embed_documents(clean)
        return self._units(rows, clean, dim)

    def _found(self) -> Space:
        dim = self._units([self.embeddings.embed_query(_PROBE)], [_PROBE], None).shape[1]
        # CacheBackedEmbeddings: a cache is no other space.
        model = getattr(self.embeddings, "underlying_embeddings", self.embeddings)
        # Without the module: classes move between LangChain's packages.
        kind, name = type(model).__qualname__, self.name or _name_of(model)
        digest = hashlib.sha256("\n".join(["langchain 1", kind, name, str(dim)]).encode())
        family = "/".join(part for part in ("langchain", type(model).__name__, name) if part)
        return Space(family, digest.hexdigest(), dim)

    def _units(self, rows: Any, texts: Sequence[str], dim: int | None) -> Matrix:
        """The rows at length 1; ``dim`` is None as long as it is not known."""
        kind = type(self.embeddings).__name__
        try:
            matrix = np.array(list(rows), dtype=np.float64)
        except (TypeError, ValueError):  # no list, no numbers, or rows of different lengths
            raise VectorError(f"{kind} did not return one list of numbers a text") from None
        if len(matrix) != len(texts):
            raise VectorError(f"{kind} returned {len(matrix)} vectors for {len(texts)} texts")
        if matrix.ndim != 2 or not matrix.size:
            raise VectorError(f"{kind} did not return one list of numbers a text")
        if dim not in (None, matrix.shape[1]):
            raise VectorError(
                f"{kind} returned vectors of {matrix.shape[1]} dimensions, and of {dim} before"
            )
        lengths = np.linalg.norm(matrix, axis=1)
        for text, length in zip(texts, lengths, strict=True):
            if not 0 < length < np.inf:
                raise VectorError(f"{kind} returned a zero or infinite vector for {text[:40]!r}")
        units: Matrix = (matrix / lengths[:, None]).astype(np.float32)
        return units


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
