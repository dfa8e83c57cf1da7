"""Documents to records and back: nothing is lost, nothing is made up, nothing is shared."""

from __future__ import annotations

import copy
import datetime
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from llama_index.core.schema import ImageNode, TextNode
from PIL import Image

from langchain_mm.convert import (
    CAPTION_KEY,
    DOCUMENT_KEY,
    HIT_KEY,
    IMAGE_KEY,
    LOCATOR_KEY,
    document_to_part,
    hit_to_document,
    image_of,
    record_to_document,
)
from llama_index_mm.convert import node_to_record
from mmrag import Caption, Hit, ImageRef, Locator, MultimodalIndex, Record, RouteScore
from mmrag.attachments import FILES_KEY
from mmrag.errors import DamagedSource, InputError, UnreadableSource
from mmrag.media import data_url
from mmrag.metadata import caption_to_dict
from mmrag.stores.payload import from_payload, to_payload
from mmrag.testing import FakeEncoder, MemoryStore

CAPTION = Caption("a field", "a red field", ("red",), "no words", {"year": "1999"})


def painted(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path)
    return path


def png(colour: str = "blue") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (24, 24), colour).save(out, "PNG")
    return out.getvalue()


def shown(document: Document) -> dict[str, Any]:
    return copy.deepcopy(document.model_dump())


def stored(record: Record) -> Record:
    """The record after a trip through an engine's JSON."""
    return from_payload(json.loads(json.dumps(to_payload(record))))


def back(document: Document, folder: Path | None = None) -> Document:
    """The document after a trip through the index whose folder this is."""
    return record_to_document(localised(stored(document_to_part(document, folder).record), folder))


def localised(record: Record, folder: Path | None) -> Record:
    """As an index gives records out: the picture can be opened as it is."""
    if record.image is None or folder is None:
        return record
    return replace(record, image=replace(record.image, uri=str(folder / record.image.uri)))


# Round trips


def samples(folder: Path) -> list[Document]:
    picture = painted(folder / "red.png")
    reference = ImageRef(str(picture), "0" * 64, "image/png", 40, 30)
    metadata = {"title": "T", "n": 3, "deep": {"a": [1, 2.5, None]}, "ok": True, "空": "值"}
    return [
        Document(id="1", page_content="a text", metadata=metadata),
        Document(id="foo bar", page_content=""),
        Document(id="path", page_content="", metadata={IMAGE_KEY: str(picture), **metadata}),
        Document(id="dict", page_content="red", metadata={IMAGE_KEY: asdict(reference)}),
        Document(id="caption", page_content="", metadata={CAPTION_KEY: caption_to_dict(CAPTION)}),
        Document(id="half", page_content="", metadata={CAPTION_KEY: {"brief": "a field"}}),
        Document(
            id="place",
            page_content="x",
            metadata={LOCATOR_KEY: {"page": 3, "bbox": [0.1, 0.2, 0.3, 0.4]}, "page": 2},
        ),
        Document(id="null", page_content="x", metadata={IMAGE_KEY: None, CAPTION_KEY: None}),
    ]


@pytest.mark.parametrize("with_folder", [True, False])
def test_documents_come_back_exactly_as_they_were(tmp_path: Path, with_folder: bool) -> None:
    for document in samples(tmp_path):
        before = shown(document)
        found = back(document, tmp_path / "kb" if with_folder else None)
        assert shown(found) == before
        assert list(found.metadata) == list(document.metadata)
        assert found is not document
        assert shown(document) == before


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc."), inner),
    max_leaves=6,
)
keys = st.sampled_from(["a", "page", "page_label", "source", "file_path", "id", "é", "x y"])


@given(st.text(st.characters(exclude_categories=["Cs"])), st.dictionaries(keys, values))
def test_any_text_and_metadata_come_back(text: str, metadata: dict[str, object]) -> None:
    document = Document(id="i", page_content=text, metadata=metadata)
    assert shown(back(document)) == shown(document)


