"""MultimodalVectorStore: one store for texts and pictures, under LlamaIndex's own components."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import (
    MockEmbedding,
    StorageContext,
    VectorStoreIndex,
    load_index_from_storage,
)
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.llms.mock import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import VectorIndexRetriever
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.types import (
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from pydantic import AnyUrl

from llama_index_mm import (
    CaptionNodeParser,
    CrossModalReranker,
    MultimodalEmbedding,
    MultimodalReader,
    MultimodalVectorStore,
)
from llama_index_mm.convert import CAPTION_KEY, TRACE_KEY, embed_text, image_of
from mmrag import MultimodalIndex, Record
from mmrag.errors import DamagedSource, InputError, UnreadableSource
from mmrag.testing import FakeCaptioner, FakeEncoder, MemoryStore
from mmrag.types import key_of

from .nodes import Recipe, attachments, base64_of, dump, opened, painted, png, samples

MOCK = MockEmbedding(embed_dim=3)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MultimodalIndex]:
    with opened(tmp_path_factory.mktemp("vector_store") / "kb") as index:
        yield index


@pytest.fixture
def store(index: MultimodalIndex) -> MultimodalVectorStore:
    store = MultimodalVectorStore(index)
    store.clear()  # opening an index of its own for each test would take most of the time
    return store


def ids(result: VectorStoreQueryResult) -> list[str]:
    return list(result.ids or [])


def ask(store: MultimodalVectorStore, words: str, **options: Any) -> list[str]:
    return ids(store.query(VectorStoreQuery(query_str=words, similarity_top_k=20, **options)))


def of_document(name: str) -> dict[NodeRelationship, Any]:
    return {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=name)}


def equals(key: str, value: Any) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value)])


# What comes back


def test_every_kind_of_node_comes_back_from_the_store(
    store: MultimodalVectorStore, tmp_path: Path
) -> None:
    nodes = samples(tmp_path)
    before = {name: dump(node) for name, node in nodes.items()}
    assert store.add(list(nodes.values())) == list(nodes)
    back = store.get_nodes(list(nodes))
    assert {node.node_id: dump(node) for node in back} == before
    assert [node.node_id for node in back] == list(nodes)
    assert {name: dump(node) for name, node in nodes.items()} == before  # nothing was touched
    assert {node.node_id for node in store.get_nodes()} == set(nodes)
    assert store.get_nodes([]) == [] and store.get_nodes(["nowhere"]) == []


def test_nodes_that_match_come_in_the_order_of_their_ids(store: MultimodalVectorStore) -> None:
    store.add([TextNode(id_=i, text="x", metadata={"k": i in "abc"}) for i in "abcd"])
    found = store.get_nodes(["c", "d", "nowhere", "a", "c"], equals("k", "true"))
    assert [node.node_id for node in found] == ["c", "a", "c"]
    assert len({id(node) for node in found}) == 3
    assert {node.node_id for node in store.get_nodes(filters=equals("k", "true"))} == set("abc")


def test_found_nodes_are_what_they_were_and_say_what_found_them(
    store: MultimodalVectorStore, tmp_path: Path
) -> None:
    store.add(list(samples(tmp_path).values()))
    result = store.query(VectorStoreQuery(query_str="a red field", similarity_top_k=20))
    assert ids(result)[0] == "image"
    assert result.similarities == sorted(result.similarities or [], reverse=True)
    for node in result.nodes or []:
        (again,) = store.get_nodes([node.node_id])
        assert type(node) is type(again)
        trace = node.metadata.pop(TRACE_KEY)
        assert {"route", "rank", "score", "contribution"} == set(trace[0])
        for keys in (node.excluded_embed_metadata_keys, node.excluded_llm_metadata_keys):
            keys.remove(TRACE_KEY)
        assert dump(node) == dump(again)


def test_one_point_a_node_with_all_its_fields(tmp_path: Path) -> None:
    """Stock: #13616: one vector store a modality, one vector a record."""
    text, image = FakeEncoder(16), FakeEncoder(24)
    memory = MemoryStore()
    with MultimodalIndex.open(store=memory, text_encoder=text, image_encoder=image) as index:
        node = ImageNode(
            text="the red field",
            image_path=str(painted(tmp_path / "red.png")),
            metadata={"title": "Colours", CAPTION_KEY: {"brief": "a plain red picture"}},
            excluded_embed_metadata_keys=[CAPTION_KEY],
        )
        MultimodalVectorStore(index).add([node])
        assert index.count() == 1
        fields = ("text", "image", "caption", "cross_text", "keywords")
        assert [memory.count(having=field) for field in fields] == [1] * 5
        # What LlamaIndex's metadata extractors added is embedded; the text stays the node's own.
        assert embed_text(node) == "title: Colours\n\nthe red field"
        expected = text.encode_texts([embed_text(node)], "passage")
        np.testing.assert_allclose(memory.sample("text", 1), expected, atol=1e-6)
        (record,) = index.get([node.node_id])
        assert record.text == "the red field"


