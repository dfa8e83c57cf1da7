"""MultimodalVectorStore: a MultimodalIndex as a LangChain vector store."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_mm.convert import record_to_document
from langchain_mm.filters import DocumentFilter, where_of
from langchain_mm.images import AnyImage
from langchain_mm.searching import Searching, refuse
from langchain_mm.writing import documents_of, ids_of, items_of, pictures_of, write
from mmrag.attachments import Attachments
from mmrag.encode import Encoders
from mmrag.errors import InputError
from mmrag.index import MultimodalIndex
from mmrag.protocols import ImageEncoder, Store, TextEncoder

__all__ = ["MultimodalVectorStore"]

_Encoders: TypeAlias = tuple[TextEncoder | None, ImageEncoder | None]


class MultimodalVectorStore(Searching):
    """One index for texts and pictures, as one vector store.

    Over an index in a folder, with the bundled encoders:
        >>> store = MultimodalVectorStore.from_path("kb")               # doctest: +SKIP
        >>> store.add_texts(["Hold the button for ten seconds."])       # doctest: +SKIP
        >>> store.add_images(["router.jpg", png_bytes])                 # doctest: +SKIP
        >>> store.similarity_search("how to reset the router", k=2)     # doctest: +SKIP
        >>> store.similarity_search_by_image("photo.jpg")               # doctest: +SKIP

    With an embedding model of LangChain's for the texts, for the time that the store lives:
        >>> store = MultimodalVectorStore.from_texts(texts, OpenAIEmbeddings())  # doctest: +SKIP

    A document is one record with all its vectors: of its text, of its picture (a path, a data URL
    or an ``ImageRef`` as a dict, under ``metadata["mmrag_image"]``), of the picture's caption
    (``mmrag_caption``), and of its keywords. It comes back as it was added, with its id, which may
    be any string; adding another one of that id replaces it. A picture that came as bytes is a file
    in the index's folder for as long as a document needs it, and comes back as the path of that.

    Searches fuse all routes (see :meth:`mmrag.MultimodalIndex.search`). Threads may add, delete and
    search at the same time. Async methods run in a worker thread.
    """

    @classmethod
    def from_path(
        cls, path: str | Path, embedding: Embeddings | None = None
    ) -> MultimodalVectorStore:
        """Over the index in this folder, which is made if there is none; with ``embedding`` for
        its encoder if one is given, else with the bundled ones.

        Raises as :meth:`mmrag.MultimodalIndex.open` does. :meth:`close` releases it, ``with`` too.
        """
        return cls(_opened(path, (None, None) if embedding is None else _encoders(embedding)))

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        path: str | Path | None = None,
        index: MultimodalIndex | None = None,
        **kwargs: Any,
    ) -> MultimodalVectorStore:
        """A store with these texts, in an index in the folder ``path``, or in ``index``; without
        either it lives in a temporary folder, which is removed with it.

        ``embedding`` embeds the texts; if it is a MultimodalEmbeddings, the pictures as well. Other
        models leave pictures to the bundled encoder.

        Raises:
            SpaceMismatch: the index was made with another model.
            InputError: both ``path`` and ``index`` were given, or what :meth:`add_texts` refuses.
        """
        refuse(kwargs)
        items, encoders = items_of(documents_of(texts, metadatas), ids), _encoders(embedding)
        if index is None:
            store = cls(_temporary(encoders) if path is None else _opened(path, encoders))
        elif path is None:
            store = cls(_checked(index, encoders))
        else:
            raise InputError("a store takes a path, or an index that is open, not both")
        try:
            write(store.index, items)
        except BaseException:
            if index is None:
                store.index.close()
            raise
        return store

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Sequence[dict[str, Any] | None] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts, and return their ids; where none is given, it is a new one.

        Nothing is written unless all can be, here as in the other methods that add.

        Raises:
            InputError: not lists of equal length, or metadata that JSON cannot hold.
        """
        return self.add_documents(documents_of(texts, metadatas), ids=ids, **kwargs)

    def add_documents(
        self,
        documents: Iterable[Document],
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add documents, and return their ids: those given, or else their own, or else new ones.

        ``batch_size``, which ``langchain_core.indexing.index`` sends, is not needed: encoders have
        their own. (``aadd_documents`` and ``aadd_texts`` are LangChain's, over these.)

        Raises:
            SourceError: a picture cannot be opened; the message says which.
            InputError: a document cannot be stored, or is none.
        """
        refuse(kwargs)
        return write(self._index, items_of(documents, ids))

    def add_images(
        self,
        images: Iterable[AnyImage],
        metadatas: Sequence[dict[str, Any] | None] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
    ) -> list[str]:
        """Add pictures, and return their ids: paths, data URLs, bytes, open files, PIL images,
        Blobs or content blocks of messages.

        A file stays where it is: ``metadata["mmrag_image"]`` says its path and its sha256, and
        ``source``, unless it is given, its path as well. Bytes are kept in the index's folder.

        Raises:
            SourceError: a picture cannot be opened; the message says which.
            InputError: not a list of pictures, or bytes for an index without a folder.
        """
        return write(self._index, pictures_of(images, metadatas, ids))

    async def aadd_images(
        self,
        images: Iterable[AnyImage],
        metadatas: Sequence[dict[str, Any] | None] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
    ) -> list[str]:
        """:meth:`add_images` in a worker thread."""
        return await asyncio.to_thread(self.add_images, images, metadatas, ids=ids)

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents of these ids, in their order; those that do not exist are left out."""
        return [record_to_document(record) for record in self._index.get(ids_of(ids))]

    def delete(
        self,
        ids: Sequence[str] | None = None,
        *,
        where: DocumentFilter = None,
        **kwargs: Any,
    ) -> bool:
        """Delete the documents of these ids that match the filter, each if given; an id that does
        not exist is no error. Returns True.

        Raises:
            InputError: neither was given: ``store.index.delete(where=And(()))`` deletes all.
        """
        refuse(kwargs)
        condition = where_of(where)
        Attachments(self._index).delete(None if ids is None else ids_of(ids), condition)
        return True


def _encoders(embedding: Embeddings) -> _Encoders:
    from langchain_mm.encoder import encoders_of

    return encoders_of(embedding)


def _opened(path: str | Path, encoders: _Encoders) -> MultimodalIndex:
    text, image = encoders
    return MultimodalIndex.open(path, text_encoder=text, image_encoder=image)


def _temporary(encoders: _Encoders) -> MultimodalIndex:
    """An index in a folder that is removed when nothing uses the index any more."""
    folder = tempfile.mkdtemp(prefix="mmrag-")
    try:
        index = _opened(folder, encoders)
    except BaseException:
        shutil.rmtree(folder)
        raise
    weakref.finalize(index, _remove, index.store, folder)
    return index


def _remove(store: Store, folder: str) -> None:
    store.close()
    shutil.rmtree(folder, ignore_errors=True)


def _checked(index: MultimodalIndex, encoders: _Encoders) -> MultimodalIndex:
    """The index, if its vectors are those of these encoders."""
    text, image = encoders
    own = index.encoders
    Encoders(text or own.text, image or own.image).check(own.spaces())
    return index
