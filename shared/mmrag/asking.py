"""Answers from what was found: one grounded prompt to a chat model, and what its answer cites."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mmrag.answer import Prompt, build_prompt
from mmrag.citations import Citation, citations
from mmrag.errors import AnswerError, InputError
from mmrag.openai_wire import Usage
from mmrag.sources import Budget, PromptPart
from mmrag.spoken import Spoken, spoken
from mmrag.types import Hit, Record

if TYPE_CHECKING:
    from mmrag.media import ImageInput

__all__ = ["Answer", "ChatModel", "Completion", "Usage", "answer", "stream_answer"]


@dataclass(frozen=True, slots=True)
class Completion:
    """What a chat model has answered; ``usage`` is None where it does not say."""

    text: str
    usage: Usage | None = None


@runtime_checkable
class ChatModel(Protocol):
    """A model that sees pictures and answers in words, such as
    :class:`mmrag.openai_chat.OpenAIChat`. ``system`` are instructions, ``parts`` the user's
    message in order.

    Both methods raise ServiceError where there is no answer, and AnswerError where it is cut.
    """

    def complete(self, system: str, parts: Sequence[PromptPart]) -> Completion:
        """The whole answer."""

    def stream(self, system: str, parts: Sequence[PromptPart]) -> Iterator[str]:
        """The answer in pieces, as they come. A generator may return its :class:`Usage`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and what it rests on: ``citations`` are the sources that it cites, in the order of
    their first mention, ``invented`` the numbers in it that no source has."""

    text: str
    citations: tuple[Citation, ...]
    usage: Usage | None
    invented: tuple[int, ...]


def answer(
    question: str,
    found: Sequence[Hit | Record],
    llm: ChatModel,
    *,
    image: ImageInput | None = None,
    budget: Budget | None = None,
) -> Answer:
    """What ``llm`` answers from hits or records, best first; they are numbered in this order.

    The question is in words, a picture, or both. What of the sources is sent is said at
    :class:`mmrag.sources.Budget`.

    >>> llm = OpenAIChat("qwen2.5vl", base_url="http://localhost:11434/v1")      # doctest: +SKIP
    >>> answer("How do I reset it?", index.search("reset"), llm).text            # doctest: +SKIP
    'Hold the button for ten seconds [1].'

    Raises:
        InputError: there is no question, or ``llm`` is no :class:`ChatModel`.
        SourceError: the picture of the question cannot be opened.
        ServiceError: the model cannot be reached, or refuses.
        AnswerError: the answer is empty or was cut short.
    """
    records, prompt = _asked(question, found, llm, image, budget)
    said = llm.complete(prompt.system, prompt.parts)
    return _answer(spoken(said.text), said.usage, records)


def stream_answer(
    question: str,
    found: Sequence[Hit | Record],
    llm: ChatModel,
    *,
    image: ImageInput | None = None,
    budget: Budget | None = None,
) -> Iterator[str | Answer]:
    """:func:`answer` in pieces, as they come; the last item is the whole :class:`Answer`.

    What can be wrong with the question is raised at once, what goes wrong with the model while it
    is iterated.
    """
    records, prompt = _asked(question, found, llm, image, budget)
    return _streamed(llm, prompt, records)


def _streamed(llm: ChatModel, prompt: Prompt, records: list[Record]) -> Iterator[str | Answer]:
    pieces: list[str] = []
    voice, usage, ended = Spoken(), None, False
    stream = iter(llm.stream(prompt.system, prompt.parts))
    while not ended:
        try:
            piece = voice.heard(next(stream))
        except StopIteration as end:  # its value is what a generator returned
            usage = end.value if isinstance(end.value, Usage) else None
            piece, ended = voice.rest(), True
        if piece:
            pieces.append(piece)
            yield piece
    yield _answer("".join(pieces), usage, records)


def _asked(
    question: str,
    found: Sequence[Hit | Record],
    llm: ChatModel,
    image: ImageInput | None,
    budget: Budget | None,
) -> tuple[list[Record], Prompt]:
    if not isinstance(llm, ChatModel):
        raise InputError(
            f"llm has complete() and stream(), as OpenAIChat has: not a {type(llm).__name__}"
        )
    records = [each.record if isinstance(each, Hit) else each for each in found]
    return records, build_prompt(question, records, image=image, budget=budget)


def _answer(text: str, usage: Usage | None, records: list[Record]) -> Answer:
    if not text.strip():
        raise AnswerError("the model's answer is empty: ask again, or ask another model")
    cited = citations(text, records)
    return Answer(text, cited.cited, usage, cited.invented)
