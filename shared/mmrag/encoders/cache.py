"""CachedEncoder: an encoder that looks into a cache before it computes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from mmrag.encoders.embedding_cache import EmbeddingCache
from mmrag.encoders.tokens import checked_texts
from mmrag.errors import InputError, SourceError
from mmrag.identity import digest_of, reference_to
from mmrag.pipeline import ahead, batched, threads
from mmrag.protocols import ImageEncoder, TextEncoder
from mmrag.types import Role, Space

if TYPE_CHECKING:
    from PIL import Image

    from mmrag.media import ImageInput
    from mmrag.protocols import Matrix, Pixels, Vector

__all__ = ["CachedEncoder", "CachedImageEncoder", "EmbeddingCache"]

BATCH = 64  # pictures that are looked up and encoded at once


class CachedEncoder:
    """Implements the protocol of the encoder it is given, and computes only what is not kept yet.

    >>> cache = EmbeddingCache("~/.cache/mmrag")                               # doctest: +SKIP
    >>> encoder = CachedEncoder(OpenClipEncoder(), cache)                      # doctest: +SKIP

    Of an image encoder it makes a :class:`CachedImageEncoder`. The key of a vector is the
    encoder's space, the role, the kind of content and its sha256, so that one cache serves many
    encoders. Vectors come back bit by bit as they were put in.
    """

    encoder: TextEncoder
    cache: EmbeddingCache

    @overload
    def __new__(cls, encoder: ImageEncoder, cache: EmbeddingCache) -> CachedImageEncoder: ...
    @overload
    def __new__(cls, encoder: TextEncoder, cache: EmbeddingCache) -> CachedEncoder: ...
    def __new__(cls, encoder: TextEncoder, cache: EmbeddingCache) -> CachedEncoder:
        """Raises InputError if one of them is something else."""
        if not isinstance(encoder, TextEncoder) or isinstance(encoder, CachedEncoder):
            raise InputError(f"a {type(encoder).__name__} is no encoder that can be cached")
        if not isinstance(cache, EmbeddingCache):
            raise InputError(f"cache is an EmbeddingCache, not a {type(cache).__name__}")
        kind = CachedImageEncoder if isinstance(encoder, ImageEncoder) else CachedEncoder
        made = object.__new__(kind)
        made.encoder, made.cache = encoder, cache
        return made

    def __reduce__(self) -> tuple[type[CachedEncoder], tuple[TextEncoder, EmbeddingCache]]:
        return CachedEncoder, (self.encoder, self.cache)

    def __repr__(self) -> str:
        return f"CachedEncoder({self.encoder!r}, {self.cache!r})"

    @property
    def space(self) -> Space:
        """That of the encoder."""
        return self.encoder.space

    def encode_texts(self, texts: Sequence[str], role: Role) -> Matrix:
        """float32 ``[len(texts), dim]``; texts that are not kept go to the encoder in one call.
        Raises as the encoder does.

        Raises:
            InputError: a text is not a string, or ``role`` is neither query nor passage.
        """
        checked = checked_texts(texts, role)
        digests = [hashlib.sha256(text.encode()).digest() for text in checked]
        keys = self._keys(f"{role} text", digests)
        return self._rows(keys, checked, lambda missing: self.encoder.encode_texts(missing, role))

    def _rows(
        self, keys: Sequence[bytes], content: Sequence[Any], encode: Callable[[list[Any]], Matrix]
    ) -> Matrix:
        dim = self.space.dim
        found = self.cache.get(keys, dim)
        missing = {k: c for k, c in zip(keys, content, strict=True) if k not in found}
        if missing:
            found.update(self._kept(list(missing), encode(list(missing.values()))))
        return np.stack([found[key] for key in keys]) if keys else np.empty((0, dim), np.float32)

    def _kept(self, keys: Sequence[bytes], rows: Iterable[Vector]) -> dict[bytes, Vector]:
        """The rows by key, after they were put into the cache."""
        made = dict(zip(keys, rows, strict=True))
        self.cache.put(made)
        return made

    def _keys(self, kind: str, digests: Iterable[bytes]) -> list[bytes]:
        space = self.space
        head = hashlib.sha256(f"{space.family}\n{space.digest}\n{space.dim}\n{kind}\n".encode())
        keys = []
        for digest in digests:
            key = head.copy()
            key.update(digest)
            keys.append(key.digest())
        return keys


@dataclass(frozen=True, slots=True)
class _Asked:
    """A picture, its key, and its vector if that is kept, else its pixels."""

    image: ImageInput
    key: bytes
    vector: Vector | None
    pixels: Pixels | None = None


class CachedImageEncoder(CachedEncoder):
    """An image encoder with a cache; made by :class:`CachedEncoder`.

    Pictures are known in two ways. :meth:`encode_images`, :meth:`kept_images` and
    :meth:`keep_images` go by the sha256 of a file's bytes (:func:`mmrag.identity.digest_of`,
    ``record.image.sha256``): a picture that is kept is neither decoded nor preprocessed, and its
    vector is there in microseconds. :meth:`encode_pixels`, which is all that the protocol has, goes
    by the sha256 of the pixels that :meth:`preprocess` made: the model is spared, decoding is not.
    What one way has kept, the other does not find.
    """

    encoder: ImageEncoder

    @property
    def image_size(self) -> int:
        """That of the encoder."""
        return self.encoder.image_size

    def preprocess(self, image: Image.Image) -> Pixels:
        """What the encoder makes of a picture."""
        return self.encoder.preprocess(image)

    def encode_pixels(self, pixels: Sequence[Pixels]) -> Matrix:
        """float32 ``[len(pixels), dim]``; what is not kept goes to the encoder in one call."""
        keys = self._keys("pixels", map(_digest, pixels))
        return self._rows(keys, pixels, self.encoder.encode_pixels)

    def encode_images(self, images: Iterable[ImageInput]) -> Matrix:
        """float32 ``[len(images), dim]``, as :func:`mmrag.encode.encode_images` gives it: looked up
        by their bytes, and what is not kept opened and preprocessed in threads ahead of the model.

        Raises:
            SourceError: a picture cannot be opened; the message names it.
        """
        with ThreadPoolExecutor(threads(), "mmrag-decode") as pool:
            looked_up = map(self._looked_up, ahead(pool, _named, batched(images, BATCH)))
            rows = [self._encoded(batch) for batch in ahead(pool, self._opened, looked_up)]
        return np.concatenate(rows) if rows else np.empty((0, self.space.dim), np.float32)

    def kept_images(self, digests: Sequence[str]) -> list[Vector | None]:
        """For each sha256 of a picture's bytes its vector, if it is kept."""
        keys = self._image_keys(digests)
        found = self.cache.get(keys, self.space.dim)
        return [found.get(key) for key in keys]

    def keep_images(self, vectors: Mapping[str, Vector]) -> None:
        """Keep this encoder's vectors of pictures, by the sha256 of their bytes."""
        self._kept(self._image_keys(vectors), list(vectors.values()))

    def _image_keys(self, digests: Iterable[str]) -> list[bytes]:
        return self._keys("image", map(str.encode, digests))

    def _looked_up(self, batch: Sequence[tuple[ImageInput, str]]) -> list[_Asked]:
        keys = self._image_keys(digest for _, digest in batch)
        found = self.cache.get(keys, self.space.dim)
        return [
            _Asked(image, key, found.get(key)) for (image, _), key in zip(batch, keys, strict=True)
        ]

    def _opened(self, asked: _Asked) -> _Asked:
        if asked.vector is not None:
            return asked
        from mmrag import media

        with _naming(asked.image):
            picture = media.load(asked.image, target=self.image_size)
        # By what was decoded: the file may have changed since it was looked up.
        (key,) = self._image_keys([picture.sha256])
        return _Asked(asked.image, key, None, self.preprocess(picture.image))

    def _encoded(self, batch: Sequence[_Asked]) -> Matrix:
        found = {item.key: item.vector for item in batch if item.vector is not None}
        missing = {item.key: item.pixels for item in batch if item.pixels is not None}
        if missing:
            rows = self.encoder.encode_pixels(list(missing.values()))
            found.update(self._kept(list(missing), rows))
        return np.stack([found[item.key] for item in batch])


def _named(image: ImageInput) -> tuple[ImageInput, str]:
    with _naming(image):
        return image, digest_of(image)


@contextmanager
def _naming(image: ImageInput) -> Iterator[None]:
    """Errors about a picture say which one."""
    try:
        yield
    except SourceError as error:
        raise type(error)(f"{reference_to(image)}: {error}") from error


def _digest(pixels: Pixels) -> bytes:
    array = np.ascontiguousarray(pixels)
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(array.data)
    return digest.digest()
