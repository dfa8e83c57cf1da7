"""MultimodalEmbeddings: texts and pictures in one space, as a LangChain embedding model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from langchain_core.documents.base import Blob
from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field, field_validator

from langchain_mm.images import AnyImage, image_input
from mmrag.encoders import load_image_encoder
from mmrag.encoders.bundled import BundledEncoder
from mmrag.errors import InputError, SourceError
from mmrag.inputs import is_data_url
from mmrag.media import load
from mmrag.pipeline import ahead, batched, threads
from mmrag.protocols import ImageEncoder

if TYPE_CHECKING:
    from mmrag.protocols import Pixels

__all__ = ["MultimodalEmbeddings"]

Item = TypeVar("Item")


class MultimodalEmbeddings(BaseModel, Embeddings):
    """Embeds texts and pictures with an encoder of mmrag's, by default the bundled one.

    Use:
        >>> model = MultimodalEmbeddings()
        >>> model.embed_query("a cat on a sofa")            # doctest: +SKIP
        >>> model.embed_images(["cat.jpg", png_bytes])      # doctest: +SKIP
        >>> MultimodalEmbeddings(encoder="siglip2-base")    # doctest: +SKIP

    A picture is a path, a ``data:`` URL, bytes, an open binary file, a PIL image, a ``Blob`` or an
    image content block; URLs are not fetched. The same file gives the same vector in every form,
    and a large photograph that PIL has opened nearly the same: of a file, no more pixels are
    decoded than the model looks at. A text over the model's limit is split and pooled. Vectors
    have length 1.

    ``embed_image`` is what LangChain's vector stores look for in an embedding model, as
    ``Chroma.add_images``. Async methods run in a worker thread.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", frozen=True)

    encoder: ImageEncoder = Field(
        default_factory=BundledEncoder,
        exclude=True,
        repr=False,
        description="An mmrag.protocols.ImageEncoder, or a name that mmrag.load_image_encoder "
        "takes; by default the bundled one.",
    )
    batch_size: int = Field(
        default=32, gt=0, le=2048, description="Texts or pictures that are encoded at once."
    )

    @field_validator("encoder", mode="before")
    @classmethod
    def _by_name(cls, given: object) -> object:
        return load_image_encoder(given) if isinstance(given, str) else given

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of passages.

        Raises:
            InputError: not a list of strings.
        """
        vectors: list[list[float]] = []
        for batch in batched(_several(texts, "texts"), self.batch_size):
            vectors += self.encoder.encode_texts(batch, "passage").tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query.

        Raises:
            InputError: not a string.
        """
        vector: list[float] = self.encoder.encode_texts([text], "query")[0].tolist()
        return vector

    def embed_images(self, images: Sequence[AnyImage]) -> list[list[float]]:
        """The vectors of pictures, which are decoded by all cores ahead of the encoder.

        Raises:
            SourceError: a picture cannot be opened; the message says which.
            InputError: not a list, or one of them is not a picture.
        """
        vectors: list[list[float]] = []
        numbered = enumerate(_several(images, "images"))
        with ThreadPoolExecutor(threads(), "mmrag-decode") as pool:
            for batch in ahead(pool, self._pixels, batched(numbered, self.batch_size)):
                vectors += self.encoder.encode_pixels(batch).tolist()
        return vectors

    def embed_image(self, uris: list[str]) -> list[list[float]]:
        """:meth:`embed_images` under the name and with the argument that LangChain's own vector
        stores call."""
        return self.embed_images(uris)

    async def aembed_images(self, images: Sequence[AnyImage]) -> list[list[float]]:
        """:meth:`embed_images` in a worker thread."""
        return await asyncio.to_thread(self.embed_images, images)

    async def aembed_image(self, uris: list[str]) -> list[list[float]]:
        """:meth:`embed_image` in a worker thread."""
        return await asyncio.to_thread(self.embed_image, uris)

    def _pixels(self, numbered: tuple[int, AnyImage]) -> Pixels:
        number, image = numbered
        try:
            picture = load(image_input(image), target=self.encoder.image_size)
        except (SourceError, InputError) as error:
            raise type(error)(f"{_name(number, image)}: {error}") from error
        return self.encoder.preprocess(picture.image)


def _name(number: int, image: AnyImage) -> str:
    """Its place in the list, which is all that bytes have, and its path if it has one."""
    path = image.path if isinstance(image, Blob) else image
    if isinstance(path, Path) or (isinstance(path, str) and not is_data_url(path)):
        return f"images[{number}] ({path})"
    return f"images[{number}]"


def _several(items: Sequence[Item], name: str) -> Sequence[Item]:
    """The items, if they are several: a single text would be taken for a list of its letters."""
    if isinstance(items, str | bytes | bytearray) or not isinstance(items, Sequence):
        kind = type(items).__name__
        raise InputError(f"{name} is a list, not {kind}: put a single one in brackets")
    return items