def test_nothing_is_shared_between_document_and_record() -> None:
    metadata = {"tags": ["a"], "deep": {"b": [1]}, CAPTION_KEY: caption_to_dict(CAPTION)}
    document = Document(id="i", page_content="x", metadata=metadata)
    record = document_to_part(document).record
    first = record_to_document(record)
    before = shown(first)
    document.metadata["tags"].append("mine")
    document.metadata["deep"]["b"].clear()
    document.metadata[CAPTION_KEY]["keywords"].append("green")
    first.metadata["tags"].append("theirs")
    first.metadata["new"] = 1
    assert record.metadata["tags"] == ["a"] and record.metadata["deep"] == {"b": [1]}
    assert record.caption == CAPTION
    assert shown(record_to_document(record)) == before


def test_a_record_that_was_read_shares_nothing_either(tmp_path: Path) -> None:
    record = Record("r", metadata={"tags": ["a"]}, caption=CAPTION)
    document = record_to_document(record)
    document.metadata["tags"].append("b")
    document.metadata[CAPTION_KEY]["data_points"]["year"] = "2000"
    assert record.metadata == {"tags": ["a"]}
    assert CAPTION.data_points == {"year": "1999"}


def test_a_record_changed_through_mmrag_is_right() -> None:
    part = document_to_part(Document(id="i", page_content="old", metadata={"a": 1}))
    changed = replace(part.record, text="new", metadata={"b": 2}, caption=CAPTION)
    assert record_to_document(changed) == Document(
        id="i", page_content="new", metadata={"b": 2, CAPTION_KEY: caption_to_dict(CAPTION)}
    )


# What a record knows of a document


def test_the_records_own_fields(tmp_path: Path) -> None:
    path = painted(tmp_path / "red.png")
    metadata = {
        "source": "/docs/a.pdf",
        "page": 6,
        "page_label": "7",
        IMAGE_KEY: str(path),
        CAPTION_KEY: caption_to_dict(CAPTION),
    }
    part = document_to_part(Document(id="any id", page_content="own text", metadata=metadata))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert part.record == Record(
        id="any id",
        text="own text",
        image=ImageRef(str(path), sha256, "image/png", 40, 30),
        caption=CAPTION,
        source="/docs/a.pdf",
        locator=Locator(page=7),
        metadata=metadata,
        extra={DOCUMENT_KEY: True},
    )
    assert part.image is not None and part.image.size == (40, 30)
    assert document_to_part(Document(id="t", page_content="x")).image is None


@pytest.mark.parametrize(
    ("metadata", "page"),
    [
        ({"page": 0, "page_label": "1"}, 1),  # PyPDFLoader: counted from 0, and as printed
        ({"page": 4}, None),  # from 0 or from 1? Not said, so not claimed
        ({"page": 4, "page_label": "iv"}, None),
        ({"page_label": "0"}, None),
        ({LOCATOR_KEY: {"page": 9}, "page_label": "1", "page": 0}, 9),
    ],
)
def test_pages_count_from_1(metadata: dict[str, Any], page: int | None) -> None:
    document = Document(id="i", page_content="x", metadata=metadata)
    assert document_to_part(document).record.locator == Locator(page=page)
    assert back(document).metadata == metadata


def test_a_locator_in_the_metadata() -> None:
    where = {"page": 3, "bbox": [0.1, 0.2, 0.3, 0.4], "start_s": 1.5}
    record = document_to_part(Document(id="i", page_content="", metadata={LOCATOR_KEY: where}))
    assert record.record.locator == Locator(3, (0.1, 0.2, 0.3, 0.4), 1.5)


def test_a_large_picture_may_be_decoded_smaller(tmp_path: Path) -> None:
    Image.new("RGB", (1600, 1200), "red").save(tmp_path / "large.jpg")
    document = Document(id="i", page_content="", metadata={IMAGE_KEY: str(tmp_path / "large.jpg")})
    part = document_to_part(document, size=64)
    assert part.image is not None and part.image.size == (200, 150)
    assert part.record.image is not None
    assert (part.record.image.width, part.record.image.height) == (1600, 1200)


def test_what_a_picture_claims_is_not_believed(tmp_path: Path) -> None:
    path = painted(tmp_path / "red.png")
    claim = {"uri": str(path), "sha256": "f" * 64, "mime": "x/y", "width": 1, "height": 1}
    document = Document(id="i", page_content="", metadata={IMAGE_KEY: claim})
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    record = document_to_part(document).record
    assert record.image == ImageRef(str(path), sha256, "image/png", 40, 30)


