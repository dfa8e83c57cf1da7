"""MultimodalReader: files and folders to LlamaIndex documents, texts and pictures alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr
from llama_index.core.readers.base import BasePydanticReader
from llama_index.core.schema import Document, ImageDocument, ImageNode, MediaResource
from llama_index.core.utils import get_cache_dir

from llama_index_mm.convert import record_to_node
from mmrag.journal import Failure
from mmrag.reading import read_records
from mmrag.types import Json, Record

__all__ = ["DIGEST_KEY", "MultimodalReader"]

DIGEST_KEY = "image_sha256"
"""Document metadata: the hash of the picture's bytes. It makes LlamaIndex's caches and docstores
see that a picture has changed, which they know by its path alone."""


class MultimodalReader(BasePydanticReader):
    """Reads pictures, PDF (texts, figures, scanned pages) and text files of many kinds.

    >>> MultimodalReader().load_data("manuals/")                        # doctest: +SKIP

    Each chunk of text becomes a ``Document``, each picture an ``ImageDocument`` that holds a path.
    Figures and scans in a PDF are kept as files in ``media_folder``, under the hash of their bytes.
    Ids are the same for the same content at the same place. The metadata has ``file_path``,
    ``file_name``, ``page`` and ``page_label`` where there are pages, and under ``mmrag_locator``
    the exact place; a picture's ``file_name`` is the one thing that its text embedding sees, since
    a ``VectorStoreIndex`` drops what has nothing for it.

    A file that cannot be read is logged as a warning and listed in :attr:`failures`, and the others
    go on. Works as ``SimpleDirectoryReader(file_extractor={".pdf": MultimodalReader()})`` too.
    """

    model_config = ConfigDict(extra="forbid")

    media_folder: str | None = Field(
        default=None, description="Where derived pictures are kept; by default LlamaIndex's cache."
    )
    raise_on_error: bool = Field(
        default=False, description="Raise the first error instead of going on with other files."
    )
    _failed: dict[str, Failure] = PrivateAttr(default_factory=dict)

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised form."""
        return "MultimodalReader"

    @property
    def failures(self) -> list[Failure]:
        """The files that could not be read the last time they were tried, and why."""
        return list(self._failed.values())

    def lazy_load_data(
        self,
        paths: str | Path | Iterable[str | Path],
        extra_info: Mapping[str, Json] | None = None,
    ) -> Iterator[Document]:
        """The documents of files and folders, each read when it is asked for.

        ``extra_info`` is metadata for all of them; what is read from the files comes first.

        Raises:
            SourceError: a file cannot be read, and ``raise_on_error`` is set.
        """
        default = Path(get_cache_dir()) / "mmrag" / "media"
        folder = Path(self.media_folder) if self.media_folder else default
        for record in read_records(paths, folder, self._failed, strict=self.raise_on_error):
            yield _document(record, extra_info or {})

    async def alazy_load_data(
        self,
        paths: str | Path | Iterable[str | Path],
        extra_info: Mapping[str, Json] | None = None,
    ) -> list[Document]:
        """:meth:`load_data` in a worker thread, all at once: iterating over a lazy result would
        read files in the event loop. Documents hold no pixels, so many are no burden."""
        return await asyncio.to_thread(self.load_data, paths, extra_info)


def _document(record: Record, extra_info: Mapping[str, Json]) -> Document:
    """The document of what was read: the node of its record, as LlamaIndex's readers give it."""
    node = record_to_node(record)
    own: dict[str, Json] = dict(node.metadata)
    if record.locator.page is not None:
        own["page"] = record.locator.page
    if record.image is not None:
        own[DIGEST_KEY] = record.image.sha256
    technical = [key for key in ("page", "line", DIGEST_KEY) if key in own]
    common: dict[str, Any] = {
        "id_": node.node_id,
        "text_resource": MediaResource(text=record.text),
        "metadata": {**extra_info, **own},
        "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, *technical],
        "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, *technical],
    }
    if not isinstance(node, ImageNode):
        return Document(**common)
    # VectorStoreIndex leaves out what has nothing to embed as text.
    common["excluded_embed_metadata_keys"].remove("file_name")
    # Not image_path=, which opens the picture once more, and only kinds that PIL knows by itself.
    resource = MediaResource(path=Path(str(node.image_path)), mimetype=node.image_mimetype)
    return ImageDocument(**common, image_resource=resource)
