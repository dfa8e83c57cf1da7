"""VlmCaptioner: a vision model behind any OpenAI-compatible endpoint, as a captioner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mmrag.caption_prompt import PROMPT_VERSION, correction, prompt, quoted
from mmrag.captioners.base import OneByOne, PictureRefused
from mmrag.captioners.chat import ChatEndpoint
from mmrag.captioners.pace import Pace
from mmrag.captions import caption_in, response_schema
from mmrag.errors import AnswerError, InputError
from mmrag.media import ImageInput
from mmrag.openai_wire import Usage, connected, part_of
from mmrag.sources import TextPart, picture_part
from mmrag.types import Caption

if TYPE_CHECKING:
    import openai

__all__ = ["VlmCaptioner"]


class VlmCaptioner(OneByOne):
    """A :class:`mmrag.protocols.Captioner`: OpenAI, Ollama, vLLM and what else speaks their API.

    >>> captioner = VlmCaptioner(                                         # doctest: +SKIP
    ...     "qwen2.5vl", base_url="http://localhost:11434/v1", language="zh")
    >>> captioner.caption(["red-bicycle.jpg"])[0].brief                   # doctest: +SKIP

    A picture is sent upright and scaled down to ``size`` pixels. An answer is held to a schema
    where the endpoint has that, and else read as JSON; one that is no whole caption, or in another
    language, is asked for once more with the error, and is then a failure. ``caption_each`` gives
    each picture's outcome, ``caption`` raises the first failure.

    Args:
        model: the model's name at the endpoint.
        base_url: where its API begins; OpenAI's by default.
        api_key: for OpenAI from ``OPENAI_API_KEY`` by default. Another ``base_url`` is sent only
            the key that is given here.
        client: an ``openai.OpenAI`` in place of ``base_url`` and ``api_key``.
        language: of the descriptions: ``"auto"``, ``"zh"``, ``"en"`` or a language's name.
        size: the longest side in pixels of what is sent.
        concurrency: how many pictures are asked about at once.
        requests_per_minute: of all threads together.
        timeout: seconds for one whole answer.
        max_retries: of answers that the service is busy; six outlast a minute of them.

    Raises:
        InputError: an argument cannot be used, or there is no key for OpenAI.
        MissingExtra: ``mmrag[vlm]`` is not installed.
    """

    prompt_version: ClassVar[str] = PROMPT_VERSION

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        client: openai.OpenAI | None = None,
        language: str = "auto",
        size: int = 1024,
        concurrency: int = 4,
        requests_per_minute: float | None = None,
        timeout: float = 60,
        max_retries: int = 6,
    ) -> None:
        if not (isinstance(model, str) and model.strip()):
            raise InputError("model is the name of a vision model")
        if not all(isinstance(number, int | float) for number in (size, concurrency, timeout)):
            raise InputError("size, concurrency and timeout are numbers")
        if size < 1 or concurrency < 1 or timeout <= 0 or max_retries < 0:
            raise InputError(
                "size and concurrency are 1 or more, timeout is above 0, max_retries 0 or more"
            )
        if requests_per_minute is not None and not requests_per_minute > 0:
            raise InputError("requests_per_minute is above 0, or None for no limit")
        self.model, self.language, self.size = model, language, size
        self.concurrency = concurrency
        self._prompt = prompt(language)
        self._endpoint = ChatEndpoint(
            connected(
                client,
                base_url,
                api_key,
                feature="a captioner that asks a vision model",
                extra="vlm",
            ),
            model,
            Pace(requests_per_minute),
            timeout,
            max_retries,
        )
        self._holds_to_schema: bool | None = None  # not known yet

    def __repr__(self) -> str:
        return f"VlmCaptioner({self.model!r}, language={self.language!r}, size={self.size})"

    @property
    def name(self) -> str:
        """The model, the pixels that it is shown, the language and the version of the prompt."""
        return f"vlm {self.model} {self.size}px {self.language} prompt {PROMPT_VERSION}"

    @property
    def usage(self) -> Usage:
        """Requests and tokens so far, of all threads; ``usage.cost(...)`` at given prices."""
        return self._endpoint.usage

    def one(self, image: ImageInput) -> Caption:
        """The whole caption of one picture.

        Raises:
            SourceError: the picture cannot be opened.
            PictureRefused: the endpoint does not take this picture.
            AnswerError: twice no caption, a partial one, or one in another language.
            ServiceError: the endpoint cannot be reached, is busy for too long, or has an error.
        """
        parts = (TextPart(self._prompt), picture_part(image, self.size))
        content = [part_of(part) for part in parts]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        answer = self._ask(messages)
        try:
            return caption_in(answer, self.language)
        except AnswerError as error:
            messages.append({"role": "assistant", "content": quoted(answer)})
            messages.append({"role": "user", "content": correction(error)})
        return caption_in(self._ask(messages), self.language, again=True)

    def _ask(self, messages: list[dict[str, Any]]) -> str:
        """With the schema, unless the endpoint is known to refuse it: it answers without one and
        not with one."""
        if self._holds_to_schema is not False:
            try:
                answer = self._endpoint.ask(messages, _FORMAT)
            except PictureRefused as refused:
                if self._holds_to_schema or refused.status is None:
                    raise
            else:
                self._holds_to_schema = True
                return answer
        answer = self._endpoint.ask(messages)
        self._holds_to_schema = False
        return answer


_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "caption", "strict": True, "schema": response_schema()},
}