# Pictures


def test_the_pictures_of_documents(tmp_path: Path) -> None:
    reference = ImageRef("/a.png", "0" * 64, "image/png", 40, 30)
    for metadata, image in (
        ({}, None),
        ({IMAGE_KEY: None}, None),
        ({IMAGE_KEY: "/a.png"}, "/a.png"),
        ({IMAGE_KEY: asdict(reference)}, "/a.png"),
        ({IMAGE_KEY: "data:image/png;base64,AA"}, "data:image/png;base64,AA"),
    ):
        assert image_of(Document(page_content="", metadata=metadata)) == image


def test_text_is_never_taken_for_a_picture(tmp_path: Path) -> None:
    path = painted(tmp_path / "red.png")
    for text in (str(path), data_url(png(), "image/png"), "test"):
        part = document_to_part(Document(id="i", page_content=text, metadata={"source": str(path)}))
        assert part.image is None and part.record.modality == "text"


def test_relative_paths_become_absolute_and_come_back_as_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted(tmp_path / "red.png")
    monkeypatch.chdir(tmp_path)
    document = Document(id="i", page_content="", metadata={IMAGE_KEY: "red.png"})
    record = document_to_part(document, tmp_path / "kb").record
    assert record.image is not None and record.image.uri == str(tmp_path / "red.png")
    assert FILES_KEY not in record.extra
    assert record_to_document(record).metadata == {IMAGE_KEY: "red.png"}


def test_a_data_url_becomes_a_file_of_the_index(tmp_path: Path) -> None:
    url = data_url(png(), "image/png")
    document = Document(id="i", page_content="x", metadata={"a": 1, IMAGE_KEY: url, "b": 2})
    record = document_to_part(document, tmp_path).record
    assert record.image is not None
    assert record.extra[FILES_KEY] == [record.image.uri]
    assert (tmp_path / record.image.uri).read_bytes() == png()
    assert "base64" not in json.dumps(to_payload(record))
    # It comes back in its place, as a reference that can be opened.
    found = record_to_document(localised(record, tmp_path))
    assert list(found.metadata) == ["a", IMAGE_KEY, "b"]
    uri = str(tmp_path / record.image.uri)
    assert found.metadata[IMAGE_KEY] == asdict(replace(record.image, uri=uri))
    assert document.metadata[IMAGE_KEY] == url


def test_without_a_folder_a_data_url_stays(tmp_path: Path) -> None:
    url = data_url(png(), "image/png")
    reference = asdict(ImageRef(url, "0" * 64, "image/png", 24, 24))
    for given_picture in (url, reference):
        document = Document(id="i", page_content="", metadata={IMAGE_KEY: given_picture})
        record = document_to_part(document).record
        assert record.image is not None and record.image.uri == url
        assert record_to_document(record).metadata == {IMAGE_KEY: given_picture}


def test_a_document_that_was_found_can_be_written_again(tmp_path: Path) -> None:
    document = Document(
        id="i", page_content="x", metadata={IMAGE_KEY: data_url(png(), "image/png")}
    )
    record = document_to_part(document, tmp_path).record
    found = record_to_document(localised(stored(record), tmp_path))
    found.page_content = "y"
    again = document_to_part(found, tmp_path).record
    # The same file, and the record says so: else it would be taken for one that nobody needs.
    assert again == replace(record, text="y")
    assert record_to_document(localised(again, tmp_path)) == found


def test_a_picture_of_the_indexs_own_is_kept_for_the_document(tmp_path: Path) -> None:
    # A figure that add_files took out of a PDF, and may take away again.
    path = painted(tmp_path / "media" / "figure.png")
    document = Document(id="i", page_content="", metadata={IMAGE_KEY: str(path)})
    record = document_to_part(document, tmp_path).record
    data = path.read_bytes()
    path.unlink()
    assert record.image is not None and record.extra[FILES_KEY] == [record.image.uri]
    assert (tmp_path / record.image.uri).read_bytes() == data


# Records of others


