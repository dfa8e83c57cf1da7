"""MultimodalReader: files and folders as LlamaIndex documents."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_index.core import SimpleDirectoryReader, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.readers.base import BaseReader, ReaderConfig
from llama_index.core.schema import Document, ImageDocument, ImageNode, MetadataMode, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore

import mmrag
from llama_index_mm import MultimodalEmbedding, MultimodalReader
from llama_index_mm.convert import node_to_record
from mmrag import MultimodalIndex
from mmrag.errors import DamagedSource, UnreadableSource
from mmrag.testing import FakeEncoder
from mmrag.types import Locator

from ..core.files import Page, pdf, picture, text_at
from .nodes import painted

SAMPLE = Path(mmrag.__file__).parent / "sample"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A text, a picture, and a PDF of a text and a figure on its second page."""
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.md").write_text("# Setup\n\nPress the button.\n")
    painted(files / "b.png", "red")
    figure = Page(
        "q 300 0 0 200 100 400 cm /Im Do Q\n"
        + text_at(50, 300, "A gradient, as it is drawn by hand.")
    )
    figure.images["Im"] = picture(300, 200)
    (files / "c.pdf").write_bytes(
        pdf(Page(text_at(50, 500, "This page is about colours.")), figure)
    )
    return files


@pytest.fixture
def reader(tmp_path: Path) -> MultimodalReader:
    return MultimodalReader(media_folder=str(tmp_path / "figures"))


def test_texts_pictures_and_pages_become_documents(
    folder: Path, reader: MultimodalReader, tmp_path: Path
) -> None:
    assert isinstance(reader, BaseReader)
    note, red, first, second, figure = reader.load_data(folder)
    assert [type(d) for d in (note, red, first, second, figure)] == [
        *(Document, ImageDocument, Document, Document, ImageDocument)
    ]
    assert note.text == "# Setup\n\nPress the button."
    assert note.metadata["heading"] == "Setup"
    assert isinstance(red, ImageDocument)
    assert red.image_path == str(folder / "b.png")
    assert red.text == ""
    assert [d.metadata["file_name"] for d in (note, red, first)] == ["a.md", "b.png", "c.pdf"]
    assert first.metadata["file_path"] == str(folder / "c.pdf")
    assert [d.metadata.get("page") for d in (red, first, second, figure)] == [None, 1, 2, 2]
    assert isinstance(figure, ImageDocument)
    assert figure.image_path is not None
    assert Path(figure.image_path).is_relative_to(tmp_path / "figures")
    assert figure.resolve_image().read(8) == Path(figure.image_path).read_bytes()[:8]
    left, top, right, bottom = figure.metadata["mmrag_locator"]["bbox"]
    # 300 x 200 points at 100, 400 of a page of 600 x 800, which PDF measures from below.
    assert (left, top, right, bottom) == pytest.approx((1 / 6, 0.25, 2 / 3, 0.5), abs=0.02)
    assert reader.failures == []


def test_documents_are_the_records_that_the_index_reads(
    folder: Path, reader: MultimodalReader, tmp_path: Path
) -> None:
    encoder = FakeEncoder()
    with MultimodalIndex.open(
        tmp_path / "kb", text_encoder=encoder, image_encoder=encoder
    ) as index:
        index.add_files([folder])
        documents = reader.load_data(folder)
        records = index.get([document.doc_id for document in documents])
    for document, record in zip(documents, records, strict=True):
        ours = node_to_record(document)
        assert (ours.text, ours.locator) == (record.text, record.locator)
        assert ours.source == str(Path(record.source).absolute())
        assert (ours.image and ours.image.sha256) == (record.image and record.image.sha256)
        assert {**ours.metadata, **record.metadata} == ours.metadata
    assert records[3].locator != Locator()


def test_ids_are_the_same_every_time(folder: Path, reader: MultimodalReader) -> None:
    first, second = reader.load_data(folder), reader.load_data(str(folder))
    assert [d.doc_id for d in first] == [d.doc_id for d in second]
    assert [d.hash for d in first] == [d.hash for d in second]
    assert len({d.doc_id for d in first}) == 5


def test_what_embeddings_and_models_get_to_see(folder: Path, reader: MultimodalReader) -> None:
    note, red, first, *_ = reader.load_data(folder, extra_info={"owner": "Ann"})
    assert note.get_metadata_str(MetadataMode.EMBED) == "owner: Ann\nheading: Setup"
    assert red.get_metadata_str(MetadataMode.EMBED) == "owner: Ann\nfile_name: b.png"
    assert first.get_metadata_str(MetadataMode.LLM) == (
        "owner: Ann\nfile_name: c.pdf\npage_label: 1"
    )


def test_loading_is_lazy(folder: Path, reader: MultimodalReader) -> None:
    found = iter(reader.lazy_load_data([folder / "a.md", folder / "later.txt"]))
    assert next(found).metadata["file_name"] == "a.md"
    (folder / "later.txt").write_text("written after the first was read")
    assert [d.text for d in found] == ["written after the first was read"]


def test_async_gives_the_same(folder: Path, reader: MultimodalReader) -> None:
    expected = reader.load_data(folder)
    assert asyncio.run(reader.aload_data(folder)) == expected
    assert list(asyncio.run(reader.alazy_load_data(folder))) == expected
    assert list(reader.lazy_load_data(folder)) == expected


