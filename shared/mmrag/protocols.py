"""What a user may plug in, as small structural protocols: nothing has to be subclassed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mmrag.types import Caption, Json, Record, Role, Space

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from mmrag.filters import Filter
    from mmrag.media import ImageInput

    Vector = NDArray[np.float32]
    Matrix = NDArray[np.float32]
    Pixels = NDArray[Any]

__all__ = [
    "Captioner",
    "FieldQuery",
    "ImageEncoder",
    "Point",
    "Ranking",
    "Reranker",
    "Store",
    "TextEncoder",
    "Transcriber",
]


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into unit vectors. Thread-safe; the same text gives the same vector whatever
    else is in the call; a text over the model's limit is split and pooled, never cut silently."""

    @property
    def space(self) -> Space:
        """The fingerprint of the space that the vectors live in."""

    def encode_texts(self, texts: Sequence[str], role: Role) -> Matrix:
        """float32 ``[len(texts), dim]``, each row of length 1."""


@runtime_checkable
class ImageEncoder(TextEncoder, Protocol):
    """Turns pictures, and texts that are compared with pictures, into unit vectors of one space.

    Work is in two steps so that decoding threads can run ahead of the model: ``preprocess`` is
    cheap and per picture, ``encode_pixels`` runs the model on what it returned.
    """

    @property
    def image_size(self) -> int:
        """The longest side, in pixels, that the model looks at: a photograph may be decoded at
        a reduced scale as long as it stays above this."""

    def preprocess(self, image: Image.Image) -> Pixels:
        """The model's input for one upright RGB or RGBA picture, without the batch dimension."""

    def encode_pixels(self, pixels: Sequence[Pixels]) -> Matrix:
        """float32 ``[len(pixels), dim]``, each row of length 1."""


@dataclass(frozen=True, slots=True)
class Point:
    """What is written at once: a record, its dense vectors by field, and its keyword text."""

    record: Record
    vectors: Mapping[str, Vector] = field(default_factory=dict)
    keywords: str = ""


@dataclass(frozen=True, slots=True)
class FieldQuery:
    """One route's question to a store: a vector for a dense field, a text for ``keywords``."""

    field: str
    value: Vector | str


@dataclass(frozen=True, slots=True)
class Ranking:
    """One route's answer, best first: keys, each once, and the engine's scores beside them.

    ``evidence`` are the scores made comparable between routes (see :mod:`mmrag.calibration`); a
    ranking that was not calibrated has none.
    """

    keys: tuple[str, ...]
    scores: tuple[float, ...]
    evidence: tuple[float, ...] | None = None


class Store(Protocol):
    """A vector engine behind one index. Records are addressed by ``mmrag.types.key_of(record.id)``.

    A point has only the fields it was given vectors for, and a search on a field sees only the
    points that have it. All methods may be called from several threads.
    """

    def prepare(self, dims: Mapping[str, int]) -> None:
        """Create what is missing for these dense fields and for ``keywords``; idempotent.

        Raises:
            VectorError: a field exists already with another dimension.
        """

    def manifest(self) -> dict[str, Json] | None:
        """What ``save_manifest`` kept; None in a store that is new."""

    def save_manifest(self, manifest: Mapping[str, Json]) -> None:
        """Keep what the index says of itself beside its points."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert or wholly replace points; returns once the engine has acknowledged them.

        Raises:
            VectorError: a vector is NaN, infinite, zero or of the wrong length; nothing is
                written.
        """

    def update(self, points: Sequence[Point]) -> None:
        """Replace the payload and the given fields of points that exist, and keep their other
        fields. ``keywords=""`` keeps the stored keywords. Points that do not exist are left out.
        """

    def delete(self, keys: Sequence[str]) -> None:
        """Delete points; unknown keys are no error."""

    def delete_where(self, where: Filter) -> None:
        """Delete the points that match."""

    def get(self, keys: Sequence[str]) -> dict[str, Record]:
        """The records of those keys that exist, exactly as they were given."""

    def vectors(self, keys: Sequence[str]) -> dict[str, dict[str, Vector]]:
        """The dense unit vectors by field of those keys that exist."""

    def search(
        self, queries: Sequence[FieldQuery], limit: int, where: Filter | None = None
    ) -> list[Ranking]:
        """One ranking a query, in the order of the queries, in one round trip; no payloads.

        Dense scores are cosine similarities, ``keywords`` scores are BM25.
        """

    def sample(self, name: str, size: int) -> Matrix:
        """The vectors of the ``size`` lowest keys that have this dense field: a random sample
        that is always the same for the same content. ``[<= size, dim]``."""

    def count(self, where: Filter | None = None, *, having: str | None = None) -> int:
        """How many points match, optionally only those that have the field ``having``."""

    def scan(self, where: Filter | None = None, batch: int = 1000) -> Iterator[list[Record]]:
        """All matching records in the order of their keys, in batches."""

    def optimize(self) -> None:
        """Do the engine's own maintenance, if it does not do that by itself; may take minutes."""

    def flush(self) -> None:
        """Return once everything acknowledged would survive a power cut."""

    def close(self) -> None:
        """Release files, locks and connections; idempotent."""


class Captioner(Protocol):
    """Describes pictures. Thread-safe."""

    @property
    def name(self) -> str:
        """The model and the version of its prompt: a picture captioned under another name is
        captioned again."""

    def caption(self, images: Sequence[ImageInput]) -> list[Caption]:
        """One whole caption a picture, in order.

        Raises:
            SourceError: a picture cannot be opened.
            AnswerError: the model's answer is no caption.
        """


class Reranker(Protocol):
    """Scores records by looking at query and record together. Thread-safe; a record's score does
    not depend on the other records in the call."""

    @property
    def name(self) -> str:
        """The model, for logs and events."""

    def rerank(
        self, text: str | None, image: ImageInput | None, records: Sequence[Record]
    ) -> list[float]:
        """One score a record in 0..1, in order, for words, a picture, or both together. A picture
        of a record that cannot be opened counts as none, and so does one that is not that of its
        sha256, if it says one: :func:`mmrag.identity.checked_bytes` opens no other.

        Raises:
            InputError: the query has neither words nor a picture.
            SourceError: the query's picture cannot be opened.
        """


class Transcriber(Protocol):
    """Turns speech into text."""

    def transcribe(self, path: str) -> list[Record]:
        """One record a span of speech, with its seconds in the locator."""
