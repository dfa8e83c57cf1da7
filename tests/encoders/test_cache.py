"""The cache of embeddings: what is kept, what is evicted, and what it survives."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmrag import ImageRef, MultimodalIndex, Record
from mmrag.encode import Encoders, encode_images
from mmrag.encoders import embedding_file
from mmrag.encoders.bundled import BundledEncoder
from mmrag.encoders.cache import CachedEncoder, CachedImageEncoder, EmbeddingCache
from mmrag.errors import InputError, SourceError
from mmrag.identity import digest_of
from mmrag.protocols import ImageEncoder, TextEncoder
from mmrag.testing import EncoderContract, FakeEncoder, ImageEncoderContract
from mmrag.types import Role, Space

from .cache_child import DIM, KEYS, key_of, vector_of

CHILD = Path(__file__).parent / "cache_child.py"
MB = 1 << 20


class Counting(FakeEncoder):
    """Notes what it is asked to encode, in each call."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__(dim)
        self.texts: list[list[str]] = []
        self.pixels: list[int] = []
        self.preprocessed = 0

    def encode_texts(self, texts: Sequence[str], role: Role) -> Any:
        self.texts.append(list(texts))
        return super().encode_texts(texts, role)

    def preprocess(self, image: Image.Image) -> Any:
        self.preprocessed += 1
        return super().preprocess(image)

    def encode_pixels(self, pixels: Sequence[Any]) -> Any:
        self.pixels.append(len(pixels))
        return super().encode_pixels(pixels)


class Texts:
    """A text encoder and no more."""

    def __init__(self, family: str = "texts") -> None:
        self.fake = FakeEncoder(16)
        self.family = family

    @property
    def space(self) -> Space:
        return Space(self.family, "1", 16)

    def encode_texts(self, texts: Sequence[str], role: Role) -> Any:
        return self.fake.encode_texts(texts, role)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[EmbeddingCache]:
    with EmbeddingCache(tmp_path / "cache") as opened:
        yield opened


class TestContractOfTexts(EncoderContract):
    @pytest.fixture
    def encoder(self, cache: EmbeddingCache) -> TextEncoder:
        return CachedEncoder(Texts(), cache)


class TestContractOfPictures(ImageEncoderContract):
    @pytest.fixture
    def encoder(self, cache: EmbeddingCache) -> ImageEncoder:
        return CachedEncoder(FakeEncoder(), cache)


class TestContractWhereNothingCanBeKept(ImageEncoderContract):
    @pytest.fixture
    def encoder(self, tmp_path: Path) -> ImageEncoder:
        cache = EmbeddingCache(tmp_path / "cache")
        (tmp_path / "cache").write_text("a file where the folder should be")
        return CachedEncoder(FakeEncoder(), cache)


def vectors(numbers: range) -> dict[bytes, Any]:
    return {key_of(n): vector_of(n) for n in numbers}


def has(cache: EmbeddingCache, numbers: range) -> list[int]:
    found = cache.get([key_of(n) for n in numbers], DIM)
    for number in numbers:
        if key_of(number) in found:
            np.testing.assert_array_equal(found[key_of(number)], vector_of(number))
    return [n for n in numbers if key_of(n) in found]


def the_file(cache: EmbeddingCache) -> Path:
    (path,) = cache.path.glob("*.sqlite")
    return path


# Texts


def test_a_text_is_encoded_once_for_each_role(cache: EmbeddingCache) -> None:
    inner = Counting()
    encoder = CachedEncoder(inner, cache)
    first = encoder.encode_texts(["a", "b", "a"], "passage")
    second = encoder.encode_texts(["b", "c", "a"], "passage")
    encoder.encode_texts(["a"], "query")
    assert inner.texts == [["a", "b"], ["c"], ["a"]]
    np.testing.assert_array_equal(first, FakeEncoder().encode_texts(["a", "b", "a"], "passage"))
    np.testing.assert_array_equal(second, FakeEncoder().encode_texts(["b", "c", "a"], "passage"))


def test_another_cache_object_and_another_process_later_find_it(tmp_path: Path) -> None:
    inner = Counting()
    with EmbeddingCache(tmp_path) as cache:
        before = CachedEncoder(inner, cache).encode_texts(["a", "cut \ud83d"], "query")
    with EmbeddingCache(str(tmp_path)) as cache:
        after = CachedEncoder(inner, cache).encode_texts(["a", "cut \ud83d"], "query")
    assert len(inner.texts) == 1
    np.testing.assert_array_equal(before, after)


