"""langchain_core.indexing over MultimodalVectorStore: what is unchanged is not indexed again, and a
picture that changed is."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from PIL import Image

from langchain_mm import MultimodalVectorStore
from langchain_mm.indexing import content_key
from mmrag import MultimodalIndex
from mmrag.errors import DamagedSource, InputError, UnreadableSource
from mmrag.filters import And
from mmrag.inputs import data_url
from mmrag.media import load
from mmrag.testing import FakeEncoder
from mmrag.types import ImageRef

Cleanup = Literal["incremental", "full", "scoped_full"] | None
Encoder = Any  # a name, or a function

pytestmark = pytest.mark.filterwarnings("ignore:Using SHA-1:UserWarning")


def painted(path: Path, colour: str = "red") -> Path:
    Image.new("RGB", (40, 30), colour).save(path)
    return path


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MultimodalIndex]:
    encoder = FakeEncoder()
    folder = tmp_path_factory.mktemp("indexing") / "kb"
    with MultimodalIndex.open(folder, text_encoder=encoder, image_encoder=encoder) as opened:
        yield opened


@pytest.fixture
def store(opened: MultimodalIndex) -> MultimodalVectorStore:
    store = MultimodalVectorStore(opened)
    store.delete(where=And(()))
    return store


@pytest.fixture
def records() -> InMemoryRecordManager:
    records = InMemoryRecordManager("tests")
    records.create_schema()
    return records


def documents(folder: Path) -> list[Document]:
    red, blue = painted(folder / "red.png"), painted(folder / "blue.png", "blue")
    return [
        Document("tea from China", metadata={"source": "a"}),
        Document("bread", metadata={"source": "a"}),
        Document("", metadata={"source": "b", "mmrag_image": str(red)}),
        Document("blue", metadata={"source": "c", "mmrag_image": str(blue)}),
    ]


def run(
    given: list[Document],
    records: InMemoryRecordManager,
    store: MultimodalVectorStore,
    cleanup: Cleanup,
    key_encoder: Encoder = content_key,
) -> tuple[int, int, int, int]:
    done = index(
        given,
        records,
        store,
        cleanup=cleanup,
        source_id_key="source",
        key_encoder=key_encoder,
        batch_size=3,
    )
    return done["num_added"], done["num_updated"], done["num_skipped"], done["num_deleted"]


def texts(store: MultimodalVectorStore) -> list[str]:
    batches = store.index.store.scan()
    return sorted(record.text for batch in batches for record in batch)


@pytest.mark.parametrize("cleanup", [None, "incremental", "full", "scoped_full"])
@pytest.mark.parametrize("key_encoder", ["sha1", "sha256", "sha512", "blake2b", content_key])
def test_every_cleanup_with_every_key(
    store: MultimodalVectorStore,
    records: InMemoryRecordManager,
    tmp_path: Path,
    cleanup: Cleanup,
    key_encoder: Encoder,
) -> None:
    """langchain#39047: stock Qdrant refuses keys that are no UUIDs."""
    given = documents(tmp_path)
    assert run(given, records, store, cleanup, key_encoder) == (4, 0, 0, 0)
    assert texts(store) == ["", "blue", "bread", "tea from China"]
    assert run(given, records, store, cleanup, key_encoder) == (0, 0, 4, 0)
    # One of source a has changed, source b is gone.
    changed = [Document("tea from India", metadata={"source": "a"}), given[1], given[3]]
    deleted = {None: 0, "incremental": 1, "scoped_full": 1, "full": 2}[cleanup]
    assert run(changed, records, store, cleanup, key_encoder) == (1, 0, 2, deleted)
    kept = {
        None: ["", "blue", "bread", "tea from China", "tea from India"],
        "incremental": ["", "blue", "bread", "tea from India"],
        "scoped_full": ["", "blue", "bread", "tea from India"],
        "full": ["blue", "bread", "tea from India"],
    }[cleanup]
    assert texts(store) == kept
    assert store.similarity_search("tea from India", k=1)[0].metadata == {"source": "a"}


@pytest.mark.parametrize("cleanup", [None, "incremental", "full", "scoped_full"])
async def test_async(
    store: MultimodalVectorStore, records: InMemoryRecordManager, tmp_path: Path, cleanup: Cleanup
) -> None:
    given = documents(tmp_path)

    async def stream() -> AsyncIterator[Document]:
        for document in given:
            yield document

    for expected in ((4, 0), (0, 4)):
        done = await aindex(
            stream(), records, store, cleanup=cleanup, source_id_key="source", key_encoder="sha256"
        )
        assert (done["num_added"], done["num_skipped"]) == expected
    del given[:]
    done = await aindex(
        stream(), records, store, cleanup=cleanup, source_id_key="source", key_encoder="sha256"
    )
    assert done["num_deleted"] == (4 if cleanup == "full" else 0)
    assert store.index.count() == 4 - done["num_deleted"]


def test_update_by_force(
    store: MultimodalVectorStore, records: InMemoryRecordManager, tmp_path: Path
) -> None:
    given = documents(tmp_path)
    index(given, records, store, key_encoder="sha256")
    done = index(given, records, store, key_encoder="sha256", force_update=True)
    assert done["num_updated"] == 4 and store.index.count() == 4


