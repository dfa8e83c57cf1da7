"""OcrCaptioner: what real RapidOCR reads, in which order, and where it stands."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from mmrag.captioners import ocr, ocr_engine
from mmrag.captioners.ocr import OcrCaptioner, TextBox
from mmrag.captioners.ocr_engine import Engine
from mmrag.captioners.reading_order import Line, in_order
from mmrag.errors import AnswerError, DamagedSource, InputError, MissingExtra, TooLarge
from mmrag.protocols import Captioner
from mmrag.types import Caption, Locator

from .pictures import SAMPLE, blank, chinese, plain, png, written

pytest.importorskip("rapidocr")


@pytest.fixture(scope="module")
def captioner() -> OcrCaptioner:
    return OcrCaptioner()


PAGE = {(30, 20): "Quarterly results", (30, 90): "Invoice 20394", (30, 160): "Total 12.50"}
LINES = ["Quarterly results", "Invoice 20394", "Total 12.50"]


def said(captioner: OcrCaptioner, image: Image.Image | bytes) -> list[str]:
    return captioner.caption([image])[0].text_content.split("\n")


def test_text_is_read_in_rows(captioner: OcrCaptioner) -> None:
    page = written({**PAGE, (420, 90): "paid"}, (560, 220))
    assert said(captioner, page) == ["Quarterly results", "Invoice 20394 paid", "Total 12.50"]
    boxes = captioner.read(page)
    lines = captioner.caption([page])[0].lines
    assert [line.text for line in lines] == [box.text for box in boxes]
    for line, box in zip(lines, boxes, strict=True):
        assert line.bbox == pytest.approx(box.locator.bbox, abs=5.1e-5)
    assert [box.row for box in boxes] == [0, 1, 1, 2]
    assert all(box.confidence > 0.8 for box in boxes)
    left, top, right, bottom = boxes[2].locator.bbox or (0, 0, 0, 0)
    assert 400 / 560 < left < 430 / 560 < 480 / 560 < right < 530 / 560
    assert 80 / 220 < top < 105 / 220 < 115 / 220 < bottom < 145 / 220


def test_chinese_and_tables_of_the_sample(captioner: OcrCaptioner) -> None:
    rows = captioner.caption([SAMPLE / "departures.png"])[0].text_content.split("\n")
    assert rows[0] == "高铁列车时刻表"
    assert rows[2] == "G101 江城东 南港 07:05 10:32 318元"
    assert len(rows) == 7


def test_a_picture_without_text_has_an_empty_caption(captioner: OcrCaptioner) -> None:
    pictures = [blank(640, 480), blank(1, 1), blank(3, 200), blank(5000, 7), plain("black")]
    assert captioner.caption([*pictures, SAMPLE / "kitten-and-yarn.jpg"]) == [Caption()] * 6


def test_a_picture_of_12000_pixels_is_read_to_its_end(captioner: OcrCaptioner) -> None:
    wide = written({(i * 1000 + 60, 40): f"Station {i}" for i in range(12)}, (12_000, 120))
    boxes = captioner.read(wide)
    assert " ".join(box.text for box in boxes) == " ".join(f"Station {i}" for i in range(12))
    assert {box.row for box in boxes} == {0}
    for number, box in enumerate(boxes):
        assert box.locator.bbox is not None
        assert box.locator.bbox[0] == pytest.approx((number * 1000 + 60) / 12_000, abs=0.002)


def test_a_high_picture_is_read_to_its_end(captioner: OcrCaptioner) -> None:
    places = {(30, i * 150 + 40): f"Message {i}" for i in range(16)}
    assert said(captioner, written(places, (300, 2_500))) == [f"Message {i}" for i in range(16)]


@pytest.mark.parametrize("turn", [90, 180, 270, 4])
def test_a_turned_picture_is_read_in_its_own_order(captioner: OcrCaptioner, turn: int) -> None:
    page = written(PAGE, (480, 220)).rotate(turn, expand=True, fillcolor="white")
    assert said(captioner, page) == LINES


def test_a_picture_is_turned_as_exif_says(captioner: OcrCaptioner, tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    written(PAGE, (480, 220)).rotate(90, expand=True).save(tmp_path / "photo.jpg", exif=exif)
    (first, *_) = captioner.read(tmp_path / "photo.jpg")
    assert first.text == LINES[0]
    assert first.locator.bbox is not None
    assert first.locator.bbox[1] < 0.2  # of the picture as displayed


@pytest.mark.parametrize(
    ("name", "texts"),
    [("column", ["床前明月光"]), ("columns", ["春眠不觉晓处处", "闻啼鸟夜来风雨"])],
)
def test_columns_of_chinese_are_read_from_the_right(
    captioner: OcrCaptioner, name: str, texts: list[str]
) -> None:
    assert said(captioner, chinese(name)) == texts


@pytest.mark.parametrize("turn", [90, 270])
def test_turned_chinese_is_no_column(captioner: OcrCaptioner, turn: int) -> None:
    texts = ["春眠不觉晓处处闻啼鸟", "夜来风雨声花落知多少"]
    page = chinese("rows")
    assert said(captioner, page) == texts
    assert said(captioner, page.rotate(turn, expand=True, fillcolor="white")) == texts


def test_light_text_on_nothing_is_read(captioner: OcrCaptioner) -> None:
    ink = np.asarray(written({(20, 20): "light words"}, (320, 90)).convert("L"))
    white = np.full((*ink.shape, 4), 255, np.uint8)
    white[..., 3] = 255 - ink
    assert said(captioner, Image.fromarray(white)) == ["light words"]
    black = white.copy()
    black[..., :3] = 0
    assert said(captioner, Image.fromarray(black)) == ["light words"]


def test_several_threads_read_the_same(captioner: OcrCaptioner) -> None:
    page, turned = written(PAGE, (480, 220)), written(PAGE, (480, 220)).rotate(180)
    with ThreadPoolExecutor(4) as pool:
        made = [*pool.map(lambda image: said(captioner, image), [page, turned] * 4)]
    assert made == [LINES] * 8


def test_broken_pictures_fail_alone(captioner: OcrCaptioner) -> None:
    outcomes = [*captioner.caption_each([b"x", png(blank(9, 9)), plain()[:60]])]
    assert isinstance(outcomes[0], DamagedSource)
    assert outcomes[1] == Caption()
    assert isinstance(outcomes[2], DamagedSource)


@pytest.mark.parametrize(
    ("raised", "typed"), [(ValueError("odd shape"), AnswerError), (MemoryError(), TooLarge)]
)
def test_what_the_engine_raises_is_typed(monkeypatch, raised, typed) -> None:
    def fails(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(ocr_engine, "_rapid_ocr", lambda: fails)
    with pytest.raises(typed):
        OcrCaptioner().caption([blank(50, 50)])


def test_without_the_package_the_extra_is_named(monkeypatch) -> None:
    def missing(_: str) -> str:
        raise ocr_engine.PackageNotFoundError

    monkeypatch.setattr(ocr_engine, "version", missing)
    with pytest.raises(MissingExtra, match=r"mmrag\[ocr\]"):
        OcrCaptioner()


def test_the_name_says_what_reads(captioner: OcrCaptioner) -> None:
    checked: Captioner = captioner
    assert checked.name.startswith("ocr rapidocr-")
    assert OcrCaptioner(min_confidence=0.9).name != captioner.name
    for wrong in (-0.1, 1.1):
        with pytest.raises(InputError):
            OcrCaptioner(min_confidence=wrong)
    assert OcrCaptioner(min_confidence=1).caption([written(PAGE, (480, 220))]) == [Caption()]


def test_a_box_is_found_on_the_page_of_its_figure() -> None:
    box = TextBox("x", Locator(bbox=(0.5, 0.0, 1.0, 0.5)), 0.9, 0)
    assert box.within(Locator(page=3, bbox=(0.0, 0.5, 0.5, 1.0))) == Locator(
        page=3, bbox=(0.25, 0.5, 0.5, 0.75)
    )
    assert box.within(Locator(page=2)) == Locator(page=2, bbox=box.locator.bbox)


def test_pieces_cover_a_picture_and_cut_where_nothing_is_drawn() -> None:
    pixels = np.full((50, 7000, 3), 255, np.uint8)
    for left in range(0, 7000, 100):  # bars of 80 pixels, 20 apart
        pixels[10:40:2, left : left + 80] = 0
    pieces = [*ocr_engine._pieces(pixels)]
    assert pieces[0][0] == 0
    assert sum(piece.shape[1] for _, _, piece in pieces) == 7000
    assert all(piece.shape[1] <= ocr_engine.SIDE for _, _, piece in pieces)
    assert all(left % 100 >= 80 for left, _, _ in pieces[1:])
    assert np.array_equal(np.concatenate([piece for *_, piece in pieces], axis=1), pixels)


def test_reading_order_by_arithmetic() -> None:
    def line(text: str, left: float, top: float, width: float, height: float) -> Line:
        return Line(left, top, left + width, top + height, text, 1.0)

    table = [line("d", 50, 31, 20, 10), line("c", 0, 30, 20, 10), line("b", 50, 2, 20, 10)]
    table.append(line("a", 0, 0, 20, 10))

    def texts(way) -> list[list[str]]:
        return [[piece.text for piece in row] for row in in_order(table, way)]

    assert texts("upright") == [["a", "b"], ["c", "d"]]
    assert texts("upside down") == [["d", "c"], ["b", "a"]]
    assert texts("clockwise") == [["b", "d"], ["a", "c"]]
    assert texts("anticlockwise") == [["c", "a"], ["d", "b"]]
    assert in_order([], "upright") == []


def test_an_engine_is_made_once(monkeypatch) -> None:
    made, real = [], ocr_engine._rapid_ocr
    monkeypatch.setattr(ocr_engine, "_rapid_ocr", lambda: made.append(1) or real())
    engine, barrier = Engine(), threading.Barrier(3)

    def read(_: int) -> list[Line]:
        barrier.wait(5)
        return engine.lines(np.full((60, 60, 3), 255, np.uint8))

    with ThreadPoolExecutor(3) as pool:
        assert [*pool.map(read, range(3))] == [[], [], []]
    assert made == [1]
    assert ocr.SIDE == 2000
