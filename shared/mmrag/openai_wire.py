"""What goes to a chat model over OpenAI's API, and what comes back, whatever shape it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmrag.captioners.chat import Usage
from mmrag.errors import InputError, MissingExtra
from mmrag.media import data_url
from mmrag.sources import PromptPart, TextPart

if TYPE_CHECKING:
    import openai

__all__ = [
    "choices_of",
    "connected",
    "cut",
    "dict_of",
    "part_of",
    "said_of",
    "usage_of",
    "words_of",
]

_LONGEST = 300  # characters of what a service says


def connected(
    client: openai.OpenAI | None, base_url: str | None, api_key: str | None
) -> openai.OpenAI:
    """The client that was given, or one for OpenAI or for another server.

    Raises:
        InputError: both were given, the address is none, or there is no key for OpenAI.
        MissingExtra: ``mmrag[openai]`` is not installed.
    """
    try:
        import openai
    except ModuleNotFoundError as error:
        raise MissingExtra("a chat model behind an API", "openai") from error
    if client is not None:
        if base_url is not None or api_key is not None:
            raise InputError("a client has its own base_url and api_key: leave those out")
        if not isinstance(client, openai.OpenAI):
            raise InputError(f"client is an openai.OpenAI, not a {type(client).__name__}")
        return client
    if base_url is not None:
        if not base_url.startswith(("http://", "https://")):
            raise InputError(
                f"base_url is an address such as http://localhost:11434/v1, not {base_url!r}"
            )
        # A server of one's own needs no key, and is not sent the one for OpenAI.
        api_key = api_key or "none"
    try:
        return openai.OpenAI(base_url=base_url, api_key=api_key or None)
    except openai.OpenAIError:
        raise InputError("no key: give api_key or set OPENAI_API_KEY, or give base_url") from None


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


def cut(text: str) -> str:
    """One line that is not long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
