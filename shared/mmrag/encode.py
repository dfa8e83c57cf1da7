"""Records to points and queries to field queries: one encode batch a field, one encode a space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from mmrag.errors import InputError, SourceError, SpaceMismatch
from mmrag.pipeline import ahead, batched, threads
from mmrag.protocols import FieldQuery, ImageEncoder, Point, TextEncoder
from mmrag.routes import Route
from mmrag.types import Caption, Record, Space

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from mmrag.media import ImageInput
    from mmrag.protocols import Matrix, Pixels, Vector

__all__ = [
    "BATCH",
    "Encoders",
    "Prepared",
    "caption_text",
    "encode_images",
    "keyword_parts",
    "keyword_text",
]

BATCH = 64
"""How many records are encoded and written at once."""

Content = TypeVar("Content")
Item = TypeVar("Item")
_ARTICLE = {"text": "a text", "image": "a picture"}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A record on its way into the index.

    ``pixels`` are its picture as the image encoder wants it, ``vectors`` those of its fields that
    the caller has already. ``text`` is embedded in place of the record's own. ``digest`` is the
    sha256 of the picture's bytes, by which an encoder with a cache keeps what it makes of pixels.
    """

    record: Record
    pixels: Pixels | None = None
    vectors: Mapping[str, Vector] | None = None
    text: str | None = None
    digest: str = ""


@dataclass(frozen=True)
class Encoders:
    """The two encoders of an index; one object in both places means one space."""

    text: TextEncoder
    image: ImageEncoder

    @cached_property
    def shared(self) -> bool:
        """Whether texts and pictures live in one space, so that ``cross_text`` is ``text``."""
        return self.text.space == self.image.space

    def field(self, route: Route) -> str:
        """The field that a route searches with these encoders."""
        return "text" if route.field == "cross_text" and self.shared else route.field

    def spaces(self) -> dict[str, Space]:
        """The space of each dense field."""
        text, image = self.text.space, self.image.space
        spaces = {"text": text, "image": image, "caption": text}
        return spaces if self.shared else {**spaces, "cross_text": image}

    def check(self, saved: Mapping[str, Space]) -> None:
        """Compare with the spaces that an index was made with.

        Raises:
            SpaceMismatch: a field's space is another one.
        """
        given = self.spaces()
        for field in sorted({*saved, *given}):
            before, now = saved.get(field), given.get(field)
            if before != now:
                raise SpaceMismatch(field, str(before or "no encoder"), str(now or "no encoder"))

    def encoded(
        self, items: Iterable[Item], prepare: Callable[[Item], Prepared]
    ) -> Iterator[Prepared]:
        """Every item prepared, in threads ahead of the encoders, and then with all its vectors; of
        a batch nothing else remains. For callers that write all of their items or none."""
        with ThreadPoolExecutor(threads(), "mmrag-decode") as pool:
            for batch in ahead(pool, prepare, batched(items, BATCH)):
                for point in self.points(batch):
                    yield Prepared(point.record, None, point.vectors)

    def kept(self, digest: str) -> Vector | None:
        """The vector of the picture whose bytes have this sha256, if the image encoder has a cache
        and has it: then the picture need not be decoded."""
        find = getattr(self.image, "kept_images", None)
        return None if find is None else find([digest])[0]

    def opened(
        self, record: Record, path: Path, vectors: Mapping[str, Vector] | None = None
    ) -> Prepared:
        """The record with its picture, opened and preprocessed unless its vector is known.

        Raises:
            SourceError: the picture cannot be opened.
        """
        from mmrag import media
        from mmrag.identity import digest_of
        from mmrag.inputs import DEFAULT_LIMITS, read_bytes

        if "image" in (vectors or {}):
            return Prepared(record, None, vectors)
        image: ImageInput = path
        if hasattr(self.image, "kept_images"):  # by its bytes: what the record says may be old
            image = read_bytes(path, DEFAULT_LIMITS)  # once: what is hashed is what is decoded
            kept = self.kept(digest_of(image))
            if kept is not None:
                return Prepared(record, None, {**(vectors or {}), "image": kept})
        picture = media.load(image, target=self.image.image_size)
        pixels = self.image.preprocess(picture.image)
        return Prepared(record, pixels, vectors, digest=picture.sha256)

    def points(self, batch: Sequence[Prepared]) -> list[Point]:
        """Points with every field that the records have content for."""
        fields: list[dict[str, Vector]] = [dict(item.vectors or {}) for item in batch]
        said = [item.record.text if item.text is None else item.text for item in batch]
        texts = [text if text.strip() else None for text in said]
        captions = [caption_text(item.record.caption) or None for item in batch]
        _fill(fields, "text", texts, lambda found: self.text.encode_texts(found, "passage"))
        _fill(fields, "caption", captions, lambda found: self.text.encode_texts(found, "passage"))
        _fill(fields, "image", [item.pixels for item in batch], self.image.encode_pixels)
        made = {i.digest: f["image"] for i, f in zip(batch, fields, strict=True) if i.digest}
        if made and hasattr(self.image, "keep_images"):
            self.image.keep_images(made)
        if not self.shared:
            _fill(fields, "cross_text", texts, lambda t: self.image.encode_texts(t, "passage"))
        return [
            Point(item.record, vectors, keyword_text(item.record))
            for item, vectors in zip(batch, fields, strict=True)
        ]

    def queries(
        self, text: str | None, image: Image.Image | None, routes: Iterable[Route]
    ) -> list[FieldQuery]:
        """One query a route, in order. Each space encodes each part of the query once.

        Raises:
            InputError: a route needs a text or a picture that the query has not.
        """
        made: dict[tuple[Space, str], Vector] = {}
        queries = []
        for route in routes:
            if (text if route.query == "text" else image) is None:
                raise InputError(f"route {route.name!r} needs a query with {_ARTICLE[route.query]}")
            if route.encoder is None:
                queries.append(FieldQuery(self.field(route), text or ""))
                continue
            encoder = self.text if route.encoder == "text" else self.image
            key = (encoder.space, route.query)
            if key not in made:
                made[key] = self._query_vector(encoder, text if route.query == "text" else image)
            queries.append(FieldQuery(self.field(route), made[key]))
        return queries

    def _query_vector(self, encoder: TextEncoder, part: str | Image.Image | None) -> Vector:
        if isinstance(part, str):
            rows = encoder.encode_texts([part], "query")
        else:
            rows = self.image.encode_pixels([self.image.preprocess(part)])  # type: ignore[arg-type]
        vector: Vector = rows[0]
        return vector


