"""MultimodalIndex: what goes in, what each route finds, and what several threads make of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmrag.errors import (
    DamagedSource,
    InputError,
    SpaceMismatch,
    UnknownName,
    UnreadableSource,
    VectorError,
)
from mmrag.filters import Exists, Range
from mmrag.fusion import rrf
from mmrag.index import MultimodalIndex
from mmrag.routes import ROUTES
from mmrag.testing import FakeEncoder, FakeReranker, MemoryStore
from mmrag.types import Caption, Hit, ImageRef, Locator, Record, Space, key_of

from .files import picture, saved
from .ingest_files import manual, opened, unit, write

DIM = 16


class Named(FakeEncoder):
    """A second encoder, of a space of its own, in which texts and pictures can meet: a picture
    whose corner is of a known colour lies where the name of that colour does."""

    def __init__(self) -> None:
        super().__init__(24)
        self._space = Space("named", "0" * 64, 24)

    def preprocess(self, image: Image.Image) -> Any:
        return image.convert("RGB").getpixel((0, 0))

    def encode_pixels(self, pixels: Sequence[Any]) -> Any:
        names = {(255, 0, 0): "red", (0, 0, 255): "blue", (0, 128, 0): "green"}
        return self.encode_texts([names.get(pixel, "other") for pixel in pixels], "passage")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[MultimodalIndex]:
    with opened(tmp_path / "kb") as index:
        yield index


@pytest.fixture
def two(tmp_path: Path) -> Iterator[MultimodalIndex]:
    """An index with two encoders."""
    with MultimodalIndex.open(
        tmp_path / "two", text_encoder=FakeEncoder(DIM), image_encoder=Named()
    ) as index:
        yield index


def ref(folder: Path, name: str, image: Image.Image) -> ImageRef:
    path = folder / name
    path.write_bytes(saved(image, "PNG"))
    return ImageRef(str(path), "0" * 64, "image/png", image.width, image.height)


def colour(folder: Path, name: str) -> Record:
    image = ref(folder, f"{name}.png", Image.new("RGB", (20, 10), name))
    return Record(f"{name} picture", image=image)


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.record.id for hit in hits]


def raw(hits: Sequence[Hit]) -> dict[str, float]:
    """The raw score of each hit of a search by one route."""
    return {hit.record.id: hit.routes[0].score for hit in hits}


# Adding


def test_records_come_back_as_they_were(index: MultimodalIndex, tmp_path: Path) -> None:
    given = Record(
        "a",
        "words",
        image=ref(tmp_path, "a.png", picture()),
        caption=Caption("a gradient", "from red to green", ("k",), "on it", {"x": "1"}),
        source="/files/a.pdf",
        locator=Locator(page=2, bbox=(0, 0.5, 1, 1)),
        metadata={"year": 2020, "tags": ["x", "y"]},
        extra={"_node": "{}"},
    )
    assert index.add([given, Record("b", "other words")]) == 2
    assert index.get(["b", "nowhere", "a"]) == [Record("b", "other words"), given]
    assert index.get("a") == [given]
    assert index.count() == 2


def test_the_same_id_again_replaces_the_record(index: MultimodalIndex) -> None:
    index.add([Record("a", "old pump"), Record("b", "valve")])
    index.add([Record("a", "new motor"), Record("b", "valve"), Record("b", "valve two")])
    assert index.count() == 2
    assert ids(index.search("old pump", routes=["keywords"])) == []
    assert ids(index.search("motor", routes=["keywords"])) == ["a"]
    assert index.get("b")[0].text == "valve two"


def test_many_records_in_batches_from_a_generator(index: MultimodalIndex) -> None:
    assert index.add(Record(f"r{n}", f"text number {n}") for n in range(300)) == 300
    assert index.add([]) == 0
    assert index.count() == 300
    assert ids(index.search("text number 217", limit=1)) == ["r217"]


def test_a_record_has_only_the_fields_that_it_has_content_for(
    index: MultimodalIndex, tmp_path: Path
) -> None:
    index.add(
        [
            Record("nothing"),
            Record("blank", "  \n", caption=Caption(keywords=("pump",))),
            Record("text", "words"),
            Record("picture", image=ref(tmp_path, "a.png", picture())),
            Record(
                "all", "x", ref(tmp_path, "b.png", picture()), Caption("c", data_points={"p": "q"})
            ),
        ]
    )
    held = {field: index.store.count(having=field) for field in ("text", "image", "caption")}
    assert held == {"text": 2, "image": 2, "caption": 1}
    assert index.store.count(having="keywords") == 3
    assert ids(index.search("pump", routes=["keywords"])) == ["blank"]
    assert ids(index.search("q", routes=["keywords"])) == ["all"]


def test_given_vectors_are_taken_and_the_others_made(index: MultimodalIndex) -> None:
    here, there = unit(range(1, DIM + 1)), unit(range(DIM, 0, -1))
    records = [Record("a", "apple"), Record("b", "pear"), Record("c", "plum")]
    index.add(records, vectors={"text": [here, None, there], "image": [None, there, None]})
    by_text = index.encoders.text.encode_texts(["pear"], "passage")[0]
    order = sorted("abc", key=key_of)
    expected = {"a": here, "b": by_text, "c": there}
    np.testing.assert_allclose(
        index.store.sample("text", 5), [expected[name] for name in order], atol=1e-6
    )
    np.testing.assert_allclose(index.store.sample("image", 5), [there], atol=1e-6)


def test_a_picture_whose_vector_is_given_is_not_opened(index: MultimodalIndex) -> None:
    image = ImageRef("/nowhere/a.png", "0" * 64, "image/png", 1, 1)
    index.add([Record("a", image=image)], vectors={"image": [unit(range(1, DIM + 1))]})
    assert index.store.count(having="image") == 1
    with pytest.raises(UnreadableSource, match=r"nowhere/a\.png"):
        index.add([Record("b", image=image)])


@pytest.mark.parametrize(
    ("vectors", "error", "says"),
    [
        ({"text": [np.ones(DIM)]}, InputError, "1 text vectors for 2 records"),
        ({"text": [np.ones(DIM)] * 3}, InputError, "3 text vectors for 2 records"),
        ({"text": []}, InputError, "0 text vectors for 2 records"),
        ({"text": [None, np.ones(DIM + 1)]}, VectorError, "'b': field 'text' takes 16"),
        ({"text": [None, np.full(DIM, np.nan)]}, VectorError, "'b'.* NaN"),
        ({"text": [np.full(DIM, np.inf), None]}, VectorError, "'a'.* infinity"),
        ({"image": [None, np.zeros(DIM)]}, VectorError, "'b'.* length of 0"),
        ({"text": [None, ["x"] * DIM]}, VectorError, "takes numbers"),
        ({"sound": [None, np.ones(DIM)]}, UnknownName, "unknown dense field 'sound'"),
        ({"keywords": [None, np.ones(DIM)]}, UnknownName, "'keywords'"),
    ],
)
def test_vectors_that_do_not_fit(
    index: MultimodalIndex, vectors: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        index.add([Record("a", "x"), Record("b", "y")], vectors=vectors)
    assert index.count() == 0


def test_a_picture_that_cannot_be_opened_stops_adding_and_keeps_earlier_batches(
    index: MultimodalIndex, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    bad = ImageRef(str(tmp_path / "bad.png"), "0" * 64, "image/png", 1, 1)
    records = [Record(f"r{n}", f"text {n}") for n in range(200)]
    records[150] = Record("bad", image=bad)
    before = set(threading.enumerate())
    with pytest.raises(DamagedSource):
        index.add(records)
    assert index.count() == 128
    assert set(threading.enumerate()) <= before


def test_what_is_not_json_is_refused(index: MultimodalIndex) -> None:
    with pytest.raises(InputError, match="colour"):
        index.add([Record("a", "x", metadata={"colour": {1, 2}})])
    with pytest.raises(InputError, match="non-empty string"):
        index.add([Record("", "x")])


# Deleting and counting


def test_deleting_by_id_and_by_filter(index: MultimodalIndex) -> None:
    index.add([Record(f"r{n}", f"text {n}", metadata={"n": n}) for n in range(10)])
    index.delete(["r0", "r1", "nowhere"])
    index.delete("r2")
    index.delete(iter(["r3"]))
    assert index.count() == 6
    index.delete(where={"n": [4, 5]})
    index.delete(where=Range("n", gte=9))
    assert sorted(ids(index.search("text"))) == ["r6", "r7", "r8"]
    index.delete([])
    for arguments in ({}, {"ids": ["r6"], "where": {"n": 6}}, {"where": {}}):
        with pytest.raises(InputError, match="ids, or a filter"):
            index.delete(**arguments)  # type: ignore[arg-type]
    assert index.count() == 3


def test_counting_by_filter(index: MultimodalIndex, tmp_path: Path) -> None:
    index.add(
        [Record("a", "x", metadata={"lang": "en"}), Record("b", "y"), colour(tmp_path, "red")]
    )
    assert index.count({"lang": "en"}) == 1
    assert index.count({"modality": "image"}) == 1
    assert index.count(~Exists("lang")) == 2
    assert index.count({}) == index.count(None) == 3


def test_scanning_by_filter(index: MultimodalIndex) -> None:
    index.add([Record(name, name, metadata={"n": n}) for n, name in enumerate("abc")])
    found = list(index.scan())
    assert sorted(record.id for record in found) == ["a", "b", "c"]
    assert found == index.get([record.id for record in found])
    assert {record.id for record in index.scan({"n": [0, 2]})} == {"a", "c"}


# Routes


def test_text_finds_text(index: MultimodalIndex) -> None:
    index.add([Record("a", "reset the router"), Record("b", "bake some bread")])
    hits = index.search("reset the router", routes=["text->text"])
    assert ids(hits) == ["a", "b"]
    assert raw(hits)["a"] == pytest.approx(1, abs=1e-6)
    assert [route.route for hit in hits for route in hit.routes] == ["text->text"] * 2
    assert [hit.routes[0].rank for hit in hits] == [1, 2]


def test_pictures_find_pictures(index: MultimodalIndex, tmp_path: Path) -> None:
    index.add([colour(tmp_path, name) for name in ("red", "green", "blue", "white")])
    hits = index.search(image=Image.new("RGB", (300, 200), "blue"), routes=["image->image"])
    assert ids(hits)[0] == "blue picture"
    assert raw(hits)["blue picture"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("given", ["path", "text", "bytes", "file"])
def test_a_picture_may_be_given_in_many_ways(
    index: MultimodalIndex, tmp_path: Path, given: str
) -> None:
    index.add([colour(tmp_path, name) for name in ("red", "blue")])
    path = tmp_path / "red.png"
    with path.open("rb") as file:
        image: Any = {"path": path, "text": str(path), "bytes": path.read_bytes(), "file": file}
        hits = index.search(image=image[given])
    assert ids(hits)[0] == "red picture"
    assert hits.image is not None


def test_text_finds_captions(index: MultimodalIndex) -> None:
    index.add([Record("a", caption=Caption("a red bicycle")), Record("b", "a red bicycle")])
    assert ids(index.search("a red bicycle", routes=["text->caption"])) == ["a"]


def test_keywords_find_words_in_texts_and_captions(index: MultimodalIndex) -> None:
    index.add(
        [
            Record("text", "the zebra crossing"),
            Record("caption", caption=Caption(keywords=("zebra",), text_content="STOP")),
            Record("data", caption=Caption(data_points={"gauge": "404"})),
            Record("none", "nothing of it"),
        ]
    )
    assert set(ids(index.search("zebra", routes=["keywords"]))) == {"text", "caption"}
    assert ids(index.search("stop", routes=["keywords"])) == ["caption"]
    assert ids(index.search("404", routes=["keywords"])) == ["data"]


def test_two_encoders_text_finds_pictures_and_pictures_find_text(
    two: MultimodalIndex, tmp_path: Path
) -> None:
    assert two.encoders.spaces().keys() == {"text", "image", "caption", "cross_text"}
    two.add([colour(tmp_path, name) for name in ("red", "green", "blue")])
    two.add([Record("blue text", "blue"), Record("green text", "green")])
    assert two.store.count(having="cross_text") == two.store.count(having="text") == 2

    hits = two.search("blue", routes=["text->image"])
    assert ids(hits)[0] == "blue picture"
    assert raw(hits)["blue picture"] == pytest.approx(1, abs=1e-5)

    hits = two.search(image=Image.new("RGB", (9, 9), "green"), routes=["image->text"])
    assert ids(hits)[0] == "green text"
    assert set(ids(hits)) == {"green text", "blue text"}
    assert raw(hits)["green text"] == pytest.approx(1, abs=1e-5)

    assert ids(two.search("green"))[:2] == ["green text", "green picture"]


def test_with_one_encoder_pictures_search_the_text_field(index: MultimodalIndex) -> None:
    assert index.encoders.spaces().keys() == {"text", "image", "caption"}
    index.add([Record("a", "words")])
    assert ids(index.search(image=picture(), routes=["image->text"])) == ["a"]


def test_by_default_a_query_takes_all_routes_that_it_can(
    two: MultimodalIndex, tmp_path: Path
) -> None:
    image = ref(tmp_path, "red.png", Image.new("RGB", (9, 9), "red"))
    two.add([Record("all", "red", image, Caption("red"))])

    def taken(**query: Any) -> set[str]:
        (hit,) = two.search(**query)
        return {route.route for route in hit.routes}

    of_text = {"text->text", "text->caption", "text->image", "keywords"}
    of_image = {"image->image", "image->text"}
    assert taken(text="red") == of_text
    assert taken(image=picture()) == of_image
    assert taken(text="red", image=picture()) == of_text | of_image == set(ROUTES)
    assert taken(text="red", routes="keywords") == {"keywords"}


def test_the_score_is_the_sum_of_what_the_routes_contribute(
    two: MultimodalIndex, tmp_path: Path
) -> None:
    two.add([colour(tmp_path, name) for name in ("red", "green", "blue")])
    two.add([Record(f"{n}", f"{n} red things", caption=Caption("blue")) for n in range(5)])
    for fusion in (None, "rrf", "dbsf", "weighted", rrf):
        hits = two.search("red", image=Image.new("RGB", (9, 9), "blue"), fusion=fusion)
        assert len(hits) == 8
        for hit in hits:
            assert hit.score == pytest.approx(sum(r.contribution for r in hit.routes))
        assert [hit.score for hit in hits] == sorted((h.score for h in hits), reverse=True)
    (best, *_) = two.search("red", routes=["text->text"], fusion="rrf")
    assert best.score == pytest.approx(1 / 61)


# Filters, limits


def test_a_search_with_a_filter(index: MultimodalIndex) -> None:
    index.add(
        [
            Record(
                f"r{n}",
                f"pump {n}",
                source=f"{n % 2}.txt",
                locator=Locator(page=n),
                metadata={"n": n},
            )
            for n in range(20)
        ]
    )
    found = {
        frozenset(ids(index.search("pump", where=where)))
        for where in ({"n": [3, 4]}, {"page": [3, 4]})
    }
    assert found == {frozenset({"r3", "r4"})}
    assert ids(index.search("pump 7", where={"source": "1.txt", "n": 7})) == ["r7"]
    assert ids(index.search("pump 7", where=Range("n", lt=1))) == ["r0"]


def test_limits(index: MultimodalIndex) -> None:
    index.add([Record(f"r{n}", f"pump {n}") for n in range(120)])
    assert len(index.search("pump", limit=1)) == 1
    assert len(index.search("pump")) == 10
    assert len(index.search("pump", limit=100)) == 100
    everything = index.search("pump", limit=10_000)
    assert sorted(ids(everything)) == sorted(f"r{n}" for n in range(120))
    assert ids(index.search("pump", limit=40)) == ids(everything)[:40]


def test_an_empty_index_answers(index: MultimodalIndex) -> None:
    assert list(index.search("pump")) == []
    assert list(index.search("pump", image=picture(), limit=10_000)) == []
    assert index.get(["a"]) == []
    index.delete(["a"])


# Reopening, places


def test_reopening_keeps_everything(tmp_path: Path) -> None:
    with opened(tmp_path / "kb") as index:
        index.add([Record(f"r{n}", f"pump {n}") for n in range(30)])
        before = [(hit.record, hit.score) for hit in index.search("pump 3")]
    with opened(tmp_path / "kb", create=False) as index:
        assert index.count() == 30
        assert [(hit.record, hit.score) for hit in index.search("pump 3")] == before


def test_an_empty_path_is_not_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="path is empty"):
        opened("")
    assert not list(tmp_path.iterdir())


def test_encoders_by_name(tmp_path: Path) -> None:
    names = {"text_encoder": "bundled", "image_encoder": "bundled"}
    with MultimodalIndex.open(tmp_path / "kb", **names) as index:
        assert index.encoders.shared
    with pytest.raises(UnknownName, match="siglip2-base"):
        MultimodalIndex.open(tmp_path / "other", image_encoder="siglip2-bas")
    with pytest.raises(InputError, match="takes texts alone"):
        MultimodalIndex.open(tmp_path / "other", image_encoder="bge-m3")
    assert not (tmp_path / "other").exists()


def test_the_file_of_a_hit_is_found_from_every_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "docs", {"a.txt": "a pump", "b.pdf": manual(2, 1)})
    with opened(tmp_path / "kb") as index:
        monkeypatch.chdir(tmp_path)
        index.add_files(["docs"])
        monkeypatch.chdir("/")
        hits = index.search("pump", limit=20)
        assert {hit.record.source for hit in hits} == {"docs/a.txt", "docs/b.pdf"}
        for hit in hits:
            path = index.source_path(hit.record)
            assert path == tmp_path.resolve() / hit.record.source
            assert path.is_file()


def test_the_source_of_a_record_of_ones_own_is_taken_as_it_is(index: MultimodalIndex) -> None:
    assert index.source_path(Record("a", "x", source="notes/a.txt")) == Path("notes/a.txt")
    for source in ("", "https://example.org/a.txt"):
        with pytest.raises(InputError, match="no file"):
            index.source_path(Record("a", "x", source=source))


def test_pictures_of_hits_can_be_opened(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.pdf": manual(3, 1), "b.png": saved(picture(), "PNG")})
    with opened(tmp_path / "kb") as index:
        index.add_files([docs])
        hits = index.search(image=picture(160, 120, seed=11), limit=20)
        shown = [hit.record for hit in hits if hit.record.image]
        assert {Path(r.source).name for r in shown} == {"a.pdf", "b.png"}
        scanned = index.scan({"modality": "image"})
        for record in [*shown, *index.get([r.id for r in shown]), *scanned]:
            assert record.image is not None
            assert Path(record.image.uri).is_absolute()
            with Image.open(record.image.uri) as image:
                assert image.size == (record.image.width, record.image.height)
    # What is derived moves with the index.
    (tmp_path / "kb").rename(tmp_path / "moved")
    with opened(tmp_path / "moved") as index:
        for hit in index.search(image=picture(), limit=20):
            if hit.record.image:
                assert Path(hit.record.image.uri).exists()


def test_a_store_of_ones_own_needs_no_folder(tmp_path: Path) -> None:
    encoder = FakeEncoder(DIM)
    store = MemoryStore()
    index = MultimodalIndex.open(store=store, text_encoder=encoder, image_encoder=encoder)
    index.add([Record("a", "words"), colour(tmp_path, "red")])
    assert ids(index.search("words"))[0] == "a"
    assert index.info().records == 2
    again = MultimodalIndex.open(store=store, text_encoder=encoder, image_encoder=encoder)
    assert again.count() == 2


def test_info(tmp_path: Path) -> None:
    docs = write(
        tmp_path / "docs", {"a.txt": "words", "b.png": saved(picture(), "PNG"), "c.txt": b""}
    )
    with opened(tmp_path / "kb") as index:
        assert index.info().failed == []
        report = index.add_files([docs])
        known = index.info()
        assert known.records == 2
        assert known.modalities == {"text": 1, "image": 1}
        assert known.fields == {"text": 1, "image": 1, "caption": 0, "keywords": 1}
        assert known.encoders["text"].startswith("fake (16 dimensions")
        assert known.bytes > 10_000
        assert known.failed == report.failed != []


# Async and threads


def test_asearch_is_search(index: MultimodalIndex, tmp_path: Path) -> None:
    index.add([Record(f"r{n}", f"pump {n}", metadata={"n": n}) for n in range(40)])
    index.add([colour(tmp_path, "red")])
    queries: list[dict[str, Any]] = [
        {"text": "pump 3", "limit": 5},
        {"text": "pump", "where": {"n": [1, 2, 3]}, "routes": ["keywords"]},
        {"image": picture(), "fusion": "rrf"},
    ]

    async def search() -> list[Any]:
        return await asyncio.gather(*(index.asearch(**query) for query in queries * 5))

    found = asyncio.run(search())
    assert [list(hits) for hits in found] == [list(index.search(**q)) for q in queries] * 5
    with pytest.raises(InputError):
        asyncio.run(index.asearch(""))


def test_threads_search_while_one_adds_and_deletes(index: MultimodalIndex) -> None:
    index.add([Record(f"kept {n}", f"pump number {n}") for n in range(50)])
    done, failures, searched = threading.Event(), [], threading.Semaphore(0)

    def search(number: int) -> None:
        try:
            while not done.is_set():
                hits = index.search(f"pump number {number}", limit=20)
                assert hits[0].record.id == f"kept {number}"
                for hit in hits:
                    assert hit.record.text.startswith("pump ")
                    assert hit.score == pytest.approx(sum(r.contribution for r in hit.routes))
                assert len(set(ids(hits))) == len(hits)
                searched.release()
        except BaseException as error:
            failures.append(error)
            searched.release()

    threads = [threading.Thread(target=search, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for n in range(25):
        index.add([Record(f"{n} {m}", f"pump of round {n}, {m}") for m in range(80)])
        index.delete([f"{n} {m}" for m in range(60)])
        assert searched.acquire(timeout=30)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert index.count() == 50 + 25 * 20


def test_threads_that_add_at_once(index: MultimodalIndex, tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {f"{n}.txt": f"file {n}" for n in range(100)})

    def add(name: str) -> None:
        index.add(Record(f"{name} {n}", f"text {n} of {name}") for n in range(200))

    threads = [threading.Thread(target=add, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    assert index.add_files([docs]).added == 100
    for thread in threads:
        thread.join()
    assert index.count() == 700
    assert index.add_files([docs]).unchanged == 100


def test_a_vector_finds_what_its_words_find(index: MultimodalIndex) -> None:
    index.add([Record("a", "a red bicycle"), Record("b", "the price of tea")])
    vector = index.encoders.text.encode_texts(["bicycle"], "query")[0]
    hits = index.search_vector(vector, limit=1)
    dense = index.search("bicycle", limit=1, routes=["text->text", "text->caption", "text->image"])
    assert [hit.record.id for hit in hits] == ["a"]
    assert hits[0].score == pytest.approx(dense[0].score)
    for unfit in ("abc", [[1.0], [1.0, 2.0]], [1.0, 2.0], [float("nan")] * 16):
        with pytest.raises(VectorError):
            index.search_vector(unfit)  # type: ignore[arg-type]
    with pytest.raises(SpaceMismatch):
        index.search_vector(vector, encoder=FakeEncoder(8))


def test_a_search_may_be_reranked(index: MultimodalIndex) -> None:
    index.add([Record(f"{n}", f"shared word {n}") for n in range(80)])
    plain = index.search("shared word 7", limit=80)
    reranker = FakeReranker()
    hits = index.search("shared word 7", limit=5, rerank=reranker)
    assert len(hits) == 5
    scores = reranker.rerank("shared word 7", None, [hit.record for hit in plain[:50]])
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores, reverse=True)[:5])
    assert all(hit.routes[-1].route == "rerank" for hit in hits)
    assert asyncio.run(index.asearch("shared word 7", limit=5, rerank=reranker)) == hits
