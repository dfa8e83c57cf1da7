"""A query in words, a picture or speech: what a call may say, and what of it is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from langchain_core.documents.base import Blob
from typing_extensions import TypedDict

from langchain_mm.filters import DocumentFilter
from langchain_mm.images import AnyImage, image_input
from mmrag.errors import InputError
from mmrag.fusion import Fusion
from mmrag.index import MultimodalIndex
from mmrag.inputs import is_data_url, open_regular, refused
from mmrag.media import ImageInput
from mmrag.protocols import Transcriber

__all__ = ["Asked", "Held", "Query", "name_of", "refuse", "text_of", "traced"]

_LONGEST_NAME = 1000


class Asked(TypedDict, total=False):
    """What a call of a retriever may say besides the words; None is as if it were not there."""

    image: AnyImage | None
    voice: str | Path | None
    k: int | None
    routes: Sequence[str] | None
    fusion: str | Fusion | None
    filter: DocumentFilter


class Query(NamedTuple):
    """The parts of a query, of which at least one is there: words, and a picture to be opened."""

    text: str
    image: ImageInput | None

    @classmethod
    def of(
        cls,
        text: object,
        image: AnyImage | None,
        voice: str | Path | None,
        transcriber: Transcriber | None,
    ) -> Query:
        """What was asked; speech becomes words.

        Raises:
            InputError: nothing to search for, a wrong type, or speech and no transcriber.
            SourceError: the recording cannot be opened.
        """
        said = "" if voice is None else _said(voice, transcriber)
        words = "\n".join(part for part in (text_of(text), said) if part.strip())
        if not words and image is None:
            raise InputError("an empty query: give words, a picture, or both")
        return cls(words, None if image is None else image_input(image))

    @property
    def words(self) -> str:
        """The words, for what takes nothing else.

        Raises:
            InputError: there are none.
        """
        if not self.text:
            raise InputError("this reranker takes words, and the query is a picture alone")
        return self.text


def refuse(asked: Iterable[str], known: Iterable[str] = tuple(Asked.__annotations__)) -> None:
    """Raises InputError for what a call cannot say."""
    if unknown := sorted(set(asked) - set(known)):
        raise InputError(f"a call takes no {', '.join(unknown)}; it takes {', '.join(known)}")


def text_of(query: object) -> str:
    """The words of a query, which are never taken for a path. Raises InputError for no string."""
    if not isinstance(query, str):
        raise InputError(f"the text of a query is a string, not {type(query).__name__}")
    return query


def name_of(given: object) -> str:
    """What traces call a picture or a recording: its path, else its type. Nothing is opened."""
    if isinstance(given, Blob) and given.data is None:
        given = given.path
    if isinstance(given, str | Path):
        name = str(given)
        # A string may be a data: URL, or base64 by mistake.
        if not is_data_url(name) and len(name) <= _LONGEST_NAME:
            return name
    return f"<{type(given).__name__}>"


class Held:
    """A picture on its way through a chain, whose traces show what :func:`name_of` says of it.

    LangSmith writes the fields of a dataclass, and all bytes as base64; of an object that it does
    not know it writes the string, and nothing else.
    """

    __slots__ = ("image",)

    def __init__(self, image: AnyImage) -> None:
        self.image = image

    def __repr__(self) -> str:
        return name_of(self.image)


def traced(index: MultimodalIndex, asked: Mapping[str, object]) -> dict[str, str]:
    """What traces say of a search: where, by which models, and by which picture or recording."""
    encoders = index.encoders
    models = dict.fromkeys((encoders.text.space.family, encoders.image.space.family))
    said = {
        "ls_vector_store_provider": type(index.store).__name__,
        "ls_embedding_provider": type(encoders.text).__name__,
        "ls_embedding_model": ", ".join(models),
    }
    named = {name: asked[name] for name in ("image", "voice") if asked.get(name) is not None}
    return said | {f"mmrag_{name}": name_of(given) for name, given in named.items()}


def _said(voice: object, transcriber: Transcriber | None) -> str:
    if transcriber is None:
        raise InputError("a query in speech needs MultimodalRetriever(transcriber=...)")
    if not isinstance(voice, str | Path):
        raise InputError(f"voice is the path of a recording, not {type(voice).__name__}")
    try:
        open_regular(Path(voice)).close()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise refused(Path(voice), error) from None
    return " ".join(record.text for record in transcriber.transcribe(str(voice)))