def test_a_pictures_file_name_is_not_a_text(tmp_path: Path) -> None:
    memory, fake = MemoryStore(), FakeEncoder(16)
    path = str(painted(tmp_path / "IMG_0042.png"))
    named = ImageNode(image_path=path, metadata={"file_name": "IMG_0042.png"})
    titled = ImageNode(image_path=path, metadata={"file_name": "IMG_0042.png", "title": "Red"})
    with MultimodalIndex.open(store=memory, text_encoder=fake, image_encoder=fake) as index:
        MultimodalVectorStore(index).add([named])
        assert [memory.count(having=field) for field in ("text", "image")] == [0, 1]
        MultimodalVectorStore(index).add([titled])
        assert [memory.count(having=field) for field in ("text", "image")] == [1, 2]


def test_image_nodes_without_text_are_not_dropped(
    store: MultimodalVectorStore, tmp_path: Path
) -> None:
    """Stock: tomasonjo/blogs#16, PR #9953, #20397: refused, skipped, or text None in the store."""
    store.add(
        [
            ImageNode(id_="red", image_path=str(painted(tmp_path / "red.png", "red"))),
            ImageDocument(id_="blue", image_path=str(painted(tmp_path / "blue.png", "blue"))),
            Node(id_="green", image_resource=MediaResource(data=png("green"))),
        ]
    )
    hits = store.index.search(image=tmp_path / "blue.png", limit=3)
    assert hits[0].record.id == "blue"
    assert {hit.record.id for hit in hits} == {"red", "blue", "green"}
    assert {record.text for record in store.index.get(["red", "blue", "green"])} == {""}


def test_a_batch_without_images_does_not_turn_image_search_off(
    store: MultimodalVectorStore, tmp_path: Path
) -> None:
    """Stock: is_image_vector_store_empty, set by a batch without images, is never reset; and the
    same for texts."""
    picture = painted(tmp_path / "red.png")
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(
        [TextNode(id_="t1", text="one")], storage_context=context, embed_model=MOCK
    )
    index.insert_nodes([ImageNode(id_="i1", text="red", image_path=str(picture))])
    index.insert_nodes([TextNode(id_="t2", text="two")])
    assert {hit.record.id for hit in store.index.search(image=picture)} >= {"i1"}
    assert {
        node.node_id for node in index.as_retriever(similarity_top_k=9).retrieve("one two")
    } >= {
        "t1",
        "t2",
    }


# Embeddings


def test_a_foreign_embedding_of_the_same_dimension_never_enters_the_space(
    store: MultimodalVectorStore,
) -> None:
    dim = FakeEncoder().space.dim
    foreign = [1.0] + [0.0] * (dim - 1)
    store.add(
        [
            TextNode(id_="tea", text="green tea", embedding=foreign),
            TextNode(id_="bread", text="rye bread"),
        ]
    )
    expected = FakeEncoder().encode_texts(["green tea", "rye bread"], "passage")
    rows = {key_of("tea"): expected[0], key_of("bread"): expected[1]}
    np.testing.assert_allclose(
        store.index.store.sample("text", 2), [rows[key] for key in sorted(rows)], atol=1e-6
    )
    # Nor does one come in with a query: it is the words that are asked.
    query = VectorStoreQuery(query_str="rye bread", query_embedding=foreign, similarity_top_k=1)
    assert ids(store.query(query)) == ["bread"]
    assert store.get_nodes(["tea"])[0].embedding is None


def test_a_bundle_that_another_retriever_wrote_its_embedding_to_still_finds(
    store: MultimodalVectorStore,
) -> None:
    store.add([TextNode(id_="tea", text="green tea"), TextNode(id_="bread", text="rye bread")])
    index = VectorStoreIndex.from_vector_store(store, MOCK)
    bundle = QueryBundle("green tea", embedding=[0.5] * 7)
    assert index.as_retriever(similarity_top_k=1).retrieve(bundle)[0].node_id == "tea"


# Queries


