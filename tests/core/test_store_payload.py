"""The payload layout, which LangChain's and LlamaIndex' own Qdrant stores read too."""

from __future__ import annotations

import json
import math
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag.errors import InputError, StoreError
from mmrag.stores.payload import from_payload, to_payload
from mmrag.types import Caption, ImageRef, Locator, Record, TextLine


def test_an_empty_record_takes_four_keys() -> None:
    assert to_payload(Record("a")) == {
        "page_content": "",
        "metadata": {},
        "id": "a",
        "modality": "text",
    }


def test_a_full_record() -> None:
    record = Record(
        "a",
        "text",
        ImageRef("p.png", "00", "image/png", 2, 1),
        Caption("brief", keywords=("k",), data_points=MappingProxyType({"x": "1"})),
        "s.pdf",
        Locator(2, (0.0, 0.0, 1.0, 0.5), 1.5, 2.5),
        MappingProxyType({"page": 9}),
        {"_node_type": "ImageNode"},
    )
    payload = {
        "page_content": "text",
        "metadata": {"page": 9},
        "id": "a",
        "modality": "image",
        "source": "s.pdf",
        "page": 2,
        "bbox": [0.0, 0.0, 1.0, 0.5],
        "start_s": 1.5,
        "end_s": 2.5,
        "image": {"uri": "p.png", "sha256": "00", "mime": "image/png", "width": 2, "height": 1},
        "caption": {"brief": "brief", "keywords": ["k"], "data_points": {"x": "1"}},
        "_node_type": "ImageNode",
    }
    assert to_payload(record) == payload
    assert from_payload(json.loads(json.dumps(payload))) == record


def test_the_lines_of_a_caption() -> None:
    record = Record("a", caption=Caption(lines=(TextLine("空 1", (0, 0.25, 1, 0.5)),)))
    payload = to_payload(record)
    assert payload["caption"] == {"lines": [{"text": "空 1", "bbox": [0, 0.25, 1, 0.5]}]}
    assert from_payload(json.loads(json.dumps(payload))) == record


_keys = st.text("ab.空")
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=8,
)


@given(metadata=st.dictionaries(_keys, _json, max_size=4), text=st.text("a空\n"))
def test_any_json_survives_the_round_trip(metadata: dict[str, Any], text: str) -> None:
    record = Record("a", text, metadata=metadata, extra={"x": metadata})
    payload = to_payload(record)
    assert from_payload(json.loads(json.dumps(payload))) == record
    assert payload["metadata"] is not metadata


def test_a_tuple_becomes_a_list() -> None:
    assert to_payload(Record("a", metadata={"t": (1, (2,))}))["metadata"] == {"t": [1, [2]]}


def nest(depth: int) -> list[Any]:
    return [nest(depth - 1)] if depth else []


@pytest.mark.parametrize(
    ("record", "named"),
    [
        (Record(""), "id"),
        (Record(7), "id"),  # type: ignore[arg-type]
        (Record("\ud800"), "id"),
        (Record("a", "\ud800"), "text"),
        (Record("a", None), "text"),  # type: ignore[arg-type]
        (Record("a", source="\ud800"), "source"),
        (Record("a", metadata={"k": {1, 2}}), "metadata.k"),
        (Record("a", metadata={"k": [{"x": 1j}]}), "metadata.k.x"),
        (Record("a", metadata={"\ud800": 1}), "metadata"),
        (Record("a", metadata={1: 2}), "metadata"),  # type: ignore[dict-item]
        (Record("a", metadata={"k": nest(100)}), "metadata.k"),
        (Record("a", extra={"k": float("nan")}), "k"),
        (Record("a", extra={"metadata": {}}), "metadata"),
        (Record("a", locator=Locator(start_s=float("inf"))), "start_s"),
        (Record("a", caption=Caption(lines=("x",))), "TextLine"),  # type: ignore[arg-type]
        (Record("a", caption=Caption(lines=(TextLine("x", None),))), "bbox"),  # type: ignore[arg-type]
        (Record("a", caption=Caption(lines=(TextLine("x", (0, 1)),))), "bbox"),  # type: ignore[arg-type]
        (Record("a", caption=Caption(lines=(TextLine("\ud800", (0, 0, 1, 1)),))), "lines.text"),
        (Record("a", caption=Caption(lines=(TextLine("x", (0, 0, 1, math.nan)),))), "lines.bbox"),
    ],
)
def test_what_is_not_json_is_refused_by_name(record: Record, named: str) -> None:
    with pytest.raises(InputError, match=named):
        to_payload(record)


def test_a_foreign_payload_is_no_record() -> None:
    with pytest.raises(StoreError, match="not written by mmrag"):
        from_payload({"page_content": "x", "metadata": {}})
