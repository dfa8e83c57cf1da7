"""For ``langchain_core.indexing.index``: a key that changes when a document's picture does."""

from __future__ import annotations

import hashlib
import json

from langchain_core.documents import Document

from langchain_mm.convert import HIT_KEY, image_of
from mmrag.errors import InputError, SourceError
from mmrag.identity import digest_of

__all__ = ["content_key"]


def content_key(document: Document) -> str:
    """The sha256 of all that a document says and shows: text, metadata, and its picture's bytes.

    >>> index(                                                   # doctest: +SKIP
    ...     documents, record_manager, store, key_encoder=content_key,
    ...     cleanup="incremental", source_id_key="source",
    ... )

    LangChain's own keys cover text and metadata. That is enough for documents whose metadata have
    the picture's sha256, as those of ``MultimodalLoader``: ``key_encoder="sha256"`` will do for
    them. For those that have only its path, this key is needed, or else a picture that changes
    under the same path is never indexed again. The picture is read, not decoded.

    Raises:
        SourceError: the picture cannot be read; the message names the document.
        InputError: the metadata cannot be written as JSON, or have no picture where one should be.
    """
    metadata = {k: v for k, v in document.metadata.items() if k != HIT_KEY}
    try:
        image = image_of(document)
        digest = None if image is None else digest_of(image)
        said = json.dumps([document.page_content, metadata, digest], sort_keys=True)
    except (SourceError, InputError) as error:
        raise type(error)(f"document {_name_of(document)}: {error}") from error
    except (TypeError, ValueError) as error:
        raise InputError(
            f"document {_name_of(document)}: its metadata cannot be written as JSON: {error}"
        ) from None
    return hashlib.sha256(said.encode()).hexdigest()


def _name_of(document: Document) -> str:
    return repr(document.id or document.page_content[:80])
