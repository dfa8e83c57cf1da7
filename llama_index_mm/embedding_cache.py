"""An encoder of mmrag's behind a cache of LlamaIndex's, with keys that tell vectors apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from mmrag.errors import SourceError
from mmrag.identity import digest_of, reference_to
from mmrag.inputs import DEFAULT_LIMITS, read_bytes
from mmrag.media import ImageInput, load
from mmrag.pipeline import threads
from mmrag.protocols import ImageEncoder
from mmrag.types import Modality, Role

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import Embedding
    from llama_index.core.rate_limiter import BaseRateLimiter
    from llama_index.core.storage.kvstore.types import BaseKVStore

    from mmrag.protocols import Matrix

__all__ = ["COLLECTION", "CachedEncoder"]

COLLECTION = "embeddings"
"""The collection that LlamaIndex keeps embeddings in."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be embedded: its key, and its vector from the cache or else its content."""

    key: str
    kept: Embedding | None
    content: Any


@dataclass(frozen=True, slots=True)
class CachedEncoder:
    """Encodes what ``store`` does not have, in one call of the encoder, and puts it there.

    The keys are ``space/role/modality/sha256 of the content``. LlamaIndex's own key is the text:
    one model's vector is given out as another's, and a passage's as a query's.
    """

    encoder: ImageEncoder
    store: BaseKVStore | None = None
    limiter: BaseRateLimiter | None = None

    def texts(self, texts: Sequence[str], role: Role) -> list[Embedding]:
        """The vectors of texts."""
        asked = []
        for text in texts:
            key = self._key(role, "text", _sha256(text.encode("utf-8", "surrogatepass")))
            asked.append(_Asked(key, self._kept(key), text))
        return self._vectors(asked, lambda missing: self.encoder.encode_texts(missing, role))

    def images(self, images: Sequence[ImageInput]) -> list[Embedding]:
        """The vectors of pictures, which are opened and decoded by all cores.

        Raises:
            SourceError: a picture cannot be opened; the message names it.
        """
        with ThreadPoolExecutor(threads(), "mmrag-decode") as pool:
            asked = list(pool.map(self._asked, images))
        return self._vectors(asked, self.encoder.encode_pixels)

    def _asked(self, image: ImageInput) -> _Asked:
        try:
            # The bytes are read once: what is hashed is what is decoded.
            data = image if isinstance(image, Image.Image) else read_bytes(image, DEFAULT_LIMITS)
            # A picture has no role: one vector serves as query and as passage.
            key = self._key("any", "image", digest_of(data))
            if (kept := self._kept(key)) is not None:
                return _Asked(key, kept, None)
            picture = load(data, target=self.encoder.image_size)
        except SourceError as error:
            raise type(error)(f"{reference_to(image)}: {error}") from error
        return _Asked(key, None, self.encoder.preprocess(picture.image))

    def _vectors(
        self, asked: Sequence[_Asked], encode: Callable[[list[Any]], Matrix]
    ) -> list[Embedding]:
        found = {item.key: item.kept for item in asked if item.kept is not None}
        missing = {item.key: item.content for item in asked if item.key not in found}
        if missing:
            if self.limiter is not None:
                self.limiter.acquire()
            rows: list[Embedding] = encode(list(missing.values())).tolist()
            for key, row in zip(missing, rows, strict=True):
                found[key] = row
                if self.store is not None:
                    self.store.put(key, {"embedding": row}, collection=COLLECTION)
        return [list(found[item.key]) for item in asked]

    def _kept(self, key: str) -> Embedding | None:
        kept = None if self.store is None else self.store.get(key, collection=COLLECTION)
        return None if kept is None else kept["embedding"]

    def _key(self, role: str, modality: Modality, digest: str) -> str:
        return f"{self.encoder.space.digest}/{role}/{modality}/{digest}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
