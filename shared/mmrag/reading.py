"""Files and folders to records without an index: what the frameworks' loaders are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from mmrag.errors import EmptySource
from mmrag.plan import inspect, unreadable
from mmrag.readers.base import MediaFolder, Part, SourceFile
from mmrag.scan import scan

__all__ = ["read_paths"]


def read_paths(
    paths: str | Path | Iterable[str | Path], media: MediaFolder, image_size: int
) -> Iterator[tuple[SourceFile, Part | Exception | None]]:
    """Every file under ``paths``, in order, with its parts one by one as they are read.

    A file's last item is None, or the error that ended it: a ``SourceError``, or whatever else a
    reader has run into. ``media`` keeps derived pictures, and is itself not read.
    """
    given = [paths] if isinstance(paths, str | Path) else paths
    for found in scan(given, media.root):
        _, sha256, reader = inspect(found)
        source = SourceFile(found.path, found.name, sha256)
        if isinstance(reader, Exception):
            yield source, reader
            continue
        ended: Exception | None = EmptySource("there is neither text nor a picture in it")
        try:
            for part in reader.read(source, media, image_size):
                ended = None
                yield source, part
        except OSError as error:
            ended = unreadable(found.name, error)
        except Exception as error:  # a reader may stumble over anything in a broken file
            ended = error
        yield source, ended
