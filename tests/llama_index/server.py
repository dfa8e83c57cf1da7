"""A server on this machine that speaks OpenAI's chat completions, and keeps what it is sent."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["ChatServer", "chat_server"]

_DATA_URL = re.compile(r"data:([^;]*);base64,(.*)", re.S)


@dataclass
class ChatServer:
    """``url`` goes into a client as its ``api_base``; ``bodies`` are the requests' JSON, in order.
    Every request is answered with ``answer``, streamed in words where the request asks for it."""

    answer: str
    url: str = ""
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
def chat_server(answer: str = "The cat sleeps [1].") -> Iterator[ChatServer]:
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
            if body.get("stream"):
                self._send(200, "text/event-stream", _events(chat.answer))
            else:
                self._send(200, "application/json", _completion(chat.answer))

        def _send(self, status: int, kind: str, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True  # a client keeps its connection open
    chat.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, name="chat-server")
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


_HEAD = {"id": "chatcmpl-1", "created": 0, "model": "gpt-4o-mini"}


def _completion(answer: str) -> bytes:
    message = {"role": "assistant", "content": answer}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    whole = {**_HEAD, "object": "chat.completion", "choices": [choice], "usage": usage}
    return json.dumps(whole).encode()


def _events(answer: str) -> bytes:
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in re.findall(r"\s*\S+", answer)]
    events = [(delta, None) for delta in deltas] + [({}, "stop")]
    lines = [
        json.dumps(
            {
                **_HEAD,
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
            }
        )
        for delta, reason in events
    ]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()
