"""Captions: what is taken from a vision model's answer, and what a caption says as text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, StringConstraints, ValidationError, field_validator

from mmrag.errors import AnswerError
from mmrag.types import Caption, Json

__all__ = [
    "LONGEST_ANSWER",
    "caption_in",
    "check_language",
    "full_text",
    "parse_caption",
    "response_schema",
]

LONGEST_ANSWER = 200_000
"""Characters: a longer answer is a model that runs on, and is not parsed."""

CHECKED_LANGUAGES = ("zh", "en")
"""Those that the script of a text tells."""

MOST_BROKEN = 100
"""Objects that are not whole: after so many, nothing else is looked for."""


class _Number(str):
    """A number exactly as the answer gives it: ``1.50`` stays ``1.50``."""

    __slots__ = ()


def _no_number(value: object) -> object:
    if isinstance(value, _Number):
        raise ValueError("a number is no description")
    return value


_Said = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1), BeforeValidator(_no_number)
]


class _Answer(BaseModel):
    """All keys are required: of an answer that was cut short nothing is kept."""

    brief: _Said
    detailed: _Said
    keywords: list[str]
    text_content: str
    data_points: dict[str, str]

    @field_validator("data_points", mode="before")
    @classmethod
    def _pairs(cls, given: object) -> object:
        """Models that are held to :func:`response_schema` give a list of names and values."""
        if not isinstance(given, list):
            return given
        points: dict[str, str] = {}
        for pair in given:
            if not (isinstance(pair, Mapping) and {"name", "value"} == set(pair)):
                raise ValueError("a data point is a name and a value")
            name, value = pair["name"], pair["value"]
            if not (isinstance(name, str) and isinstance(value, str)):
                raise ValueError("a data point's name and value are strings")
            points[name] = f"{points[name]}; {value}" if name in points else value
        return points


def response_schema() -> dict[str, Json]:
    """The answer as a JSON schema in the strict form that endpoints hold a model to: no free keys,
    hence the data points as a list of names and values."""
    text = {"type": "string"}
    fields: dict[str, Json] = dict.fromkeys(("brief", "detailed", "text_content"), text)
    fields["keywords"] = {"type": "array", "items": text}
    point = _object({"name": text, "value": text})
    fields["data_points"] = {"type": "array", "items": point}
    return _object({name: fields[name] for name in _Answer.model_fields})


def _object(properties: dict[str, Json]) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def parse_caption(answer: str) -> Caption:
    """The caption in a model's answer to :func:`mmrag.caption_prompt.prompt`; what stands around
    its JSON is ignored, and so are drafts before it.

    JSON that is slightly wrong (trailing commas, single quotes, raw line breaks) is repaired if
    nothing is lost by that and the package json-repair is there; JSON that was cut short is not.

    Raises:
        AnswerError: there is no JSON in it, it is not whole, or it is far too long.
    """
    if len(answer) > LONGEST_ANSWER:
        raise AnswerError(
            f"the model's answer is no caption: {len(answer):,} characters, and {LONGEST_ANSWER:,} "
            f"are the most that is read: {answer[:80]!r}"
        )
    found, written = _last_whole(answer)
    try:
        said = _Answer.model_validate(found or _loaded(written))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise _unusable(answer, f"{where}: {first['msg']}") from None
    except ValueError as error:
        raise _unusable(answer, str(error)) from None
    keywords = tuple(word.strip() for word in said.keywords if word.strip())
    points = {str(name): str(value) for name, value in said.data_points.items()}
    return Caption(said.brief, said.detailed, keywords, str(said.text_content).strip(), points)


def _unusable(answer: str, reason: str) -> AnswerError:
    return AnswerError(f"the model's answer is no caption ({reason}): {answer[:80]!r}")


def _last_whole(answer: str) -> tuple[dict[str, Any] | None, str]:
    """The last object with all keys, and what is to be read if there is none. One before an object
    that is not whole was a draft, as models think aloud, and counts as little."""
    found, start = None, max(answer.find("{"), 0)
    at, broken = 0, 0
    while broken < MOST_BROKEN and (begun := _BEGUN.search(answer, at)):
        try:
            said, at = _DECODER.raw_decode(answer, begun.start())
        except (ValueError, RecursionError):
            at, broken = begun.end(), broken + 1
            if found is not None:
                found, start = None, begun.start()
        else:
            if _Answer.model_fields.keys() <= said.keys():
                found = said
    return found, answer[start : answer.rfind("}") + 1]


def _loaded(written: str) -> Any:
    try:
        return _read(written)
    except (ValueError, RecursionError) as error:
        repaired = _repaired(written)
        if repaired is None:
            raise ValueError(f"no whole JSON: {error}" if written else "no JSON in it") from None
        return repaired


# Not strict about raw line breaks within strings: nothing is lost by those.
_DECODER = json.JSONDecoder(strict=False, parse_float=_Number, parse_int=_Number)
_BEGUN = re.compile(r"""\{(?=\s*(?:["'}]|\Z))""")  # an object, and not words in braces


def _read(written: str) -> Any:
    return _DECODER.decode(written)


def _repaired(written: str) -> Any:
    """The object that was meant, or None. A repair that closes what was left open, or leaves
    something out, makes a part of a caption look like a whole one: it does not count."""
    try:
        from json_repair import loads
    except ImportError:
        return None
    if not written or any(
        written.count(pair[0]) != written.count(pair[1]) for pair in ("{}", "[]")
    ):
        return None
    try:
        meant = json.dumps(loads(written, skip_json_loads=True), ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
    return _read(meant) if _letters(meant) == _letters(written) else None


def _letters(written: str) -> str:
    return re.sub(r"\\u[0-9a-fA-F]{4}|\\.|\W", "", written).casefold()


def check_language(caption: Caption, language: str) -> None:
    """Whether the descriptions are in the language that was asked for, as far as their script
    tells: that ``"zh"`` is Chinese, and that ``"en"`` is not.

    Raises:
        AnswerError: they are in another one.
    """
    if language not in CHECKED_LANGUAGES:
        return
    letters = re.findall(r"[^\W\d_]", caption.brief + caption.detailed)
    chinese = sum("\u4e00" <= letter <= "\u9fff" for letter in letters)
    latin = sum(letter.isascii() for letter in letters)
    # A Chinese sentence may name things in Latin letters, of which each word has many.
    wrong = chinese * 4 < len(letters) if language == "zh" else latin * 2 < len(letters)
    if letters and wrong:
        raise AnswerError(
            f"the model's answer is no caption in the language {language!r}: {caption.brief[:80]!r}"
        )


def caption_in(answer: str, language: str = "auto", *, again: bool = False) -> Caption:
    """The caption in an answer, in the language that was asked for; ``again`` is for the answer to
    a :func:`mmrag.caption_prompt.correction`.

    Raises:
        AnswerError: there is none, or it is in another language.
    """
    try:
        caption = parse_caption(answer)
        check_language(caption, language)
    except AnswerError as error:
        if again:
            raise AnswerError(f"asked twice: {error}") from None
        raise
    return caption


def full_text(caption: Caption) -> str:
    """All that a caption says, for a reader: one thing a line."""
    lines = [caption.brief, caption.detailed, ", ".join(caption.keywords), caption.text_content]
    lines += [f"{name}: {value}" for name, value in caption.data_points.items()]
    return "\n".join(line for line in lines if line.strip())