def test_modes_are_routes(store: MultimodalVectorStore) -> None:
    store.add([TextNode(id_="ab", text="alpha beta"), TextNode(id_="c", text="gamma")])

    def routes(mode: VectorStoreQueryMode, **options: Any) -> set[str]:
        query = VectorStoreQuery(query_str="alpha", mode=mode, similarity_top_k=5, **options)
        nodes = store.query(query).nodes or []
        return {route["route"] for node in nodes for route in node.metadata[TRACE_KEY]}

    everything = {"text->text", "keywords"}  # there are no pictures and no captions
    assert routes(VectorStoreQueryMode.DEFAULT) == everything
    assert routes(VectorStoreQueryMode.HYBRID) == everything
    assert routes(VectorStoreQueryMode.TEXT_SEARCH) == {"keywords"}
    assert routes(VectorStoreQueryMode.SPARSE) == {"keywords"}
    assert routes(VectorStoreQueryMode.HYBRID, alpha=0.5) == everything
    assert routes(VectorStoreQueryMode.HYBRID, alpha=0.0) == {"keywords"}
    assert routes(VectorStoreQueryMode.HYBRID, alpha=1.0) == {"text->text"}
    assert ask(store, "alpha", mode=VectorStoreQueryMode.TEXT_SEARCH) == ["ab"]


def test_alpha_weighs_keywords_against_the_rest(store: MultimodalVectorStore) -> None:
    store.add([TextNode(id_="ab", text="alpha beta"), TextNode(id_="c", text="gamma")])
    query = VectorStoreQuery(
        query_str="alpha", mode=VectorStoreQueryMode.HYBRID, alpha=0.25, similarity_top_k=1
    )
    (similarity,) = store.query(query).similarities or []
    assert similarity == pytest.approx(0.25 / 61 + 0.75 / 61)


async def test_pr_22642_an_alpha_of_zero_is_zero_in_async_too(
    store: MultimodalVectorStore,
) -> None:
    """Stock: ``aquery`` takes 0 for nothing given, and searches with 0.5. Async needs no client of
    its own either (#12474)."""
    store.add([TextNode(id_="ab", text="alpha beta"), TextNode(id_="c", text="gamma")])
    query = VectorStoreQuery(
        query_str="alpha", mode=VectorStoreQueryMode.HYBRID, alpha=0, similarity_top_k=1
    )
    for result in (store.query(query), await store.aquery(query)):
        assert result.ids == ["ab"]
        assert result.similarities == pytest.approx([1 / 61])


