"""Bad files and bad questions: each with its own error, and none at the cost of the others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmrag.demo import SAMPLE
from mmrag.errors import (
    DamagedSource,
    EmptySource,
    InputError,
    MmragError,
    NotAnIndex,
    SpaceMismatch,
    StoreError,
    StoreLocked,
    UnknownName,
    UnreadableSource,
)
from mmrag.index import MultimodalIndex
from mmrag.report import Failure, Report
from mmrag.testing import FakeEncoder
from mmrag.types import ImageRef, Record

from .files import Page, pdf, picture, png_header, saved, text_at
from .ingest_files import opened, records, write

KEY = "<" + "5a" * 32 + ">"
LOCK = f"/Encrypt << /Filter /Standard /V 1 /R 2 /Length 40 /P -4 /O {KEY} /U {KEY} >> "
GBK = "路由器的密码可以在背面的标签上找到，重置需要按住按钮十秒钟。"
JPEG = saved(picture(300, 200), "JPEG")


def cmyk() -> bytes:
    return saved(picture(seed=2).convert("CMYK"), "JPEG")


def sixteen_bits() -> bytes:
    ramp = np.linspace(0, 65535, 40 * 30).astype(np.uint16).reshape(30, 40)
    return saved(Image.fromarray(ramp), "PNG")


def palette() -> bytes:
    image = picture(seed=3).quantize(16)
    return saved(image, "PNG", transparency=3)


def animation() -> bytes:
    frames = [picture(seed=n) for n in range(4)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


GOOD: dict[str, str | bytes] = {
    "good.txt": "The good text about a pump.",
    "good.jpg": JPEG,
    "good.pdf": pdf(Page(text_at(60, 700, "The good page about a valve."))),
    "no-ending": JPEG,
    "picture.dat": saved(picture(), "WEBP", lossless=True),
    "cmyk.jpg": cmyk(),
    "sixteen.png": sixteen_bits(),
    "palette.png": palette(),
    "moving.gif": animation(),
    "gbk.txt": GBK.encode("gbk"),
    "utf16.txt": ("\ufeff" + GBK).encode("utf-16-le"),
    "line\nbreak 🐼.txt": "A strange name.",
}
BAD: dict[str, tuple[str | bytes, str, str]] = {
    "empty.txt": (b"", "EmptySource", "no bytes"),
    "blank.txt": (" \n\t\n", "EmptySource", "no text"),
    "empty.png": (b"", "EmptySource", "no bytes"),
    "torn.jpg": (JPEG[: len(JPEG) // 2], "DamagedSource", "truncated"),
    "head.png": (b"\x89PNG\r\n\x1a\n", "DamagedSource", "truncated"),
    "bomb.png": (png_header(50_000, 50_000), "TooLarge", "50,000 x 50,000 pixels"),
    "text.jpg": ("This is a text.", "DamagedSource", "its content is not one"),
    "text.pdf": ("This is a text.", "DamagedSource", "its content is not one"),
    "locked.pdf": (
        pdf(Page(text_at(60, 700, "x")), trailer=f"{LOCK} /ID [<00112233> <00112233>]"),
        "EncryptedSource",
        "password",
    ),
    "torn.pdf": (b"%PDF-1.7\n1 0 obj\n<< /Type /Cat", "DamagedSource", "broken"),
    "none.pdf": (pdf(), "EmptySource", "no pages"),
    "white.pdf": (pdf(Page("")), "EmptySource", "no text and no picture"),
    "binary.txt": (bytes(range(256)) * 20, "DamagedSource", "not text"),
    "film.mp4": (b"\0\0\0\x18ftypmp42" + bytes(100), "UnsupportedSource", ".mp4"),
    "archive.zip": (b"PK\x03\x04" + bytes(100), "UnsupportedSource", ".zip"),
}


def refused_file(folder: Path) -> None:
    """A file that the system refuses; root may read whatever has no permission, but not this."""
    if os.geteuid() != 0:
        (write(folder, {"refused.txt": "x"}) / "refused.txt").chmod(0)
    elif Path("/proc/self/mem").exists():
        (folder / "refused.txt").symlink_to("/proc/self/mem")
    else:
        (folder / "refused.txt").symlink_to("refused.txt")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MultimodalIndex, Report]]:
    """An index of a folder with all of the good and bad files, and the report of making it."""
    root = tmp_path_factory.mktemp("bad")
    docs = write(root / "docs", {**GOOD, **{name: item[0] for name, item in BAD.items()}})
    (docs / "circle").symlink_to(docs)
    (docs / "dangling.txt").symlink_to("nowhere")
    refused_file(docs)
    with opened(root / "kb") as index:
        yield index, index.add_files([docs])


@pytest.fixture(scope="module")
def filled(run: tuple[MultimodalIndex, Report]) -> MultimodalIndex:
    return run[0]


@pytest.fixture(scope="module")
def failed(run: tuple[MultimodalIndex, Report]) -> dict[str, Failure]:
    return {Path(failure.source).name: failure for failure in run[1].failed}


def test_every_good_file_is_indexed_and_every_bad_one_reported(
    run: tuple[MultimodalIndex, Report], failed: dict[str, Failure]
) -> None:
    index, report = run
    assert {r.source.rpartition("docs/")[2] for r in records(index)} == set(GOOD)
    assert set(failed) == {*BAD, "dangling.txt", "refused.txt"}
    assert report.added == len(GOOD)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_has_the_error_that_fits(failed: dict[str, Failure], name: str) -> None:
    _, error, says = BAD[name]
    failure = failed[name]
    assert failure.error == error
    assert says in failure.message
    assert "\n" not in failure.message
    assert "Error(" not in failure.message


def test_what_the_system_refuses(failed: dict[str, Failure]) -> None:
    for name, says in (("dangling.txt", "No such file"), ("refused.txt", ": ")):
        assert failed[name].error == "UnreadableSource"
        assert says in failed[name].message


@pytest.mark.parametrize("name", ["gbk.txt", "utf16.txt"])
def test_chinese_in_other_encodings_comes_out_right(filled: MultimodalIndex, name: str) -> None:
    assert [r.text for r in records(filled) if r.source.endswith(name)] == [GBK]
    found = {Path(h.record.source).name for h in filled.search("路由器密码", routes=["keywords"])}
    assert name in found


@pytest.mark.parametrize(
    ("name", "mime", "size"),
    [
        ("no-ending", "image/jpeg", (300, 200)),
        ("picture.dat", "image/webp", (96, 64)),
        ("cmyk.jpg", "image/jpeg", (96, 64)),
        ("sixteen.png", "image/png", (40, 30)),
        ("palette.png", "image/png", (96, 64)),
        ("moving.gif", "image/gif", (96, 64)),
    ],
)
def test_unusual_pictures_are_what_they_are(
    filled: MultimodalIndex, name: str, mime: str, size: tuple[int, int]
) -> None:
    (record,) = [r for r in records(filled) if r.source.endswith(name)]
    assert record.image is not None
    assert (record.image.mime, (record.image.width, record.image.height)) == (mime, size)
    first = filled.search(image=Path(record.image.uri), routes=["image->image"])[0]
    assert first.routes[0].score == pytest.approx(1, abs=1e-5)


def test_a_cmyk_picture_is_near_its_rgb(filled: MultimodalIndex) -> None:
    hits = filled.search(image=picture(seed=2), routes=["image->image"])
    scores = {Path(hit.record.source).name: hit.routes[0].score for hit in hits}
    assert scores["cmyk.jpg"] > 0.95


def test_a_turned_photograph_has_the_vector_of_the_upright_one(tmp_path: Path) -> None:
    upright = Image.open(SAMPLE / "pictures" / "chelsea.jpg").convert("RGB").crop((0, 0, 320, 240))
    files: dict[str, bytes] = {"1.png": saved(upright, "PNG")}
    for orientation, degrees in ((1, 0), (3, 180), (6, 90), (8, 270)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = upright.rotate(degrees, expand=True)  # as a camera that is held so stores it
        files[f"{orientation}.png"] = saved(turned, "PNG", exif=exif)
        files[f"{orientation}.jpg"] = saved(turned, "JPEG", exif=exif, quality=95)
    docs = write(tmp_path / "docs", files)
    with MultimodalIndex.open(tmp_path / "kb") as index:
        assert index.add_files([docs]).added == len(files)
        hits = index.search(image=upright, routes=["image->image"])
        scores = {Path(hit.record.source).name: hit.routes[0].score for hit in hits}
        sizes = {(r.image.width, r.image.height) for r in records(index) if r.image}
    assert sizes == {(320, 240)}
    for name in files:
        expected = 0.99999 if name.endswith(".png") else 0.98  # JPEG itself costs a bit
        assert scores[name] > expected, (name, scores)
    assert scores["6.jpg"] > scores["1.jpg"] - 0.01


BIG = """
import resource, sys
from pathlib import Path
import numpy as np
from mmrag.index import MultimodalIndex
from mmrag.testing import FakeEncoder, MemoryStore

