"""Captions added to an index: findable by each of their parts, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image

from mmrag import Caption, MultimodalIndex, Record
from mmrag.captioners.base import PictureRefused
from mmrag.captioners.composed import Composed
from mmrag.captioning import CAPTIONER_KEY
from mmrag.errors import AnswerError, ServiceError, SourceError
from mmrag.media import ImageInput
from mmrag.testing import FakeCaptioner, FakeEncoder
from mmrag.types import ImageRef, key_of

from .files import picture

CAPTION = Caption(
    brief="a bar chart",
    detailed="brown bars on white",
    keywords=("coffee", "咖啡"),
    text_content="Brightleaf Roasters",
    data_points={"September": "5,230 kg"},
)


class Scripted:
    """Says the same of every picture; refuses those of one colour, and counts."""

    def __init__(self, name: str = "scripted 1", caption: Caption = CAPTION) -> None:
        self.name, self.said = name, caption
        self.seen = 0
        self.refused: set[str] = set()

    def caption(self, images: Sequence[ImageInput]) -> list[Caption]:
        if any(Path(str(image)).name in self.refused for image in images):
            raise AnswerError("the model says nothing")
        self.seen += len(images)
        return [self.said for _ in images]


class Counting(FakeEncoder):
    """Counts what it encodes."""

    def __init__(self) -> None:
        super().__init__(16)
        self.texts: list[str] = []
        self.pictures = 0

    def encode_texts(self, texts: Sequence[str], role: str) -> object:  # type: ignore[override]
        self.texts += texts
        return super().encode_texts(texts, role)  # type: ignore[arg-type]

    def encode_pixels(self, pixels: Sequence[object]) -> object:  # type: ignore[override]
        self.pictures += len(pixels)
        return super().encode_pixels(pixels)  # type: ignore[arg-type]


@pytest.fixture
def encoder() -> Counting:
    return Counting()


@pytest.fixture
def index(tmp_path: Path, encoder: Counting) -> Iterator[MultimodalIndex]:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(20):
        picture(40 + number, 40).save(folder / f"{number}.png")
    (folder / "note.txt").write_text("nothing but words")
    with MultimodalIndex.open(
        tmp_path / "kb", text_encoder=encoder, image_encoder=encoder
    ) as index:
        assert index.add_files([folder]).failed == []
        yield index


def test_every_picture_is_described_once(index: MultimodalIndex) -> None:
    captioner = Scripted()
    report = index.add_captions(captioner)
    assert (report.captioned, report.kept, report.failed) == (20, 0, [])
    assert captioner.seen == 20
    again = index.add_captions(captioner)
    assert (again.captioned, again.kept, captioner.seen) == (0, 20, 20)
    assert index.store.count(having="caption") == 20


def test_each_part_finds_the_picture_and_says_so(index: MultimodalIndex) -> None:
    index.add_captions(Scripted())
    for words, part in (
        ("brown bars", "description"),
        ("咖啡", "keywords"),
        ("Brightleaf", "text_content"),
        ("5,230", "data_points"),
    ):
        hit = index.search(words, limit=1, routes=["keywords"])[0]
        assert hit.record.caption == CAPTION
        assert hit.routes[0].parts == (part,), words
    text = index.search("words", limit=1, routes=["keywords"])[0]
    assert text.routes[0].parts == ()


def test_nothing_but_captions_is_encoded(index: MultimodalIndex, encoder: Counting) -> None:
    keys = [key_of(record.id) for batch in index.store.scan() for record in batch]
    before, pictures = index.store.vectors(keys), encoder.pictures
    encoder.texts.clear()
    index.add_captions(Scripted())
    assert encoder.pictures == pictures
    assert set(encoder.texts) == {"a bar chart\nbrown bars on white"}
    after = index.store.vectors(keys)
    for key in keys:
        for field, vector in before[key].items():
            assert after[key][field] == pytest.approx(vector, abs=1e-6)


def test_another_captioner_replaces_the_first_and_leaves_nothing_of_it(
    index: MultimodalIndex,
) -> None:
    index.add_captions(Scripted())
    report = index.add_captions(Scripted("ocr 1", Caption(text_content="zebra crossing")))
    assert report.captioned == 20
    assert index.store.count(having="caption") == 0  # there is no description any more
    assert not index.search("Brightleaf", routes=["keywords"])
    assert len(index.search("zebra", routes=["keywords"], limit=20)) == 20


def test_the_users_own_caption_is_kept_unless_asked(index: MultimodalIndex, tmp_path: Path) -> None:
    (record, *_) = index.get([hit.record.id for hit in index.search(image=picture(40, 40))][:1])
    own = Record("own", image=record.image, caption=Caption(brief="mine"))
    index.add([own])
    captioner = Scripted()
    assert index.add_captions(captioner, where={"id": "own"}).kept == 1
    assert index.get("own")[0].caption == own.caption
    assert index.add_captions(captioner, where={"id": "own"}, anew=True).captioned == 1
    assert index.get("own")[0].extra[CAPTIONER_KEY] == "scripted 1"


def test_a_failure_is_reported_and_tried_again(index: MultimodalIndex) -> None:
    captioner = Scripted()
    captioner.refused = {"3.png", "17.png"}
    report = index.add_captions(captioner)
    assert report.captioned == 18
    assert {Path(f.source).name for f in report.failed} == {"3.png", "17.png"}
    assert {f.error for f in report.failed} == {"AnswerError"}
    captioner.refused.clear()
    assert index.add_captions(captioner).captioned == 2


def test_what_the_other_parts_made_is_found_though_one_has_failed(index: MultimodalIndex) -> None:
    ocr = Scripted("ocr", Caption(text_content="zebra crossing"))
    vlm = Scripted("vlm", Caption("a road"))
    vlm.refused = {"3.png", "17.png"}
    both = Composed([ocr, vlm])
    report = index.add_captions(both)
    assert (report.captioned, report.kept) == (18, 0)
    assert [f.error for f in report.failed] == ["PartialCaption"] * 2
    assert len(index.search("zebra", routes=["keywords"], limit=20)) == 20
    assert index.count({"extra.mmrag_captioner": "partial: ocr + vlm, merge 2"}) == 2
    assert index.add_captions(both).kept == 18  # a part is never the whole, and tried again
    vlm.refused.clear()
    report = index.add_captions(both)
    assert (report.captioned, report.kept, report.failed) == (2, 18, [])
    assert index.count({"extra.mmrag_captioner": "ocr + vlm, merge 2"}) == 20


def test_a_part_displaces_no_whole_caption_and_nothing_is_no_part(index: MultimodalIndex) -> None:
    vlm = Scripted("vlm")
    index.add_captions(vlm)
    vlm.refused = {f"{number}.png" for number in range(20)}
    report = index.add_captions(Composed([Scripted("ocr", Caption(text_content="zebra")), vlm]))
    assert (report.captioned, len(report.failed)) == (0, 20)
    assert len(index.search("Brightleaf", routes=["keywords"], limit=20)) == 20
    folder = Path(index.search("words", routes=["keywords"])[0].record.source).parent
    picture(90, 90).save(folder / "blank.png")
    index.add_files([folder])
    vlm.refused = {"blank.png"}
    index.add_captions(Composed([Scripted("ocr", Caption()), vlm]))
    (blank,) = (
        h.record
        for h in index.search(image=picture(90, 90), where={"source": str(folder / "blank.png")})
    )
    assert blank.caption is None


def test_a_missing_picture_is_reported(index: MultimodalIndex, tmp_path: Path) -> None:
    class Opening(Scripted):
        def caption(self, images: Sequence[ImageInput]) -> list[Caption]:
            for image in images:
                if not Path(str(image)).exists():
                    raise SourceError("it is gone")
            return super().caption(images)

    (tmp_path / "files" / "5.png").unlink()
    report = index.add_captions(Opening())
    assert report.captioned == 19
    assert [Path(f.source).name for f in report.failed] == ["5.png"]


def test_an_interrupt_keeps_what_was_written(index: MultimodalIndex) -> None:
    captioner = Scripted()

    def stop(status: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add_captions(captioner, progress=stop)
    done = captioner.seen
    assert 0 < done < 20
    assert index.add_captions(captioner).captioned == 20 - done


def test_an_edited_picture_loses_its_caption_and_gets_a_new_one(
    index: MultimodalIndex, tmp_path: Path
) -> None:
    index.add_captions(Scripted())
    picture(90, 30).save(tmp_path / "files" / "4.png")
    assert index.add_files([tmp_path / "files"]).updated == 1
    report = index.add_captions(Scripted())
    assert (report.captioned, report.kept) == (1, 19)


def test_a_service_that_is_down_is_not_asked_once_a_picture(index: MultimodalIndex) -> None:
    class Down(Scripted):
        def caption(self, images: Sequence[ImageInput]) -> list[Caption]:
            self.seen += 1
            raise ServiceError("no answer")

    captioner = Down()
    with pytest.raises(ServiceError):
        index.add_captions(captioner)
    assert captioner.seen < 20


class Failing(Scripted):
    def __init__(self, error: Exception) -> None:
        super().__init__("vlm")
        self.error = error

    def caption(self, images: Sequence[ImageInput]) -> list[Caption]:
        self.seen += 1
        raise self.error


def test_a_part_that_is_down_stops_the_run_and_the_other_parts_work_is_kept(
    index: MultimodalIndex,
) -> None:
    ocr, vlm = Scripted("ocr", Caption(text_content="zebra")), Failing(ServiceError("no answer"))
    with pytest.raises(ServiceError, match="no answer"):
        index.add_captions(Composed([ocr, vlm]))
    assert vlm.seen < 20
    assert len(index.search("zebra", routes=["keywords"], limit=20)) == vlm.seen


@pytest.mark.parametrize("error", [PictureRefused("not this one", 400), AnswerError("prose")])
def test_a_part_that_fails_on_each_picture_is_not_down(
    index: MultimodalIndex, error: Exception
) -> None:
    vlm = Failing(error)
    report = index.add_captions(Composed([Scripted("ocr"), vlm]))
    assert (vlm.seen, len(report.failed)) == (20, 20)


def test_pictures_without_a_digest_are_told_apart(tmp_path: Path) -> None:
    records = []
    for colour in ("red", "green", "blue"):
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (40, 30), colour).save(path)
        records.append(Record(id=colour, image=ImageRef(str(path), "", "image/png", 40, 30)))
    fake = FakeEncoder()
    with MultimodalIndex.open(tmp_path / "kb", text_encoder=fake, image_encoder=fake) as index:
        index.add(records)
        index.add_captions(FakeCaptioner())
        said = {r.id: r.caption.brief for r in index.get(["red", "green", "blue"]) if r.caption}
    assert said == {colour: f"A {colour} picture" for colour in ("red", "green", "blue")}
