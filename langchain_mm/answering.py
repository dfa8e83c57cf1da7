"""The steps of the chain after the search: the model's answer, and what it cites."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.documents import Document
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import AddableDict, Runnable, RunnableConfig
from typing_extensions import TypedDict

from langchain_mm.blocks import content_of, document_to_source
from langchain_mm.opening import Opening
from langchain_mm.query import Held
from mmrag.answer import build_prompt
from mmrag.citations import citations
from mmrag.media import ImageInput
from mmrag.sources import Budget
from mmrag.spoken import Spoken, spoken

__all__ = ["Answering", "Asked", "CitedSource", "Found", "acite", "cite"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: words, a picture to be opened, or both."""

    words: str
    held: Held | None

    @property
    def image(self) -> ImageInput | None:
        """The picture; a property, as traces get the fields."""
        return None if self.held is None else cast(ImageInput, self.held.image)


class Found(TypedDict):
    """A question and what was found for it, best first."""

    asked: Asked
    documents: list[Document]


class CitedSource(TypedDict):
    """A source that an answer cites: its number, its document, and where in its source it stands.

    ``page`` counts from 1; ``bbox`` is left, top, right and bottom as fractions of the page;
    ``start_s`` and ``end_s`` are seconds in a recording. What is not known is None.
    """

    number: int
    document: Document
    source: str
    page: int | None
    bbox: tuple[float, float, float, float] | None
    start_s: float | None
    end_s: float | None


class Answering(Runnable[Any, str]):
    """From a :class:`Found` to the model's answer. It has no run of its own, so that the pictures
    are in the trace of the model, and in no other."""

    def __init__(
        self, model: Runnable[LanguageModelInput, Any], opening: Opening, budget: Budget
    ) -> None:
        self._model, self._opening, self._budget = model, opening, budget

    def invoke(self, input: Found, config: RunnableConfig | None = None, **_: Any) -> str:  # noqa: A002
        """The whole answer."""
        return spoken(_text(self._model.invoke(self._messages(input), config)))

    async def ainvoke(self, input: Found, config: RunnableConfig | None = None, **_: Any) -> str:  # noqa: A002
        """:meth:`invoke`, which awaits the model."""
        messages = await asyncio.to_thread(self._messages, input)
        return spoken(_text(await self._model.ainvoke(messages, config)))

    def stream(
        self,
        input: Found,  # noqa: A002
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> Iterator[str]:
        """The answer in pieces, as they come."""
        voice = Spoken()
        for piece in self._model.stream(self._messages(input), config):
            if said := voice.heard(_text(piece)):
                yield said
        yield voice.rest()

    async def astream(
        self,
        input: Found,  # noqa: A002
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> AsyncIterator[str]:
        """:meth:`stream`, which awaits the model."""
        messages = await asyncio.to_thread(self._messages, input)
        voice = Spoken()
        async for piece in self._model.astream(messages, config):
            if said := voice.heard(_text(piece)):
                yield said
        yield voice.rest()

    def _messages(self, found: Found) -> list[BaseMessage]:
        asked, records = found["asked"], self._opening.records(found["documents"])
        prompt = build_prompt(asked.words, records, image=asked.image, budget=self._budget)
        return [SystemMessage(prompt.system), HumanMessage(content_of(prompt.parts))]


def cite(chunks: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Passes documents and pieces of the answer on; what the answer cites comes last."""
    heard = _Heard()
    for chunk in chunks:
        yield heard.passed(chunk)
    yield heard.citations()


async def acite(chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """:func:`cite` for an async stream."""
    heard = _Heard()
    async for chunk in chunks:
        yield heard.passed(chunk)
    yield heard.citations()


class _Heard:
    """What has gone through a stream so far."""

    def __init__(self) -> None:
        self._documents: list[Document] = []
        self._answer: list[str] = []

    def passed(self, chunk: dict[str, Any]) -> AddableDict:
        """The chunk, noted, without the question."""
        self._documents += chunk.get("documents", [])
        self._answer.append(chunk.get("answer", ""))
        return AddableDict({key: value for key, value in chunk.items() if key != "asked"})

    def citations(self) -> AddableDict:
        """What the whole answer cites."""
        found = citations("".join(self._answer), list(map(document_to_source, self._documents)))
        cited = [
            CitedSource(
                number=each.number,
                document=self._documents[each.number - 1],
                source=each.source,
                page=each.page,
                bbox=each.bbox,
                start_s=each.start_s,
                end_s=each.end_s,
            )
            for each in found.cited
        ]
        return AddableDict(citations=cited, invented=list(found.invented))


def _text(message: object) -> str:
    return str(message.text) if isinstance(message, BaseMessage) else str(message)