def test_spaces_do_not_mix(cache: EmbeddingCache) -> None:
    small, large = CachedEncoder(Counting(16), cache), CachedEncoder(Counting(32), cache)
    other, another = CachedEncoder(Texts("one"), cache), CachedEncoder(Texts("two"), cache)
    for encoder in (small, large, other, another) * 2:
        assert encoder.encode_texts(["a"], "query").shape == (1, encoder.space.dim)
    connection = sqlite3.connect(the_file(cache))
    assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (4,)
    connection.close()


def test_an_error_of_the_encoder_passes_and_keeps_nothing(cache: EmbeddingCache) -> None:
    class Failing(Texts):
        def encode_texts(self, texts: Sequence[str], role: Role) -> Any:
            raise ConnectionError("down")

    with pytest.raises(ConnectionError):
        CachedEncoder(Failing(), cache).encode_texts(["a"], "query")
    assert CachedEncoder(Texts(), cache).encode_texts(["a"], "query").shape == (1, 16)


@pytest.mark.parametrize("value", [np.nan, 0.0, 2.0, np.inf])
def test_a_vector_that_is_not_of_length_1_is_not_kept(cache: EmbeddingCache, value: float) -> None:
    cache.put({key_of(0): np.full(DIM, value), key_of(1): vector_of(1)})
    assert has(cache, range(2)) == [1]