def _fill(
    fields: list[dict[str, Vector]],
    name: str,
    content: Sequence[Content | None],
    encode: Callable[[list[Content]], Matrix],
) -> None:
    """Encode, in one call, what has content for this field and no vector yet."""
    found = [(i, c) for i, c in enumerate(content) if c is not None and name not in fields[i]]
    if found:
        vectors = encode([c for _, c in found])
        for (i, _), vector in zip(found, vectors, strict=True):
            fields[i][name] = vector


def encode_images(encoder: ImageEncoder, images: Iterable[ImageInput]) -> Matrix:
    """Unit vectors ``[len(images), dim]``, opened and preprocessed in threads ahead of the model.

    Raises:
        SourceError: a picture cannot be opened; the message names it.
    """
    from mmrag import media
    from mmrag.identity import reference_to

    if hasattr(encoder, "encode_images"):  # an encoder with a cache, which need not open them all
        kept: Matrix = encoder.encode_images(images)
        return kept

    def pixels(image: ImageInput) -> Pixels:
        try:
            return encoder.preprocess(media.load(image, target=encoder.image_size).image)
        except SourceError as error:
            raise type(error)(f"{reference_to(image)}: {error}") from error

    with ThreadPoolExecutor(threads(), "mmrag-decode") as pool:
        batches = ahead(pool, pixels, batched(images, BATCH))
        rows = [encoder.encode_pixels(batch) for batch in batches]
    return np.concatenate(rows) if rows else np.empty((0, encoder.space.dim), np.float32)


def caption_text(caption: Caption | None) -> str:
    """What of a caption is embedded: its two descriptions."""
    if caption is None:
        return ""
    return "\n".join(part for part in (caption.brief, caption.detailed) if part.strip())


def keyword_parts(record: Record) -> dict[str, str]:
    """What of a record the inverted index holds, by part: its text and all that its caption says,
    its descriptions as one."""
    parts = {"text": record.text}
    if (caption := record.caption) is not None:
        parts |= {
            "description": caption_text(caption),
            "keywords": "\n".join(caption.keywords),
            "text_content": caption.text_content,
            "data_points": "\n".join(f"{k} {v}" for k, v in caption.data_points.items()),
        }
    return {name: part for name, part in parts.items() if part.strip()}


def keyword_text(record: Record) -> str:
    """All parts as one text."""
    return "\n".join(keyword_parts(record).values())