def test_queries_are_narrowed(store: MultimodalVectorStore) -> None:
    store.add(
        [
            TextNode(id_="a", text="tea", metadata={"lang": "en"}, relationships=of_document("d1")),
            TextNode(id_="b", text="tea", metadata={"lang": "de"}, relationships=of_document("d1")),
            TextNode(id_="c", text="tea", metadata={"lang": "en"}, relationships=of_document("d2")),
        ]
    )
    assert set(ask(store, "tea")) == {"a", "b", "c"}
    assert set(ask(store, "tea", filters=equals("lang", "en"))) == {"a", "c"}
    assert set(ask(store, "tea", doc_ids=["d1"])) == {"a", "b"}
    assert set(ask(store, "tea", node_ids=["b", "c"])) == {"b", "c"}
    assert ask(store, "tea", filters=equals("lang", "en"), doc_ids=["d1"], node_ids=["a", "b"]) == [
        "a"
    ]
    assert set(ask(store, "tea", doc_ids=[], node_ids=[])) == {"a", "b", "c"}  # as LlamaIndex
    assert len(ids(store.query(VectorStoreQuery(query_str="tea", similarity_top_k=2)))) == 2


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (VectorStoreQuery(), "query_str"),
        (VectorStoreQuery(query_embedding=[0.1] * 64), "query_str"),
        (VectorStoreQuery(query_str="  "), "empty query"),
        (VectorStoreQuery(query_str="x", mode=VectorStoreQueryMode.MMR), "'mmr'.*'hybrid'"),
        (VectorStoreQuery(query_str="x", mode=VectorStoreQueryMode.SVM), "'svm'"),
        (VectorStoreQuery(query_str="x", alpha=0.5), "alpha.*'hybrid'"),
        (VectorStoreQuery(query_str="x", mode=VectorStoreQueryMode.HYBRID, alpha=2), "0 to 1"),
        (VectorStoreQuery(query_str="x", embedding_field="image"), "embedding_field"),
        (VectorStoreQuery(query_str="x", output_fields=["text"]), "output_fields"),
        (VectorStoreQuery(query_str="x", similarity_top_k=0), "limit"),
    ],
)
def test_what_a_query_cannot_have_is_an_error(
    store: MultimodalVectorStore, query: VectorStoreQuery, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        store.query(query)


def test_unknown_arguments_are_refused(store: MultimodalVectorStore) -> None:
    with pytest.raises(InputError, match="qdrant_filters"):
        store.query(VectorStoreQuery(query_str="x"), qdrant_filters={})
    with pytest.raises(InputError, match="shard"):
        store.add([TextNode(text="x")], shard=1)
    with pytest.raises(InputError, match="shard"):
        store.delete("d", shard=1)


# Writing and deleting


def test_the_same_id_replaces(store: MultimodalVectorStore) -> None:
    store.add([TextNode(id_="a", text="green tea"), TextNode(id_="b", text="bread")])
    store.add([TextNode(id_="a", text="black coffee")])
    assert store.index.count() == 2
    assert store.get_nodes(["a"])[0].get_content() == "black coffee"
    assert ask(store, "coffee", mode=VectorStoreQueryMode.SPARSE) == ["a"]
    assert ask(store, "green", mode=VectorStoreQueryMode.SPARSE) == []


def test_delete_takes_the_nodes_of_a_document(store: MultimodalVectorStore) -> None:
    store.add(
        [
            TextNode(id_="a", text="x", relationships=of_document("d1")),
            TextNode(id_="b", text="x", relationships=of_document("d2")),
            Document(id_="d3", text="x"),
            TextNode(id_="c", text="x"),
        ]
    )
    store.delete("nowhere")
    store.delete("None")  # what LlamaIndex's payload says of nodes without a document
    assert store.index.count() == 4
    store.delete("d1")
    store.delete("d3")  # a document that was stored whole
    assert {node.node_id for node in store.get_nodes()} == {"b", "c"}


def test_delete_nodes_by_ids_and_filters(store: MultimodalVectorStore) -> None:
    store.add([TextNode(id_=i, text="x", metadata={"k": i in "ab"}) for i in "abcd"])
    store.delete_nodes(["a", "c"], equals("k", "true"))
    assert {node.node_id for node in store.get_nodes()} == {"b", "c", "d"}
    store.delete_nodes(["b"])
    store.delete_nodes([])
    store.delete_nodes(filters=equals("k", "true"))
    assert {node.node_id for node in store.get_nodes()} == {"c", "d"}
    for filters in (None, MetadataFilters(filters=[])):
        with pytest.raises(InputError, match="clear"):
            store.delete_nodes(filters=filters)
    store.clear()
    assert store.get_nodes() == []
    store.clear()


@pytest.mark.parametrize("place", [0, 70])
def test_a_failed_picture_is_named_and_nothing_is_written(
    store: MultimodalVectorStore, tmp_path: Path, place: int
) -> None:
    bad = ImageNode(id_="bad", image_path=str(tmp_path / "gone.png"))
    nodes: list[BaseNode] = [ImageNode(id_=str(i), image=base64_of(png())) for i in range(140)]
    nodes.insert(place, bad)
    with pytest.raises(UnreadableSource, match=r"node 'bad'.*gone\.png"):
        store.add(nodes)
    assert store.index.count() == 0
    assert attachments(store.index) == []  # nor are files left behind
    torn = ImageNode(id_="torn", image=base64_of(png()[:50]))
    with pytest.raises(DamagedSource, match="node 'torn'"):
        store.add([TextNode(text="fine"), torn])
    assert store.index.count() == 0


def test_a_node_that_no_payload_can_hold_leaves_nothing_behind(
    store: MultimodalVectorStore,
) -> None:
    good = TextNode(id_="good", text="x")
    with pytest.raises(InputError):
        store.add([good, TextNode(id_="big", text="x", metadata={"n": 2**70})])
    assert store.index.count() == 0


def test_a_picture_behind_a_url_is_not_fetched(
    store: MultimodalVectorStore, caplog: pytest.LogCaptureFixture
) -> None:
    url = "https://example.org/a.png"
    with pytest.raises(InputError, match=r"node 'u'.*URL"):
        store.add([ImageNode(id_="u", image_url=url)])
    store.add([ImageNode(id_="v", image_url=url, text="a far picture")])
    assert "node 'v'" in caplog.text
    (back,) = store.get_nodes(["v"])
    assert isinstance(back, ImageNode) and back.image_url == url
    assert ask(store, "far picture") == ["v"]


# Bytes


def test_bytes_are_files_as_long_as_a_node_needs_them(store: MultimodalVectorStore) -> None:
    """Stock: #16763, qdrant-client#463: base64 overflows a field, or the request."""
    blue, green = base64_of(png("blue")), base64_of(png("green"))
    store.add([ImageNode(id_="a", image=blue), ImageNode(id_="b", image=blue)])
    assert len(attachments(store.index)) == 1  # the same bytes, kept once
    store.add([ImageNode(id_="a", image=green)])
    assert len(attachments(store.index)) == 2
    store.delete_nodes(["b"])
    assert [path.read_bytes() for path in attachments(store.index)] == [png("green")]
    store.add([TextNode(id_="a", text="no picture any more")])
    assert attachments(store.index) == []
    store.add([ImageNode(id_="a", image=blue), ImageNode(id_="a", image=green)])
    assert [path.read_bytes() for path in attachments(store.index)] == [png("green")]
    store.delete("a")
    assert attachments(store.index) == []
    store.add([ImageNode(id_="a", image=green)])
    store.clear()
    assert attachments(store.index) == []


def test_nothing_waits_for_pictures_that_are_being_encoded(tmp_path: Path) -> None:
    """An encoder may be an API: other adds and deletes go on, and no file is left or lost."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow(FakeEncoder):
        def encode_pixels(self, pixels: Any) -> Any:
            if len(pixels) == 2:
                inside.set()
                assert go_on.wait(30)
            return super().encode_pixels(pixels)

    def node(name: str, colour: str) -> ImageNode:
        return ImageNode(id_=name, image=base64_of(png(colour)))

    slow = Slow()
    with (
        MultimodalIndex.open(tmp_path / "kb", text_encoder=slow, image_encoder=slow) as index,
        ThreadPoolExecutor(1) as pool,
    ):
        store = MultimodalVectorStore(index)

        def contents() -> set[bytes]:
            return {path.read_bytes() for path in attachments(index)}

        store.add([node("old", "red")])
        slowly = pool.submit(store.add, [node("shared", "red"), node("lime", "lime")])
        try:
            assert inside.wait(30)
            store.add([node("blue", "blue")])
            store.delete_nodes(["blue", "old"])
            assert contents() == {png("red"), png("lime")}
        finally:
            go_on.set()
        assert slowly.result() == ["shared", "lime"]
        store.delete_nodes(["lime"])
        assert contents() == {png("red")}


def test_bytes_survive_add_files_and_reopening(tmp_path: Path) -> None:
    """The index tidies up its own derived pictures; those of nodes are not among them."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("a file of its own")
    node = ImageNode(id_="a", image=base64_of(png()), metadata={"path": "/not/the/journals"})
    with opened(tmp_path / "kb") as index:
        MultimodalVectorStore(index).add([node])
        index.add_files([tmp_path / "docs"])
        index.add_files([tmp_path / "docs"], prune=True)
    (tmp_path / "kb").rename(tmp_path / "moved")
    with opened(tmp_path / "moved") as index:
        (back,) = MultimodalVectorStore(index).get_nodes(["a"])
        assert dump(back) == dump(node)
        assert index.count() == 2


def test_an_index_without_a_folder_refuses_bytes_and_takes_paths(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    store = MemoryStore()
    with MultimodalIndex.open(store=store, text_encoder=encoder, image_encoder=encoder) as index:
        nodes = MultimodalVectorStore(index)
        with pytest.raises(InputError, match=r"node 'a'.*folder"):
            nodes.add([ImageNode(id_="a", image=base64_of(png()))])
        node = ImageNode(id_="b", image_path=str(painted(tmp_path / "b.png")))
        nodes.add([node])
        assert dump(nodes.get_nodes(["b"])[0]) == dump(node)


def test_threads_that_add_and_delete_lose_no_bytes(store: MultimodalVectorStore) -> None:
    picture = base64_of(png())
    start = threading.Barrier(4)

    def work(name: str) -> None:
        start.wait()
        for _ in range(15):
            store.add([ImageNode(id_=name, image=picture)])
            store.delete_nodes([name])
        store.add([ImageNode(id_=name, image=picture)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, "abcd"))
    assert [type(node) for node in store.get_nodes()] == [ImageNode] * 4
    assert all(node.image == picture for node in store.get_nodes())  # type: ignore[attr-defined]


# Under LlamaIndex's own components


def test_vector_store_index_retrieves_and_answers(store: MultimodalVectorStore) -> None:
    context = StorageContext.from_defaults(vector_store=store)
    documents = [Document(id_="d1", text="tea comes from China"), Document(id_="d2", text="bread")]
    embedding = MultimodalEmbedding(encoder=store.index.encoders.image)
    index = VectorStoreIndex.from_documents(
        documents, storage_context=context, embed_model=embedding
    )
    (found,) = index.as_retriever(similarity_top_k=1).retrieve("where is tea from")
    assert (found.text, found.node.ref_doc_id) == ("tea comes from China", "d1")
    assert found.score is not None
    for engine in (
        index.as_query_engine(llm=MockLLM(), similarity_top_k=1),
        RetrieverQueryEngine.from_args(VectorIndexRetriever(index, 1), llm=MockLLM()),
    ):
        response = engine.query("where is tea from")
        assert [node.node.ref_doc_id for node in response.source_nodes] == ["d1"]
        assert "tea comes from China" in str(response)  # MockLLM repeats its prompt
    filtered = index.as_retriever(filters=equals("ref_doc_id", "d2")).retrieve("tea")
    assert [node.text for node in filtered] == ["bread"]
    keywords = index.as_retriever(vector_store_query_mode="text_search").retrieve("bread")
    assert [node.text for node in keywords] == ["bread"]
    index.delete_ref_doc("d1")
    assert store.index.count() == 1


def test_texts_are_found_after_image_nodes_went_through_the_same_vector_store_index(
    store: MultimodalVectorStore, tmp_path: Path
) -> None:
    """Stock: as_retriever restricts every search to the ImageNodes and IndexNodes that were added
    through the same VectorStoreIndex, so that texts are never found again (with Qdrant's store)."""
    context = StorageContext.from_defaults(vector_store=store)
    picture = str(painted(tmp_path / "red.png"))
    nodes = [
        TextNode(id_="t", text="tea with milk"),
        ImageNode(id_="i", text="tea in a cup", image_path=picture),
        IndexNode(id_="x", text="all about tea", index_id="ix"),
    ]
    index = VectorStoreIndex(nodes, storage_context=context, embed_model=MOCK)
    retriever = index.as_retriever(similarity_top_k=9)
    assert {node.node_id for node in retriever.retrieve("tea")} == {"t", "i", "x"}
    index.insert_nodes([ImageNode(id_="i2", text="tea pot", image_path=picture)])
    found = index.as_retriever(similarity_top_k=9).retrieve("tea")
    assert {node.node_id for node in found} == {"t", "i", "x", "i2"}
    # An explicit restriction holds.
    some = VectorIndexRetriever(index, 9, node_ids=["i", "t"])
    assert {node.node_id for node in some.retrieve("tea")} == {"i", "t"}


def test_what_a_vector_store_index_has_noted_hides_nothing(
    store: MultimodalVectorStore, tmp_path: Path
) -> None:
    """Neither what came in by another way, nor after the index was reloaded, nor what was left when
    nodes were deleted, of which VectorStoreIndex takes no note."""
    picture = str(painted(tmp_path / "red.png"))

    def shown(name: str) -> ImageNode:
        return ImageNode(id_=name, text="tea", image_path=picture)

    def found(index: VectorStoreIndex) -> set[str]:
        nodes = index.as_retriever(similarity_top_k=9).retrieve("tea")
        return {node.node_id for node in nodes}

    pipeline = IngestionPipeline(transformations=[MOCK], vector_store=store)
    pipeline.run(nodes=[TextNode(id_="t", text="tea with milk"), shown("piped")])
    one = VectorStoreIndex.from_vector_store(store, MOCK)
    one.insert_nodes([shown("one")])
    two = VectorStoreIndex.from_vector_store(store, MOCK)
    two.insert_nodes([shown("two")])
    assert found(one) == found(two) == {"t", "piped", "one", "two"}
    one.storage_context.persist(str(tmp_path / "storage"))
    another = MultimodalVectorStore(store.index)  # as a process later has it
    context = StorageContext.from_defaults(
        vector_store=another, persist_dir=str(tmp_path / "storage")
    )
    reloaded = load_index_from_storage(context, embed_model=MOCK)
    assert isinstance(reloaded, VectorStoreIndex)
    assert found(reloaded) == {"t", "piped", "one", "two"}
    reloaded.delete_nodes(["one"])
    assert found(reloaded) == {"t", "piped", "two"}


def test_a_picture_in_a_data_url_is_kept_like_bytes(
    store: MultimodalVectorStore, tmp_path: Path
) -> None:
    data = painted(tmp_path / "red.png").read_bytes()
    url = f"data:image/png;base64,{base64_of(data)}"
    nodes = [
        ImageNode(id_="path", image_path=url),
        ImageNode(id_="url", image_url=url),
        Node(id_="node", image_resource=MediaResource(url=AnyUrl(url), mimetype="image/png")),
    ]
    store.add(nodes)
    for node in store.get_nodes(["path", "url", "node"]):
        assert image_of(node) == data
        (record,) = store.index.get([node.node_id])
        assert record.image is not None
        assert Path(record.image.uri).read_bytes() == data
        assert len(record.extra["_node_content"]) < 2000, "the payload has no pixels"
    hits = store.index.search(image=data, routes=["image->image"])
    assert {hit.record.id for hit in hits} == {"path", "url", "node"}
    store.delete_nodes(["path", "url", "node"])
    assert attachments(store.index) == []


def test_a_picture_that_a_cache_has_emptied_does_not_take_the_place_of_the_real_one(
    store: MultimodalVectorStore, tmp_path: Path
) -> None:
    """LlamaIndex's cache of transformations keeps nodes without their bytes, and takes a run
    without nodes for the run of one node without text."""
    data = painted(tmp_path / "red.png").read_bytes()
    document = ImageDocument(id_="im", image=base64_of(data))
    pipeline = IngestionPipeline(
        transformations=[MOCK], vector_store=store, docstore=SimpleDocumentStore()
    )
    pipeline.run(documents=[document])
    with pytest.raises(InputError, match=r"'im' has neither a picture .* disable_cache=True"):
        pipeline.run(documents=[document])
    (kept,) = store.get_nodes()
    assert image_of(kept) == data
    with pytest.raises(InputError, match="neither a picture nor a text"):
        store.add([ImageNode(id_="none", image_path="")])


def test_what_is_no_index_is_refused() -> None:
    for wrong in ("kb", None, VectorStoreIndex([], embed_model=MOCK)):
        with pytest.raises(InputError, match="is a MultimodalIndex"):
            MultimodalVectorStore(wrong)  # type: ignore[arg-type]


def test_what_is_no_node_is_refused(store: MultimodalVectorStore) -> None:
    with pytest.raises(InputError, match="not str"):
        store.add(["tea"])  # type: ignore[list-item]


def test_a_setting_that_there_is_not_is_an_error() -> None:
    """And no typo that nobody notices."""
    for wrong in (
        lambda: MultimodalEmbedding(encodr="bundled"),
        lambda: MultimodalReader(media="media"),
        lambda: CaptionNodeParser(captioner=FakeCaptioner(), worker=2),
        lambda: CrossModalReranker(topn=3),
    ):
        with pytest.raises(ValueError, match="Extra inputs are not permitted"):
            wrong()


def test_a_store_is_not_pickled(store: MultimodalVectorStore) -> None:
    with pytest.raises(TypeError, match="open its folder"):
        pickle.dumps(store)


def test_the_index_of_a_folder_is_reloaded(tmp_path: Path) -> None:
    """Stock: #12842, #13102: a multimodal index cannot be reloaded."""
    picture = painted(tmp_path / "red.png")
    store = MultimodalVectorStore.from_path(tmp_path / "kb")
    context = StorageContext.from_defaults(vector_store=store)
    nodes = [TextNode(id_="t", text="tea"), ImageNode(id_="i", image_path=str(picture))]
    VectorStoreIndex(nodes, storage_context=context, embed_model=MOCK)
    store.add([nodes[1]])  # VectorStoreIndex's constructor itself drops nodes without text
    context.persist(str(tmp_path / "storage"))
    store.index.close()
    again = MultimodalVectorStore.from_path(tmp_path / "kb")
    with again.index:
        index = VectorStoreIndex.from_vector_store(again, MOCK)
        found = index.as_retriever(similarity_top_k=5).retrieve("tea")
        assert {node.node_id for node in found} == {"t", "i"}
        (hit,) = again.index.search(image=picture, routes=["image->image"])
        assert (hit.record.id, hit.routes[0].score) == ("i", pytest.approx(1, abs=1e-3))


def test_a_pipeline_upserts_and_deletes(store: MultimodalVectorStore) -> None:
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(chunk_size=64, chunk_overlap=0), MOCK],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        disable_cache=True,
    )
    long = " ".join(f"Sentence {i} about tea." for i in range(40))
    pipeline.run(documents=[Document(id_="d1", text=long), Document(id_="d2", text="bread")])
    assert store.index.count() > 2
    short, bread = Document(id_="d1", text="tea, in short"), Document(id_="d2", text="bread")
    pipeline.run(documents=[short, bread])
    texts = {node.get_content() for node in store.get_nodes()}
    assert texts == {"tea, in short", "bread"}
    pipeline.run(documents=[short])
    assert [node.get_content() for node in store.get_nodes()] == ["tea, in short"]


