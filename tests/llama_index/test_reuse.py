"""LlamaIndex's own QdrantVectorStore over a collection that mmrag wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.llms.mock import MockLLM
from llama_index.core.schema import (
    BaseNode,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

import mmrag
from llama_index_mm import MultimodalEmbedding, MultimodalVectorStore
from mmrag import MultimodalIndex, QdrantStore
from mmrag.errors import StoreError
from mmrag.types import key_of

from .nodes import dump, png, samples

PICTURES = Path(mmrag.__file__).parent / "sample" / "pictures"
CAT, COFFEE, LIGHTHOUSE = "chelsea.jpg", "espresso.jpg", "beacon.png"


def nodes() -> list[BaseNode]:
    manual = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="manual")}
    return [
        TextNode(
            id_="reset",
            text="Hold the button for ten seconds to restore the factory settings.",
            metadata={"lang": "en", "year": 2021, "draft": "no"},
            relationships=manual,
        ),
        TextNode(
            id_="bread",
            text="Knead the dough, let it rise overnight, and bake it until the crust is brown.",
            metadata={"lang": "en", "year": 2019},
        ),
        TextNode(id_="brot", text="Den Teig über Nacht gehen lassen.", metadata={"lang": "de"}),
        IndexNode(id_="shelf", text="All the books about the sea.", index_id="books"),
        ImageNode(
            id_="cat",
            image_path=str(PICTURES / CAT),
            metadata={"album": "home", "lang": "none"},
            relationships=manual,
        ),
        ImageDocument(id_="coffee", image_path=str(PICTURES / COFFEE)),
        Node(id_="beacon", image_resource=MediaResource(path=PICTURES / LIGHTHOUSE)),
    ]


@pytest.fixture(scope="module")
def client() -> QdrantClient:
    return QdrantClient(":memory:")


@pytest.fixture(scope="module")
def index(
    client: QdrantClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MultimodalIndex]:
    folder = tmp_path_factory.mktemp("reuse")
    with MultimodalIndex.open(folder, store=QdrantStore(client, "kb")) as index:
        MultimodalVectorStore(index).add(nodes())
        yield index


@pytest.fixture(scope="module")
def embedding(index: MultimodalIndex) -> MultimodalEmbedding:
    return MultimodalEmbedding(encoder=index.encoders.image)


def stock(client: QdrantClient, field: str) -> QdrantVectorStore:
    return QdrantVectorStore("kb", client=client, dense_vector_name=field)


@pytest.fixture
def texts(
    index: MultimodalIndex, client: QdrantClient, embedding: MultimodalEmbedding
) -> VectorStoreIndex:
    return VectorStoreIndex.from_vector_store(stock(client, "text"), embedding)


@pytest.fixture
def pictures(
    index: MultimodalIndex, client: QdrantClient, embedding: MultimodalEmbedding
) -> VectorStoreIndex:
    return VectorStoreIndex.from_vector_store(stock(client, "image"), embedding)


def test_stock_llama_index_finds_our_texts(texts: VectorStoreIndex) -> None:
    found = texts.as_retriever(similarity_top_k=4).retrieve("factory reset")
    assert found[0].node_id == "reset"
    assert type(found[0].node) is TextNode
    (ours,) = (node for node in nodes() if node.node_id == "reset")
    stock_node = found[0].node.model_copy(update={"embedding": None})
    assert dump(stock_node) == dump(ours)
    assert 0 < (found[0].score or 0) <= 1


def test_stock_llama_index_finds_our_pictures(pictures: VectorStoreIndex) -> None:
    """One point holds both: no second collection, and no picture is refused for want of text."""
    retriever = pictures.as_retriever(similarity_top_k=1)
    (cat,) = retriever.retrieve("a photo of a cat")
    assert isinstance(cat.node, ImageNode) and cat.node.image_path == str(PICTURES / CAT)
    (coffee,) = retriever.retrieve("a cup of coffee")
    # Stock knows no ImageDocument and would make it a TextNode; the picture is still there.
    assert isinstance(coffee.node, Node) and coffee.node.image_resource is not None
    assert coffee.node.image_resource.path == PICTURES / COFFEE


def test_stock_and_mmrag_score_alike(
    index: MultimodalIndex, client: QdrantClient, embedding: MultimodalEmbedding
) -> None:
    query = "a cat"
    for field, route in (("text", "text->text"), ("image", "text->image")):
        answer = stock(client, field).query(
            VectorStoreQuery(embedding.get_query_embedding(query), similarity_top_k=9)
        )
        hits = index.search(query, routes=[route])
        ours = {hit.record.id: hit.routes[0].score for hit in hits}
        theirs = {
            n.node_id: s for n, s in zip(answer.nodes or [], answer.similarities or [], strict=True)
        }
        assert theirs == pytest.approx(ours, abs=1e-5)


def test_stock_llama_index_asks_our_pictures_with_a_picture(
    client: QdrantClient, index: MultimodalIndex, embedding: MultimodalEmbedding
) -> None:
    vector = embedding.get_image_embedding(str(PICTURES / CAT))
    result = stock(client, "image").query(VectorStoreQuery(vector, similarity_top_k=1))
    assert [node.node_id for node in result.nodes or []] == ["cat"]
    assert result.similarities == [pytest.approx(1, abs=1e-3)]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([("lang", FilterOperator.EQ, "en")], {"reset", "bread"}),
        ([("year", FilterOperator.GTE, 2020)], {"reset"}),
        ([("lang", FilterOperator.IN, ["de", "none"])], {"brot", "cat"}),
        ([("lang", FilterOperator.EQ, "en"), ("draft", FilterOperator.EQ, "no")], {"reset"}),
        ([("year", FilterOperator.IS_EMPTY, None), ("lang", FilterOperator.NE, "de")], None),
    ],
)
def test_stock_filters_on_our_metadata_match_as_ours_do(
    index: MultimodalIndex,
    client: QdrantClient,
    conditions: list[tuple[str, FilterOperator, object]],
    expected: set[str] | None,
) -> None:
    filters = MetadataFilters(
        filters=[MetadataFilter(key=k, operator=o, value=v) for k, o, v in conditions],  # type: ignore[arg-type]
        condition=FilterCondition.AND,
    )
    theirs = {node.node_id for node in stock(client, "text").get_nodes(filters=filters)}
    ours = {node.node_id for node in MultimodalVectorStore(index).get_nodes(filters=filters)}
    if expected is None:  # stock's NE needs the key, ours does not, as LlamaIndex has it
        assert theirs < ours == {"shelf", "cat", "coffee", "beacon"}
    else:
        assert theirs == ours == expected


def test_stock_filters_and_documents_in_a_retriever(
    texts: VectorStoreIndex, pictures: VectorStoreIndex
) -> None:
    german = MetadataFilters(filters=[MetadataFilter(key="lang", value="de")])
    found = texts.as_retriever(similarity_top_k=9, filters=german).retrieve("bread")
    assert [node.node_id for node in found] == ["brot"]
    manual = pictures.as_retriever(similarity_top_k=9, doc_ids=["manual"])
    assert [node.node_id for node in manual.retrieve("a cup of coffee")] == ["cat"]


def test_a_stock_query_engine_answers(texts: VectorStoreIndex) -> None:
    response = texts.as_query_engine(llm=MockLLM(), similarity_top_k=1).query("how to bake bread")
    assert [node.node_id for node in response.source_nodes] == ["bread"]
    assert "Knead the dough" in str(response)


def test_stock_delete_of_a_document(tmp_path: Path) -> None:
    client = QdrantClient(":memory:")
    with MultimodalIndex.open(tmp_path, store=QdrantStore(client, "kb")) as index:
        MultimodalVectorStore(index).add(nodes())
        stock(client, "text").delete("manual")
        assert index.count() == len(nodes()) - 2


def test_stock_reads_every_kind_of_node(tmp_path: Path) -> None:
    client = QdrantClient(":memory:")
    with MultimodalIndex.open(tmp_path / "kb", store=QdrantStore(client, "kb")) as index:
        given = samples(tmp_path)
        MultimodalVectorStore(index).add(list(given.values()))
        read = stock(client, "text").get_nodes()
        assert {node.node_id for node in read} == set(given)
        kinds = {node.node_id: type(node) for node in read}
        assert kinds["image-base64"] is ImageNode and kinds["imagedoc-bytes"] is Node
        # Bytes are files, and stock is given their paths.
        for node in read:
            if isinstance(node, ImageNode):
                assert node.image is None and Path(node.image_path or "").is_file()
        (bare,) = (node for node in read if node.node_id == "node")
        assert isinstance(bare, Node) and bare.image_resource is not None
        assert bare.image_resource.path is not None
        assert bare.image_resource.path.read_bytes() == png("yellow")


def test_the_collection_is_named_so_that_unnamed_and_named_never_meet(
    index: MultimodalIndex, client: QdrantClient
) -> None:
    """Stock: #18176, #19558: a collection of an unnamed vector under a named one, and back."""
    vectors = client.get_collection("kb").config.params.vectors
    assert isinstance(vectors, dict) and {"text", "image"} <= set(vectors)
    unnamed = models.VectorParams(size=4, distance=models.Distance.COSINE)
    client.create_collection("other", vectors_config=unnamed)
    with pytest.raises(StoreError, match="without a name"):
        QdrantStore(client, "other")


def test_writing_a_text_keeps_the_picture_of_its_point(tmp_path: Path) -> None:
    """Stock: a write through the store of one vector erases the other vectors of the point."""
    client = QdrantClient(":memory:")
    with MultimodalIndex.open(tmp_path, store=QdrantStore(client, "kb")) as index:
        store = MultimodalVectorStore(index)
        node = ImageNode(id_="cat", image_path=str(PICTURES / CAT))
        store.add([node])
        store.add([node.model_copy(update={"text": "Chelsea, our cat"})])
        (point,) = client.retrieve("kb", [key_of("cat")], with_vectors=True)
        assert isinstance(point.vector, dict)
        assert {"text", "image", "keywords"} <= set(point.vector)
