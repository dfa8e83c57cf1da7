"""How a record lies in an engine: LangChain's own layout, and our bookkeeping beside it.

``page_content`` (always a string) and ``metadata`` (always a dict) are what LangChain's
``QdrantVectorStore`` reads. Beside them, each only if set: ``id``, ``modality``, ``source``,
``page``, ``start_s``, ``end_s``, ``bbox``, ``image``, ``caption``, and what ``Record.extra`` has.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from mmrag.errors import InputError, StoreError
from mmrag.filters import RECORD_KEYS
from mmrag.types import Caption, ImageRef, Json, Locator, Record, TextLine

__all__ = ["OWN_KEYS", "from_payload", "payload_path", "to_payload"]

OWN_KEYS = frozenset((*RECORD_KEYS, "page_content", "metadata", "bbox", "image", "caption"))
_MAX_DEPTH = 32  # engines parse JSON recursively; the shallowest known limit is 128
_SEGMENT = re.compile(r'"[^"\\]+"|[^."\\]+')


def to_payload(record: Record) -> dict[str, Json]:
    """The payload of a record; tuples in its metadata become lists.

    Raises:
        InputError: the id is empty, a key of ``extra`` is one of ours, or a value is not JSON.
    """
    if not isinstance(record.id, str) or not record.id:
        raise InputError(f"a record's id is a non-empty string, not {record.id!r}")
    payload: dict[str, Json] = {
        "page_content": _string(record.text, "text"),
        "metadata": _json(dict(record.metadata), "metadata"),
        "id": _string(record.id, "id"),
        "modality": record.modality,
    }
    if record.source:
        payload["source"] = _string(record.source, "source")
    payload |= _locator(record.locator)
    if record.image is not None:
        payload["image"] = _json(_fields(record.image), "image")
    if record.caption is not None:
        payload["caption"] = _json(_said(record.caption), "caption")
    for key, value in record.extra.items():
        if key in OWN_KEYS:
            raise InputError(f"extra key {key!r} of record {record.id!r} is mmrag's own")
        payload[_string(key, "extra")] = _json(value, key)
    return payload


def from_payload(payload: Mapping[str, Json]) -> Record:
    """The record that :func:`to_payload` was given.

    Raises:
        StoreError: the payload was not written by mmrag.
    """
    try:
        image, caption = payload.get("image"), payload.get("caption")
        bbox = payload.get("bbox")
        return Record(
            id=payload["id"],
            text=payload["page_content"],
            image=None if image is None else ImageRef(**image),
            caption=None if caption is None else _caption(caption),
            source=payload.get("source", ""),
            locator=Locator(
                page=payload.get("page"),
                bbox=None if bbox is None else tuple(bbox),
                start_s=payload.get("start_s"),
                end_s=payload.get("end_s"),
            ),
            metadata=payload["metadata"],
            extra={key: value for key, value in payload.items() if key not in OWN_KEYS},
        )
    except (KeyError, TypeError) as error:
        raise StoreError(f"a point was not written by mmrag: {error!r}") from error


def payload_path(key: str) -> tuple[str, ...]:
    """Where a filter's key leads in a payload: ``page`` to ``("page",)``, ``a.b`` to
    ``("metadata", "a", "b")``, ``extra.a`` to ``("a",)``; a part in double quotes is taken whole
    (``"a.b"``).

    Raises:
        InputError: an empty part, a stray quote, or a backslash, which no engine can express; or a
            key of the payload that ``extra`` cannot have.
    """
    if key in RECORD_KEYS:
        return (key,)
    parts = _SEGMENT.findall(key)
    if not parts or ".".join(parts) != key:
        raise InputError(f"a filter cannot express the key {key!r}")
    names = tuple(part[1:-1] if part[0] == '"' else part for part in parts)
    if len(names) > 1 and names[0] == "extra":
        if names[1] in OWN_KEYS:
            raise InputError(f"a record's extra has no {names[1]!r}")
        return names[1:]
    return names if names[0] == "metadata" and len(names) > 1 else ("metadata", *names)


def _fields(value: ImageRef | Caption | TextLine) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def _said(caption: Caption) -> dict[str, Json]:
    """A caption as a dict without the fields that are empty."""
    for line in caption.lines:
        box = line.bbox if isinstance(line, TextLine) else None
        if not (isinstance(box, tuple | list) and len(box) == 4):
            raise InputError(f"a line of a caption is a TextLine with its bbox, not {line!r}")
    said = {name: value for name, value in _fields(caption).items() if value}
    return said | ({"lines": [_fields(line) for line in caption.lines]} if caption.lines else {})


def _locator(locator: Locator) -> dict[str, Json]:
    fields = {name: getattr(locator, name) for name in locator.__slots__}
    return {name: _json(v, name) for name, v in fields.items() if v is not None}


def _caption(fields: dict[str, Any]) -> Caption:
    lines = (TextLine(line["text"], tuple(line["bbox"])) for line in fields.get("lines", ()))
    keywords = tuple(fields.get("keywords", ()))
    return Caption(**{**fields, "keywords": keywords, "lines": tuple(lines)})


def _json(value: object, name: str, depth: int = 0) -> Json:
    """A plain copy of ``value``; ``name`` is the key that an error names."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _string(value, name)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if depth < _MAX_DEPTH:
        if isinstance(value, list | tuple):
            return [_json(item, name, depth + 1) for item in value]
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {
                _string(key, name): _json(item, f"{name}.{key}", depth + 1)
                for key, item in value.items()
            }
    raise InputError(
        f"{name} cannot be stored as JSON: {str(value)[:80]!r}, {type(value).__name__}"
    )


def _string(text: object, name: str) -> str:
    if not isinstance(text, str):
        raise InputError(f"{name} is a string, not {type(text).__name__}")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name} is not valid Unicode: {error.reason}") from error
    return text
