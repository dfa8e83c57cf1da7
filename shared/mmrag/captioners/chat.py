"""One question to an OpenAI-compatible endpoint: paced, retried, bounded, counted."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmrag.captioners.base import PictureRefused
from mmrag.captioners.pace import Pace
from mmrag.errors import AnswerError, ServiceError
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
_KEY = re.compile(r"sk-[\w*-]+")  # OpenAI quotes a refused key, its middle starred out
_ADVICE = {
    401: "check the api_key",
    402: "check the account",
    403: "this key may not use the model",
    404: "check the model's name, and that base_url ends where the API begins, as in /v1",
    429: "wait, or set requests_per_minute",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What was asked so far: answered requests and their tokens, as the endpoint counts them."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def cost(self, prompt_price: float, completion_price: float) -> float:
        """The price of it, from the prices of a million tokens each way.

        >>> Usage(1, 1_000_000, 100_000).cost(0.5, 2)
        0.7
        """
        return (
            self.prompt_tokens * prompt_price + self.completion_tokens * completion_price
        ) / 1_000_000


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
        if isinstance(body, dict) and body.get("error"):
            error = body["error"]
            code = error.get("code") if isinstance(error, dict) else None
            status = int(str(code)) if str(code).isdecimal() else 200
            raise _Failed(_said(error), status)
        try:
            choice = body["choices"][0]
            message = choice["message"]
        except (TypeError, LookupError):
            raise ServiceError(
                f"{self._place} answered with something else than a completion: {str(body)[:80]!r}"
            ) from None
        self._count(body.get("usage"))
        reason = choice.get("finish_reason")
        if message.get("refusal") or reason == "content_filter":
            raise PictureRefused(
                f"{self.model} will not describe the picture: {message.get('refusal') or reason}"
            )
        if reason == "length":
            raise AnswerError("the model's answer is no caption: it was cut short by a token limit")
        content = message.get("content")
        if isinstance(content, list):
            parts = (part.get("text") for part in content if isinstance(part, dict))
            content = "".join(part for part in parts if isinstance(part, str))
        return content if isinstance(content, str) else ""

    def _count(self, used: Any) -> None:
        def tokens(name: str) -> int:
            value = used.get(name) if isinstance(used, dict) else None
            return value if isinstance(value, int) else 0

        with self._lock:
            u = self.usage
            self.usage = Usage(
                u.requests + 1,
                u.prompt_tokens + tokens("prompt_tokens"),
                u.completion_tokens + tokens("completion_tokens"),
            )

    @property
    def _place(self) -> str:
        return f"{self.model} at {self.client.base_url.host}"

    def _error(self, failed: _Failed, tries: int) -> ServiceError:
        said = _KEY.sub("***", str(failed))
        if key := self.client.api_key:
            said = said.replace(key, "***")
        said = f"{said[:300]} (asked {tries} times)" if tries > 1 else said[:300]
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
    return _Failed(_said(body or error.message), status, seconds if seconds > 0 else None)


def _until(date: str) -> float:
    from email.utils import parsedate_to_datetime

    try:
        seconds = parsedate_to_datetime(date).timestamp() - time.time()
    except (TypeError, ValueError):
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0


def _said(error: object) -> str:
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return str(error["message"])
    return str(error)