def test_a_pipeline_without_a_splitter_stores_documents_and_pictures(
    store: MultimodalVectorStore, tmp_path: Path
) -> None:
    picture = str(painted(tmp_path / "red.png"))
    pipeline = IngestionPipeline(
        transformations=[MOCK],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )
    documents: list[Document] = [
        ImageDocument(id_="i", image_path=picture),
        Document(id_="d", text="tea"),
    ]
    pipeline.run(documents=documents)
    assert {type(node) for node in store.get_nodes()} == {ImageDocument, Document}
    pipeline.run(documents=documents[:1])
    assert [node.node_id for node in store.get_nodes()] == ["i"]


def test_async_is_the_same(store: MultimodalVectorStore, tmp_path: Path) -> None:
    nodes = list(samples(tmp_path).values())
    query = VectorStoreQuery(query_str="a red document", similarity_top_k=20)

    async def run() -> None:
        assert await store.async_add(nodes) == [node.node_id for node in nodes]
        assert [dump(n) for n in await store.aget_nodes()] == [dump(n) for n in store.get_nodes()]
        now, later = (
            store.query(query),
            await asyncio.gather(store.aquery(query), store.aquery(query)),
        )
        assert ids(later[0]) == ids(now) and later[0].similarities == now.similarities
        await store.adelete("doc")
        await store.adelete_nodes(["imagedoc"])
        left = {node.node_id for node in store.get_nodes()}
        assert left == {"empty", "image-only", "image-both", "imagedoc-bytes"}
        with pytest.raises(InputError):
            await store.adelete_nodes()
        with pytest.raises(InputError, match="shard"):
            await store.async_add(nodes, shard=1)
        await store.aclear()
        assert await store.aget_nodes(["empty"]) == []

    asyncio.run(run())