class Constant(FakeEncoder):
    def encode_texts(self, texts, role):
        return np.full((len(texts), 16), 0.25, np.float32)

class Sink(MemoryStore):
    written = 0
    def upsert(self, points):
        self.written += len(points)

encoder, store = Constant(16), Sink()
index = MultimodalIndex.open(sys.argv[1], store=store, text_encoder=encoder, image_encoder=encoder)
report = index.add_files([sys.argv[2]])
assert report.added == 1, report
print(store.written, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_large_file_takes_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    used = []
    for megabytes in (1, 20):
        docs = tmp_path / f"docs {megabytes}"
        docs.mkdir()
        with (docs / "large.txt").open("w") as file:
            for n in range(megabytes * 8192):
                file.write(
                    f"Line {n} of a large text, about one thing or another.\n".rjust(128, "x")
                )
        done = subprocess.run(
            [sys.executable, "-c", BIG, tmp_path / f"kb {megabytes}", docs],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        written, kilobytes = map(int, done.stdout.split())
        assert written > megabytes * 1000
        used.append(kilobytes / 1024)
    assert used[1] < used[0] + 20, used


# Questions


@pytest.mark.parametrize("text", ["", " ", "\n\t ", None])
def test_an_empty_query(filled: MultimodalIndex, text: str | None) -> None:
    with pytest.raises(InputError, match="empty query"):
        filled.search(text)


@pytest.mark.parametrize("text", [5, b"pump", ["pump"]])
def test_a_query_that_is_no_text(filled: MultimodalIndex, text: Any) -> None:
    with pytest.raises(InputError, match="is a string"):
        filled.search(text)


@pytest.mark.parametrize("text", ["pump " * 10_000, "泵" * 50_000, "x" * 50_000, "!?" * 100, "\0"])
def test_any_text_is_a_query(filled: MultimodalIndex, text: str) -> None:
    for hit in filled.search(text):
        assert isinstance(hit.record, Record)


def test_a_long_query_works_with_the_bundled_encoder(tmp_path: Path) -> None:
    with MultimodalIndex.open(tmp_path / "kb") as index:
        index.add([Record("a", "a pump"), Record("b", "an opera")])
        assert index.search("the water pump " * 3400)[0].record.id == "a"


def test_a_query_with_half_a_character(tmp_path: Path) -> None:
    for encoder in (None, FakeEncoder(16)):
        folder = tmp_path / type(encoder).__name__
        with MultimodalIndex.open(folder, text_encoder=encoder, image_encoder=encoder) as index:
            index.add([Record("a", "a pump")])
            assert [h.record.id for h in index.search("a pump \ud83d")] == ["a"]


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (b"no picture at all, only text", DamagedSource),
        (b"", EmptySource),
        (JPEG[:500], DamagedSource),
        (Path("/nowhere/x.png"), UnreadableSource),
        ("/nowhere/x.png", UnreadableSource),
        ("https://example.org/x.png", InputError),
        (5, InputError),
        (np.zeros((4, 4, 3), np.uint8), InputError),
    ],
)
def test_a_query_that_is_no_picture(
    filled: MultimodalIndex, image: Any, error: type[MmragError]
) -> None:
    with pytest.raises(error):
        filled.search(image=image)


