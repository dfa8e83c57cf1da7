"""Chat models that see: what they say depends on the colour of the picture that they are sent."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from PIL import Image
from pydantic import Field, PrivateAttr

from mmrag.types import Caption

__all__ = ["COLOURS", "SchemaVision", "ToolVision", "Vision", "colour_caption", "painted"]

COLOURS = ("red", "lime", "blue")


def painted(path: Path, colour: str = "red", size: tuple[int, int] = (40, 30)) -> Path:
    Image.new("RGB", size, colour).save(path)
    return path


def colour_caption(colour: str) -> Caption:
    """What a model says of a picture of this colour."""
    return Caption(
        f"A {colour} field",
        f"Nothing but {colour}, from side to side.",
        (colour, "field"),
        f"{colour.upper()}\nSTOP",
        {"share": "100"},
    )


def _said(colour: str) -> str:
    return json.dumps(
        {
            "brief": f"A {colour} field",
            "detailed": f"Nothing but {colour}, from side to side.",
            "keywords": [colour, "field"],
            "text_content": f"{colour.upper()}\nSTOP",
            "data_points": {"share": 100},
        }
    )


class Vision(BaseChatModel):
    """Answers with JSON, as the prompt wants it, and knows no structured output.

    ``says`` is its answer to pictures of a colour instead, or an error that it raises. ``meeting``
    is called in the middle of each call. ``seen`` has the messages of all calls.
    """

    model_name: str = "vision-1"
    says: dict[str, str | Exception] = Field(default_factory=dict)
    meeting: Callable[[], Any] | None = None
    _seen: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "vision"

    @property
    def seen(self) -> list[list[BaseMessage]]:
        return self._seen

    @property
    def colours(self) -> list[str]:
        """The colours of the pictures that it was sent, in order."""
        return [_colour(_picture(messages)[1]) for messages in self._seen]

    @property
    def pictures(self) -> list[tuple[str, bytes]]:
        """The pictures that it was sent, in order: MIME and bytes."""
        return [_picture(messages) for messages in self._seen]

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        with self._lock:
            self._seen.append(messages)
        if self.meeting is not None:
            self.meeting()
        colour = _colour(_picture(messages)[1])
        answer = self.says.get(colour, _said(colour))
        if isinstance(answer, Exception):
            raise answer
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=answer))])


class SchemaVision(Vision):
    """The same with structured output. ``refuses`` is an error to every request with a schema."""

    refuses: Exception | None = None
    _schemas: list[dict[str, Any]] = PrivateAttr(default_factory=list)

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The schemas that answers were asked for in."""
        return self._schemas

    def with_structured_output(
        self, schema: Any, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[Any, Any]:
        def asked(given: Any) -> Any:
            self._schemas.append(schema.model_json_schema())
            if self.refuses is not None:
                raise self.refuses
            return given

        def parse(message: AIMessage) -> Any:
            return schema.model_validate_json(message.text)

        raw = RunnableLambda(asked) | self
        if not include_raw:
            return raw | RunnableLambda(parse)
        parsed = RunnablePassthrough.assign(
            parsed=itemgetter("raw") | RunnableLambda(parse), parsing_error=lambda _: None
        )
        unread = RunnablePassthrough.assign(parsed=lambda _: None)
        return {"raw": raw} | parsed.with_fallbacks([unread], exception_key="parsing_error")


class ToolVision(Vision):
    """The same, with structured output as LangChain makes it of a model that calls tools."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self | RunnableLambda(self._called)

    def _called(self, message: AIMessage) -> AIMessage:
        call = {"name": "PictureCaption", "args": message.text, "id": "1"}
        try:
            call["args"] = json.loads(message.text)
        except ValueError:
            if not message.text.startswith("{"):
                return message  # it talks instead of calling
            return AIMessage(content="", invalid_tool_calls=[{**call, "error": None}])
        return AIMessage(content="", tool_calls=[call])


def _picture(messages: list[BaseMessage]) -> tuple[str, bytes]:
    # Of the question, also where more is said after it.
    (block,) = [b for m in messages for b in m.content_blocks if b["type"] == "image"]
    return block["mime_type"], base64.b64decode(block["base64"], validate=True)


def _colour(data: bytes) -> str:
    """The name of the primary colour that a picture mostly is."""
    with Image.open(io.BytesIO(data)) as image:
        pixel = image.convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return COLOURS[pixel.index(max(pixel))]