# Pictures


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = []
    for number in range(150):
        path = tmp_path / f"{number}.png"
        noise = np.random.default_rng(number).integers(0, 255, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        paths.append(path)
    return paths


def test_pictures_that_are_kept_are_not_decoded(
    cache: EmbeddingCache, pictures: list[Path]
) -> None:
    inner = Counting()
    encoder = CachedEncoder(inner, cache)
    expected = encode_images(FakeEncoder(), pictures)
    np.testing.assert_array_equal(encoder.encode_images(pictures[:100]), expected[:100])
    assert (inner.preprocessed, sum(inner.pixels)) == (100, 100)
    np.testing.assert_array_equal(encoder.encode_images(pictures), expected)
    assert (inner.preprocessed, sum(inner.pixels)) == (150, 150)
    again = encoder.encode_images(str(path) for path in pictures)
    np.testing.assert_array_equal(again, expected)
    np.testing.assert_array_equal(encoder.encode_images([p.read_bytes() for p in pictures]), again)
    assert (inner.preprocessed, sum(inner.pixels)) == (150, 150)
    assert encoder.encode_images([]).shape == (0, 64)


def test_from_digest_to_vector(cache: EmbeddingCache, pictures: list[Path]) -> None:
    encoder = CachedEncoder(Counting(), cache)
    rows = encoder.encode_images(pictures[:2])
    digests = [digest_of(path) for path in pictures[:3]]
    first, second, third = encoder.kept_images([*digests])
    np.testing.assert_array_equal(np.stack([first, second]), rows)  # type: ignore[list-item]
    assert third is None
    assert encoder.kept_images(["", "no digest"]) == [None, None]
    assert encoder.kept_images([]) == []


def test_records_are_made_ready_without_decoding_what_is_kept(
    cache: EmbeddingCache, pictures: list[Path]
) -> None:
    inner = Counting()
    encoder = CachedEncoder(inner, cache)
    encoders = Encoders(encoder, encoder)
    records = [
        Record(str(i), image=ImageRef(str(path), "", "image/png", 8, 8))
        for i, path in enumerate(pictures[:3])
    ]

    def vectors() -> Any:
        ready = [
            encoders.opened(record, path) for record, path in zip(records, pictures, strict=False)
        ]
        return np.stack([point.vectors["image"] for point in encoders.points(ready)])

    first = vectors()
    np.testing.assert_array_equal(first, encode_images(FakeEncoder(), pictures[:3]))
    np.testing.assert_array_equal(vectors(), first)
    assert (inner.preprocessed, sum(inner.pixels)) == (3, 3)
    np.testing.assert_array_equal(encoders.kept(digest_of(pictures[0])), first[0])  # type: ignore[arg-type]
    pictures[0].write_bytes(pictures[3].read_bytes())
    assert not np.array_equal(vectors()[0], first[0])


def test_a_vector_that_the_caller_gave_is_not_kept_as_the_encoders(
    cache: EmbeddingCache, pictures: list[Path]
) -> None:
    encoder = CachedEncoder(FakeEncoder(), cache)
    encoders = Encoders(encoder, encoder)
    given = {"image": np.eye(1, 64, dtype=np.float32)[0]}
    encoders.points([encoders.opened(Record("a"), pictures[0], given)])
    assert encoders.kept(digest_of(pictures[0])) is None
    plain = Encoders(FakeEncoder(), FakeEncoder())
    assert plain.kept(digest_of(pictures[0])) is None
    assert plain.opened(Record("a"), pictures[0]).pixels is not None


def test_a_picture_that_has_changed_is_another(cache: EmbeddingCache, tmp_path: Path) -> None:
    encoder = CachedEncoder(Counting(), cache)
    path = tmp_path / "a.png"
    Image.new("RGB", (9, 9), "red").save(path)
    before = encoder.encode_images([path])
    Image.new("RGB", (9, 9), "blue").save(path)
    assert not np.array_equal(encoder.encode_images([path]), before)


def test_pil_pictures_are_known_by_their_pixels(cache: EmbeddingCache) -> None:
    inner = Counting()
    encoder = CachedEncoder(inner, cache)
    for _ in range(2):
        images = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue", "red")]
        rows = encoder.encode_images(images)
        np.testing.assert_array_equal(rows, encode_images(FakeEncoder(), images))
    assert inner.pixels == [2]


def test_pixels_are_encoded_once(cache: EmbeddingCache) -> None:
    inner = Counting()
    encoder = CachedEncoder(inner, cache)
    red, blue = (encoder.preprocess(Image.new("RGB", (9, 9), c)) for c in ("red", "blue"))
    first = encoder.encode_pixels([red, blue, red])
    np.testing.assert_array_equal(encoder.encode_pixels([blue[::1], red]), first[[1, 0]])
    assert inner.pixels == [2]
    encoder.encode_pixels([red.astype(np.float64)])
    encoder.encode_pixels([red.reshape(1, -1)[0, ::-1]])
    assert inner.pixels == [2, 1, 1]


def test_a_picture_that_cannot_be_opened_is_named(cache: EmbeddingCache, tmp_path: Path) -> None:
    encoder = CachedEncoder(FakeEncoder(), cache)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n half")
    for path in (broken, tmp_path / "none.png"):
        with pytest.raises(SourceError, match=path.name):
            encoder.encode_images([path])


def test_an_index_works_through_it(cache: EmbeddingCache, tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.new("RGB", (32, 32), "red").save(path)
    image = ImageRef(str(path), digest_of(path), "image/png", 32, 32)
    found = []
    for name in ("first", "second"):
        inner = Counting()
        encoder = CachedEncoder(inner, cache)
        with MultimodalIndex.open(
            tmp_path / name, text_encoder=encoder, image_encoder=encoder
        ) as index:
            index.add([Record("a", text="a red bicycle"), Record("b", image=image)])
            found.append([hit.record.id for hit in index.search("bicycle")])
            assert index.encoders.shared
    assert found[0] == found[1]
    assert inner.texts == []
    assert inner.pixels == []


def test_files_are_indexed_through_it(cache: EmbeddingCache, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for colour in ("red", "blue"):
        Image.new("RGB", (320, 240), colour).save(folder / f"{colour}.jpg")
    found = []
    for name in ("first", "second"):
        inner = Counting()
        encoder = CachedEncoder(inner, cache)
        with MultimodalIndex.open(
            tmp_path / name, text_encoder=encoder, image_encoder=encoder
        ) as index:
            index.add_files([folder])
            hits = index.search(image=folder / "red.jpg", routes=["image->image"])
            found.append([(hit.record.id, hit.record.image, hit.score) for hit in hits])
    assert found[0] == found[1]
    assert len(found[0]) == 2
    assert inner.preprocessed == 1, "the query, and nothing of the index"
    assert inner.pixels == []


def test_the_bundled_encoders_vectors_are_kept_bit_by_bit(cache: EmbeddingCache) -> None:
    bundled = BundledEncoder()
    encoder = CachedEncoder(bundled, cache)
    direct = bundled.encode_texts(["a cat", "猫"], "query")
    for _ in range(2):
        np.testing.assert_array_equal(encoder.encode_texts(["a cat", "猫"], "query"), direct)


# What it is made of


def test_of_an_image_encoder_it_makes_one(cache: EmbeddingCache) -> None:
    assert isinstance(CachedEncoder(FakeEncoder(), cache), CachedImageEncoder)
    assert isinstance(CachedEncoder(FakeEncoder(), cache), ImageEncoder)
    assert isinstance(CachedEncoder(Texts(), cache), TextEncoder)
    assert not isinstance(CachedEncoder(Texts(), cache), ImageEncoder)
    assert CachedEncoder(FakeEncoder(), cache).image_size == FakeEncoder().image_size


@pytest.mark.parametrize("encoder", [Texts(), FakeEncoder()])
def test_a_pickled_copy_shares_the_file(cache: EmbeddingCache, encoder: TextEncoder) -> None:
    cached = CachedEncoder(encoder, cache)
    before = cached.encode_texts(["a"], "query")
    copy = pickle.loads(pickle.dumps(cached))
    assert type(copy) is type(cached)
    assert copy.space == cached.space
    np.testing.assert_array_equal(copy.encode_texts(["a"], "query"), before)
    copy.cache.close()


def test_arguments_that_cannot_be_used(cache: EmbeddingCache, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="is a folder"):
        EmbeddingCache(tmp_path / "file")
    with pytest.raises(InputError, match="1,048,576"):
        EmbeddingCache(tmp_path, max_bytes=1000)
    encoder: Any
    for encoder in (None, "bundled", CachedEncoder(Texts(), cache)):
        with pytest.raises(InputError, match="no encoder"):
            CachedEncoder(encoder, cache)
    with pytest.raises(InputError, match="not a str"):
        CachedEncoder(Texts(), "folder")  # type: ignore[call-overload]
    with pytest.raises(InputError, match="not bytes"):
        CachedEncoder(Texts(), cache).encode_texts([b"a"], "query")  # type: ignore[list-item]


# Size


def size(cache: EmbeddingCache) -> int:
    return sum(path.stat().st_size for path in cache.path.iterdir())


def test_the_size_is_bounded_and_the_least_recently_used_go(tmp_path: Path) -> None:
    batch = 100  # of 256 + 128 bytes: 27 such fill a MB
    with EmbeddingCache(tmp_path, max_bytes=MB) as cache:
        cache.put(vectors(range(batch)))
        for start in range(batch, 80 * batch, batch):
            cache.put(vectors(range(start, start + batch)))
            assert has(cache, range(batch)) == list(range(batch))  # used again and again
        assert has(cache, range(79 * batch, 80 * batch)) == list(range(79 * batch, 80 * batch))
        kept = has(cache, range(80 * batch))
        assert 1500 < len(kept) < 3000
        assert kept == [*range(batch), *range(kept[batch], 80 * batch)]  # all of the newest
    assert size(cache) < 1.2 * MB


def test_vectors_of_other_lengths_keep_the_bound(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with EmbeddingCache(tmp_path, max_bytes=2 * MB) as cache:
        for step in range(120):
            dim = int(rng.choice([16, 384, 1536, 3072]))
            rows = rng.normal(size=(32, dim)).astype(np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            keys = [f"{step} {i}".encode() for i in range(32)]
            cache.put(dict(zip(keys, rows, strict=True)))
            assert len(cache.get(keys, dim)) == 32
    assert size(cache) < 2.6 * MB


def test_a_batch_that_is_too_large_keeps_what_it_can(tmp_path: Path) -> None:
    with EmbeddingCache(tmp_path, max_bytes=MB) as cache:
        cache.put(vectors(range(9000)))
        assert has(cache, range(9000))[-1] == 8999
    assert size(cache) < 1.2 * MB


def test_reading_alone_counts_as_use(tmp_path: Path) -> None:
    with EmbeddingCache(tmp_path, max_bytes=MB) as cache:
        cache.put(vectors(range(1000)))
        cache.put(vectors(range(1000, 2000)))
    with EmbeddingCache(tmp_path, max_bytes=MB) as cache:
        has(cache, range(1000))
    with EmbeddingCache(tmp_path, max_bytes=MB) as cache:
        for start in range(2000, 2800, 100):
            cache.put(vectors(range(start, start + 100)))
        kept = has(cache, range(2000))
    assert set(range(1000)) <= set(kept)
    assert len(kept) < 2000


# Threads and processes


def test_many_threads_at_once(cache: EmbeddingCache) -> None:
    start = threading.Barrier(8)

    def work(seed: int) -> None:
        start.wait(10)
        chosen = np.random.default_rng(seed)
        for _ in range(20):
            low = int(chosen.integers(0, KEYS - 10))
            cache.put(vectors(range(low, low + 10)))
            assert has(cache, range(low, low + 10)) == list(range(low, low + 10))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def child(folder: Path, seed: int, rounds: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(CHILD), str(folder), str(seed), str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_many_processes_at_once(cache: EmbeddingCache) -> None:
    children = [child(cache.path, seed, 30) for seed in range(3)]
    for process in children:
        said, _ = process.communicate(timeout=60)
        assert said.split() == ["started"]
        assert process.returncode == 0
    assert len(has(cache, range(KEYS))) > KEYS * 0.9


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_processes_that_are_killed_leave_it_whole(
    cache: EmbeddingCache, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in range(3):
        process = child(cache.path, seed, 0)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        has(cache, range(KEYS))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        cache.put(vectors(range(KEYS, KEYS + 5)))
        assert has(cache, range(KEYS, KEYS + 5)) == list(range(KEYS, KEYS + 5))
        assert has(cache, range(KEYS))
    connection = sqlite3.connect(the_file(cache))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    (orphans,) = connection.execute(
        "SELECT count(*) FROM uses WHERE id NOT IN (SELECT id FROM vectors)"
    ).fetchone()
    connection.close()
    assert orphans == 0
    assert not caplog.records


def in_a_child(cache: EmbeddingCache, put: range, expected: range) -> None:
    cache.put(vectors(put))
    os._exit(0 if has(cache, expected) == list(expected) else 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_opens_the_file_anew(cache: EmbeddingCache) -> None:
    cache.put(vectors(range(5)))
    context = multiprocessing.get_context("fork")
    with cache._lock:  # as another thread may hold it at that moment
        process = context.Process(target=in_a_child, args=(cache, range(5, 9), range(9)))
        process.start()
        process.join(30)
    assert process.exitcode == 0
    assert has(cache, range(9)) == list(range(9))


# Damage


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("damage", ["not a database", "cut short", "overwritten", "empty"])
@pytest.mark.parametrize("opened", [True, False])
def test_a_damaged_file_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str, opened: bool
) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.put(vectors(range(500)))
    cache.close()
    file = the_file(cache)
    if opened:
        has(cache, range(1))
    data = file.read_bytes()
    if damage == "not a database":
        file.write_bytes(b"hello" * 50_000)
    elif damage == "cut short":
        file.write_bytes(data[: len(data) // 2 + 100])
    elif damage == "overwritten":
        file.write_bytes(data[:100] + b"\xff" * (len(data) - 100))
    else:
        file.write_bytes(b"")
    has(cache, range(500))  # no error, and what is found is right
    cache.put(vectors(range(500)))
    assert has(cache, range(500)) == list(range(500))
    cache.close()
    assert has(cache, range(500)) == list(range(500))
    cache.close()
    connection = sqlite3.connect(the_file(cache))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    if damage != "empty":
        assert any("begins anew" in message for message in warned(caplog))


def test_numbers_that_rotted_are_not_given_out(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.put(vectors(range(3)))
    cache.close()
    data = the_file(cache).read_bytes()
    value = vector_of(1).tobytes()
    assert data.count(value) == 1
    the_file(cache).write_bytes(data.replace(value, value[:100] + b"\0" * 80 + value[180:]))
    assert has(cache, range(3)) == [0, 2]
    cache.put(vectors(range(1, 2)))
    assert has(cache, range(3)) == [0, 1, 2]
    cache.close()


def test_two_that_find_the_damage_go_on_together(tmp_path: Path) -> None:
    first = EmbeddingCache(tmp_path)
    first.put(vectors(range(3)))
    first.close()
    the_file(first).write_bytes(b"hello" * 50_000)
    second = EmbeddingCache(tmp_path)
    first.put(vectors(range(3)))
    second.put(vectors(range(3, 6)))
    assert has(first, range(6)) == has(second, range(6)) == list(range(6))
    first.close()
    second.close()
    assert the_file(first).name == "embeddings-1.sqlite"


def test_where_it_cannot_write_it_says_so_once_and_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    (tmp_path / "cache").write_text("in the way")
    for _ in range(3):
        cache.put(vectors(range(3)))
        assert has(cache, range(3)) == []
    assert len(warned(caplog)) == 1
    assert "is not used" in warned(caplog)[0]


def test_while_another_process_writes_it_reads_and_gives_up_writing(
    cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedding_file, "WAIT", 0.05)
    cache.put(vectors(range(3)))
    other = sqlite3.connect(the_file(cache), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    cache.put(vectors(range(3, 6)))
    assert has(cache, range(6)) == [0, 1, 2]
    other.execute("ROLLBACK")
    other.close()
    cache.put(vectors(range(3, 6)))
    assert has(cache, range(6)) == list(range(6))
    assert "locked" in warned(caplog)[0]