def test_async_does_not_block_the_event_loop(folder: Path, reader: MultimodalReader) -> None:
    """The reader waits for the name of its file, which another task of the same loop gives."""

    def paths(told: threading.Event) -> Iterator[Path]:
        assert told.wait(10)
        yield folder / "a.md"

    async def load() -> None:
        for call in (reader.aload_data, reader.alazy_load_data):
            told = threading.Event()
            task = asyncio.create_task(call(paths(told)))
            await asyncio.sleep(0)
            told.set()
            assert len(list(await task)) == 1

    asyncio.run(load())


def test_bad_files_are_reported_and_the_others_read(
    folder: Path, reader: MultimodalReader, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "b2.png").write_bytes((folder / "b.png").read_bytes()[:70])
    (folder / "b3.exe").write_bytes(b"MZ")
    with caplog.at_level(logging.WARNING, "mmrag"):
        assert len(reader.load_data([folder, "gone.txt"])) == 5
    names = [(Path(f.source).name, f.error) for f in reader.failures]
    assert names == [
        ("b2.png", "DamagedSource"),
        ("b3.exe", "UnsupportedSource"),
        ("gone.txt", "UnreadableSource"),
    ]
    assert "no reader takes .exe" in reader.failures[1].message
    assert [r.args[0] for r in caplog.records] == [f.source for f in reader.failures]  # type: ignore[index]
    painted(folder / "b2.png", "green")
    assert len(reader.load_data(folder / "b2.png")) == 1
    assert [Path(f.source).name for f in reader.failures] == ["b3.exe", "gone.txt"]


def test_an_error_is_raised_if_asked_for(folder: Path, tmp_path: Path) -> None:
    (folder / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    strict = MultimodalReader(media_folder=str(tmp_path / "figures"), raise_on_error=True)
    with pytest.raises(DamagedSource, match=r"b\.png: "):
        strict.load_data(folder)
    with pytest.raises(UnreadableSource):
        asyncio.run(strict.aload_data(folder / "gone.png"))


def test_derived_pictures_go_to_the_cache_folder_by_default(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_INDEX_CACHE_DIR", str(tmp_path / "cache"))
    for _ in range(2):
        *_, figure = MultimodalReader().load_data(folder / "c.pdf")
    assert isinstance(figure, ImageDocument)
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert [str(path) for path in kept] == [figure.image_path]


def test_the_settings_survive_a_round_trip(reader: MultimodalReader) -> None:
    assert MultimodalReader.from_dict(reader.to_dict()) == reader
    assert reader.to_dict()["class_name"] == "MultimodalReader"


def test_it_serves_simple_directory_reader_as_an_extractor(
    folder: Path, reader: MultimodalReader
) -> None:
    (folder / "b2.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    extractors: dict[str, BaseReader] = {".pdf": reader, ".png": reader}
    stock = SimpleDirectoryReader(str(folder), file_extractor=extractors)
    documents = stock.load_data()
    assert [d.metadata["file_name"] for d in documents] == ["a.md", "b.png", *["c.pdf"] * 3]
    assert isinstance(documents[1], ImageDocument)
    assert documents[1].metadata["file_type"] == "image/png"
    assert [Path(f.source).name for f in reader.failures] == ["b2.png"]


def test_a_pipeline_reads_through_it(folder: Path, reader: MultimodalReader) -> None:
    config = ReaderConfig(reader=reader, reader_args=[str(folder)])
    pipeline = IngestionPipeline(readers=[config], transformations=[SentenceSplitter()])
    nodes = pipeline.run()
    assert [type(node) for node in nodes] == [TextNode, ImageNode, TextNode, TextNode, ImageNode]


def test_issue_23002_a_pipeline_sees_that_a_picture_has_changed(
    folder: Path, reader: MultimodalReader
) -> None:
    """LlamaIndex's caches and docstores know the path; the hash is in the metadata."""
    model = MultimodalEmbedding(encoder=FakeEncoder())
    pipeline = IngestionPipeline(transformations=[SentenceSplitter(), model])
    deduplicating = IngestionPipeline(
        transformations=[model],
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.DUPLICATES_ONLY,
    )
    seen, new = [], []
    for colour in ("red", "red", "blue"):
        painted(folder / "b.png", colour)
        documents = reader.load_data(folder / "b.png")
        seen.append(pipeline.run(documents=documents)[0].embedding)
        new.append(len(deduplicating.run(documents=documents)))
    assert seen[0] == seen[1] != seen[2]
    assert new == [1, 0, 1]


def test_a_vector_store_index_keeps_pictures_without_text(
    folder: Path, reader: MultimodalReader
) -> None:
    """It leaves out nodes that have nothing to embed as text."""
    model = MultimodalEmbedding(encoder=FakeEncoder())
    index = VectorStoreIndex.from_documents(
        reader.load_data(folder), storage_context=StorageContext.from_defaults(), embed_model=model
    )
    kept = [type(node) for node in index.docstore.docs.values()]
    assert kept.count(ImageNode) == 2


def test_a_pictures_type_is_that_of_its_bytes(folder: Path, reader: MultimodalReader) -> None:
    (folder / "b.png").rename(folder / "b.tiff")
    names = [SAMPLE / "pictures" / "fruit.bmp", SAMPLE / "pictures" / "saturn.webp"]
    documents = reader.load_data([folder / "b.tiff", *names])
    types = [d.image_mimetype for d in documents if isinstance(d, ImageDocument)]
    assert types == ["image/png", "image/bmp", "image/webp"]
