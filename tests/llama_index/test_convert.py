"""Nodes to records and back: nothing is lost, nothing is made up."""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.schema import (
    BaseNode,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from llama_index_mm.convert import (
    CAPTION_KEY,
    LOCATOR_KEY,
    NODE_KEY,
    TRACE_KEY,
    caption_to_dict,
    embed_text,
    hit_to_node,
    image_of,
    node_to_record,
    record_to_node,
)
from mmrag import Caption, Hit, ImageRef, Locator, Record, RouteScore
from mmrag.errors import DamagedSource, InputError, UnreadableSource
from mmrag.stores.payload import OWN_KEYS, from_payload, to_payload

from .nodes import AUDIO, Recipe, base64_of, common, dump, painted, png, samples


def stored(record: Record) -> Record:
    """The record after a trip through an engine's JSON."""
    return from_payload(json.loads(json.dumps(to_payload(record))))


def test_every_kind_of_node_comes_back_as_what_it_was(tmp_path: Path) -> None:
    for node in samples(tmp_path).values():
        before = dump(node)
        record = stored(node_to_record(node, tmp_path))
        back = record_to_node(record, tmp_path)
        assert dump(back) == before
        assert back is not node
        assert dump(node) == before
        assert back.hash == node.hash


def test_every_kind_of_node_comes_back_without_a_folder_too(tmp_path: Path) -> None:
    for node in samples(tmp_path).values():
        assert dump(record_to_node(stored(node_to_record(node)))) == dump(node)


def test_image_document_returns_as_image_document_not_as_text_node(tmp_path: Path) -> None:
    node = ImageDocument(text="x", image_path=str(painted(tmp_path / "a.png")))
    assert type(metadata_dict_to_node(node_to_metadata_dict(node))) is TextNode  # the stock path
    assert type(record_to_node(node_to_record(node))) is ImageDocument


def test_bytes_are_not_dropped(tmp_path: Path) -> None:
    node = Node(
        image_resource=MediaResource(data=png()),
        audio_resource=MediaResource(data=AUDIO, mimetype="audio/wav"),
    )
    stock = metadata_dict_to_node(node_to_metadata_dict(node))
    assert isinstance(stock, Node) and stock.image_resource is not None
    assert stock.image_resource.data is None  # the stock path drops them
    back = record_to_node(stored(node_to_record(node, tmp_path)), tmp_path)
    assert isinstance(back, Node) and back.image_resource and back.audio_resource
    assert back.image_resource.data == base64_of(png()).encode()
    assert back.audio_resource.data == base64_of(AUDIO).encode()


def test_no_base64_in_the_payload(tmp_path: Path) -> None:
    nodes: list[BaseNode] = [
        ImageNode(image=base64_of(png())),
        ImageDocument(image=base64_of(png()).encode()),
        Node(audio_resource=MediaResource(data=AUDIO, mimetype="audio/wav")),
    ]
    for node in nodes:
        payload = json.dumps(to_payload(node_to_record(node, tmp_path)))
        assert base64_of(png()) not in payload and base64_of(AUDIO) not in payload
    # The same bytes twice are one file, under their own hash.
    files = sorted(p for p in (tmp_path / "attachments").rglob("*") if p.is_file())
    assert {p.stem for p in files} == {hashlib.sha256(d).hexdigest() for d in (png(), AUDIO)}
    assert {p.suffix for p in files} == {".png", ".wav"}


def test_an_attachment_that_is_out_of_reach_comes_back_as_its_path(tmp_path: Path) -> None:
    node = ImageNode(image=base64_of(png()))
    record = stored(node_to_record(node, tmp_path))
    back = record_to_node(record)
    assert isinstance(back, ImageNode) and back.image is None
    assert back.image_path is not None and Path(back.image_path).read_bytes() == png()


def test_attachments_move_with_the_folder(tmp_path: Path) -> None:
    node = Node(image_resource=MediaResource(data=png()))
    (tmp_path / "old").mkdir()
    record = stored(node_to_record(node, tmp_path / "old"))
    (tmp_path / "old").rename(tmp_path / "new")
    assert dump(record_to_node(record, tmp_path / "new")) == dump(node)


def test_the_records_own_fields(tmp_path: Path) -> None:
    path = painted(tmp_path / "red.png")
    caption = Caption("a field", "a red field", ("red",), "no words", {"year": "1999"})
    node = ImageNode(
        id_="any id",
        text="own text",
        image_path=str(path),
        metadata={
            "file_path": "/docs/a.pdf",
            "page_label": "iv",
            "page": 7,
            "ok": True,
            CAPTION_KEY: caption_to_dict(caption),
        },
        embedding=[0.5, 0.5],
        text_embedding=[0.1],
    )
    record = node_to_record(node)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert record.id == "any id"
    assert record.text == "own text"
    assert record.image == ImageRef(str(path), sha256, "image/png", 40, 30)
    assert record.caption == caption
    assert record.source == "/docs/a.pdf"
    assert record.locator == Locator(page=7)
    assert record.metadata == {
        "file_path": "/docs/a.pdf",
        "page_label": "iv",
        "page": 7,
        "ok": True,
    }
    back = record_to_node(record)
    assert isinstance(back, ImageNode)
    assert back.embedding is None and back.text_embedding is None
    assert back.metadata == node.metadata and list(back.metadata) == list(node.metadata)


def test_a_locator_in_the_metadata() -> None:
    where = {"page": 3, "bbox": [0.1, 0.2, 0.3, 0.4], "start_s": 1.5}
    node = TextNode(text="x", metadata={LOCATOR_KEY: where, "page": 99})
    record = node_to_record(node)
    assert record.locator == Locator(3, (0.1, 0.2, 0.3, 0.4), 1.5)
    assert dict(record.metadata) == {"page": 99}
    assert record_to_node(stored(record)).metadata == node.metadata


@pytest.mark.parametrize("label", ["0", "-1", "", "1.5", "Ⅳ", "٣", "9" * 30])
def test_a_page_label_that_is_no_number_is_no_page(label: str) -> None:
    node = TextNode(text="x", metadata={"page_label": label})
    assert node_to_record(node).locator == Locator()


def test_relative_picture_paths_become_absolute_and_come_back_as_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted(tmp_path / "red.png")
    monkeypatch.chdir(tmp_path)
    record = node_to_record(ImageNode(image_path="red.png"))
    assert record.image is not None and record.image.uri == str(tmp_path / "red.png")
    back = record_to_node(record)
    assert isinstance(back, ImageNode) and back.image_path == "red.png"


def test_the_stock_payload_is_llama_indexs_own(tmp_path: Path) -> None:
    nodes = samples(tmp_path)
    documents = {name: nodes.pop(name) for name in ("imagedoc", "imagedoc-bytes")}
    for node in nodes.values():
        extra = node_to_record(node, tmp_path).extra
        stock = node_to_metadata_dict(node)
        for key in ("_node_type", "doc_id", "document_id", "ref_doc_id"):
            assert extra[key] == stock[key]
        ours, theirs = metadata_dict_to_node(dict(extra)), metadata_dict_to_node(stock)
        assert type(ours) is type(theirs)
        assert ours.node_id == node.node_id
        assert ours.metadata == node.metadata
        content = MetadataMode.EMBED
        assert ours.get_content(metadata_mode=content) == theirs.get_content(metadata_mode=content)
        assert ours.relationships == theirs.relationships
    for node in documents.values():  # of these, stock makes a TextNode, or a TypeError
        read = metadata_dict_to_node(dict(node_to_record(node, tmp_path).extra))
        assert isinstance(read, Node) and read.image_resource is not None
        assert read.image_resource.path is not None and read.image_resource.path.exists()


def test_metadata_lies_at_the_top_level_where_there_is_room_for_it() -> None:
    metadata = {"lang": "en", "tags": ["a"], "page": 3, "path": "/x", "id": 1, "d": {}, "no": None}
    extra = node_to_record(TextNode(text="x", metadata=metadata)).extra
    assert extra["lang"] == "en" and extra["tags"] == ["a"]
    # The last two are no values to filter on; "path" would make the journal take it for its own.
    assert not {*OWN_KEYS, "path", "d", "no"} & set(extra)


def test_metadata_with_the_names_of_payload_keys_comes_back() -> None:
    metadata = {key: f"mine {key}" for key in (*OWN_KEYS, "path", "doc_id", "_node_type", NODE_KEY)}
    node = TextNode(text="x", metadata=metadata)
    assert record_to_node(stored(node_to_record(node))).metadata == metadata


def test_a_record_changed_through_mmrag_is_right() -> None:
    record = node_to_record(TextNode(text="old", metadata={"a": 1, "b": 2, CAPTION_KEY: {}}))
    changed = Record(
        record.id,
        "new",
        caption=Caption("seen"),
        metadata={"b": 3, "c": 4},
        extra=record.extra,
    )
    node = record_to_node(changed)
    assert node.get_content() == "new"
    assert node.metadata == {"b": 3, "c": 4, CAPTION_KEY: caption_to_dict(Caption("seen"))}


def test_a_class_that_is_not_there_any_more_comes_back_as_its_kind() -> None:
    record = node_to_record(Recipe(text="bread", minutes=5))
    record.extra[NODE_KEY]["class"] = "Forgotten"  # type: ignore[index]
    back = record_to_node(record)
    assert type(back) is TextNode and back.text == "bread"


def test_a_record_that_mmrag_read_becomes_a_node(tmp_path: Path) -> None:
    path = painted(tmp_path / "p.png")
    text = Record("t", "words", source="a.pdf", locator=Locator(page=2), extra={"path": "/d/a.pdf"})
    node = record_to_node(text)
    assert type(node) is TextNode
    assert node.metadata == {
        "file_path": "/d/a.pdf",
        "file_name": "a.pdf",
        "page_label": "2",
        LOCATOR_KEY: {"page": 2},
    }
    assert embed_text(node) == "words"
    assert "file_name: a.pdf" in node.get_content(metadata_mode=MetadataMode.LLM)
    image = ImageRef(str(path), "0" * 64, "image/png", 40, 30)
    shown = Record("i", image=image, caption=Caption("a field"), metadata={"file_name": "mine"})
    node = record_to_node(shown)
    assert isinstance(node, ImageNode)
    assert (node.image_path, node.image_mimetype) == (str(path), "image/png")
    assert node.metadata[CAPTION_KEY]["brief"] == "a field"
    assert node.metadata["file_name"] == "mine"
    assert node_to_record(node).caption == shown.caption


def test_a_hit_says_why_and_shows_it_to_nobody_else() -> None:
    record = node_to_record(TextNode(text="words", metadata={"title": "T"}))
    routes = (RouteScore("keywords", 3, 1.5, 0.1), RouteScore("text->text", 1, 0.9, 0.7))
    hit = Hit(record, 0.8, routes)
    found = hit_to_node(hit)
    assert found.score == 0.8
    assert found.metadata[TRACE_KEY] == [
        {"route": "text->text", "rank": 1, "score": 0.9, "contribution": 0.7},
        {"route": "keywords", "rank": 3, "score": 1.5, "contribution": 0.1},
    ]
    for mode in (MetadataMode.EMBED, MetadataMode.LLM):
        assert found.node.get_content(metadata_mode=mode) == "title: T\n\nwords"
    assert TRACE_KEY not in hit_to_node(hit, trace=False).metadata
    found.node.metadata["title"] = "changed"
    assert hit_to_node(hit).metadata["title"] == "T"
    # What was found and is added again leaves the trace behind.
    again = record_to_node(node_to_record(hit_to_node(hit).node))
    assert dump(again) == dump(record_to_node(record))


def test_the_pictures_of_nodes(tmp_path: Path) -> None:
    path = str(painted(tmp_path / "red.png"))
    assert image_of(TextNode(text="x")) is None
    assert image_of(ImageNode(image_path=path)) == path
    assert image_of(ImageNode(image=base64_of(png()), image_path=path)) == png()
    assert image_of(ImageNode(image="data:image/png;base64," + base64_of(png()))) == png()
    assert image_of(Node(image_resource=MediaResource(data=png()))) == png()
    assert image_of(Node(image_resource=MediaResource(path=Path(path)))) == path
    assert image_of(Node(audio_resource=MediaResource(data=AUDIO))) is None
    # Never fetched; the network is blocked in tests besides.
    assert image_of(ImageNode(image_url="https://example.org/a.png")) is None


def test_a_picture_that_cannot_be_opened_is_an_error_that_names_the_node(tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(png()[:40])
    gone, torn = tmp_path / "gone.png", tmp_path / "torn.png"
    with pytest.raises(UnreadableSource, match=r"node 'a'.*gone.png"):
        node_to_record(ImageNode(id_="a", image_path=str(gone)))
    with pytest.raises(DamagedSource, match="node 'b'"):
        node_to_record(ImageNode(id_="b", image_path=str(torn)))
    with pytest.raises(DamagedSource, match=r"node 'c'.*base64"):
        node_to_record(ImageNode(id_="c", image="no base64!"))


def test_what_cannot_be_stored_is_an_error_that_names_the_node() -> None:
    class Odd:
        pass

    for value in (Odd(), "\ud800"):
        with pytest.raises(InputError, match="node 'a'"):
            node_to_record(TextNode(id_="a", text="x", metadata={"k": value}))
    for caption in ("a string", {"brief": 3}, {"brief": "x", "colour": "red"}):
        with pytest.raises(InputError, match=r"node 'a'.*Caption"):
            node_to_record(TextNode(id_="a", text="x", metadata={CAPTION_KEY: caption}))
    with pytest.raises(InputError, match=r"node 'a'.*Locator"):
        node_to_record(TextNode(id_="a", text="x", metadata={LOCATOR_KEY: {"bbox": [1]}}))
    with pytest.raises(InputError, match="node 'a'"):
        node_to_record(IndexNode(id_="a", text="x", index_id="i", obj=Odd()))


def test_what_json_has_no_word_for_becomes_what_llama_index_makes_of_it() -> None:
    metadata = {"day": datetime.date(2024, 2, 29), "pair": (1, 2), "none": float("nan")}
    node = TextNode(text="x", metadata=metadata)
    stock = metadata_dict_to_node(node_to_metadata_dict(node))
    assert record_to_node(node_to_record(node)).metadata == stock.metadata
    assert stock.metadata == {"day": "2024-02-29", "pair": [1, 2], "none": None}


def test_an_index_node_keeps_its_object() -> None:
    node = IndexNode(text="a summary", index_id="ix", obj=TextNode(id_="inner", text="inside"))
    back = record_to_node(stored(node_to_record(node)))
    assert isinstance(back, IndexNode)
    assert isinstance(back.obj, TextNode) and back.obj.text == "inside"


def test_the_document_of_a_node_that_has_none_is_the_node_itself() -> None:
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc")}
    part = node_to_record(TextNode(id_="a", text="x", relationships=source))
    assert part.extra[NODE_KEY]["document"] == part.extra["ref_doc_id"] == "doc"
    alone = node_to_record(TextNode(id_="a", text="x"))
    assert alone.extra[NODE_KEY]["document"] == "a"
    assert alone.extra["ref_doc_id"] == "None"  # LlamaIndex's own word


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc."), inner),
    max_leaves=6,
)


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.dictionaries(st.sampled_from(["a", "page", "source", "file_path", "é", "x y"]), values),
)
def test_any_text_and_metadata_come_back(text: str, metadata: dict[str, object]) -> None:
    node = TextNode(text=text, metadata=metadata)
    assert dump(record_to_node(stored(node_to_record(node)))) == dump(node)


def test_embedded_is_what_llama_index_shows_to_embeddings() -> None:
    node = TextNode(text="own text", **common())
    assert embed_text(node) == node.get_content(metadata_mode=MetadataMode.EMBED)
    assert "title=T" in embed_text(node) and "n=3" not in embed_text(node)
