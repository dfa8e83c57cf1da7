"""Every public async method of every component does what its sync twin does."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import (
    BaseComponent,
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from PIL import Image

from llama_index_mm import (
    CaptionNodeParser,
    CrossModalReranker,
    MultimodalEmbedding,
    MultimodalReader,
    MultimodalRetriever,
    MultimodalVectorStore,
)
from llama_index_mm.fusion_retriever import FusionRetriever
from llama_index_mm.node_parser import ImageSafe
from llama_index_mm.sources import NumberSources
from mmrag import MultimodalIndex, Record
from mmrag.testing import FakeCaptioner, FakeEncoder, FakeReranker


@dataclass
class World:
    """One of each component, over an index of its own with the same nodes as any other world."""

    index: MultimodalIndex
    files: Path

    def component(self, kind: type) -> Any:
        encoder, retriever = FakeEncoder(), MultimodalRetriever(self.index)
        made: dict[type, Callable[[], Any]] = {
            CaptionNodeParser: lambda: CaptionNodeParser(captioner=FakeCaptioner()),
            CrossModalReranker: lambda: CrossModalReranker(reranker=FakeReranker()),
            FusionRetriever: lambda: FusionRetriever({"all": retriever, "again": retriever}),
            ImageSafe: lambda: ImageSafe(splitter=SentenceSplitter(id_func=_numbered)),
            MultimodalEmbedding: lambda: MultimodalEmbedding(encoder=encoder),
            MultimodalReader: lambda: MultimodalReader(media_folder=str(self.files / "media")),
            MultimodalRetriever: lambda: retriever,
            MultimodalVectorStore: lambda: MultimodalVectorStore(self.index),
            NumberSources: NumberSources,
        }
        return made[kind]()

    def records(self) -> list[Record]:
        return sorted(
            (r for batch in self.index.store.scan() for r in batch), key=lambda record: record.id
        )


def _numbered(number: int, document: BaseNode) -> str:
    return f"{document.node_id}/{number}"


def _nodes(files: Path) -> list[BaseNode]:
    return [
        TextNode(id_="tea", text="boil water for tea", metadata={"lang": "en"}),
        TextNode(id_="bread", text="bake bread", metadata={"lang": "en"}),
        TextNode(id_="tee", text="Wasser für Tee", metadata={"lang": "de"}),
        ImageNode(id_="red", text="red water", image_path=str(files / "red.png")),
        ImageDocument(id_="blue", image_path=str(files / "blue.png")),
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for colour in ("red", "blue", "green"):
        Image.new("RGB", (40, 30), colour).save(folder / f"{colour}.png")
    (folder / "note.txt").write_text("a note on tea", "utf-8")
    return folder


@pytest.fixture
def worlds(tmp_path: Path, files: Path) -> Iterator[tuple[World, World]]:
    made, encoder = [], FakeEncoder()
    for name in ("sync", "async"):
        index = MultimodalIndex.open(tmp_path / name, text_encoder=encoder, image_encoder=encoder)
        made.append(World(index, files))
        MultimodalVectorStore(index).add(_nodes(files))
    yield made[0], made[1]
    for world in made:
        world.index.close()


Args = tuple[tuple[Any, ...], Mapping[str, Any]]


def _queries(files: Path) -> list[QueryBundle]:
    red = str(files / "red.png")
    return [
        QueryBundle("boil red water"),
        QueryBundle("tea", image_path=red, embedding=[1.0, 2.0]),
        QueryBundle("hidden", image_path=red, custom_embedding_strs=["bread", "tea"]),
    ]


def _searches() -> list[VectorStoreQuery]:
    german = MetadataFilters(filters=[MetadataFilter(key="lang", value="de")])
    asked: dict[str, Any] = {"query_str": "water for tea", "similarity_top_k": 3}
    hybrid = VectorStoreQueryMode.HYBRID
    return [
        VectorStoreQuery(**asked),
        VectorStoreQuery(**asked, filters=german),
        VectorStoreQuery(**asked, mode=VectorStoreQueryMode.TEXT_SEARCH),
        # The stock async turns an alpha of 0 into 0.5.
        *(VectorStoreQuery(**asked, mode=hybrid, alpha=alpha) for alpha in (0.0, 0.3, 1.0)),
    ]


def _calls(kind: type, name: str, files: Path) -> list[Args]:
    """Arguments to call the sync method of this name with."""
    pictures = [str(files / "red.png"), str(files / "blue.png")]
    documents = [
        Document(id_="long", text="many words. " * 900),
        ImageDocument(id_="pic", image_path=pictures[0]),
    ]
    scores = (0.9, None, 0, 1, 2)
    found = [NodeWithScore(node=n, score=s) for n, s in zip(_nodes(files), scores, strict=True)]
    bundles = _queries(files)
    ranked = [((copy.deepcopy(found),), {"query_bundle": b}) for b in bundles]
    nodes: list[Args] = [((_nodes(files),), {})]
    paths: list[Args] = [((files / "note.txt",), {}), (([files / "red.png", files],), {})]
    english = MetadataFilters(filters=[MetadataFilter(key="lang", value="en")])
    table: dict[str, list[Args]] = {
        "__call__": nodes,
        "add": [(([TextNode(id_="new", text="new"), *_nodes(files)[3:]],), {})],
        "clear": [((), {})],
        "delete": [(("tea",), {}), (("unknown",), {})],
        "delete_nodes": [((["tea", "blue"],), {}), ((), {"filters": english})],
        "get_agg_embedding_from_queries": [((["tea", "bread"],), {})],
        "get_image_embedding": [((picture,), {}) for picture in pictures],
        "get_image_embedding_batch": [((pictures,), {})],
        "get_nodes": [((), {}), ((["tea", "red"],), {}), ((None, english), {})],
        "get_nodes_from_documents": [((documents,), {})],
        "get_query_embedding": [(("tea",), {})],
        "get_text_embedding": [(("tea",), {})],
        "get_text_embedding_batch": [((["tea", "", "bread"],), {})],
        "lazy_load_data": paths,
        "load_data": paths,
        "postprocess_nodes": ranked,
        "query": [((search,), {}) for search in _searches()],
        "retrieve": [((b,), {}) for b in [*bundles, QueryBundle("", image_path=pictures[1])]],
        "text_retrieve": [((b,), {}) for b in [*bundles, "tea"]],
        "text_to_image_retrieve": [((b,), {}) for b in [*bundles, "red water"]],
        "image_to_image_retrieve": [((b,), {}) for b in [*bundles[1:], *pictures]],
        "image_to_text_retrieve": [((b,), {}) for b in [*bundles[1:], *pictures]],
    }
    return table[name]


KINDS = (
    *(CaptionNodeParser, CrossModalReranker, FusionRetriever, ImageSafe, MultimodalEmbedding),
    *(MultimodalReader, MultimodalRetriever, MultimodalVectorStore, NumberSources),
)


def _twin(kind: type, name: str) -> str | None:
    """The sync method that an async one is the twin of."""
    for twin in ("__call__" if name == "acall" else "", name.removeprefix("async_"), name[1:]):
        if twin and twin != name and hasattr(kind, twin):
            return twin
    return None


def _pairs() -> list[tuple[type, str, str]]:
    return [
        (kind, twin, name)
        for kind in KINDS
        for name, method in inspect.getmembers(kind, callable)
        if name.startswith("a") and not hasattr(BaseComponent, name)
        if (twin := _twin(kind, name)) and not inspect.isclass(method)
    ]


def _plain(value: Any) -> Any:
    """Something that compares by value, without what differs between two components."""
    if isinstance(value, VectorStoreQueryResult):
        return _plain([value.nodes, value.similarities, value.ids])
    if isinstance(value, BaseComponent):
        return value.to_dict()
    if isinstance(value, list | tuple) or inspect.isgenerator(value):
        return [_plain(item) for item in value]
    return value


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


@pytest.mark.parametrize(
    ("kind", "name", "twin"), _pairs(), ids=lambda v: v.__name__ if isinstance(v, type) else v
)
def test_async_is_as_sync(
    worlds: tuple[World, World], kind: type, name: str, twin: str, files: Path
) -> None:
    one, two = (world.component(kind) for world in worlds)
    for mine, other in zip(_calls(kind, name, files), _calls(kind, name, files), strict=True):
        expected = getattr(one, name)(*mine[0], **mine[1])
        given = asyncio.run(_awaited(getattr(two, twin)(*other[0], **other[1])))
        assert _plain(given) == _plain(expected)
        assert expected or "delete" in name or name == "clear"
        assert _plain([*other[0], *other[1].values()]) == _plain([*mine[0], *mine[1].values()])
    assert worlds[0].records() == worlds[1].records()


def test_the_table_has_the_methods_that_count() -> None:
    found = {(kind.__name__, name) for kind, name, _ in _pairs()}
    for kind, names in {
        "CaptionNodeParser": ("__call__", "get_nodes_from_documents"),
        "CrossModalReranker": ("postprocess_nodes",),
        "FusionRetriever": ("retrieve",),
        "MultimodalEmbedding": ("__call__", "get_query_embedding", "get_image_embedding_batch"),
        "MultimodalReader": ("load_data", "lazy_load_data"),
        "MultimodalRetriever": ("retrieve", "text_retrieve", "image_to_text_retrieve"),
        "MultimodalVectorStore": ("add", "query", "delete", "delete_nodes", "clear", "get_nodes"),
    }.items():
        assert {(kind, name) for name in names} <= found