def test_a_failed_batch_is_tried_again(
    store: MultimodalVectorStore, records: InMemoryRecordManager, tmp_path: Path
) -> None:
    given = documents(tmp_path)
    (tmp_path / "blue.png").rename(tmp_path / "away.png")
    with pytest.raises(UnreadableSource, match=r"blue\.png"):
        index(given, records, store, key_encoder="sha256")
    assert store.index.count() == 0
    (tmp_path / "away.png").rename(tmp_path / "blue.png")
    assert index(given, records, store, key_encoder="sha256")["num_added"] == 4


# A picture that changes under the same path


def test_other_pixels_under_the_same_path_are_noticed(
    store: MultimodalVectorStore, records: InMemoryRecordManager, tmp_path: Path
) -> None:
    """Stock: LangChain's keys cover text and metadata, and so the path, not what is there."""
    given = documents(tmp_path)
    run(given, records, store, "incremental")
    before = store.similarity_search_by_image(tmp_path / "red.png", k=1)[0]
    painted(tmp_path / "red.png", "lime")
    assert run(given, records, store, "incremental") == (1, 0, 3, 1)
    (after,) = store.similarity_search_by_image(tmp_path / "red.png", k=1)
    assert after.metadata == before.metadata and after.id != before.id
    (record,) = store.index.get([str(after.id)])
    assert record.image is not None
    assert record.image.sha256 == load(tmp_path / "red.png").sha256
    assert run(given, records, store, "incremental") == (0, 0, 4, 0)


def test_langchain_s_own_key_needs_the_sha256_in_the_metadata(
    store: MultimodalVectorStore, records: InMemoryRecordManager, tmp_path: Path
) -> None:
    path = painted(tmp_path / "red.png")

    def loaded() -> list[Document]:
        """As MultimodalLoader says of a picture."""
        picture = load(path)
        reference = ImageRef(str(path), picture.sha256, picture.mime, picture.width, picture.height)
        return [Document("", metadata={"source": str(path), "mmrag_image": asdict(reference)})]

    assert run(loaded(), records, store, "incremental", "sha256") == (1, 0, 0, 0)
    assert run(loaded(), records, store, "incremental", "sha256") == (0, 0, 1, 0)
    painted(path, "lime")
    assert run(loaded(), records, store, "incremental", "sha256") == (1, 0, 0, 1)
    # Those that add_images makes say it as well.
    (name,) = store.add_images([path])
    (document,) = store.get_by_ids([name])
    assert document.metadata["mmrag_image"] == loaded()[0].metadata["mmrag_image"]


# The key itself


def test_the_key_covers_all_of_a_document(tmp_path: Path) -> None:
    path = painted(tmp_path / "red.png")
    (tmp_path / "copy.png").write_bytes(path.read_bytes())
    url = data_url(path.read_bytes(), "image/png")
    different = [
        Document("a"),
        Document("b"),
        Document("a", metadata={"n": 1}),
        Document("a", metadata={"n": "1"}),
        Document('a", {"n": 1}'),
        Document("a", metadata={"mmrag_image": str(path)}),
        Document("a", metadata={"mmrag_image": str(tmp_path / "copy.png")}),
        Document("a", metadata={"mmrag_image": url}),
        Document("a", metadata={"mmrag_image": None}),
        Document("\ud800"),
    ]
    keys = [content_key(document) for document in different]
    assert len(set(keys)) == len(different)
    assert all(len(key) == 64 and int(key, 16) >= 0 for key in keys)
    painted(path, "lime")
    changed = [a != b for a, b in zip(keys, map(content_key, different), strict=True)]
    assert changed == [False] * 5 + [True] + [False] * 4


def test_the_key_is_the_same_for_the_same(tmp_path: Path) -> None:
    one = Document("a", id="1", metadata={"x": 1, "y": {"b": 1, "a": 2}})
    two = Document("a", id="2", metadata={"y": {"a": 2, "b": 1}, "x": 1})
    before = one.model_copy(deep=True)
    assert content_key(one) == content_key(two)
    assert one == before
    # What a search says of a document is no part of it.
    found = Document("a", metadata={**one.metadata, "mmrag_hit": {"score": 1.5, "routes": []}})
    assert content_key(found) == content_key(one)


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        ({"mmrag_image": "gone.png"}, UnreadableSource, r"document 'x': .*gone\.png"),
        ({"mmrag_image": "data:image/png;base64,%%"}, DamagedSource, "document 'x'"),
        ({"mmrag_image": 5}, InputError, "document 'x'.*mmrag_image"),
        ({"mmrag_image": "https://example.org/a.png"}, InputError, "not fetched"),
        ({"when": {1, 2}}, InputError, "document 'x'.*JSON"),
    ],
)
def test_what_has_no_key(
    metadata: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        content_key(Document("a", id="x", metadata=metadata))
    with pytest.raises(error):
        content_key(Document("a", metadata=metadata))


def test_indexing_warns_of_nothing(
    store: MultimodalVectorStore, records: InMemoryRecordManager, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(documents(tmp_path), records, store, "full")
