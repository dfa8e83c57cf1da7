"""The schema that a chat model's caption is held to, and what is taken from such an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage
from pydantic import BaseModel, ConfigDict, Field, field_validator

from mmrag.errors import AnswerError

__all__ = ["PictureCaption", "text_of"]


class DataPoint(BaseModel):
    """A label and its value, as in a chart, a table or a form."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    label: str
    value: str


# Without lengths and without an object of free keys: providers that hold a model to a schema know
# neither. The names, docstrings and descriptions are sent to the model.
class PictureCaption(BaseModel):
    """What a picture shows and says."""

    brief: str = Field(description="One sentence of at most 20 words.")
    detailed: str = Field(description="Two to five sentences.")
    keywords: list[str] = Field(description="3 to 10 words that one would search for.")
    text_content: str = Field(description="All text in the picture, word for word, or empty.")
    data_points: list[DataPoint] = Field(description="Labels and their values, or none.")

    @field_validator("data_points", mode="before")
    @classmethod
    def _pairs(cls, given: object) -> object:
        """A model that is not held to the schema does as the prompt says: it gives an object."""
        if isinstance(given, Mapping):
            return [{"label": label, "value": value} for label, value in given.items()]
        return given


def text_of(answer: Mapping[str, Any]) -> str:
    """What :func:`mmrag.captions.parse_caption` takes the caption from, of the answer that
    ``with_structured_output(…, include_raw=True)`` gives: in the schema, or as text.

    Raises:
        AnswerError: the model refuses.
    """
    said = answer.get("parsed")
    if isinstance(said, PictureCaption):
        points: dict[str, str] = {}
        for point in said.data_points:  # a table may have the same label twice
            before = points.get(point.label)
            points[point.label] = point.value if before is None else f"{before}; {point.value}"
        return json.dumps({**said.model_dump(), "data_points": points}, ensure_ascii=False)
    raw: AIMessage = answer["raw"]
    calls = [json.dumps(call["args"], ensure_ascii=False) for call in raw.tool_calls]
    calls += [call["args"] or "" for call in raw.invalid_tool_calls]
    text = calls[0] if calls else raw.text
    if not text and answer.get("parsing_error"):
        raise AnswerError(f"the model's answer is no caption: {answer['parsing_error']}")
    return text
