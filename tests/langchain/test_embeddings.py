"""MultimodalEmbeddings: LangChain's own suites, pictures in every form, and real vector stores."""

from __future__ import annotations

import asyncio
import base64
import copy
import io
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents.base import Blob
from langchain_core.embeddings import Embeddings
from langchain_core.messages.content import create_image_block
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from PIL import Image
from pydantic import ValidationError

from langchain_mm import MultimodalEmbeddings
from mmrag.encoders.bundled import BundledEncoder
from mmrag.errors import DamagedSource, EmptySource, InputError, UnreadableSource
from mmrag.media import data_url
from mmrag.testing import FakeEncoder
from mmrag.testing.langchain_suites import ImageEmbeddingsTests
from mmrag.types import Role

BUNDLED = BundledEncoder()  # the models are loaded once for all tests
SAMPLE = Path(sys.modules["mmrag"].__file__ or "").parent / "sample" / "pictures"


class Ours:
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return MultimodalEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"encoder": BUNDLED}


class TestUnit(Ours, EmbeddingsUnitTests):
    pass


class TestIntegration(Ours, EmbeddingsIntegrationTests):
    pass


class TestPictures(Ours, ImageEmbeddingsTests):
    pass


def test_an_encoder_by_name() -> None:
    assert isinstance(MultimodalEmbeddings(encoder="bundled").encoder, BundledEncoder)
    with pytest.raises(ValidationError, match="siglip2-base"):
        MultimodalEmbeddings(encoder="siglip2-bas")


class TestPicturesInSmallBatches(ImageEmbeddingsTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return MultimodalEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"encoder": FakeEncoder(), "batch_size": 2}