def test_a_record_that_mmrag_read_becomes_a_document(tmp_path: Path) -> None:
    text = Record("t", "words", source="a.pdf", locator=Locator(page=2), extra={"path": "/d/a.pdf"})
    assert record_to_document(text) == Document(
        id="t",
        page_content="words",
        metadata={"source": "/d/a.pdf", "page_label": "2", LOCATOR_KEY: {"page": 2}},
    )
    image = ImageRef(str(painted(tmp_path / "p.png")), "0" * 64, "image/png", 40, 30)
    picture = Record("i", image=image, caption=CAPTION, metadata={"source": "mine"})
    found = record_to_document(picture)
    assert found.page_content == ""
    assert found.metadata == {
        "source": "mine",
        IMAGE_KEY: asdict(image),
        CAPTION_KEY: caption_to_dict(CAPTION),
    }
    assert image_of(found) == str(tmp_path / "p.png")
    assert document_to_part(found).record.caption == CAPTION


@pytest.fixture
def index(tmp_path: Path) -> Iterator[MultimodalIndex]:
    fake = FakeEncoder()
    with MultimodalIndex.open(
        tmp_path / "kb", store=MemoryStore(), text_encoder=fake, image_encoder=fake
    ) as index:
        yield index


def test_files_come_out_as_documents(index: MultimodalIndex) -> None:
    import mmrag

    sample = Path(mmrag.__file__).parent / "sample"
    index.add_files([sample / "manual.pdf", sample / "pictures" / "fruit.bmp"])
    documents = [record_to_document(r) for batch in index.store.scan() for r in batch]
    manual = [d for d in documents if d.metadata["source"].endswith("manual.pdf")]
    pages = {d.metadata["page_label"] for d in manual}
    assert {"1", "2"} <= pages and "0" not in pages
    assert any(d.page_content.strip() for d in manual)
    (fruit,) = [d for d in documents if d.metadata["source"].endswith("fruit.bmp")]
    assert fruit.metadata["source"] == str(sample / "pictures" / "fruit.bmp")
    assert fruit.metadata[IMAGE_KEY]["mime"] == "image/bmp"
    for document in documents:
        json.dumps(document.metadata, allow_nan=False)
        assert DOCUMENT_KEY not in document.metadata
    # All of them can be documents of an index.
    for record in index.get([d.id or "" for d in documents]):
        document = record_to_document(record)
        again = document_to_part(document, index.folder).record
        assert (again.id, again.text, again.locator) == (record.id, record.text, record.locator)
        assert (again.image is None) == (record.image is None)


def test_nodes_of_llama_index_come_out_as_documents(tmp_path: Path) -> None:
    path = painted(tmp_path / "red.png")
    text = TextNode(id_="t", text="words", metadata={"file_path": "/d/a.pdf", "page_label": "3"})
    found = record_to_document(stored(node_to_record(text)))
    assert (found.id, found.page_content) == ("t", "words")
    assert found.metadata == {
        "source": "/d/a.pdf",
        "file_path": "/d/a.pdf",
        "page_label": "3",
        LOCATOR_KEY: {"page": 3},
    }
    picture = ImageNode(
        id_="i",
        text="red",
        image_path=str(path),
        metadata={CAPTION_KEY: caption_to_dict(CAPTION), "title": "T"},
    )
    found = record_to_document(stored(node_to_record(picture)))
    assert found.page_content == "red"
    assert image_of(found) == str(path)
    assert found.metadata["title"] == "T"
    assert found.metadata[CAPTION_KEY] == caption_to_dict(CAPTION)
    assert not [key for key in found.metadata if key.startswith("_node")]


def test_the_caption_of_a_document_added_later_is_shown() -> None:
    part = document_to_part(Document(id="i", page_content="", metadata={"a": 1}))
    captioned = stored(replace(part.record, caption=CAPTION))
    assert record_to_document(captioned).metadata[CAPTION_KEY] == caption_to_dict(CAPTION)


# Hits


