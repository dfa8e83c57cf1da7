"""A server on this machine that speaks OpenAI's chat completions, and keeps what it is sent."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["ChatServer", "Raw", "ToolCall", "chat_server"]

_DATA_URL = re.compile(r"data:([^;]*);base64,(.*)", re.S)


@dataclass
class ToolCall:
    """An answer that calls a tool."""

    name: str
    arguments: dict[str, Any]


@dataclass
class Raw:
    """An HTTP answer as it is: any status, body and headers; after ``hang`` is set, if it is there,
    or in two halves with that between them."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: threading.Event | None = None
    halves: bool = False


Answer = str | ToolCall | Raw


@dataclass
class ChatServer:
    """``url`` goes into a client as its ``api_base``; ``bodies`` are the requests' JSON, in order.
    Every request is answered with ``answer``, or with what it makes of the body, streamed in words
    where the request asks for it; one that has the option ``refuses`` is an error, as it is to
    servers that do not know it, and so is one with a picture in any but the user's messages."""

    answer: Answer | Callable[[dict[str, Any]], Answer]
    url: str = ""
    refuses: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def parts(self) -> list[tuple[str, Any]]:
        """What the last request's user message consisted of, in order: ``("text", str)``, and
        ``("image", (mime, bytes))`` for a picture that came as a data URL."""
        content = self.bodies[-1]["messages"][-1]["content"]
        if isinstance(content, str):
            return [("text", content)]
        return [_part(part) for part in content]


def _part(part: dict[str, Any]) -> tuple[str, Any]:
    if part["type"] == "text":
        return "text", part["text"]
    found = _DATA_URL.fullmatch(part["image_url"]["url"])
    assert found, "a picture is sent as a data URL: a model cannot open our files"
    return "image", (found[1], base64.b64decode(found[2], validate=True))


@contextmanager
def chat_server(
    answer: Answer | Callable[[dict[str, Any]], Answer] = "The cat sleeps [1].",
) -> Iterator[ChatServer]:
    """A server on a free port of 127.0.0.1, in a thread of its own. Needs ``loopback``."""
    chat = ChatServer(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/chat/completions":
                self._send(404, "application/json", b'{"error": {"message": "no such path"}}')
                return
            chat.bodies.append(body)
            if error := _refused(body, chat.refuses):
                self._send(400, "application/json", json.dumps({"error": error}).encode())
                return
            answer = chat.answer(body) if callable(chat.answer) else chat.answer
            if isinstance(answer, Raw):
                self._send_raw(answer)
            elif body.get("stream"):
                usage = (body.get("stream_options") or {}).get("include_usage", False)
                self._send(200, "text/event-stream", _events(answer, usage))
            else:
                self._send(200, "application/json", _completion(answer))

        def _send(self, status: int, kind: str, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _send_raw(self, raw: Raw) -> None:
            if raw.hang is not None and not raw.halves:
                raw.hang.wait(10)
            try:
                self.send_response(raw.status)
                headers = {"Content-Type": "application/json", **raw.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(raw.body)))
                self.end_headers()
                half = len(raw.body) // 2 if raw.halves else 0
                self.wfile.write(raw.body[:half])
                self.wfile.flush()
                if raw.hang is not None and raw.halves:
                    raw.hang.wait(10)
                self.wfile.write(raw.body[half:])
            except OSError:  # the client has gone
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True  # a client keeps its connection open
    chat.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="chat-server")
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


_HEAD = {"id": "chatcmpl-1", "created": 0, "model": "gpt-4o-mini"}
_USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def _refused(body: dict[str, Any], option: str) -> dict[str, str]:
    if option in body:
        return {"message": f"unknown option {option}"}
    for message in body["messages"]:
        parts = message["content"] if isinstance(message["content"], list) else []
        if message["role"] != "user" and any(part["type"] == "image_url" for part in parts):
            return {"message": "Image URLs are only allowed for messages with role 'user'"}
    return {}


def _completion(answer: str | ToolCall) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    reason = "stop"
    if isinstance(answer, ToolCall):
        message["tool_calls"], reason = [_call(answer)], "tool_calls"
    else:
        message["content"] = answer
    choice = {"index": 0, "finish_reason": reason, "message": message}
    whole = {**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
    return json.dumps(whole).encode()


def _events(answer: str | ToolCall, usage: bool) -> bytes:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    reason = "stop"
    if isinstance(answer, ToolCall):
        deltas.append({"tool_calls": [{"index": 0, **_call(answer)}]})
        reason = "tool_calls"
    else:
        deltas += [{"content": piece} for piece in re.findall(r"\s*\S+", answer)]
    events = [(delta, None) for delta in deltas] + [({}, reason)]
    head = {**_HEAD, "object": "chat.completion.chunk"}
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        for delta, reason in events
    ]
    if usage:
        chunks.append({**head, "choices": [], "usage": _USAGE})
    lines = [*map(json.dumps, chunks), "[DONE]"]
    return "".join(f"data: {line}\n\n" for line in lines).encode()


def _call(answer: ToolCall) -> dict[str, Any]:
    function = {"name": answer.name, "arguments": json.dumps(answer.arguments)}
    return {"id": "call_1", "type": "function", "function": function}
