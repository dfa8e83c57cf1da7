"""MultimodalEmbedding: texts and pictures in one space, as a LlamaIndex embedding model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, ClassVar, TypeVar

from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.bridge.pydantic import ConfigDict, Field, model_validator
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
)
from llama_index.core.schema import BaseNode, ImageDocument, ImageNode
from llama_index.core.utils import get_tqdm_iterable
from llama_index_instrumentation import get_dispatcher
from typing_extensions import Self

from llama_index_mm.convert import embed_text, image_of
from llama_index_mm.embedding_cache import CachedEncoder
from llama_index_mm.embedding_threads import ThreadedEmbedding
from llama_index_mm.pickling import PickledWhole
from mmrag.encoders import load_image_encoder
from mmrag.encoders.bundled import BundledEncoder
from mmrag.errors import InputError, UnknownName
from mmrag.identity import reference_to
from mmrag.media import ImageInput
from mmrag.pipeline import batched
from mmrag.protocols import ImageEncoder

__all__ = ["BUNDLED", "MultimodalEmbedding"]

BUNDLED = "bundled"
"""The ``model_name`` of the encoder that mmrag brings along."""

Item = TypeVar("Item")
dispatcher = get_dispatcher(__name__)


class MultimodalEmbedding(PickledWhole, ThreadedEmbedding):
    """Embeds texts, pictures and nodes with an encoder of mmrag's, by default the bundled one.

    >>> MultimodalEmbedding().get_text_embedding("a cat on a sofa")     # doctest: +SKIP
    >>> MultimodalEmbedding().get_image_embedding("cat.jpg")            # doctest: +SKIP
    >>> MultimodalEmbedding(encoder="siglip2-base")                     # doctest: +SKIP

    As a transformation it embeds every node that holds a picture by that picture, captioned or
    not, and every other one by its text. A picture may be anything that
    :func:`mmrag.media.load` opens; URLs are not fetched. A text over the model's limit is split
    and pooled. Vectors have length 1.

    With an ``embeddings_cache`` (any ``BaseKVStore``) a vector is kept under the space of the
    encoder, the role (query or passage), the modality and the hash of the content: for a picture,
    of its bytes and not of its path. Events name texts by themselves, pictures by path or hash.

    Async methods run in a worker thread. ``num_workers`` batches are embedded at once, by default
    one, since an encoder uses all cores by itself; raise it for an encoder behind an API.
    """

    model_config = ConfigDict(extra="forbid")

    needed: ClassVar[tuple[str, ...]] = ("encoder",)

    model_name: str = Field(default=BUNDLED, description="The name of the encoder.")
    space: str = Field(
        default="", description="The fingerprint of the space; checked if it is given."
    )
    encoder: Any = Field(
        default=None,
        exclude=True,
        repr=False,
        description="An mmrag.protocols.ImageEncoder, or a name that mmrag.load_image_encoder "
        "takes; by default that of model_name.",
    )
    embed_batch_size: int = Field(
        default=32, gt=0, le=2048, description="Texts or pictures that are encoded at once."
    )
    embeddings_cache: Any = Field(
        default=None, exclude=True, description="A BaseKVStore that keeps embeddings."
    )

    @model_validator(mode="after")
    def _with_encoder(self) -> Self:
        if isinstance(self.encoder, str):
            self.model_name, self.encoder = self.encoder, load_image_encoder(self.encoder)
        elif self.encoder is None:
            try:
                self.encoder = load_image_encoder(self.model_name)
            except UnknownName as error:  # the name of an encoder of the user's own
                raise InputError(f"{error}; pass the encoder itself, as encoder=") from error
        elif not isinstance(self.encoder, ImageEncoder):
            raise InputError(f"{self.encoder!r} is not an mmrag.protocols.ImageEncoder")
        elif "model_name" not in self.model_fields_set:
            bundled = isinstance(self.encoder, BundledEncoder)
            self.model_name = BUNDLED if bundled else self.encoder.space.family
        space = self.encoder.space
        made = f"{space.family}/{space.dim}/{space.digest}"
        if self.space and self.space != made:
            raise InputError(f"the encoder's space is {made}, not {self.space}")
        self.space = made
        return self

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised form."""
        return "MultimodalEmbedding"

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Set the embedding of each node, and return the nodes.

        Raises:
            SourceError: a picture cannot be opened.
            InputError: an image node has neither a picture that can be opened nor text.
        """
        opened = [(node, image_of(node)) for node in nodes]
        pictures = [(node, image) for node, image in opened if image is not None]
        texts = [(node, _text_of(node)) for node, image in opened if image is None]
        progress = bool(kwargs.get("show_progress"))
        vectors = self.get_image_embedding_batch([image for _, image in pictures], progress)
        vectors += self.get_text_embedding_batch([text for _, text in texts], progress)
        for (node, _), vector in zip([*pictures, *texts], vectors, strict=True):
            node.embedding = vector
        return nodes

    def get_query_embedding(self, query: str) -> Embedding:
        """The vector of a query."""
        return self._observed([query], self._query_embeddings, str)[0]

    def get_text_embedding(self, text: str) -> Embedding:
        """The vector of a passage."""
        return self._observed([text], self._get_text_embeddings, str)[0]

    def get_text_embedding_batch(
        self, texts: Sequence[str], show_progress: bool = False, **kwargs: Any
    ) -> list[Embedding]:
        """The vectors of passages, ``embed_batch_size`` in a call of the encoder."""
        return self._batches(texts, self._get_text_embeddings, str, show_progress)

    def get_image_embedding(self, img_file_path: ImageInput) -> Embedding:
        """The vector of a picture. Raises as :func:`mmrag.media.load`."""
        return self._observed([img_file_path], self._get_image_embeddings, reference_to)[0]

    def get_image_embedding_batch(
        self, img_file_paths: Sequence[ImageInput], show_progress: bool = False
    ) -> list[Embedding]:
        """The vectors of pictures, ``embed_batch_size`` in a call of the encoder."""
        encode = self._get_image_embeddings
        return self._batches(img_file_paths, encode, reference_to, show_progress)

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._query_embeddings([query])[0]

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: Sequence[str]) -> list[Embedding]:
        return self._cached.texts(texts, "passage")

    def _get_image_embedding(self, img_file_path: ImageInput) -> Embedding:
        return self._get_image_embeddings([img_file_path])[0]

    def _get_image_embeddings(self, img_file_paths: Sequence[ImageInput]) -> list[Embedding]:
        return self._cached.images(img_file_paths)

    def _query_embeddings(self, queries: Sequence[str]) -> list[Embedding]:
        return self._cached.texts(queries, "query")

    @property
    def _cached(self) -> CachedEncoder:
        return CachedEncoder(self.encoder, self.embeddings_cache, self.rate_limiter)

    def _batches(
        self,
        items: Sequence[Item],
        encode: Callable[[list[Item]], list[Embedding]],
        name: Callable[[Item], str],
        progress: bool,
    ) -> list[Embedding]:
        """Encode in batches, of which ``num_workers`` run at once."""
        pool = ThreadPoolExecutor(self.num_workers or 1, "mmrag-embed")
        try:
            waiting = [
                # With the context, in which LlamaIndex keeps the span that the events belong to.
                pool.submit(copy_context().run, self._observed, batch, encode, name)
                for batch in batched(items, self.embed_batch_size)
            ]
            done = get_tqdm_iterable(waiting, progress, "Generating embeddings")
            return [vector for batch in done for vector in batch.result()]
        finally:
            pool.shutdown(cancel_futures=True)

    def _observed(
        self,
        batch: list[Item],
        encode: Callable[[list[Item]], list[Embedding]],
        name: Callable[[Item], str],
    ) -> list[Embedding]:
        """Encode one batch, and say so to whoever listens."""
        model = self.to_payload()
        dispatcher.event(EmbeddingStartEvent(model_dict=model))
        with self.callback_manager.event(
            CBEventType.EMBEDDING, payload={EventPayload.SERIALIZED: model}
        ) as event:
            vectors = encode(batch)
            names = [name(item) for item in batch]
            event.on_end(payload={EventPayload.CHUNKS: names, EventPayload.EMBEDDINGS: vectors})
        dispatcher.event(EmbeddingEndEvent(chunks=names, embeddings=vectors))
        return vectors


def _text_of(node: BaseNode) -> str:
    text = embed_text(node)
    if not text.strip() and isinstance(node, ImageNode | ImageDocument):
        raise InputError(
            f"node {node.node_id!r} has neither text nor a picture that can be opened: URLs are "
            "not fetched, download the picture first"
        )
    return text
