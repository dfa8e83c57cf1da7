"""What LangChain hands over as a picture: every form is read, nothing is fetched or guessed."""

from __future__ import annotations

import base64
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents.base import Blob
from langchain_core.messages import HumanMessage
from langchain_core.messages.content import (
    create_image_block,
    create_text_block,
    create_video_block,
)
from PIL import Image

from langchain_mm.images import image_input
from mmrag.errors import DamagedSource, InputError
from mmrag.media import data_url, load
from mmrag.types import ImageRef


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (24, 16), "blue").save(out, "PNG")
    return out.getvalue()


PNG = png()
TEXT = base64.b64encode(PNG).decode()
URL = data_url(PNG, "image/png")


def test_what_mmrag_opens_is_passed_on(tmp_path: Path) -> None:
    for given in ("a.png", tmp_path, PNG, io.BytesIO(PNG), Image.new("L", (1, 1)), URL):
        assert image_input(given) is given


def test_a_blob_is_its_data_or_its_path(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    assert image_input(Blob.from_data(PNG)) == PNG
    assert image_input(Blob.from_path(path)) == str(path)
    # What a loader has read already is not read again from where it was.
    assert image_input(Blob(data=PNG, path=str(tmp_path / "gone.png"))) == PNG


@pytest.mark.parametrize(
    "block",
    [
        create_image_block(base64=TEXT, mime_type="image/png"),
        create_image_block(url=URL),
        create_image_block(base64=URL, mime_type="image/png"),  # a frequent mistake
        {"type": "image", "source_type": "base64", "data": TEXT, "mime_type": "image/png"},
        {"type": "image", "source_type": "url", "url": URL},
        {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
        {"type": "image_url", "image_url": URL},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": TEXT}},
        {"type": "image", "source": {"type": "url", "url": URL}},
        asdict(ImageRef(URL, "", "image/png", 24, 16)),
        {"type": "image", "base64": "\n".join(TEXT[i : i + 76] for i in range(0, len(TEXT), 76))},
    ],
)
def test_content_blocks_are_pictures(block: dict[str, Any]) -> None:
    before = dict(block)
    assert load(image_input(block)).sha256 == load(PNG).sha256
    assert block == before


def test_the_blocks_of_a_message_are_pictures() -> None:
    message = HumanMessage(
        [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": URL}}]
    )
    (shown,) = [block for block in message.content_blocks if block["type"] == "image"]
    assert load(image_input(shown)).sha256 == load(PNG).sha256


def test_the_mime_type_of_a_block_is_not_believed() -> None:
    block = create_image_block(base64=TEXT, mime_type="image/jpeg")
    assert load(image_input(block)).mime == "image/png"


def test_a_url_is_passed_on_and_not_fetched() -> None:
    block = create_image_block(url="https://example.org/a.png")
    assert image_input(block) == "https://example.org/a.png"
    with pytest.raises(InputError, match="not fetched"):  # the network is blocked besides
        load(image_input(block))


def test_words_are_never_taken_for_base64() -> None:
    # "test" is valid base64. It is a path here, as every other string.
    assert image_input("test") == "test"
    assert image_input(TEXT) == TEXT


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (create_text_block("hi"), "type 'text' is not a picture"),
        (create_video_block(base64="AAAA", mime_type="video/mp4"), "type 'video'"),
        ({}, "type None"),
        ({"type": "image"}, "neither base64 nor a url"),
        (create_image_block(file_id="file-1"), "ids of files are not resolved"),
        ({"type": "image", "source": {"type": "file", "file_id": "file-1"}}, "ids of files"),
        ({"uri": 5}, "type None"),
        ({"type": "image", "source_type": "id", "id": "file-1"}, "ids of files"),
        ({"type": "image_url", "image_url": {}}, "neither base64 nor a url"),
        ({"type": "image", "url": 3}, "neither base64 nor a url"),
    ],
)
def test_blocks_without_a_picture_are_refused(block: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        image_input(block)


@pytest.mark.parametrize("text", ["!!", "a", "é", TEXT[:-3], TEXT + "*"])
def test_base64_that_is_broken_is_damage(text: str) -> None:
    with pytest.raises(DamagedSource, match="not valid base64"):
        image_input({"type": "image", "base64": text})
