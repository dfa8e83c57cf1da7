"""Async for an embedding model that computes: every async method is the sync one in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
from llama_index.core.schema import BaseNode

from mmrag.media import ImageInput

__all__ = ["ThreadedEmbedding"]


class ThreadedEmbedding(MultiModalEmbedding):
    """A base to subclass: the event loop stays free, and results are those of the sync methods.

    LlamaIndex's own defaults compute in the event loop, and start every batch at once.
    """

    if TYPE_CHECKING:  # ours take more kinds of pictures than LlamaIndex's

        def get_image_embedding(self, img_file_path: ImageInput) -> Embedding: ...  # noqa: D102
        def get_image_embedding_batch(  # noqa: D102
            self, img_file_paths: Sequence[ImageInput], show_progress: bool = False
        ) -> list[Embedding]: ...
        def _get_text_embeddings(self, texts: Sequence[str]) -> list[Embedding]: ...
        def _get_image_embedding(self, img_file_path: ImageInput) -> Embedding: ...
        def _get_image_embeddings(
            self, img_file_paths: Sequence[ImageInput]
        ) -> list[Embedding]: ...

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """:meth:`__call__` in a worker thread."""
        return await asyncio.to_thread(self.__call__, nodes, **kwargs)

    async def aget_query_embedding(self, query: str) -> Embedding:
        """:meth:`get_query_embedding` in a worker thread."""
        return await asyncio.to_thread(self.get_query_embedding, query)

    async def aget_text_embedding(self, text: str) -> Embedding:
        """:meth:`get_text_embedding` in a worker thread."""
        return await asyncio.to_thread(self.get_text_embedding, text)

    async def aget_text_embedding_batch(
        self, texts: Sequence[str], show_progress: bool = False, **kwargs: Any
    ) -> list[Embedding]:
        """:meth:`get_text_embedding_batch` in a worker thread."""
        return await asyncio.to_thread(self.get_text_embedding_batch, texts, show_progress)

    async def aget_image_embedding(self, img_file_path: ImageInput) -> Embedding:
        """:meth:`get_image_embedding` in a worker thread."""
        return await asyncio.to_thread(self.get_image_embedding, img_file_path)

    async def aget_image_embedding_batch(
        self, img_file_paths: Sequence[ImageInput], show_progress: bool = False
    ) -> list[Embedding]:
        """:meth:`get_image_embedding_batch` in a worker thread."""
        return await asyncio.to_thread(
            self.get_image_embedding_batch, img_file_paths, show_progress
        )

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: Sequence[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_image_embedding(self, img_file_path: ImageInput) -> Embedding:
        return await asyncio.to_thread(self._get_image_embedding, img_file_path)

    async def _aget_image_embeddings(self, img_file_paths: Sequence[ImageInput]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_image_embeddings, img_file_paths)
