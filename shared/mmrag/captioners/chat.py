"""One question to an OpenAI-compatible endpoint: paced, retried, bounded, counted."""

from __future__ import annotations

import json
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from mmrag.captioners.base import PictureRefused
from mmrag.captioners.pace import Pace
from mmrag.errors import AnswerError, ServiceError
from mmrag.openai_wire import (
    Usage,
    choices_of,
    cleaned,
    dict_of,
    said_of,
    status_of,
    usage_of,
    words_of,
)
from mmrag.types import Json

if TYPE_CHECKING:
    import openai

__all__ = ["ChatEndpoint", "Usage"]

MOST_BYTES = 2 * 2**20  # of an answer; a caption has a few thousand
LONGEST_WAIT = 120.0  # seconds that are waited because a service asks for it
LONGEST_BACKOFF = 32.0
PATIENCE = 2  # how often a hang or a refused connection is tried again
_REFUSALS = (400, 413, 415, 422, 501)
_BUSY = (408, 409, 425, 429)
_ADVICE = {
    401: "check the key: api_key, or MMRAG_API_KEY",
    402: "check the account",
    403: "this key may not use the model",
    404: "check the model's name, and that the address (base_url or --vlm-url) ends where the API "
    "begins, as in /v1",
    429: "wait, or set requests_per_minute (--vlm-rate)",
}


class _Failed(Exception):
    """A request without an answer: its status if it has one, what was said, and the seconds after
    which the service wants to be asked again."""

    def __init__(self, said: str, status: int | None = None, after: float | None = None) -> None:
        super().__init__(said)
        self.status, self.after = status, after


class ChatEndpoint:
    """Chat completions of one model by an ``openai`` client. Thread-safe.

    Busy answers (429, 5xx) are retried ``max_retries`` times, after 1, 2, 4 ... 32 seconds or what
    the service asks for; hangs and refused connections twice. Meanwhile no thread asks.
    """

    def __init__(
        self, client: openai.OpenAI, model: str, pace: Pace, timeout: float, max_retries: int
    ) -> None:
        self.client = client.with_options(max_retries=0)
        self.model, self.pace, self.timeout, self.max_retries = model, pace, timeout, max_retries
        self.usage = Usage()
        self._lock = threading.Lock()

    def ask(self, messages: list[dict[str, Any]], schema: Json = None) -> str:
        """The text of the answer to ``messages``; with ``schema`` as the ``response_format``.

        Raises:
            PictureRefused: the endpoint refuses what it was sent, or will not describe it.
            AnswerError: the answer is over 2 MiB, or was cut short.
            ServiceError: no answer, in all tries.
        """
        tries = 0
        while True:
            self.pace.wait()
            try:
                return self._text(self._body(messages, schema))
            except _Failed as failed:
                tries += 1
                wait = max(failed.after or 0.0, min(LONGEST_BACKOFF, 2.0 ** (tries - 1)))
                if wait > LONGEST_WAIT or tries > self._retries(failed):
                    raise self._error(failed, tries) from None
                self.pace.hold(wait)

    def _retries(self, failed: _Failed) -> int:
        status = failed.status
        if status is None:
            return min(PATIENCE, self.max_retries)
        return self.max_retries if status in _BUSY or (status >= 500 and status != 501) else 0

    def _body(self, messages: list[dict[str, Any]], schema: Json) -> Any:
        """The JSON of a completion, read within the bounds of bytes and time."""
        import httpx
        import openai

        options: dict[str, Any] = {} if schema is None else {"response_format": schema}
        until = time.monotonic() + self.timeout
        create: Any = self.client.chat.completions.with_streaming_response.create
        data = bytearray()
        try:
            with create(
                model=self.model, messages=messages, timeout=self.timeout, **options
            ) as response:
                for piece in response.iter_bytes():
                    data += piece
                    if len(data) > MOST_BYTES:
                        raise AnswerError(
                            f"the answer is no caption: it is over {MOST_BYTES // 2**20} MiB"
                        )
                    if time.monotonic() > until:
                        raise _Failed(f"no whole answer in {self.timeout:g} seconds")
        except openai.APIStatusError as error:
            raise _of_status(error) from None
        except (openai.APITimeoutError, httpx.TimeoutException):
            raise _Failed(f"no answer in {self.timeout:g} seconds") from None
        except (openai.APIConnectionError, httpx.TransportError) as error:
            raise _Failed(f"it cannot be reached: {error.__cause__ or error}") from None
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            said = bytes(data[:80])
            raise ServiceError(
                f"{self._place} answered with something else than JSON: {said!r}"
            ) from None

    def _text(self, body: Any) -> str:
        completion = dict_of(body)
        if error := completion.get("error"):
            raise _Failed(said_of(error), status_of(dict_of(error).get("code")) or 200)
        choice = next(iter(choices_of(completion)), {})
        message = choice.get("message")
        if not isinstance(message, dict):
            raise ServiceError(
                f"{self._place} answered with something else than a completion: {str(body)[:80]!r}"
            )
        with self._lock:
            self.usage += usage_of(completion.get("usage")) or Usage(1)
        refusal, reason = message.get("refusal"), choice.get("finish_reason")
        if refusal or reason == "content_filter":
            raise PictureRefused(f"{self.model} will not describe the picture: {refusal or reason}")
        if reason == "length":
            raise AnswerError("the model's answer is no caption: it was cut short by a token limit")
        return words_of(message.get("content"))

    @property
    def _place(self) -> str:
        return f"{self.model} at {self.client.base_url.host}"

    def _error(self, failed: _Failed, tries: int) -> ServiceError:
        said = cleaned(str(failed), self.client.api_key)
        said = f"{said} (asked {tries} times)" if tries > 1 else said
        if failed.status in _REFUSALS:
            refusal = f"{self._place} refuses the picture ({failed.status}): {said}"
            return PictureRefused(refusal, failed.status)
        status = f" ({failed.status})" if failed.status else ""
        wait = f"; it asks to wait {failed.after:g} seconds" if failed.after else ""
        advice = f"; {_ADVICE[failed.status]}" if failed.status in _ADVICE else ""
        return ServiceError(f"{self._place} gave no answer{status}: {said}{wait}{advice}")


def _of_status(error: openai.APIStatusError) -> _Failed:
    status, body = error.status_code, error.body
    if status == 429 and isinstance(body, dict) and body.get("code") == "insufficient_quota":
        status = 402  # no waiting helps
    after = error.response.headers.get("retry-after", "")
    try:
        seconds = float(after)
    except ValueError:  # none, or a date
        seconds = _until(after)
    return _Failed(said_of(body or error.message), status, seconds if seconds > 0 else None)


def _until(date: str) -> float:
    from email.utils import parsedate_to_datetime

    try:
        seconds = parsedate_to_datetime(date).timestamp() - time.time()
    except (TypeError, ValueError):
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0
