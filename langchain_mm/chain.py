"""Question answering over texts and pictures: retrieve, ask the model, say what it cites."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cache
from typing import Any, TypeAlias, cast

from langchain_core.documents import Document
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.retrievers import RetrieverLike
from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
    RunnableGenerator,
    RunnableLambda,
    RunnablePassthrough,
)
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import ConfigurableFieldSpec
from typing_extensions import TypedDict

from langchain_mm.answering import Answering, Asked, CitedSource, acite, cite
from langchain_mm.blocks import checked_documents, checked_retriever
from langchain_mm.fusion_retriever import sees
from langchain_mm.images import reopenable
from langchain_mm.opening import AllowedRoots, Opening
from langchain_mm.query import Held
from mmrag.errors import InputError
from mmrag.sources import Budget

__all__ = ["Budget", "CitedSource", "RagAnswer", "RagQuestion", "create_multimodal_rag_chain"]

log = logging.getLogger("mmrag")

RagQuestion: TypeAlias = str | dict[str, Any]
"""A question in words, or a dict of ``question`` and ``image``, of which one may be missing. A
picture is any of :data:`langchain_mm.images.AnyImage`."""


class RagAnswer(TypedDict):
    """What the chain answers: source ``[n]`` of the answer is ``documents[n - 1]``. ``invented``
    are the numbers that the model cites and that no document has."""

    documents: list[Document]
    answer: str
    citations: list[CitedSource]
    invented: list[int]


def create_multimodal_rag_chain(
    retriever: RetrieverLike,
    chat_model: Runnable[LanguageModelInput, Any],
    *,
    budget: Budget | None = None,
    allowed_roots: AllowedRoots = (),
) -> Runnable[RagQuestion, Any]:
    """A runnable from a question to a :class:`RagAnswer`, as a dict.

    The model gets the instructions of :data:`mmrag.answer.INSTRUCTIONS`, and in one message of
    standard content blocks the documents as numbered sources, their pictures with their true types,
    and the question with its own picture. A :class:`langchain_mm.MultimodalRetriever` searches by
    that picture too; any other retriever gets the words, and a picture beside them is a warning
    in the log ``mmrag``, once.

    ``stream`` gives the documents first, then the answer in pieces as they come, then what it
    cites; the chunks add up to what ``invoke`` returns.

    Within the chain, traces name the picture of a question by its path or type; pixels are in the
    run of the model alone. Runs around it are LangChain's own, those of ``with_retry``, of what is
    piped into the chain, or of ``astream_events``, and show the question as it was given: ask with
    a path where they are to hold no pixels.

    Args:
        retriever: any. One that :meth:`langchain_mm.MultimodalRetriever.from_retrievers` made
            passes the picture on to those that it fuses.
        chat_model: any, also with ``with_retry`` and the like.
        budget: how much of the sources is sent; ``Budget(max_images=0)`` if the model cannot see.
        allowed_roots: folders of pictures that are sent wherever a document comes from. Of others,
            only those that an index behind the retriever holds, or whose sha256 the document says;
            see :class:`langchain_mm.opening.Opening`. A picture that is not what was indexed any
            more is left out, with a warning.

    Raises:
        InputError: the retriever, the model or the budget is none. When it runs: the question is
            empty, has an unknown key, or is a picture alone and the retriever takes words.
        SourceError: when it runs: the picture of the question cannot be opened.

    >>> chain = create_multimodal_rag_chain(retriever, model)           # doctest: +SKIP
    >>> chain.invoke({"question": "Which plug fits?", "image": "socket.jpg"})
    ...                                                                 # doctest: +SKIP
    {'documents': [...], 'answer': 'The flat one [2].', 'citations': [{'number': 2, ...}], ...}
    """
    checked_retriever(retriever)
    if not isinstance(chat_model, Runnable):
        raise InputError(f"a chat model is a Runnable, not {type(chat_model).__name__}")
    if not isinstance(budget, Budget | None):
        raise InputError(f"a budget is a Budget, not {type(budget).__name__}")
    seeing = sees(retriever)

    @cache
    def warn() -> None:
        log.warning(
            "%s searches by words alone: the picture of a question goes to the model, and is not "
            "searched by. A MultimodalRetriever searches by both.",
            type(retriever).__name__,
        )

    def picture(asked: Asked) -> dict[str, Any]:
        """What the retriever is told beside the words."""
        if asked.image is None:
            return {}
        if seeing:
            return {"image": asked.image}
        warn()
        return {}

    def find(given: RagQuestion, config: RunnableConfig) -> dict[str, Any]:
        asked = _asked(given, seeing)
        found = retriever.invoke(asked.words, config, **picture(asked))
        return {"documents": checked_documents(found), "asked": asked}

    async def afind(given: RagQuestion, config: RunnableConfig) -> dict[str, Any]:
        asked = await asyncio.to_thread(_asked, given, seeing)
        found = await retriever.ainvoke(asked.words, config, **picture(asked))
        return {"documents": checked_documents(found), "asked": asked}

    opening = Opening(retriever, allowed_roots)
    answering = Answering(chat_model, opening, budget or Budget())
    chain: Runnable[RagQuestion, Any] = (
        RunnableLambda(find, afind)
        | RunnablePassthrough.assign(answer=answering)
        | RunnableGenerator(cite, acite)
    )
    named = _Holding(chain).with_config(run_name="multimodal_rag")
    return named.with_types(input_type=cast(Any, RagQuestion), output_type=RagAnswer)


class _Holding(Runnable[RagQuestion, Any]):
    """The chain, to which the picture of a question is given in a :class:`Held`. It has no run of
    its own, so that no run of the chain gets the question as it was."""

    def __init__(self, chain: Runnable[RagQuestion, Any]) -> None:
        self._chain = chain

    def invoke(
        self,
        input: RagQuestion,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """What the chain gives."""
        return self._chain.invoke(_held(input), config, **kwargs)

    async def ainvoke(
        self,
        input: RagQuestion,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """:meth:`invoke`, awaited."""
        return await self._chain.ainvoke(_held(input), config, **kwargs)

    def stream(
        self,
        input: RagQuestion,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """What the chain gives, in pieces."""
        return self._chain.stream(_held(input), config, **kwargs)

    def astream(
        self,
        input: RagQuestion,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """:meth:`stream`, awaited."""
        return self._chain.astream(_held(input), config, **kwargs)

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """That of the chain."""
        return self._chain.get_graph(config)

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """Those of the chain."""
        return self._chain.config_specs


def _held(given: RagQuestion) -> RagQuestion:
    if isinstance(given, Mapping) and given.get("image") is not None:
        return {**given, "image": Held(given["image"])}
    return given  # what is no question is refused in the chain, where traces see it


def _asked(given: RagQuestion, seeing: bool) -> Asked:
    asked = {"question": given} if isinstance(given, str) else given
    if not isinstance(asked, Mapping):
        raise InputError(f"a question is a string or a dict, not {_kind(given)}")
    if unknown := sorted(map(str, set(asked) - {"question", "image"})):
        raise InputError(f"a question has no {', '.join(unknown)}: it has a question and an image")
    words, image = asked.get("question", ""), asked.get("image")
    if words is not None and not isinstance(words, str):
        raise InputError(f"a question is a string, not {_kind(words)}")
    words = (words or "").strip()
    if not words and image is None:
        raise InputError("an empty question: give words, a picture, or both")
    if not words and not seeing:
        raise InputError("this retriever takes words alone: ask a question about the picture")
    if image is None:
        return Asked(words, None)
    return Asked(words, Held(reopenable(image.image if isinstance(image, Held) else image)))


def _kind(given: object) -> str:
    hint = ": pass message.text" if isinstance(given, BaseMessage) else ""
    return f"{type(given).__name__}{hint}"