class Watched(FakeEncoder):
    """Notes what it is asked, and in which thread."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []
        self.threads: set[str] = set()

    def encode_texts(self, texts: Sequence[str], role: Role) -> Any:
        self.calls.append((role, len(texts)))
        self.threads.add(threading.current_thread().name)
        return super().encode_texts([f"{role} {text}" for text in texts], role)

    def encode_pixels(self, pixels: Sequence[Any]) -> Any:
        self.calls.append(("image", len(pixels)))
        self.threads.add(threading.current_thread().name)
        return super().encode_pixels(pixels)


def painted(path: Path, colour: str = "red") -> Path:
    Image.new("RGB", (40, 30), colour).save(path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    return [painted(tmp_path / f"{c}.png", c) for c in ("red", "green", "blue", "white", "black")]


@pytest.fixture
def model() -> MultimodalEmbeddings:
    return MultimodalEmbeddings(encoder=FakeEncoder())


# What is embedded


def test_the_bundled_encoder_is_the_default() -> None:
    model = MultimodalEmbeddings()
    assert isinstance(model.encoder, BundledEncoder)
    assert model.batch_size == 32
    assert model.embed_documents(["a cat"])[0] == pytest.approx(
        BUNDLED.encode_texts(["a cat"], "passage")[0].tolist()
    )


def test_words_find_the_picture() -> None:
    model = MultimodalEmbeddings(encoder=BUNDLED)
    vectors = np.array(
        model.embed_images([SAMPLE / n for n in ("espresso.jpg", "chelsea.jpg", "brick-wall.jpg")])
    )
    for query, best in (("a cat", 1), ("一杯咖啡", 0), ("bricks", 2)):
        assert int(np.argmax(vectors @ model.embed_query(query))) == best


def test_queries_and_passages_have_their_roles_and_batches(pictures: list[Path]) -> None:
    encoder = Watched()
    model = MultimodalEmbeddings(encoder=encoder, batch_size=3)
    passages = model.embed_documents([f"text {n}" for n in range(7)])
    query = model.embed_query("text 0")
    model.embed_images(pictures)
    passage_calls = [("passage", 3), ("passage", 3), ("passage", 1)]
    assert encoder.calls == [*passage_calls, ("query", 1), ("image", 3), ("image", 2)]
    assert len(passages) == 7
    assert passages[0] != query


def test_a_long_text_is_embedded_to_its_end() -> None:
    model = MultimodalEmbeddings(encoder=BUNDLED)
    long = "The wheel turns and the chain follows. " * 150
    zebra, volcano = model.embed_documents([long + "zebra", long + "volcano eruption"])
    assert zebra != volcano


# Pictures in every form


def forms_of(path: Path, mime: str) -> dict[str, Any]:
    data = path.read_bytes()
    text = base64.b64encode(data).decode()
    return {
        "path": path,
        "path as a string": str(path),
        "bytes": data,
        "bytearray": bytearray(data),
        "file": io.BytesIO(data),
        "data URL": data_url(data, mime),
        "blob of a path": Blob.from_path(path),
        "blob of bytes": Blob.from_data(data, mime_type=mime),
        "block": create_image_block(base64=text, mime_type=mime),
        "block with a data URL": {"type": "image", "url": data_url(data, mime)},
        "block of 0.3": {
            "type": "image",
            "source_type": "base64",
            "data": text,
            "mime_type": mime,
        },
        "OpenAI's block": {"type": "image_url", "image_url": {"url": data_url(data, mime)}},
        "OpenAI's block, flat": {"type": "image_url", "image_url": data_url(data, mime)},
    }


@pytest.mark.parametrize(
    ("name", "mime"),
    [("hens.jpg", "image/jpeg"), ("saturn.webp", "image/webp"), ("winter.gif", "image/gif")],
)
def test_a_picture_has_one_vector_in_every_form(
    model: MultimodalEmbeddings, name: str, mime: str
) -> None:
    forms = forms_of(SAMPLE / name, mime)
    vectors = model.embed_images(list(forms.values()))
    assert [form for form, v in zip(forms, vectors, strict=True) if v != vectors[0]] == []


def test_a_picture_that_pil_has_opened_has_the_vector_of_its_file(
    model: MultimodalEmbeddings,
) -> None:
    path = SAMPLE / "saturn.webp"
    with Image.open(path) as image:
        opened, copied, of_file = model.embed_images([image, image.copy(), path])
    assert opened == copied == of_file


def test_a_large_photograph_has_nearly_the_same_vector_from_pil(tmp_path: Path) -> None:
    # Of a file, only as many pixels are decoded as the model looks at.
    large = tmp_path / "large.jpg"
    with Image.open(SAMPLE / "astronaut.jpg") as image:
        image.resize((2100, 2100)).save(large)
    model = MultimodalEmbeddings(encoder=BUNDLED)
    with Image.open(large) as image:
        of_pil, of_file = model.embed_images([image, large])
    assert float(np.dot(of_pil, of_file)) > 0.99


class Meeting:
    """Notes whether two threads are in the calls that it watches at the same time."""

    def __init__(self) -> None:
        self.inside, self.met, self.waited = threading.Lock(), threading.Event(), False

    def watched(self, call: Any) -> Any:
        def run(*args: Any) -> Any:
            if not self.inside.acquire(blocking=False):
                self.met.set()
                return call(*args)
            try:
                if not self.waited:  # time for the other thread to come in, if it is let in
                    self.waited = self.met.wait(0.2) or True
                return call(*args)
            finally:
                self.inside.release()

        return run


def test_one_object_that_is_there_twice_is_read_by_one_thread_at_a_time(
    model: MultimodalEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_mm.embeddings.threads", lambda: 4)

    class File(io.BytesIO):
        pass

    data = (SAMPLE / "saturn.webp").read_bytes()
    expected = model.embed_images([data]) * 20
    file, of_file = File(data), Meeting()
    file.read = of_file.watched(file.read)  # type: ignore[method-assign]
    assert model.embed_images([file] * 20) == expected
    assert of_file.waited and not of_file.met.is_set()
    with Image.open(io.BytesIO(data)) as image:
        of_pil = Meeting()
        image.load = of_pil.watched(image.load)
        assert model.embed_images([image] * 20) == expected
    assert of_pil.waited and not of_pil.met.is_set()


def test_what_was_given_stays_as_it_was(model: MultimodalEmbeddings, pictures: list[Path]) -> None:
    file = io.BytesIO(pictures[0].read_bytes())
    file.seek(7)
    block = create_image_block(
        base64=base64.b64encode(file.getvalue()).decode(), mime_type="image/png"
    )
    before = copy.deepcopy(block)
    image = Image.new("RGBA", (20, 10), (255, 0, 0, 100))
    model.embed_images([file, block, image])
    assert file.tell() == 7 and not file.closed
    assert block == before
    assert (image.mode, image.size) == ("RGBA", (20, 10))


# What cannot be embedded


def test_a_broken_picture_is_named(
    model: MultimodalEmbeddings, tmp_path: Path, pictures: list[Path]
) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes(pictures[0].read_bytes()[:60])
    cases: list[tuple[Any, type[Exception], str]] = [
        (torn, DamagedSource, r"images\[1\] \(.*torn\.png\): the picture is broken"),
        (Blob.from_path(torn), DamagedSource, r"images\[1\] \(.*torn\.png\)"),
        (torn.read_bytes(), DamagedSource, r"images\[1\]: the picture is broken"),
        (tmp_path / "no.png", UnreadableSource, r"images\[1\].*no\.png.*check that it exists"),
        (tmp_path, UnreadableSource, r"images\[1\]"),
        (b"", EmptySource, r"images\[1\]: the picture has no bytes"),
        (Blob.from_data("aGk="), DamagedSource, r"images\[1\]: not a picture"),
        (b"words, no picture", DamagedSource, r"images\[1\]: not a picture"),
        ({"type": "image", "base64": "!!"}, DamagedSource, r"images\[1\].*not valid base64"),
        ("data:image/png;base64,@@", DamagedSource, r"images\[1\]: the data URL"),
    ]
    for image, kind, message in cases:
        with pytest.raises(kind, match=message):
            model.embed_images([pictures[0], image])


def test_what_is_no_picture_is_refused(model: MultimodalEmbeddings, pictures: list[Path]) -> None:
    cases: list[tuple[Any, str]] = [
        (3, "not int"),
        (None, "not NoneType"),
        ({"type": "text", "text": "hi"}, "type 'text' is not a picture"),
        ({"type": "image", "file_id": "file-1"}, "ids of files are not resolved"),
        (io.StringIO("words"), "binary mode"),
        # Never fetched; the network is blocked in tests besides.
        ("https://example.org/a.png", "not fetched"),
        ({"type": "image", "url": "https://example.org/a.png"}, "not fetched"),
    ]
    for image, message in cases:
        with pytest.raises(InputError, match=rf"images\[1\].*{message}"):
            model.embed_images([pictures[0], image])


def test_a_single_one_in_place_of_a_list_is_refused(
    model: MultimodalEmbeddings, pictures: list[Path]
) -> None:
    path = pictures[0]
    with path.open("rb") as file, Image.open(path) as image:
        singles: list[Any] = [str(path), path, path.read_bytes(), file, image]
        for single in [*singles, Blob.from_path(path), {"type": "image"}, None]:
            with pytest.raises(InputError, match="images is a list"):
                model.embed_images(single)
    with pytest.raises(InputError, match="images is a list"):
        model.embed_image(str(path))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="texts is a list, not str"):
        model.embed_documents("a text")  # type: ignore[arg-type]


def test_a_text_that_is_none_is_refused() -> None:
    model = MultimodalEmbeddings(encoder=BUNDLED)
    with pytest.raises(InputError, match="not NoneType"):
        model.embed_query(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not int"):
        model.embed_documents(["a", 3])  # type: ignore[list-item]


def test_fields_that_are_wrong_are_refused() -> None:
    for wrong in ({"batch_size": 0}, {"batchsize": 8}, {"encoder": 3}, {"encoder": None}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            MultimodalEmbeddings(**wrong)


def test_an_encoder_is_not_changed_under_an_index(model: MultimodalEmbeddings) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        model.encoder = BUNDLED


# Threads, processes, events


async def test_async_gives_what_sync_gives_in_another_thread(pictures: list[Path]) -> None:
    encoder = Watched()
    model = MultimodalEmbeddings(encoder=encoder)
    found = [
        await model.aembed_documents(["a", "b"]),
        [await model.aembed_query("a")],
        await model.aembed_images(pictures),
        await model.aembed_image([str(path) for path in pictures]),
    ]
    assert threading.current_thread().name not in encoder.threads
    assert found == [
        model.embed_documents(["a", "b"]),
        [model.embed_query("a")],
        model.embed_images(pictures),
        model.embed_image([str(path) for path in pictures]),
    ]


async def test_the_event_loop_stays_free(pictures: list[Path]) -> None:
    class Waiting(FakeEncoder):
        def encode_pixels(self, pixels: Sequence[Any]) -> Any:
            assert released.wait(10)
            return super().encode_pixels(pixels)

    released = threading.Event()
    model = MultimodalEmbeddings(encoder=Waiting())
    task = asyncio.create_task(model.aembed_images(pictures))
    await asyncio.sleep(0)
    released.set()  # never reached if the encoder ran in this thread
    assert len(await task) == len(pictures)


def test_pictures_are_decoded_ahead_of_the_encoder(pictures: list[Path]) -> None:
    class Ahead(FakeEncoder):
        def preprocess(self, image: Image.Image) -> Any:
            decoded.release()
            return super().preprocess(image)

        def encode_pixels(self, pixels: Sequence[Any]) -> Any:
            if not encoded:  # the second picture is decoded while the first waits here
                assert decoded.acquire(timeout=10) and decoded.acquire(timeout=10)
            encoded.append(len(pixels))
            return super().encode_pixels(pixels)

    decoded, encoded = threading.Semaphore(0), list[int]()
    MultimodalEmbeddings(encoder=Ahead(), batch_size=1).embed_images(pictures)
    assert encoded == [1] * len(pictures)


def test_many_threads_get_the_same_vectors(pictures: list[Path]) -> None:
    model = MultimodalEmbeddings(encoder=BUNDLED)
    expected = model.embed_images(pictures), model.embed_documents(["a", "b"])
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(lambda: (model.embed_images(pictures), model.embed_documents(["a", "b"])))
            for _ in range(8)
        ]
    assert all(job.result() == expected for job in jobs)


def test_it_can_be_pickled_and_copied(pictures: list[Path]) -> None:
    for encoder in (BUNDLED, FakeEncoder()):
        model = MultimodalEmbeddings(encoder=encoder, batch_size=5)
        for twin in (pickle.loads(pickle.dumps(model)), model.model_copy(update={})):
            assert twin.batch_size == 5
            assert twin.embed_images(pictures[:1]) == model.embed_images(pictures[:1])
            assert twin.encoder.space == encoder.space


def test_what_is_shown_and_serialised_is_small(model: MultimodalEmbeddings) -> None:
    assert repr(model) == "MultimodalEmbeddings(batch_size=32)"
    assert model.model_dump() == {"batch_size": 32}


def test_nothing_heavy_is_loaded_before_it_is_used() -> None:
    code = (
        "import sys; from langchain_mm import MultimodalEmbeddings; MultimodalEmbeddings()\n"
        "print([m for m in ('onnxruntime', 'tokenizers', 'torch', 'langchain_classic',"
        " 'langchain_community') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# LangChain's vector stores


def test_in_memory_vector_store_takes_it() -> None:
    store = InMemoryVectorStore(MultimodalEmbeddings(encoder=BUNDLED))
    store.add_texts(["how to bake bread", "a guide to red bicycles"], ids=["a", "b"])
    assert [d.id for d in store.similarity_search("cycling", k=1)] == ["b"]


@pytest.fixture
def chroma(tmp_path: Path) -> Iterator[Any]:
    import chromadb
    from chromadb.config import Settings
    from langchain_chroma import Chroma

    settings = Settings(anonymized_telemetry=False, is_persistent=True)
    client: Any = chromadb.PersistentClient(str(tmp_path / "chroma"), settings)
    yield Chroma("test", MultimodalEmbeddings(encoder=BUNDLED), client=client)
    client.close()


def test_chroma_takes_pictures(chroma: Any) -> None:
    names = ["espresso.jpg", "chelsea.jpg", "brick-wall.jpg", "hens.jpg"]
    paths = [str(SAMPLE / name) for name in names]
    chroma.add_images(uris=paths, ids=names, metadatas=[{"name": n} for n in names])
    assert chroma.similarity_search("a cat", k=1)[0].metadata == {"name": "chelsea.jpg"}
    (found,) = chroma.similarity_search_by_image(paths[3], k=1)
    assert found.metadata == {"name": "hens.jpg"}
    # As Chroma keeps it: the picture itself.
    assert base64.b64decode(found.page_content) == Path(paths[3]).read_bytes()
