"""ImageSafe: a text splitter that leaves documents with a picture alone."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_text_splitters import CharacterTextSplitter, RecursiveCharacterTextSplitter

import langchain_mm as mm
from langchain_mm.convert import IMAGE_KEY
from mmrag.errors import InputError

from .chat_models import painted


@pytest.fixture
def documents(tmp_path: Path) -> list[Document]:
    picture = {IMAGE_KEY: str(painted(tmp_path / "red.png", "red")), "deep": {"er": [1]}}
    return [
        Document("one two three four", id="text", metadata={"source": "a.txt"}),
        Document("five six", id="second"),
        Document("", id="red", metadata=picture),
        Document("a long text beside a picture", id="both", metadata=picture),
        Document("", id="broken", metadata={IMAGE_KEY: 5}),
        Document("seven eight nine", metadata={IMAGE_KEY: None}),
    ]


def splitter() -> CharacterTextSplitter:
    return CharacterTextSplitter(separator=" ", chunk_size=9, chunk_overlap=0)


def test_a_splitter_alone_loses_pictures_and_with_this_none(documents: list[Document]) -> None:
    assert "red" not in {d.id for d in splitter().transform_documents(documents)}
    before = copy.deepcopy(documents)
    done = mm.ImageSafe(splitter()).transform_documents(documents)
    assert [(d.id, d.page_content) for d in done] == [
        (None, "one two"),
        (None, "three"),
        (None, "four"),
        (None, "five six"),
        ("red", ""),
        ("both", "a long text beside a picture"),
        ("broken", ""),
        (None, "seven"),
        (None, "eight"),
        (None, "nine"),
    ]
    assert done[0].metadata == {"source": "a.txt"}
    assert done[4:7] == documents[2:5]
    assert documents == before


def test_it_is_shown_small_and_async_gives_the_same(documents: list[Document]) -> None:
    safe = mm.ImageSafe(splitter())
    done = asyncio.run(safe.atransform_documents(documents))
    assert done == safe.transform_documents(documents)
    assert repr(safe) == "ImageSafe(CharacterTextSplitter)"
    assert safe.transform_documents([]) == []


def test_with_loader_and_store(tmp_path: Path) -> None:
    painted(tmp_path / "red.png", "red")
    (tmp_path / "note.txt").write_text("boil water for tea and bake the bread", "utf-8")
    documents = mm.MultimodalLoader(tmp_path, media_folder=tmp_path / "media").load()
    chunks = RecursiveCharacterTextSplitter(chunk_size=20, chunk_overlap=0)
    done = mm.ImageSafe(chunks).transform_documents(documents)
    (picture,) = (d for d in documents if IMAGE_KEY in d.metadata)
    assert [d for d in done if IMAGE_KEY in d.metadata] == [picture]
    assert len(done) > len(documents)


@pytest.mark.parametrize("wrong", [None, "a", CharacterTextSplitter, 5])
def test_what_is_no_splitter_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match="a text splitter"):
        mm.ImageSafe(wrong)


@pytest.mark.parametrize("wrong", [["x"], Document("a"), [Document("a"), None], 5])
def test_what_are_no_documents_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match="documents"):
        mm.ImageSafe(splitter()).transform_documents(wrong)
