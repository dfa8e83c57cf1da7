"""What comes back from an embeddings API: rows to trust, or an error that says what is wrong."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from mmrag.errors import ServiceError

if TYPE_CHECKING:
    import openai

    from mmrag.protocols import Matrix, Vector

__all__ = ["error_of", "units_of"]

_LONGEST = 300
# OpenAI quotes a refused key with its middle starred out.
_KEY = re.compile(r"sk-[\w*-]+")
_ADVICE = {
    401: "check OPENAI_API_KEY, or the api_key given",
    403: "this key may not use the model",
    404: "check the model's name, and that base_url ends where the API begins, as in /v1",
    413: "set a smaller batch_size",
    422: "the server may take fewer texts at once: set batch_size",
    429: "wait, or raise the account's limits",
}


def error_of(error: Exception, client: openai.OpenAI) -> ServiceError:
    """What went wrong, as the service or the network says it, without the key."""
    import openai

    where = _place(client)
    if isinstance(error, openai.APITimeoutError):
        return ServiceError(f"{where} did not answer in time, {_tries(client)}")
    if isinstance(error, openai.APIConnectionError):
        cause = _clean(str(error.__cause__ or error), client)
        return ServiceError(f"{where} cannot be reached, {_tries(client)}: {cause}")
    said = _clean(_said(error), client)
    if not isinstance(error, openai.APIStatusError):
        return ServiceError(f"{where} answered with something else than embeddings: {said}")
    status = error.status_code
    what = "refuses the key" if status == 401 else f"answered with an error ({status})"
    advice = f"; {_ADVICE[status]}" if status in _ADVICE else ""
    wait = error.response.headers.get("retry-after")
    again = f"; it asks to wait {wait[:40]} (seconds, or a time)" if wait else ""
    return ServiceError(f"{where} {what}: {said}{advice}{again}")


def units_of(answer: Any, count: int, dim: int | None, client: openai.OpenAI) -> Matrix:
    """The rows of an answer in the order of their texts, at length 1.

    Raises:
        ServiceError: not one vector a text, or vectors of another length than ``dim`` (if it is
            known), or that are zero or not finite.
    """
    where = _place(client)
    data = getattr(answer, "data", None)
    if not isinstance(data, list):
        said = _clean(str(answer), client)
        raise ServiceError(f"{where} answered with something else than embeddings: {said}")
    places = [getattr(item, "index", None) for item in data]
    if sorted(p for p in places if isinstance(p, int)) != list(range(count)):
        lost = sorted(set(range(count)) - {p for p in places if isinstance(p, int)})
        which = f", none for number {', '.join(map(str, lost[:5]))}" if lost else ""
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        raise ServiceError(f"{where} sent {len(data)} vectors for {count} texts{which}{more}")
    rows: list[Any] = [None] * count
    try:
        for place, item in zip(places, data, strict=True):
            rows[place] = _row(item.embedding)  # type: ignore[index]
    except (TypeError, ValueError, AttributeError):
        raise ServiceError(f"{where} sent a vector that is no list of numbers") from None
    return _units(rows, dim, where)


def _row(embedding: Any) -> Vector:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
    row = np.array(embedding, np.float32)
    if row.ndim != 1:
        raise ValueError
    return row


def _units(rows: list[Vector], dim: int | None, where: str) -> Matrix:
    shapes = {row.shape for row in rows}
    wanted = {(dim,)} if dim is not None else shapes
    if shapes != wanted or len(shapes) != 1:
        found = " and ".join(str(length) for (length,) in sorted(shapes))
        raise ServiceError(
            f"{where} sent vectors of {found} dimensions in place of {dim or 'one length'}: it has "
            "another model by this name, or does not take dimensions="
        )
    matrix = np.stack(rows).astype(np.float64)
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ServiceError(f"{where} sent a vector that is zero or not finite")
    units: Matrix = (matrix / lengths).astype(np.float32)
    return units


def _place(client: openai.OpenAI) -> str:
    """The server's address, without a user and password that may stand in it."""
    url = client.base_url
    port = f":{url.port}" if url.port else ""
    return f"{url.scheme}://{url.host}{port}{url.path.rstrip('/')}"


def _tries(client: openai.OpenAI) -> str:
    return "tried once" if client.max_retries == 0 else f"tried {client.max_retries + 1} times"


def _said(error: Exception) -> str:
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else body
    return message if isinstance(message, str) and message.strip() else str(error)


def _clean(text: str, client: openai.OpenAI) -> str:
    """One short line, in which the key does not stand."""
    if key := client.api_key:
        text = text.replace(key, "***")
    line = " ".join(_KEY.sub("sk-***", text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
