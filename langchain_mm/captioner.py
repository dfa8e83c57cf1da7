"""ChatModelCaptioner: any LangChain chat model that takes pictures, as a captioner."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable

from langchain_mm.blocks import content_of
from langchain_mm.caption_schema import PictureCaption, text_of
from langchain_mm.images import AnyImage, image_input
from mmrag.caption_prompt import PROMPT_VERSION, correction, prompt, quoted
from mmrag.captioners.base import OneByOne
from mmrag.captions import caption_in
from mmrag.errors import AnswerError, InputError, SourceError
from mmrag.identity import reference_to
from mmrag.media import ImageInput
from mmrag.sources import TextPart, picture_part
from mmrag.types import Caption

__all__ = ["ChatModelCaptioner"]

# What a provider answers to a request that it does not understand.
_REFUSALS = (400, 404, 422, 501)

log = logging.getLogger("mmrag")


class ChatModelCaptioner(OneByOne):
    """A :class:`mmrag.protocols.Captioner`: one message a picture.

    >>> captioner = ChatModelCaptioner(ChatOpenAI(model="gpt-4o-mini"))  # doctest: +SKIP
    >>> captioner.caption(["red-bicycle.jpg"])[0].brief                  # doctest: +SKIP

    A picture is sent upright and scaled down to ``size`` pixels, as a JPEG, or as a PNG if it is
    transparent: models refuse large files, and kinds of files that mmrag can open. ``concurrency``
    pictures are asked about at once.

    A model that can be held to a schema is (``with_structured_output``); of any other the JSON in
    its answer is read. Where a provider refuses the schema, the question is put again without it;
    if that is answered, no schema is sent any more.

    ``language`` is that of the descriptions: ``"auto"``, ``"zh"``, ``"en"`` or a language's name.
    An answer that is no whole caption, or in another language, is asked for once more with the
    error.

    Raises:
        InputError: ``model`` is no chat model, or its profile says that it takes no pictures, or
            another argument cannot be used.
    """

    def __init__(
        self,
        model: BaseChatModel,
        *,
        size: int = 1536,
        concurrency: int = 4,
        language: str = "auto",
    ) -> None:
        if not isinstance(model, BaseChatModel):
            raise InputError(f"pass a LangChain chat model, not a {type(model).__name__}")
        if (model.profile or {}).get("image_inputs") is False:
            raise InputError(
                f"{_model_name(model)} takes no pictures, as its profile says: pass a vision model"
            )
        if size < 1 or concurrency < 1:
            raise InputError("size and concurrency are 1 or more")
        self.model, self.size, self.concurrency = model, size, concurrency
        self.language, self._prompt = language, prompt(language)
        self._structured: Runnable[Any, Any] | None = None
        try:
            self._structured = model.with_structured_output(PictureCaption, include_raw=True)
        except NotImplementedError:
            log.debug("%s has no structured output: captions are read from text", self.name)

    @property
    def name(self) -> str:
        """The model's class and name, the pixels that it is shown, the language and the version of
        the prompt."""
        shown = f"{self.size}px {self.language}"
        return f"{_model_name(self.model)} {shown} prompt {PROMPT_VERSION}"

    def caption(self, images: Sequence[AnyImage]) -> list[Caption]:
        """One whole caption a picture, in order.

        Raises:
            SourceError: a picture cannot be opened.
            AnswerError: twice no caption, a partial one, or one in another language.
            InputError: ``images`` is no list of pictures.
            Exception: what the model's client raises. The first error ends it; ``caption_each``
                gives each picture's caption, or the error in its place.
        """
        return super().caption(cast("Sequence[ImageInput]", images))  # one() takes them all

    async def acaption(self, images: Sequence[AnyImage]) -> list[Caption]:
        """:meth:`caption`, by the model's own async client. All pictures are asked about, whatever
        becomes of one; then the first error is raised."""
        if isinstance(images, str | bytes) or not isinstance(images, Sequence):
            raise InputError(f"pass a list of pictures, not a {type(images).__name__}")
        room = asyncio.Semaphore(self.concurrency)

        async def one(image: AnyImage) -> Caption:
            async with room:
                return await self._acaption(image)

        made = await asyncio.gather(*map(one, images), return_exceptions=True)
        for outcome in made:
            if isinstance(outcome, BaseException):
                raise outcome
        return [outcome for outcome in made if isinstance(outcome, Caption)]

    def one(self, image: AnyImage) -> Caption:
        """The whole caption of one picture. Raises as :meth:`caption` does."""
        messages = _question(image, self.size, self._prompt)
        answer = ""
        try:
            answer = self._ask(messages)
            return caption_in(answer, self.language)
        except AnswerError as error:
            messages += _told(answer, error)
        return caption_in(self._ask(messages), self.language, again=True)

    async def _acaption(self, image: AnyImage) -> Caption:
        try:
            messages = await asyncio.to_thread(_question, image, self.size, self._prompt)
        except SourceError as error:
            raise type(error)(f"{reference_to(image_input(image))}: {error}") from error
        answer = ""
        try:
            answer = await self._aask(messages)
            return caption_in(answer, self.language)
        except AnswerError as error:
            messages += _told(answer, error)
        return caption_in(await self._aask(messages), self.language, again=True)

    def _ask(self, messages: list[BaseMessage]) -> str:
        structured = self._structured
        if structured is not None:
            try:
                return text_of(structured.invoke(messages))
            except Exception as error:  # of any class: it is the provider's
                if not _may_refuse_schemas(error):
                    raise
        answer = self.model.invoke(messages).text
        self._structured = None  # without a schema it answers, with one it did not
        return answer

    async def _aask(self, messages: list[BaseMessage]) -> str:
        structured = self._structured
        if structured is not None:
            try:
                return text_of(await structured.ainvoke(messages))
            except Exception as error:
                if not _may_refuse_schemas(error):
                    raise
        answer = (await self.model.ainvoke(messages)).text
        self._structured = None  # as above
        return answer


def _question(image: AnyImage, size: int, words: str) -> list[BaseMessage]:
    picture = picture_part(image_input(image), size)
    return [HumanMessage(content=content_of((TextPart(words), picture)))]


def _told(answer: str, error: AnswerError) -> list[BaseMessage]:
    """As words, also what was a call of a tool: providers want a result after one."""
    return [AIMessage(content=quoted(answer)), HumanMessage(content=correction(error))]


def _may_refuse_schemas(error: Exception) -> bool:
    """Whether the same question without a schema may be answered. What is busy, down or forbidden
    is so without one too; of errors without a status, which many clients raise, one cannot say."""
    if isinstance(error, AnswerError | ConnectionError | TimeoutError):
        return False
    if getattr(error, "is_retryable", False):  # as LangChain's own errors of models say it
        return False
    return getattr(error, "status_code", None) in (None, *_REFUSALS)


def _model_name(model: BaseChatModel) -> str:
    # The one place where all providers' classes say it under the same name.
    named = model._get_ls_params().get("ls_model_name")
    return " ".join(filter(None, [type(model).__name__, named]))
