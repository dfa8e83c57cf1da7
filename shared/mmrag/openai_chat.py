"""OpenAIChat: a chat model behind OpenAI's API, or any server that speaks it."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mmrag.asking import Completion
from mmrag.errors import AnswerError, InputError, MmragError, ServiceError
from mmrag.openai_wire import (
    Usage,
    choices_of,
    cleaned,
    connected,
    dict_of,
    part_of,
    said_of,
    usage_of,
    words_of,
)
from mmrag.sources import PromptPart

if TYPE_CHECKING:
    import openai

__all__ = ["OpenAIChat"]

TIMEOUT = 120.0
RETRIES = 2
MOST_BYTES = 8 * 2**20  # of an answer
_ADVICE = {
    401: "check the key, which the command takes from MMRAG_API_KEY",
    403: "this key may not use the model",
    404: "check the model's name, and that the address ends where the API begins, as in /v1",
    413: "send less: a smaller Budget, or a lower limit",
    429: "wait, or raise the account's limits",
}


class OpenAIChat:
    """A :class:`mmrag.asking.ChatModel` through OpenAI's client: OpenAI, Ollama, vLLM and others.

    >>> OpenAIChat("gpt-4o-mini")                                                # doctest: +SKIP
    >>> OpenAIChat("qwen2.5vl", base_url="http://localhost:11434/v1")            # doctest: +SKIP

    Pictures are sent as data URLs. A request that fails by 429, 5xx, a timeout or a broken
    connection is sent again by the client, later each time or when the service says; an answer
    that has begun is not.

    Args:
        model: the name that the service knows the model by.
        base_url: of another server, up to its ``/v1``; else OpenAI's.
        api_key: for OpenAI from ``OPENAI_API_KEY`` by default. Another server is sent only the key
            that is given here. It is in no message and no log.
        client: an ``openai.OpenAI`` in place of ``base_url`` and ``api_key``.
        timeout: the seconds that one try may take; of a stream, the longest silence.
        max_retries: how often a request is sent again.

    Raises:
        InputError: an argument that cannot be used, or there is no key for OpenAI.
        MissingExtra: ``mmrag[openai]`` is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        client: openai.OpenAI | None = None,
        timeout: float = TIMEOUT,
        max_retries: int = RETRIES,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            raise InputError(f"model is the name of a chat model, not {model!r}")
        if not timeout > 0 or max_retries < 0:
            raise InputError("timeout is above 0, max_retries 0 or more")
        self.model, self.timeout, self.max_retries = model, timeout, max_retries
        given = connected(client, base_url, api_key)
        self._client = given.with_options(timeout=timeout, max_retries=max_retries)

    def __repr__(self) -> str:
        return f"OpenAIChat({self.model!r} at {self._client.base_url.host})"

    def complete(self, system: str, parts: Sequence[PromptPart]) -> Completion:
        """The whole answer.

        Raises:
            ServiceError: the service cannot be reached, or refuses, in all tries.
            AnswerError: the answer is empty, was cut short, or is over 8 MiB.
        """
        create: Any = self._client.chat.completions.with_streaming_response.create
        data, until = bytearray(), time.monotonic() + self.timeout * (self.max_retries + 1)
        with self._failing(), create(**self._request(system, parts)) as response:
            # Read here and not by the client, whose timeout starts anew with every byte.
            for piece in response.iter_bytes():
                data += piece
                self._check_size(len(data))
                if time.monotonic() > until:
                    raise ServiceError(f"{self._place} did not answer in time")
        body = self._body(bytes(data))
        choices = choices_of(body)
        if not choices:
            said = self._clean(str(body))
            raise ServiceError(
                f"{self._place} answered with something else than a completion: {said}"
            )
        message = dict_of(choices[0].get("message"))
        text = words_of(message.get("content"))
        self._check_end(
            choices[0].get("finish_reason"), message.get("refusal"), empty=not text.strip()
        )
        return Completion(text, usage_of(body.get("usage")))

    def stream(
        self, system: str, parts: Sequence[PromptPart]
    ) -> Generator[str, None, Usage | None]:
        """The answer in pieces, as they come; the generator returns the usage, if it is told.

        Raises as :meth:`complete` does, after the pieces that have come where it was cut short.
        """
        usage, reason, size = None, None, 0
        with self._failing(), self._opened(self._request(system, parts)) as chunks:
            for chunk in chunks:
                # The client does not check what it is sent.
                body = chunk.to_dict(warnings=False) if hasattr(chunk, "to_dict") else {}
                usage = usage_of(body.get("usage")) or usage
                for choice in choices_of(body):
                    piece = words_of(dict_of(choice.get("delta")).get("content"))
                    reason = choice.get("finish_reason") or reason
                    if piece:
                        size += len(piece)
                        self._check_size(size)
                        yield piece
        if reason is None and size:
            raise AnswerError(f"the answer of {self._place} ended before it was finished")
        self._check_end(reason, empty=not size)
        return usage

    def _request(self, system: str, parts: Sequence[PromptPart]) -> dict[str, Any]:
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": [part_of(part) for part in parts]},
        ]
        return {"model": self.model, "messages": messages}

    def _opened(self, request: dict[str, Any]) -> openai.Stream[Any]:
        """The stream of an answer; without its usage where a server does not know that option."""
        import openai

        create: Any = self._client.chat.completions.create
        try:
            stream = create(**request, stream=True, stream_options={"include_usage": True})
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if "stream_options" not in str(error):
                raise
            stream = create(**request, stream=True)
        if "event-stream" not in stream.response.headers.get("content-type", ""):
            self._body(stream.response.read())  # an error, most likely, and then it is raised
            raise ServiceError(f"{self._place} does not stream its answer")
        opened: openai.Stream[Any] = stream
        return opened

    def _body(self, data: bytes) -> dict[str, Any]:
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            said = self._clean(repr(data[:80]))
            raise ServiceError(f"{self._place} answered with something else than JSON: {said}")
        if error := body.get("error"):
            raise ServiceError(
                f"{self._place} answered with an error: {self._clean(said_of(error))}"
            )
        return body

    def _check_size(self, size: int) -> None:
        if size > MOST_BYTES:
            raise AnswerError(f"the answer of {self._place} is over {MOST_BYTES // 2**20} MiB")

    def _check_end(self, reason: object, refusal: object = None, *, empty: bool) -> None:
        if refusal or reason == "content_filter":
            raise AnswerError(
                f"{self._place} will not answer: {self._clean(str(refusal or reason))}"
            )
        if reason == "length":
            raise AnswerError(
                f"the answer of {self._place} was cut short by a limit of tokens: raise the "
                "server's limit, or send fewer sources"
            )
        if empty:
            raise AnswerError(f"{self._place} gave an empty answer")

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn what the client raises into our errors."""
        import httpx
        import openai

        tries = "once" if self.max_retries == 0 else f"{self.max_retries + 1} times"
        try:
            yield
        except MmragError:
            raise
        except (openai.APITimeoutError, httpx.TimeoutException):
            raise ServiceError(
                f"{self._place} did not answer within {self.timeout:g} seconds"
            ) from None
        except (openai.APIConnectionError, httpx.TransportError) as error:
            said = self._clean(str(error.__cause__ or error))
            raise ServiceError(f"{self._place} cannot be reached: {said}") from None
        except openai.APIStatusError as error:
            status, said = error.status_code, self._clean(said_of(error.body or error.message))
            advice = f"; {_ADVICE[status]}" if status in _ADVICE else ""
            asked = f", asked {tries}" if status == 429 or status >= 500 else ""
            raise ServiceError(
                f"{self._place} answered with an error ({status}{asked}): {said}{advice}"
            ) from None
        except openai.OpenAIError as error:
            said = self._clean(said_of(getattr(error, "body", None) or str(error)))
            raise ServiceError(f"{self._place} answered with an error: {said}") from None
        except ValueError as error:
            raise ServiceError(f"{self._place} answered with something else than JSON") from error

    @property
    def _place(self) -> str:
        return f"{self.model} at {self._client.base_url.host}"

    def _clean(self, text: str) -> str:
        return cleaned(text, self._client.api_key)
