"""A server on this machine that speaks OpenAI's embeddings, and fails when it is told to."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from mmrag.testing import FakeEncoder

__all__ = ["EmbeddingsServer", "Fault", "embeddings_server", "vector_of"]

LENGTH = 3.0  # of the vectors that are sent: not every server normalises
Data = list[dict[str, Any]]


@dataclass(frozen=True)
class Fault:
    """What one request gets in place of its answer, or is done to it.

    ``status`` other than 200 is an error that says ``message``; ``cut`` sends half of the body and
    closes the connection; ``hang`` sends nothing until the server ends; ``edit`` changes the list
    of embeddings; ``body`` is sent as it is.
    """

    status: int = 200
    message: str = "out of order"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    hang: bool = False
    edit: Callable[[Data], Data] | None = None
    body: bytes | None = None


@dataclass
class EmbeddingsServer:
    """``url`` is a ``base_url``. ``faults`` are used up one a request, in the order in which
    requests come; ``answers`` counts the requests that were answered in full. It refuses what
    OpenAI refuses: no text, too many texts, a key other than ``key`` (if there is one)."""

    dim: int = 64
    key: str = ""
    floats: bool = False  # numbers even where base64 is asked for, as some servers do
    max_inputs: int = 2048
    count_tokens: Callable[[str], int] | None = None
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    answers: int = 0
    most_at_once: int = 0
    at_once: int = 0
    gate: threading.Barrier | None = None  # requests wait here for each other
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


@lru_cache
def _fake(dim: int) -> FakeEncoder:
    return FakeEncoder(dim)


def vector_of(text: str, dim: int) -> Any:
    """The unit vector that the server has for a text."""
    return _fake(dim).encode_texts([text], "passage")[0]


@contextmanager
def embeddings_server(**options: Any) -> Iterator[EmbeddingsServer]:
    """A server on a free port of 127.0.0.1, in threads of its own. Needs ``loopback``."""
    state = EmbeddingsServer(**options)

    class Handler(_Handler):
        served = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True  # a client keeps its connection open
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="embeddings-server")
    thread.start()
    try:
        yield state
    finally:
        state.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: EmbeddingsServer

    def do_POST(self) -> None:
        state = self.served
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with state.lock:
            state.bodies.append(body)
            state.keys.append(self.headers.get("Authorization", "").removeprefix("Bearer "))
            fault = state.faults.pop(0) if state.faults else Fault()
            state.at_once += 1
            state.most_at_once = max(state.most_at_once, state.at_once)
        if state.gate is not None:
            state.gate.wait(10)
        with state.lock:
            state.at_once -= 1
        if fault.hang:
            state.ended.wait(30)
            self.close_connection = True
        elif fault.status != 200:
            self._error(fault.status, fault.message, fault.headers)
        elif problem := self._problem(body):
            self._error(*problem)
        else:
            self._answer(body, fault)

    def _problem(self, body: dict[str, Any]) -> tuple[int, str] | None:
        state, texts = self.served, body["input"]
        if self.path != "/v1/embeddings":
            return 404, f"no such path: {self.path}"
        if state.key and state.keys[-1] != state.key:
            return 401, f"Incorrect API key provided: {state.keys[-1]}."
        if not texts or "" in texts:
            return 400, "'$.input' is invalid: it cannot be an empty string."
        if len(texts) > state.max_inputs:
            return 400, f"'$.input': at most {state.max_inputs} inputs"
        if state.count_tokens is not None:
            counts = [state.count_tokens(text) for text in texts]
            if max(counts) > 8192:
                return 400, f"This model's maximum context length is 8192 tokens, not {max(counts)}"
            if sum(counts) > 300_000:
                return 400, "maximum request size is 300000 tokens per request"
        return None

    def _answer(self, body: dict[str, Any], fault: Fault) -> None:
        state = self.served
        dim = body.get("dimensions") or state.dim
        as_floats = state.floats or body.get("encoding_format") != "base64"
        rows = [LENGTH * vector_of(text, dim) for text in body["input"]]
        data: Data = [
            {"object": "embedding", "index": i, "embedding": _encoded(row, as_floats)}
            for i, row in enumerate(rows)
        ]
        if fault.edit is not None:
            data = fault.edit(data)
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        whole = {"object": "list", "data": data, "model": body["model"], "usage": usage}
        sent = json.dumps(whole).encode() if fault.body is None else fault.body
        with state.lock:
            state.answers += not fault.cut
        self._send(200, sent, {}, cut=fault.cut)

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        error = {"error": {"message": message, "type": "test", "param": None, "code": None}}
        self._send(status, json.dumps(error).encode(), headers or {})

    def _send(
        self, status: int, data: bytes, headers: dict[str, str], *, cut: bool = False
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def _encoded(row: Any, as_floats: bool) -> Any:
    if as_floats:
        return [float(number) for number in row]
    return base64.b64encode(row.astype(np.float32).tobytes()).decode()
