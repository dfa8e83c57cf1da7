"""What goes to a chat model over OpenAI's API, and what comes back, whatever shape it is in: for
captions and for answers."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmrag.errors import InputError, MissingExtra
from mmrag.media import data_url
from mmrag.sources import PromptPart, TextPart

if TYPE_CHECKING:
    import openai

__all__ = [
    "Usage",
    "choices_of",
    "cleaned",
    "connected",
    "dict_of",
    "environment_key",
    "part_of",
    "said_of",
    "status_of",
    "usage_of",
    "words_of",
]

_LONGEST = 300  # characters of what a service says
_KEY = re.compile(r"sk-[\w*-]+")  # OpenAI quotes a refused key, its middle starred out
_OPENAI = "https://api.openai.com/v1"
_NO_KEY = "none"  # the client wants one


@dataclass(frozen=True, slots=True)
class Usage:
    """What was asked so far: answered requests and their tokens, as the endpoint counts them."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.requests - other.requests,
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
        )

    def cost(self, prompt_price: float, completion_price: float) -> float:
        """The price of it, from the prices of a million tokens each way.

        >>> Usage(1, 1_000_000, 100_000).cost(0.5, 2)
        0.7
        """
        return (
            self.prompt_tokens * prompt_price + self.completion_tokens * completion_price
        ) / 1_000_000


def connected(
    client: openai.OpenAI | None,
    base_url: str | None,
    api_key: str | None,
    *,
    feature: str = "a chat model behind an API",
    extra: str = "openai",
) -> openai.OpenAI:
    """The client that was given, or one for OpenAI or for another server.

    Raises:
        InputError: both were given, the address is none, or there is no key for OpenAI.
        MissingExtra: the client is not installed, which ``feature`` needs and ``extra`` has.
    """
    try:
        import openai
    except ImportError as error:
        raise MissingExtra(feature, extra) from error
    if client is not None:
        if base_url is not None or api_key is not None:
            raise InputError("give a client, or base_url and api_key")
        if not isinstance(client, openai.OpenAI):
            raise InputError(f"client is an openai.OpenAI, not a {type(client).__name__}")
        return client
    if base_url is not None:
        if not base_url.lower().startswith(("http://", "https://")):
            raise InputError(
                "the address (base_url, --vlm-url or --llm) begins with http:// or https://, "
                f"as {base_url!r} does not"
            )
        # A server of one's own needs no key, and is not sent the one for OpenAI.
        api_key = api_key or _NO_KEY
    try:
        return openai.OpenAI(base_url=base_url, api_key=api_key or None)
    except openai.OpenAIError:
        raise InputError("no key: give api_key or set OPENAI_API_KEY, or give base_url") from None


def environment_key(base_url: str | None) -> str | None:
    """The key of the environment for an address: ``MMRAG_API_KEY`` for any that the user gives,
    ``OPENAI_API_KEY`` for OpenAI's own, or what ``OPENAI_BASE_URL`` says to be that, alone."""
    if key := os.environ.get("MMRAG_API_KEY"):
        return key
    openais = (_OPENAI, os.environ.get("OPENAI_BASE_URL") or _OPENAI)
    if base_url is None or _address(base_url) in map(_address, openais):
        return os.environ.get("OPENAI_API_KEY") or None
    return None


def _address(url: str) -> str:
    """An address as it can be compared: who owns the host does not own all of its paths."""
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}".lower() + f"/{path}".rstrip("/")


def part_of(part: PromptPart) -> dict[str, Any]:
    """A part of a message; a picture as a data URL of its true type."""
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": data_url(part.data, part.mime)}}


def choices_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers in a completion, or in a piece of one."""
    choices = body.get("choices")
    return [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []


def dict_of(value: object) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def words_of(content: object) -> str:
    """The words of a message, which some servers send in parts."""
    if isinstance(content, list):
        return "".join(words_of(dict_of(part).get("text")) for part in content)
    return content if isinstance(content, str) else ""


def usage_of(used: object) -> Usage | None:
    """The tokens of one request, if they are told."""
    if not isinstance(used, dict):
        return None
    names = ("prompt_tokens", "completion_tokens")
    counts = [count if isinstance(count := used.get(name), int) else 0 for name in names]
    return Usage(1, *counts)


def said_of(error: object) -> str:
    """What an error says."""
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) and message.strip() else str(error)


def status_of(code: object) -> int | None:
    """The HTTP status that an error names as its code; codes of a service's own are none."""
    said = str(code)
    return int(said) if re.fullmatch("[1-5][0-9]{2}", said) else None


def cleaned(text: str, key: str) -> str:
    """One line that is not long, in which no key stands."""
    if key and key != _NO_KEY:
        text = text.replace(key, "***")
    line = " ".join(_KEY.sub("***", text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
