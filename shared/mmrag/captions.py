"""Captions: what a vision model is asked of a picture, and what is taken from its answer."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from mmrag.errors import AnswerError
from mmrag.types import Caption

__all__ = ["PROMPT", "PROMPT_VERSION", "full_text", "parse_caption"]

PROMPT_VERSION = "1"
"""Changes with the prompt, so that captions of an older one are made anew."""

PROMPT = """\
Describe the picture for a search engine. Say only what can be seen in it; names of people, places \
and products only where they are written in it. Answer with one JSON object of exactly these keys, \
and with nothing before or after it:
{"brief": one sentence of at most 20 words on what it shows,
 "detailed": two to five sentences: objects, colours, setting, actions; of a chart or a diagram, \
what it is about and what can be read off it,
 "keywords": a list of 3 to 10 words that one would search for,
 "text_content": all text that can be read in it, word for word, in reading order; "" if none,
 "data_points": an object of labels and their values, as in a chart, a table or a form; {} if none}
"""
"""The question to a vision model; its answer is for :func:`parse_caption`."""

_Said = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Answer(BaseModel):
    """All keys are required: of an answer that was cut short nothing is kept."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    brief: _Said
    detailed: _Said
    keywords: list[str]
    text_content: str
    data_points: dict[str, str]


def parse_caption(answer: str) -> Caption:
    """The caption in a model's answer to :data:`PROMPT`; what stands around its JSON is ignored.

    Raises:
        AnswerError: there is no JSON in it, or it is not whole.
    """
    start, end = answer.find("{"), answer.rfind("}")
    try:
        said = _Answer.model_validate_json(answer[start : end + 1] if start >= 0 else "")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise AnswerError(
            f"the model's answer is no caption ({where}: {first['msg']}): {answer[:80]!r}"
        ) from None
    keywords = tuple(word.strip() for word in said.keywords if word.strip())
    return Caption(said.brief, said.detailed, keywords, said.text_content.strip(), said.data_points)


def full_text(caption: Caption) -> str:
    """All that a caption says, for a reader: one thing a line."""
    lines = [caption.brief, caption.detailed, ", ".join(caption.keywords), caption.text_content]
    lines += [f"{name}: {value}" for name, value in caption.data_points.items()]
    return "\n".join(line for line in lines if line.strip())