def test_async_retrieval_through_vector_store_index(store: MultimodalVectorStore) -> None:
    store.add([TextNode(id_="tea", text="green tea"), TextNode(id_="bread", text="rye bread")])
    index = VectorStoreIndex.from_vector_store(store, MOCK)
    for options in ({}, {"vector_store_query_mode": "hybrid", "alpha": 0.0}):
        retriever = index.as_retriever(similarity_top_k=5, **options)
        now, later = retriever.retrieve("green tea"), asyncio.run(retriever.aretrieve("green tea"))
        assert [(n.node_id, n.score) for n in now] == [(n.node_id, n.score) for n in later]


def test_records_that_mmrag_read_are_found_too(store: MultimodalVectorStore) -> None:
    store.index.add([Record("r", "rye bread", source="bread.md")])
    store.add([TextNode(id_="t", text="green tea")])
    assert ask(store, "rye bread")[0] == "r"
    assert {type(node) for node in store.get_nodes()} == {TextNode}


def test_a_class_of_ones_own_comes_back(store: MultimodalVectorStore) -> None:
    store.add([Recipe(id_="r", text="bread", minutes=40)])
    (back,) = store.get_nodes(["r"])
    assert isinstance(back, Recipe) and back.minutes == 40


def test_the_component_as_llama_index_sees_it(store: MultimodalVectorStore) -> None:
    assert store.class_name() == "MultimodalVectorStore"
    assert store.client is store.index
    assert store.to_dict() == {
        "stores_text": True,
        "is_embedding_query": False,
        "class_name": "MultimodalVectorStore",
    }


def test_filters_on_operators_pass_through_queries(store: MultimodalVectorStore) -> None:
    store.add([TextNode(id_="a", text="x", metadata={"n": 1}), TextNode(id_="b", text="x")])
    absent = MetadataFilters(filters=[MetadataFilter(key="n", operator=FilterOperator.NE, value=1)])
    assert ask(store, "x", filters=absent) == ["b"]


# The package


def test_the_package_loads_nothing_heavy_and_says_what_is_missing() -> None:
    code = """
import sys
import llama_index_mm
assert not {"llama_index.core", "onnxruntime", "PIL", "numpy"} & set(sys.modules), sys.modules
assert "MultimodalVectorStore" in dir(llama_index_mm)
try:
    llama_index_mm.Nothing
except AttributeError as error:
    assert "Nothing" in str(error)
sys.modules["llama_index"] = None
from mmrag.errors import MissingExtra
try:
    llama_index_mm.MultimodalVectorStore
except MissingExtra as error:
    assert "mmrag[llama-index]" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_of_the_package_can_be_loaded() -> None:
    import llama_index_mm

    for name in llama_index_mm.__all__:
        assert getattr(llama_index_mm, name).__name__ == name