@pytest.mark.parametrize("limit", [0, -1, True, "5", 10**9, 10_001, 1.0, None])
def test_a_limit_that_is_none(filled: MultimodalIndex, limit: Any) -> None:
    with pytest.raises(InputError, match="limit is a whole number from 1 to 10000"):
        filled.search("pump", limit=limit)


def test_unknown_names_are_told_with_the_known_ones(filled: MultimodalIndex) -> None:
    with pytest.raises(UnknownName, match=r"unknown route 'text->sound'; known: .*text->image"):
        filled.search("pump", routes=["text->sound"])
    with pytest.raises(UnknownName, match=r"unknown fusion 'best'; known: .*rrf"):
        filled.search("pump", fusion="best")
    with pytest.raises(InputError, match="at least one route"):
        filled.search("pump", routes=[])


def test_a_route_whose_part_of_the_query_is_missing(filled: MultimodalIndex) -> None:
    with pytest.raises(InputError, match="'image->image' needs a query with a picture"):
        filled.search("pump", routes=["text->text", "image->image"])
    with pytest.raises(InputError, match="'keywords' needs a query with a text"):
        filled.search(image=picture(), routes=["keywords"])


def test_a_filter_on_what_no_record_has_finds_nothing(filled: MultimodalIndex) -> None:
    assert list(filled.search("pump", where={"colour": "red"})) == []
    assert list(filled.search("pump", where={"source": "nowhere"})) == []
    assert filled.count({"colour": ["red", "blue"]}) == 0


@pytest.mark.parametrize(
    "where",
    [
        "colour",
        5,
        [("a", 1)],
        {"": 1},
        {5: 1},
        {"a": None},
        {"a": {"b": 1}},
        {"a..b": 1},
        {'a"': 1},
    ],
)
def test_a_filter_that_cannot_be_understood(filled: MultimodalIndex, where: Any) -> None:
    with pytest.raises(InputError):
        filled.search("pump", where=where)
    with pytest.raises(InputError):
        filled.count(where)
    with pytest.raises(InputError):
        filled.delete(where=where)
    assert filled.count() > 0