def test_a_hit_says_why_and_is_not_stored() -> None:
    document = Document(id="i", page_content="words", metadata={"title": "T", "tags": ["a"]})
    record = document_to_part(document).record
    routes = (RouteScore("keywords", 3, 1.5, 0.1), RouteScore("text->text", 1, 0.9, 0.7))
    hit = Hit(record, 0.8, routes)
    found = hit_to_document(hit)
    assert found.metadata[HIT_KEY] == {
        "score": 0.8,
        "routes": [
            {"route": "text->text", "rank": 1, "score": 0.9, "contribution": 0.7},
            {"route": "keywords", "rank": 3, "score": 1.5, "contribution": 0.1},
        ],
    }
    json.dumps(found.metadata)
    assert hit_to_document(hit, trace=False) == document
    assert document_to_part(found).record == record
    assert HIT_KEY in found.metadata
    found.metadata["tags"].append("b")
    found.metadata[HIT_KEY]["routes"].clear()
    assert hit_to_document(hit).metadata["tags"] == ["a"]
    assert len(hit_to_document(hit).metadata[HIT_KEY]["routes"]) == 2


# What cannot be stored


@pytest.mark.parametrize("identity", [None, ""])
def test_a_document_needs_an_id(identity: str | None) -> None:
    with pytest.raises(InputError, match="needs an id"):
        document_to_part(Document(id=identity, page_content="x"))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({IMAGE_KEY: 3}, "the path of a picture"),
        ({IMAGE_KEY: ""}, "the path of a picture"),
        ({IMAGE_KEY: {"uri": "/a.png"}}, "the path of a picture"),
        ({IMAGE_KEY: ["/a.png"]}, "the path of a picture"),
        ({IMAGE_KEY: "https://example.org/a.png"}, "not fetched"),
        ({CAPTION_KEY: "a string"}, "no Caption"),
        ({CAPTION_KEY: {"brief": 3}}, "no Caption"),
        ({CAPTION_KEY: {"brief": "x", "colour": "red"}}, "has no .'colour'"),
        ({LOCATOR_KEY: {"bbox": [1]}}, "no Locator"),
        ({LOCATOR_KEY: "page 3"}, "no Locator"),
        ({"day": datetime.date(2024, 2, 29)}, "metadata.day cannot be stored as JSON"),
        ({"number": float("nan")}, "metadata.number cannot be stored as JSON"),
        ({"deep": [{"x": object()}]}, "metadata.deep.x cannot be stored as JSON"),
        ({"half": "\ud800"}, "not valid Unicode"),
        ({IMAGE_KEY: Path("a.png")}, "metadata.mmrag_image cannot be stored as JSON"),
        ({1: "x"}, "cannot be stored as JSON"),
    ],
)
def test_malformed_metadata_is_an_error_that_names_the_document(
    metadata: dict[str, Any], message: str
) -> None:
    document = Document.model_construct(id="a", page_content="x", metadata=metadata)
    with pytest.raises(InputError, match=f"document 'a': .*{message}"):
        document_to_part(document)


def test_a_text_that_cannot_be_stored_is_an_error_that_names_the_document() -> None:
    with pytest.raises(InputError, match=r"document 'a': text is not valid Unicode"):
        document_to_part(Document(id="a", page_content="cut \ud83d"))


def test_metadata_that_contain_themselves_are_an_error() -> None:
    metadata: dict[str, Any] = {}
    metadata["self"] = metadata
    document = Document.model_construct(id="a", page_content="x", metadata=metadata)
    with pytest.raises(InputError, match=r"document 'a': .*cannot be stored"):
        document_to_part(document)


def test_a_picture_that_cannot_be_opened_is_an_error_that_names_the_document(
    tmp_path: Path,
) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes(png()[:40])
    cases: list[tuple[str, type[Exception], str]] = [
        (str(tmp_path / "gone.png"), UnreadableSource, r"gone\.png"),
        (str(torn), DamagedSource, "broken or truncated"),
        ("data:image/png;base64,!", DamagedSource, "base64"),
        ("data:image/png,abc", InputError, "data URL of the form"),
    ]
    for image, kind, message in cases:
        document = Document(id="b", page_content="", metadata={IMAGE_KEY: image})
        with pytest.raises(kind, match=f"document 'b': .*{message}"):
            document_to_part(document, tmp_path / "kb")
    assert not (tmp_path / "kb").exists()


def test_a_tuple_becomes_a_list_as_in_json() -> None:
    document = Document(id="a", page_content="", metadata={"pair": (1, 2)})
    assert back(document).metadata == {"pair": [1, 2]}
