"""Those who listen to LlamaIndex's events, of the dispatcher and of callbacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llama_index.core.callbacks import CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler

__all__ = ["Callbacks", "listening"]


class _Events(BaseEventHandler):
    seen: list[Any]
    kinds: tuple[type, ...]

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: Any, **_: Any) -> None:
        if isinstance(event, self.kinds):
            self.seen.append(event)


@contextmanager
def listening(*kinds: type) -> Iterator[list[Any]]:
    """The dispatcher's events of these kinds, as they come."""
    handler = _Events(seen=[], kinds=kinds)
    root = get_dispatcher()
    root.add_event_handler(handler)
    try:
        yield handler.seen
    finally:
        root.event_handlers.remove(handler)


class Callbacks(BaseCallbackHandler):
    """``starts`` and ``ends`` are the kinds and payloads of all callback events."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.starts: list[tuple[CBEventType, Any]] = []
        self.ends: list[tuple[CBEventType, Any]] = []

    def on_event_start(self, event_type: CBEventType, payload: Any = None, **_: Any) -> str:
        self.starts.append((event_type, payload))
        return ""

    def on_event_end(self, event_type: CBEventType, payload: Any = None, **_: Any) -> None:
        self.ends.append((event_type, payload))

    def start_trace(self, trace_id: str | None = None) -> None: ...

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None: ...