# Folders


def test_a_folder_that_is_no_index(tmp_path: Path) -> None:
    other = write(tmp_path / "other", {"letter.txt": "x"})
    before = sorted(other.rglob("*"))
    for folder in (other, other / "letter.txt"):
        with pytest.raises(NotAnIndex):
            opened(folder)
    for folder in (tmp_path / "absent", write(tmp_path / "empty", {})):
        with pytest.raises(NotAnIndex):
            opened(folder, create=False)
    assert sorted(other.rglob("*")) == before
    assert not (tmp_path / "absent").exists()
    with pytest.raises(InputError, match="folder"):
        MultimodalIndex.open()


def test_an_index_of_another_encoder(tmp_path: Path) -> None:
    with opened(tmp_path / "kb") as index:
        index.add([Record("a", "words")])
    other = FakeEncoder(24)
    with pytest.raises(SpaceMismatch) as caught:
        MultimodalIndex.open(tmp_path / "kb", text_encoder=other, image_encoder=other)
    assert "fake (16 dimensions" in str(caught.value)
    assert "fake (24 dimensions" in str(caught.value)
    with pytest.raises(SpaceMismatch, match="mmrag-bundled"):
        MultimodalIndex.open(tmp_path / "kb")
    with opened(tmp_path / "kb") as index:  # none of that has left it locked or changed
        assert index.count() == 1


def test_an_index_that_is_open_already(tmp_path: Path) -> None:
    with opened(tmp_path / "kb"), pytest.raises(StoreLocked):
        opened(tmp_path / "kb")


def test_a_closed_index(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", {"a.txt": "words"})
    index = opened(tmp_path / "kb")
    index.add_files([docs])
    index.close()
    index.close()
    uses: list[Callable[[], object]] = [
        lambda: index.search("words"),
        index.count,
        lambda: index.add([Record("a", "x")]),
        lambda: index.add_files([docs]),
        lambda: index.get(["a"]),
        lambda: index.delete(["a"]),
        index.info,
    ]
    for use in uses:
        with pytest.raises(StoreError, match="closed"):
            use()
    with opened(tmp_path / "kb") as again:
        assert again.add_files([docs]).unchanged == 1


# Records that are none


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (Record(id=1), r"records\[1\]: id is a str, not int"),  # type: ignore[arg-type]
        (Record(id=None), r"records\[1\]: id is a str, not NoneType"),  # type: ignore[arg-type]
        (Record("b", text=5), r"record 'b': text is a str, not int"),  # type: ignore[arg-type]
        (Record("b", image="photo.jpg"), r"record 'b': image is an ImageRef"),  # type: ignore[arg-type]
        (Record("b", image=Path("photo.jpg")), r"mmrag.media.load\(path\)"),  # type: ignore[arg-type]
        (Record("b", image=ImageRef(Path("p"), "", "", 1, 1)), "image.uri is a str"),  # type: ignore[arg-type]
        (Record("b", caption="a cat"), r"a Caption, as in Caption\('a cat'\)"),  # type: ignore[arg-type]
        (Record("b", source=Path("a.txt")), r"source is a str, not"),  # type: ignore[arg-type]
        (Record("b", locator=None), "locator is a Locator, not NoneType"),  # type: ignore[arg-type]
        (Record("b", metadata=None), "metadata is a dict, not NoneType"),  # type: ignore[arg-type]
        (Record("b", extra=[]), "extra is a dict, not list"),  # type: ignore[arg-type]
        ({"id": "b"}, r"records\[1\] is a dict: a Record is wanted"),
        ("text", r"records\[1\] is a str"),
    ],
)
def test_what_is_no_record_is_named(tmp_path: Path, record: Any, says: str) -> None:
    with opened(tmp_path / "kb") as index:
        with pytest.raises(InputError, match=says):
            index.add([Record("a", "words"), record])
        with pytest.raises(InputError, match=says):
            index.add([Record("a"), record], vectors={"text": [np.ones(16), None]})
        assert index.add(iter([Record("a", "words")])) == 1


@pytest.mark.parametrize("given", [Record("a", "words"), {"id": "a"}, "text", 5, None])
def test_records_come_in_a_list(tmp_path: Path, given: Any) -> None:
    with opened(tmp_path / "kb") as index:
        for vectors in (None, {"text": [np.ones(16)]}):
            with pytest.raises(InputError, match="add takes a list of records, not a "):
                index.add(given, vectors)


@pytest.mark.parametrize("given", [5, b"kb", ["kb"]])
def test_a_path_that_is_none(given: Any) -> None:
    with pytest.raises(InputError, match="path is a str or a Path, not "):
        MultimodalIndex.open(given)
