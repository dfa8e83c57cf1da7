"""MultimodalLoader: files and folders as LangChain documents."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.vectorstores import InMemoryVectorStore

import mmrag
from langchain_mm import MultimodalLoader
from langchain_mm.convert import document_to_part
from mmrag import MultimodalIndex
from mmrag.errors import DamagedSource, InputError, UnreadableSource
from mmrag.testing import FakeEncoder

from ..core.files import Page, pdf, picture, text_at
from .chat_models import painted

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


def loader(paths: Any, folder: Path, **options: Any) -> MultimodalLoader:
    return MultimodalLoader(paths, media_folder=folder.parent / "figures", **options)


def test_texts_pictures_and_pages_become_documents(folder: Path, tmp_path: Path) -> None:
    ours = loader(folder, folder)
    assert isinstance(ours, BaseLoader)
    documents = ours.load()
    note, red, first, _, figure = documents
    assert {type(document) for document in documents} == {Document}
    assert note.page_content == "# Setup\n\nPress the button."
    assert note.metadata == {"source": str(folder / "a.md"), "heading": "Setup", "line": 1}
    assert first.page_content == "This page is about colours."
    assert [d.metadata["source"] for d in documents] == [
        str(folder / name) for name in ("a.md", "b.png", *["c.pdf"] * 3)
    ]
    assert [d.metadata.get("page_label") for d in documents] == [None, None, "1", "2", "2"]
    assert not any("page" in d.metadata for d in documents), "LangChain counts it from 0"
    assert red.page_content == ""
    image = red.metadata["mmrag_image"]
    assert image["uri"] == str(folder / "b.png")
    assert (image["mime"], image["width"], image["height"]) == ("image/png", 40, 30)
    figured = figure.metadata["mmrag_image"]
    assert Path(figured["uri"]).is_relative_to(tmp_path / "figures")
    assert Path(figured["uri"]).is_file()
    where = figure.metadata["mmrag_locator"]
    assert where["page"] == 2
    # 300 x 200 points at 100, 400 of a page of 600 x 800, which PDF measures from below.
    assert where["bbox"] == pytest.approx((1 / 6, 0.25, 2 / 3, 0.5), abs=0.02)
    assert ours.failures == []


def test_metadata_is_json(folder: Path) -> None:
    for document in loader(folder, folder).load():
        assert json.loads(json.dumps(document.metadata)) == document.metadata


def test_documents_are_the_records_that_the_index_reads(folder: Path, tmp_path: Path) -> None:
    encoder = FakeEncoder()
    with MultimodalIndex.open(tmp_path / "kb", text_encoder=encoder, image_encoder=encoder) as kb:
        kb.add_files([folder])
        documents = loader(folder, folder).load()
        records = kb.get([str(document.id) for document in documents])
    for document, record in zip(documents, records, strict=True):
        ours = document_to_part(document).record
        assert (ours.text, ours.locator) == (record.text, record.locator)
        assert ours.source == str(Path(record.source).absolute())
        assert (ours.image and ours.image.sha256) == (record.image and record.image.sha256)
        assert record.metadata.items() <= ours.metadata.items()


def test_ids_are_the_same_every_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = loader(folder, folder).load()
    monkeypatch.chdir(folder)
    relative = loader(["a.md", Path("b.png"), "c.pdf"], folder)
    assert relative.load() == relative.load() == first
    assert len({document.id for document in first}) == 5


def test_loading_is_lazy(folder: Path) -> None:
    found = loader([folder / "a.md", folder / "later.txt"], folder).lazy_load()
    assert next(found).metadata["heading"] == "Setup"
    (folder / "later.txt").write_text("written after the first was read")
    assert [d.page_content for d in found] == ["written after the first was read"]


async def test_async_gives_the_same(folder: Path) -> None:
    ours = loader(iter([folder]), folder)
    expected = ours.load()
    assert len(expected) == 5
    assert await ours.aload() == expected
    assert [document async for document in ours.alazy_load()] == expected


async def test_async_does_not_block_the_event_loop(folder: Path) -> None:
    """Reading waits for what another task of the same loop says."""
    told = threading.Event()

    class Waiting(MultimodalLoader):
        def lazy_load(self) -> Iterator[Document]:
            assert told.wait(10)
            yield from super().lazy_load()

    task = asyncio.create_task(Waiting(folder / "a.md").aload())
    await asyncio.sleep(0)
    told.set()
    assert len(await task) == 1


async def test_bad_files_are_reported_and_the_others_read(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "b2.png").write_bytes((folder / "b.png").read_bytes()[:70])
    (folder / "b3.exe").write_bytes(b"MZ")
    (folder / "b4.txt").write_bytes(b"")
    ours = loader([folder, "gone.txt", ""], folder)
    with caplog.at_level(logging.WARNING, "mmrag"):
        assert len(ours.load()) == 5
    errors = [(Path(f.source).name, f.error) for f in ours.failures]
    assert errors == [
        ("b2.png", "DamagedSource"),
        ("b3.exe", "UnsupportedSource"),
        ("b4.txt", "EmptySource"),
        ("gone.txt", "UnreadableSource"),
        ("", "UnreadableSource"),
    ]
    assert "no reader takes .exe" in ours.failures[1].message
    assert len(caplog.records) == 5
    ours.failures.clear()
    assert len(ours.failures) == 5, "a list of the caller's own"
    painted(folder / "b2.png", "lime")
    assert len(await ours.aload()) == 6
    assert len(ours.failures) == 4, "those of the latest run"


async def test_an_error_is_raised_if_asked_for(folder: Path) -> None:
    (folder / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    strict = loader(folder, folder, raise_on_error=True)
    with pytest.raises(DamagedSource, match=r"b\.png: "):
        strict.load()
    assert len(strict.failures) == 1
    with pytest.raises(UnreadableSource, match=r"gone\.png"):
        await loader(folder / "gone.png", folder, raise_on_error=True).aload()


@pytest.mark.skipif(sys.platform != "linux", reason="where caches are is the system's")
def test_derived_pictures_go_to_the_users_cache_by_default(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for _ in range(2):
        *_, figure = MultimodalLoader(folder / "c.pdf").load()
    kept = [path for path in (tmp_path / "cache" / "mmrag").rglob("*") if path.is_file()]
    assert [str(path) for path in kept] == [figure.metadata["mmrag_image"]["uri"]]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    *_, figure = MultimodalLoader(folder / "c.pdf").load()
    assert figure.metadata["mmrag_image"]["uri"].startswith(str(tmp_path / "home" / ".cache"))


def test_kept_figures_are_not_read_as_pictures(folder: Path) -> None:
    inside = MultimodalLoader(folder, media_folder=folder / "figures")
    assert len(inside.load()) == len(inside.load()) == 5


def test_a_pictures_type_is_that_of_its_bytes(folder: Path) -> None:
    (folder / "b.png").rename(folder / "b.tiff")
    names = [SAMPLE / "pictures" / "fruit.bmp", SAMPLE / "pictures" / "saturn.webp"]
    documents = loader([folder / "b.tiff", *names], folder).load()
    types = [d.metadata["mmrag_image"]["mime"] for d in documents]
    assert types == ["image/png", "image/bmp", "image/webp"]


def test_indexing_sees_that_a_picture_has_changed(folder: Path) -> None:
    """``index`` hashes text and metadata: without the hash of the pixels it would see no change."""
    manager = InMemoryRecordManager("ours")
    manager.create_schema()
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))

    def run() -> dict[str, int]:
        told = index(
            loader(folder, folder),
            manager,
            store,
            cleanup="incremental",
            source_id_key="source",
            key_encoder="sha256",
        )
        return {name: count for name, count in told.items() if count}  # type: ignore[misc]

    def hashes() -> set[str]:
        held = [held["metadata"].get("mmrag_image") for held in store.store.values()]
        return {image["sha256"] for image in held if image}

    assert run() == {"num_added": 5}
    assert run() == {"num_skipped": 5}
    before = hashes()
    painted(folder / "b.png", "blue")
    assert run() == {"num_added": 1, "num_skipped": 4, "num_deleted": 1}
    assert len(store.store) == 5
    assert len(hashes() - before) == len(before - hashes()) == 1


def test_what_is_no_path_is_refused() -> None:
    for paths in (42, None, b"a.png", [b"a.png"], [None], [["a.png"]]):
        with pytest.raises(InputError, match="paths are files and folders"):
            MultimodalLoader(paths)  # type: ignore[arg-type]
    assert MultimodalLoader([]).load() == []
