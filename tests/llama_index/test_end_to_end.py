"""Files to an answer, all components together, with the bundled encoder on the sample corpus."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import BaseNode, ImageNode, QueryBundle
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.llms.openai import OpenAI

from llama_index_mm import (
    CaptionNodeParser,
    CrossModalReranker,
    MultimodalEmbedding,
    MultimodalReader,
    MultimodalRetriever,
    MultimodalVectorStore,
)
from llama_index_mm.convert import CAPTION_KEY, TRACE_KEY
from llama_index_mm.sources import NumberSources
from mmrag import MultimodalIndex, Record
from mmrag.demo import SAMPLE
from mmrag.testing import FakeCaptioner

from ..chat_server import chat_server

FILES = (
    *("pictures/chelsea.jpg", "pictures/herd.jpg", "pictures/beacon.png", "pictures/fruit.bmp"),
    *("texts/router-setup.md", "texts/giant-panda.txt", "texts/cat-care.md", "manual.pdf"),
)


@dataclass
class Shelf:
    """A folder of files, the index, and the pipeline between them."""

    folder: Path
    index: MultimodalIndex
    pipeline: IngestionPipeline
    captioner: FakeCaptioner

    def ingest(self) -> list[BaseNode]:
        """Read the folder and run the pipeline; the nodes that went through it."""
        reader = MultimodalReader(media_folder=str(self.folder.parent / "media"))
        documents = reader.load_data(self.folder)
        assert reader.failures == []
        return list(self.pipeline.run(documents=documents))

    def records(self) -> dict[str, Record]:
        return {r.id: r for batch in self.index.store.scan() for r in batch}

    def picture(self, name: str) -> Record:
        (record,) = (r for r in self.records().values() if r.metadata["file_name"] == name)
        return record


@contextmanager
def opened(root: Path) -> Iterator[Shelf]:
    folder, captioner = root / "files", FakeCaptioner()
    folder.mkdir()
    for name in FILES:
        shutil.copy(SAMPLE / name, folder)
    with MultimodalIndex.open(root / "kb") as index:
        pipeline = IngestionPipeline(
            transformations=[
                SentenceSplitter(),
                CaptionNodeParser(captioner=captioner),
                MultimodalEmbedding(encoder=index.encoders.image),
            ],
            docstore=SimpleDocumentStore(),
            docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
            vector_store=MultimodalVectorStore(index),
        )
        yield Shelf(folder, index, pipeline, captioner)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """A shelf of the files above, ingested; tests leave it as it is."""
    with opened(tmp_path_factory.mktemp("shelf")) as shelf:
        shelf.ingest()
        yield shelf


@pytest.fixture(scope="module")
def reranker() -> CrossModalReranker:
    """One for all: it measures its model at first."""
    return CrossModalReranker(top_n=3)


def test_every_file_becomes_nodes_with_captions_and_places(filled: Shelf) -> None:
    records = filled.records()
    files = {str(r.metadata["file_name"]) for r in records.values()}
    assert files == {Path(name).name for name in FILES}
    pictures = [r for r in records.values() if r.image is not None]
    assert len(pictures) >= 6  # the four, and those in the manual
    assert all(r.caption and "picture of" in r.caption.detailed for r in pictures)
    assert all(r.caption is None for r in records.values() if r.image is None)
    manual = [r for r in records.values() if r.source.endswith("manual.pdf")]
    assert {r.locator.page for r in manual} == set(range(1, 9))


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as shelf:
        assert shelf.ingest()
        before, captioned = shelf.records(), len(shelf.captioner.seen)
        assert shelf.ingest() == []
        assert shelf.records() == before
        assert len(shelf.captioner.seen) == captioned


def test_an_edited_picture_is_updated_though_its_path_is_the_same(tmp_path: Path) -> None:
    with opened(tmp_path) as shelf:
        shelf.ingest()
        before, seen = shelf.records(), len(shelf.captioner.seen)
        herd = shelf.folder / "herd.jpg"
        old = shelf.picture("herd.jpg")
        shutil.copy(SAMPLE / "pictures" / "lift-off.jpg", herd)
        (changed,) = shelf.ingest()
        new = shelf.picture("herd.jpg")
        assert changed.node_id == new.id
        assert old.image and new.image
        assert new.image.uri == old.image.uri == str(herd)
        assert new.image.sha256 == hashlib.sha256(herd.read_bytes()).hexdigest() != old.image.sha256
        assert new.caption != old.caption
        assert shelf.captioner.seen[seen:] == [new.image.sha256]
        kept = {i: r for i, r in before.items() if i != old.id}
        assert {i: r for i, r in shelf.records().items() if i != new.id} == kept
        found = MultimodalRetriever(shelf.index).text_to_image_retrieve("a rocket launch")
        assert found[0].node_id == new.id


def test_a_file_that_is_gone_is_gone_from_the_index(tmp_path: Path) -> None:
    with opened(tmp_path) as shelf:
        shelf.ingest()
        (shelf.folder / "giant-panda.txt").unlink()
        assert shelf.ingest() == []
        assert "giant-panda.txt" not in {r.metadata["file_name"] for r in shelf.records().values()}


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("how do I reset the router password?", "router-setup.md"),
        ("大熊猫吃什么？", "giant-panda.txt"),
        ("a lighthouse", "beacon.png"),
        ("horses", "herd.jpg"),
    ],
)
def test_words_find_the_file_that_answers(
    filled: Shelf, reranker: CrossModalReranker, query: str, first: str
) -> None:
    retrieved = MultimodalRetriever(filled.index).retrieve(query)
    assert retrieved[0].metadata["file_name"] == first
    reranked = reranker.postprocess_nodes(retrieved, query_str=query)
    assert len(reranked) == 3
    assert first in {n.metadata["file_name"] for n in reranked}


def test_a_picture_finds_its_like_and_what_is_written_of_it(
    filled: Shelf, reranker: CrossModalReranker
) -> None:
    retriever = MultimodalRetriever(filled.index)
    cat = QueryBundle("", image_path=str(SAMPLE / "pictures" / "kitten-and-yarn.jpg"))
    nodes = retriever.retrieve(cat)
    reranked = reranker.postprocess_nodes(nodes, query_bundle=cat)
    assert reranked[0].metadata["file_name"] == "chelsea.jpg"
    texts = retriever.image_to_text_retrieve(cat)
    assert texts[0].metadata["file_name"] == "cat-care.md"


@pytest.mark.usefixtures("loopback")
def test_the_model_gets_what_the_answer_needs_and_the_answer_its_sources(
    filled: Shelf, reranker: CrossModalReranker
) -> None:
    with chat_server("A cat [1].") as chat:
        llm = OpenAI(model="gpt-4o-mini", api_base=chat.url, api_key="none", max_retries=0)
        engine = RetrieverQueryEngine.from_args(
            MultimodalRetriever(filled.index),
            llm=llm,
            multimodal=True,
            node_postprocessors=[reranker, NumberSources()],
        )
        response = engine.query("a cat")
        parts = chat.parts()
        again = asyncio.run(engine.aquery("a cat"))
    assert str(response) == str(again) == "A cat [1]."
    assert chat.bodies[0]["messages"] == chat.bodies[1]["messages"]
    cat = next(n for n in response.source_nodes if n.metadata["file_name"] == "chelsea.jpg")
    place = cat.metadata["source_number"] - 1
    assert response.source_nodes[place] is cat
    assert isinstance(cat.node, ImageNode) or cat.node.image_resource is not None  # type: ignore[attr-defined]
    assert cat.metadata[CAPTION_KEY]["brief"] in str(parts)
    assert cat.metadata[TRACE_KEY]
    pictures = [part for kind, part in parts if kind == "image"]
    assert ("image/jpeg", (filled.folder / "chelsea.jpg").read_bytes()) in pictures
    shown = " ".join(part for kind, part in parts if kind == "text")
    assert [f"source_number: {n}" in shown for n in (1, 2, 3, 4)] == [True, True, True, False]
    for hidden in (TRACE_KEY, CAPTION_KEY, str(filled.folder)):
        assert hidden not in shown
