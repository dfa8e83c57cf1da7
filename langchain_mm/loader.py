"""MultimodalLoader: files and folders to LangChain documents, texts and pictures alike."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from langchain_mm.convert import record_to_document
from mmrag.errors import InputError
from mmrag.journal import Failure
from mmrag.reading import read_records

__all__ = ["MultimodalLoader"]


class MultimodalLoader(BaseLoader):
    """Reads pictures, PDF (texts, figures, scanned pages) and text files of many kinds.

    >>> documents = MultimodalLoader("manuals/").load()                 # doctest: +SKIP

    Each chunk of text becomes a document, and so does each picture: its ``page_content`` is empty
    and its path, hash, type and size are in ``metadata["mmrag_image"]``. Ids are the same for the
    same content at the same place. The metadata, all of it JSON, has the absolute path in
    ``source``, ``page_label`` where there are pages, counted from 1, and the exact place under
    ``mmrag_locator``. A picture that changes under its path changes its document, so
    ``langchain_core.indexing.index`` sees it.

    >>> index(                                                          # doctest: +SKIP
    ...     MultimodalLoader("manuals/"), record_manager, store, key_encoder="sha256",
    ...     cleanup="incremental", source_id_key="source",
    ... )

    No text splitter is needed: the texts are chunks already, of the size that the search works best
    with. LangChain's splitters would drop every picture, and all ids, without a word; where
    texts have to be smaller, wrap one in :class:`langchain_mm.ImageSafe`.

    A file that cannot be read is logged as a warning and listed in :attr:`failures`, and the others
    go on. ``aload`` and ``alazy_load`` read in a worker thread.

    Args:
        paths: a file or folder, or several.
        media_folder: where figures and scans from PDF are kept as files, under the hash of their
            bytes, for as long as documents name them; by default in the user's cache folder.
        raise_on_error: raise the first error instead of going on with other files.

    Raises:
        InputError: ``paths`` are no paths.
    """

    def __init__(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        media_folder: str | Path | None = None,
        raise_on_error: bool = False,
    ) -> None:
        given = (paths,) if isinstance(paths, str | Path) else paths
        if not isinstance(given, Iterable) or isinstance(given, bytes):
            raise InputError(f"paths are files and folders, not a {type(paths).__name__}")
        self.paths = tuple(given)
        for path in self.paths:
            if not isinstance(path, str | Path):
                raise InputError(f"paths are files and folders; a {type(path).__name__} is none")
        self.media_folder = _cache_folder() if media_folder is None else Path(media_folder)
        self.raise_on_error = raise_on_error
        self._failures: dict[str, Failure] = {}

    def __repr__(self) -> str:
        return f"MultimodalLoader({[str(path) for path in self.paths]})"

    @property
    def failures(self) -> list[Failure]:
        """The files that the latest run could not read, and why."""
        return list(self._failures.values())

    def lazy_load(self) -> Iterator[Document]:
        """The documents, each file read when its first document is asked for.

        Raises:
            SourceError: a file cannot be read, and ``raise_on_error`` is set.
        """
        self._failures = {}
        found = read_records(
            self.paths, self.media_folder, self._failures, strict=self.raise_on_error
        )
        yield from map(record_to_document, found)


def _cache_folder() -> Path:
    """Where this user's programs keep what they can make again."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base) / "mmrag" / "media"
