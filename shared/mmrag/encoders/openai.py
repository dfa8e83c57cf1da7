"""OpenAIEncoder: texts through OpenAI's embeddings, or through any server that speaks its API."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from mmrag.encoders.lazy import Lazy
from mmrag.encoders.openai_answers import error_of, units_of
from mmrag.encoders.openai_tokens import requests_of, windows_of
from mmrag.encoders.tokens import checked_texts
from mmrag.encoders.windows import pooled
from mmrag.errors import InputError, MissingExtra, ServiceError
from mmrag.types import Role, Space

if TYPE_CHECKING:
    import openai

    from mmrag.protocols import Matrix

__all__ = ["OpenAIEncoder"]

DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
"""OpenAI's models, and how long their vectors are."""

TOKEN_LIMIT = 8191  # of one text, by OpenAI's models
REQUEST_INPUTS = 2048
REQUEST_TOKENS = 290_000  # the limit is 300,000; what a window's edges add is not counted
AT_ONCE = 4  # requests
RETRIES = 6
TIMEOUT = 60.0


class OpenAIEncoder:
    """Implements :class:`mmrag.protocols.TextEncoder` with OpenAI's client.

    >>> OpenAIEncoder("text-embedding-3-large", dimensions=1024)               # doctest: +SKIP
    >>> OpenAIEncoder("bge-m3", base_url="http://localhost:11434/v1")          # doctest: +SKIP

    Texts go out in requests of at most 2,048 texts and 300,000 tokens, four at once. One that
    fails by 429, 5xx, a timeout or a broken connection is sent again, later each time, or when the
    service says (``Retry-After``). What comes back is put in order, checked, and brought to
    length 1. Queries and passages are embedded alike; for a model that wants a prefix for each,
    take SentenceTransformerEncoder.

    A text over the limit is cut into windows that overlap; its vector is their mean, weighted by
    their tokens. Tokens are counted by tiktoken if its file is on this machine already (the folder
    ``TIKTOKEN_CACHE_DIR``), and else taken to be one a byte, which is never too few.

    ``space`` goes by model, dimension and token limit, and not by server: an index stays valid
    when a gateway is put before OpenAI, or a server moves. If two servers mean two models by one
    name, keep their indexes apart yourself. A model that is not OpenAI's is sent one short text to
    learn its dimension, unless ``dimensions`` says it.

    Args:
        model: the name that the service knows the model by.
        dimensions: asks for shorter vectors, from models that can: text-embedding-3-*, say.
        base_url: of another server, up to its ``/v1``; else that in ``OPENAI_BASE_URL``, or
            OpenAI's.
        api_key: else that in ``OPENAI_API_KEY``; another server than OpenAI's may need none. It is
            in no message and no log; a pickle has it only if it was given here.
        client: an ``openai.OpenAI`` (or ``AzureOpenAI``) to use as it is.
        max_retries: how often a request is sent again, 6 by default.
        timeout: the seconds to wait for an answer, 60 by default.
        token_limit: how many tokens of a text the model takes. Set it for a model of less than
            8,191: some servers, such as Ollama, cut longer texts without a word.
        batch_size: the most texts in a request, for servers that take fewer than 2,048.

    Raises:
        InputError: an argument that cannot be used, or ``client`` together with what it has
            already.
    """

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        *,
        dimensions: int | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        client: openai.OpenAI | None = None,
        max_retries: int | None = None,
        timeout: float | None = None,
        token_limit: int = TOKEN_LIMIT,
        batch_size: int = REQUEST_INPUTS,
    ) -> None:
        if not isinstance(model, str) or not model:
            raise InputError(f"model is the name of a model, not {model!r}")
        full = DIMENSIONS.get(model)
        if dimensions is not None:
            _whole(f"dimensions of {model!r}", dimensions, 1, full)
        _whole("token_limit", token_limit, 16)
        _whole("batch_size", batch_size, 1)
        if max_retries is not None:
            _whole("max_retries", max_retries, 0)
        if timeout is not None and not _is_time(timeout):
            raise InputError(f"timeout is a number of seconds over 0, not {timeout!r}")
        if client is not None:
            own = (base_url, api_key, max_retries, timeout)
            if any(option is not None for option in own):
                raise InputError("a client has its own base_url, api_key, max_retries and timeout")
            if not isinstance(client, _library().OpenAI):
                raise InputError(f"client is an openai.OpenAI, not {type(client).__name__}")
        self.model, self.dimensions = model, dimensions
        self.token_limit, self.batch_size = token_limit, min(batch_size, REQUEST_INPUTS)
        self._base_url, self._api_key = base_url, api_key
        self._max_retries = RETRIES if max_retries is None else max_retries
        self._timeout = TIMEOUT if timeout is None else timeout
        self._given: openai.OpenAI | None = client
        self._client = Lazy(self._connected)
        self._dim = Lazy(self._dimension)

    def __repr__(self) -> str:
        return f"OpenAIEncoder({self.model!r}, dimensions={self.dimensions})"

    @property
    def space(self) -> Space:
        """The fingerprint: model, dimension, token limit.

        Raises:
            ServiceError: the dimension had to be asked for, and the service did not say.
        """
        dim = self._dim()
        parts = ["openai 1", self.model, str(dim), str(self.token_limit)]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return Space(f"openai/{self.model}", digest, dim)

    def encode_texts(self, texts: Sequence[str], role: Role) -> Matrix:
        """float32 ``[len(texts), dim]``, each row of length 1; the role makes no difference.

        Raises:
            InputError: a text is not a string, or ``role`` is neither query nor passage.
            ServiceError: the service cannot be reached, refuses, or answers with something else
                than one vector of the right dimension for each text.
            MissingExtra: ``mmrag[openai]`` is not installed.
        """
        checked = checked_texts(texts, role)
        if not checked:
            return np.empty((0, self.space.dim), np.float32)
        cl100k = self.model in DIMENSIONS
        pieces = [windows_of(text, self.token_limit, cl100k=cl100k) for text in checked]
        flat = [piece for parts in pieces for piece in parts]
        rows = self._all(list(requests_of(flat, REQUEST_TOKENS, self.batch_size)))
        return pooled(rows, [[tokens for _, tokens in parts] for parts in pieces])

    def _all(self, requests: list[list[str]]) -> Matrix:
        """The rows of all requests, in order; the first that fails ends them."""
        dim = self._dim()  # asked for once, and not by each request
        if len(requests) == 1:
            return self._request(requests[0], dim)
        pool = ThreadPoolExecutor(min(AT_ONCE, len(requests)), "mmrag-openai")
        try:
            waiting = [pool.submit(self._request, texts, dim) for texts in requests]
            return np.concatenate([each.result() for each in waiting])
        finally:
            # After an error, what is on its way may take minutes of retries: nobody needs it.
            pool.shutdown(wait=False, cancel_futures=True)

    def _dimension(self) -> int:
        known = self.dimensions or DIMENSIONS.get(self.model)
        return known or self._request(["dimensions"], None).shape[1]

    def _request(self, texts: list[str], dim: int | None) -> Matrix:
        client = self._client()
        try:
            answer = client.embeddings.create(
                input=texts,
                model=self.model,
                encoding_format="base64",  # a quarter of the bytes; some answer with numbers anyway
                extra_body=self.dimensions and {"dimensions": self.dimensions},
            )
        except (_library().OpenAIError, ValueError) as error:  # ValueError: what came is no JSON
            raise error_of(error, client) from None
        return units_of(answer, len(texts), dim, client)

    def _connected(self) -> openai.OpenAI:
        if self._given is not None:
            return self._given
        library = _library()
        key = self._api_key or os.environ.get("OPENAI_API_KEY")
        if not key:
            if self._base_url is None and "OPENAI_BASE_URL" not in os.environ:
                raise ServiceError(
                    "OpenAI needs a key: set OPENAI_API_KEY, or pass api_key=; for another server "
                    "pass base_url="
                )
            key = "no-key-given"  # the client wants one
        made: openai.OpenAI = library.OpenAI(
            api_key=key,
            base_url=self._base_url,
            max_retries=self._max_retries,
            timeout=self._timeout,
        )
        return made


def _whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number, or out of these bounds."""
    if type(value) is not int or not least <= value <= (most or value):
        bounds = f"{least} or more" if most is None else f"from {least} to {most:,}"
        raise InputError(f"{name}: a whole number {bounds}, not {value!r}")


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and 0 < value < math.inf


def _library() -> Any:
    try:
        import openai
    except ModuleNotFoundError as error:
        raise MissingExtra("OpenAIEncoder", "openai") from error
    return openai
