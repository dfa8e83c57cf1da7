"""Files and folders to records without an index: what the frameworks' loaders are made of."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import replace
from pathlib import Path

from mmrag.errors import EmptySource, SourceError
from mmrag.journal import Failure
from mmrag.plan import inspect, unreadable
from mmrag.readers.base import MediaFolder, Part, SourceFile
from mmrag.scan import scan
from mmrag.types import Record

__all__ = ["read_paths", "read_records"]

# Records hold paths, so pixels are decoded only to see that they can be: as few as possible.
_IMAGE_SIZE = 1

log = logging.getLogger("mmrag")


def read_records(
    paths: str | Path | Iterable[str | Path],
    media_folder: Path,
    failures: MutableMapping[str, Failure],
    *,
    strict: bool,
) -> Iterator[Record]:
    """The records of all files under ``paths``, in order, each file read when it is asked for.

    Their pictures have absolute paths, those in ``media_folder`` too, which keeps derived ones;
    ``extra["path"]`` is the file's. ``failures``, by the file's name, gets the files that cannot be
    read, which are logged as warnings, and loses those that can.

    Raises:
        SourceError: a file cannot be read, and ``strict`` is set.
    """
    media = MediaFolder(media_folder.expanduser().absolute())
    for source, item in read_paths(paths, media, _IMAGE_SIZE):
        if isinstance(item, Part):
            yield _located(item.record, source, media)
        elif item is None:
            failures.pop(source.name, None)
        else:
            failures[source.name] = Failure(source.name, type(item).__name__, str(item))
            if not strict:
                log.warning("%s cannot be read: %s", source.name, item)
            elif isinstance(item, SourceError):
                raise type(item)(f"{source.name}: {item}") from item
            else:
                raise item


def _located(record: Record, source: SourceFile, media: MediaFolder) -> Record:
    image = record.image
    if image is not None:
        # A derived picture's uri begins with the folder's own name.
        image = replace(image, uri=str(media.root.parent / image.uri))
    return replace(record, image=image, extra={**record.extra, "path": str(source.path)})


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
