"""Pictures: one record each."""

from __future__ import annotations

from collections.abc import Iterator

from mmrag.readers.base import MediaFolder, Part, SourceFile, record_id
from mmrag.types import ImageRef, Record

__all__ = ["SUFFIXES", "ImageReader"]

SUFFIXES = frozenset(
    {
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".avif", ".heic", ".heif", ".hif"),
    }
)
"""The file names that say picture; what a file is, its content says."""


class ImageReader:
    """One record a picture; its ``image.uri`` is the file itself, no copy is made."""

    version = "1"

    def read(self, source: SourceFile, media: MediaFolder, image_size: int) -> Iterator[Part]:
        """The picture, of an animation the first frame.

        Raises:
            SourceError: EmptySource, DamagedSource, TooLarge, UnreadableSource.
            MissingExtra: it is HEIC and ``mmrag[heic]`` is not installed.
        """
        from mmrag.media import load  # late: PIL

        picture = load(source.path, target=image_size)
        image = ImageRef(
            uri=str(source.path),
            sha256=picture.sha256,
            mime=picture.mime,
            width=picture.width,
            height=picture.height,
        )
        record = Record(id=record_id(source, "i0", picture.sha256), image=image, source=source.name)
        yield Part(record, picture.image)
