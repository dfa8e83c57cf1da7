"""The lines that OCR has read: kept with a record in every store, and found again by words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from mmrag.errors import InputError
from mmrag.lines import lines_with
from mmrag.metadata import CAPTION_KEY, caption_of, caption_to_dict
from mmrag.protocols import Point, Store
from mmrag.stores.edge import EdgeStore
from mmrag.stores.qdrant import QdrantStore
from mmrag.testing import MemoryStore
from mmrag.types import Caption, Locator, Record, TextLine, key_of

READ = Caption(
    text_content="Invoice 20394\n高铁列车时刻表\nTotals 12.50",
    lines=(
        TextLine("Invoice 20394", (0.0, 0.0, 0.5, 0.25)),
        TextLine("高铁列车时刻表", (0.25, 0.5, 0.75, 0.625)),
        TextLine("Totals", (0.0, 0.75, 0.25, 1.0)),
        TextLine("12.50", (0.5, 0.75, 1.0, 1.0)),
    ),
)


def found(words: str, record: Record) -> list[int]:
    """The numbers of the lines of a picture that stands for itself."""
    boxes = [line.bbox for line in READ.lines]
    return [boxes.index(place.bbox) for place in lines_with(words, record) if place.bbox]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("invoice", [0]),
        ("what is the total of invoice 20394?", [0, 2]),
        ("12.50", [3]),
        ("列车什么时候开", [1]),
        ("the of and", []),
        ("bicycle", []),
        ("", []),
    ],
)
def test_lines_are_found_by_their_keywords(words: str, lines: list[int]) -> None:
    assert found(words, Record("a", caption=READ)) == lines


def test_a_line_is_placed_on_the_page_of_its_figure() -> None:
    figure = Record("a", caption=READ, locator=Locator(3, (0.5, 0.5, 1.0, 0.75)))
    assert lines_with("total", figure) == (Locator(3, (0.5, 0.6875, 0.625, 0.75)),)
    page = Record("a", caption=READ, locator=Locator(3))
    assert lines_with("total", page) == (Locator(3, READ.lines[2].bbox),)
    frame = Record("a", caption=READ, locator=Locator(start_s=1.5, end_s=2.0))
    assert lines_with("total", frame) == (Locator(None, READ.lines[2].bbox, 1.5, 2.0),)


def test_without_lines_there_are_no_places() -> None:
    assert lines_with("total", Record("a", "total")) == ()
    assert lines_with("total", Record("a", caption=Caption(text_content="total"))) == ()


@pytest.fixture(params=["memory", "edge", "qdrant"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
    elif request.param == "edge":
        edge = EdgeStore(tmp_path)
        yield edge
        edge.close()
    else:
        client = QdrantClient(":memory:")
        yield QdrantStore(client, "index")
        client.close()


def test_every_store_keeps_them(store: Store) -> None:
    exact = TextLine("x", (1 / 3, 0.1234, 2 / 3, 1.0))
    records = [Record("a", caption=READ), Record("b", caption=Caption(lines=(exact,)))]
    records.append(Record("c", caption=Caption("none")))
    store.prepare({"text": 3})
    store.upsert([Point(record) for record in records])
    kept = store.get([key_of(record.id) for record in records])
    assert [kept[key_of(record.id)] for record in records] == records


def test_metadata_has_them_only_where_there_are_some() -> None:
    assert "lines" not in caption_to_dict(Caption("brief"))
    said = json.loads(json.dumps(caption_to_dict(READ)))
    assert said == caption_to_dict(READ)
    assert said["lines"][2] == {"text": "Totals", "bbox": [0.0, 0.75, 0.25, 1.0]}
    assert caption_of({CAPTION_KEY: said}) == READ


@pytest.mark.parametrize(
    "lines", ["no list", [5], [{"text": "x"}], [{"text": "x", "bbox": [0, 0, 1]}]]
)
def test_malformed_metadata_is_refused(lines: Any) -> None:
    with pytest.raises(InputError, match="lines"):
        caption_of({CAPTION_KEY: {"lines": lines}})
