"""PDF files: text with its place, figures and no decorations, scans, and files that are broken."""

from __future__ import annotations

import gc
import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrag import media
from mmrag.errors import DamagedSource, EmptySource, EncryptedSource, UnreadableSource
from mmrag.readers.base import Part
from mmrag.readers.pdf import PdfReader

from .files import Page, media_folder, pdf, picture, source, text_at

BODY = ["The filter lasts about a year and is washed every month,", "then dried before use."]
RED = Image.new("RGB", (200, 100), (200, 30, 30))


def photo(seed: int = 0, width: int = 200, height: int = 100) -> Image.Image:
    return picture(width, height, seed)


def draw(name: str, x: float, y: float, width: float, height: float) -> str:
    return f"q {width} 0 0 {height} {x} {y} cm /{name} Do Q\n"


def read(path: Path, *pages: Page) -> list[Part]:
    if pages:
        path.write_bytes(pdf(*pages))
    return list(PdfReader().read(source(path), media_folder(path.parent), 224))


def texts(parts: list[Part]) -> list[str]:
    return [part.record.text for part in parts if part.image is None]


def figures(parts: list[Part]) -> list[Part]:
    return [part for part in parts if part.image is not None]


def box(part: Part) -> tuple[float, ...]:
    assert part.record.locator.bbox is not None
    return part.record.locator.bbox


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a\nmanual 🐼.pdf"


# Text


def test_text_has_its_page_and_place(path: Path) -> None:
    one, two = read(path, Page(text_at(60, 700, "Hello there.")), Page(text_at(300, 400, "Bye.")))
    assert (one.record.text, one.record.locator.page) == ("Hello there.", 1)
    assert (two.record.text, two.record.locator.page) == ("Bye.", 2)
    assert one.record.source == path.name
    assert box(one) == pytest.approx((0.1, 0.11, 0.21, 0.13), abs=0.01)
    assert box(two) == pytest.approx((0.5, 0.49, 0.54, 0.5), abs=0.01)


@pytest.mark.parametrize(
    ("rotate", "expected"),
    [
        (0, (0.1, 0.11, 0.2, 0.13)),
        (90, (0.87, 0.1, 0.89, 0.2)),
        (180, (0.8, 0.87, 0.9, 0.89)),
        (270, (0.11, 0.8, 0.13, 0.9)),
    ],
)
def test_places_are_those_of_the_page_as_displayed(
    path: Path, rotate: int, expected: tuple[float, ...]
) -> None:
    content = text_at(60, 700, "Hello there.") + draw("I", 60, 100, 240, 200)
    page = Page(content, images={"I": photo()}, rotate=rotate)
    text, figure = read(path, page)
    assert box(text) == pytest.approx(expected, abs=0.015)
    left, top, right, bottom = 0.1, 0.625, 0.5, 0.875
    for _ in range(rotate // 90):  # a quarter turn clockwise
        left, top, right, bottom = 1 - bottom, left, 1 - top, right
    assert box(figure) == pytest.approx((left, top, right, bottom), abs=0.001)
    assert figure.image is not None
    assert (figure.image.width > figure.image.height) == (rotate in (0, 180))


def test_places_are_within_the_crop_box(path: Path) -> None:
    content = text_at(300, 400, "Hello.") + text_at(10, 10, "Cut off.")
    content += draw("I", 200, 200, 100, 100)
    page = Page(content, images={"I": photo()}, crop=(200, 200, 600, 600))
    text, figure = read(path, page)
    assert box(text) == pytest.approx((0.25, 0.48, 0.33, 0.5), abs=0.015)
    assert box(figure) == pytest.approx((0, 0.75, 0.25, 1), abs=0.001)


def test_words_and_paragraphs_are_whole(path: Path) -> None:
    content = text_at(60, 700, "A long-", "ish filter, an extra-", "ordinary one.")
    content += text_at(60, 600, "Next paragraph.") + text_at(60, 500, "Heading", size=20)
    content += text_at(60, 475, "Below it.")
    [part] = read(path, Page(content))
    assert part.record.text == (
        "A longish filter, an extraordinary one.\n\nNext paragraph.\n\nHeading\n\nBelow it."
    )


def test_chinese_lines_join_and_rows_do_not(path: Path) -> None:
    prose = ("滤网可以使用一年，请每月清洗一次，晾干后再", "装回机器。")
    content = text_at(60, 700, *prose) + text_at(60, 600, "零件", "螺丝")
    [part] = read(path, Page(content))
    assert part.record.text == "滤网可以使用一年，请每月清洗一次，晾干后再装回机器。\n\n零件\n螺丝"


def test_long_pages_become_several_chunks_with_places_in_order(path: Path) -> None:
    content = "".join(
        text_at(60, 700 - 60 * i, f"Paragraph {i} speaks of the filter.", *BODY) for i in range(11)
    )
    parts = read(path, Page(content))
    assert len(parts) > 1
    assert "".join(texts(parts)).count("Paragraph 7") >= 1
    tops = [box(part)[1] for part in parts]
    assert tops == sorted(tops)
    assert box(parts[0])[3] < 0.9


def test_running_heads_come_once(path: Path) -> None:
    heads = [text_at(60, 780, f"AirLeaf manual, page {i}") for i in (1, 2, 3)]
    bodies = [text_at(60, 600, f"Topic {i} is here.") for i in (1, 2, 3)]
    pages = [Page(head + body) for head, body in zip(heads, bodies, strict=True)]
    assert texts(read(path, *pages)) == [
        "AirLeaf manual, page 1\n\nTopic 1 is here.",
        "Topic 2 is here.",
        "Topic 3 is here.",
    ]


# Figures


def test_a_picture_is_cut_out_with_its_pixels_and_kept_by_its_hash(path: Path) -> None:
    page = Page(text_at(60, 700, *BODY) + draw("I", 60, 300, 300, 150), images={"I": photo()})
    [figure] = figures(read(path, page))
    assert box(figure) == pytest.approx((0.1, 0.4375, 0.6, 0.625), abs=0.001)
    image = figure.record.image
    assert image is not None
    assert figure.image is not None
    kept = (path.parent / image.uri).read_bytes()
    assert image.sha256 == hashlib.sha256(kept).hexdigest()
    assert image.uri == f"media/{image.sha256[:2]}/{image.sha256}.png"
    assert media.load(kept).image == figure.image
    assert (image.width, image.height) == figure.image.size
    small, expected = (np.asarray(i.resize((20, 10))).astype(int) for i in (figure.image, photo()))
    assert np.abs(small - expected).mean() < 5
    assert abs(figure.image.width - 200) <= 2, "no pixel of the picture is lost or made up"


def test_reading_again_gives_the_same_records_and_files(path: Path) -> None:
    page = Page(text_at(60, 700, *BODY) + draw("I", 60, 300, 300, 150), images={"I": photo()})
    first = [part.record for part in read(path, page)]
    assert [part.record for part in read(path)] == first
    assert sum(file.is_file() for file in (path.parent / "media").rglob("*")) == 1


def test_a_mask_shows_the_paper(path: Path) -> None:
    cut_out = RED.convert("RGBA")
    cut_out.putalpha(Image.linear_gradient("L").resize((200, 100)).point(lambda v: 255 * (v > 127)))
    page = Page(text_at(60, 700, *BODY) + draw("I", 60, 300, 300, 150), images={"I": cut_out})
    [figure] = figures(read(path, page))
    assert figure.image is not None
    assert figure.image.getpixel((100, 10)) == (255, 255, 255)
    assert figure.image.getpixel((100, 90)) == (200, 30, 30)


def test_a_photograph_is_kept_as_jpeg(path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((600, 800)).save(path, "PDF")  # as a JPEG stream
    [scan] = read(path)
    assert scan.record.image is not None
    assert scan.record.image.mime == "image/jpeg"
    assert scan.record.image.uri.endswith(".jpg")


def test_pictures_inside_nested_forms_are_found_where_they_are(path: Path) -> None:
    inner = ("0.5 0 0 0.5 10 20", draw("I", 0, 0, 400, 200))
    outer = ("1 0 0 1 0 0", "q 1 0 0 1 40 80 cm /A Do Q\n")
    content = text_at(60, 700, *BODY) + "q 1 0 0 1 100 200 cm /B Do Q\n"
    page = Page(content, images={"I": photo()}, forms={"A": inner, "B": outer})
    [figure] = figures(read(path, page))
    left, bottom = 100 + 40 + 10, 200 + 80 + 20
    expected = (left / 600, 1 - (bottom + 100) / 800, (left + 200) / 600, 1 - bottom / 800)
    assert box(figure) == pytest.approx(expected, abs=0.001)


def test_strips_of_a_picture_are_one_figure(path: Path) -> None:
    strips = {f"S{i}": photo(i, 300, 10) for i in range(15)}
    content = "".join(draw(f"S{i}", 100, 300 + 10 * i, 300, 10) for i in range(15))
    [figure] = figures(read(path, Page(text_at(60, 700, *BODY) + content, images=strips)))
    assert box(figure) == pytest.approx((100 / 600, 350 / 800, 400 / 600, 500 / 800), abs=0.001)


@pytest.mark.parametrize(
    ("image", "place"),
    [
        (photo(0, 30, 30), (60, 300, 200, 200)),  # few pixels
        (photo(0, 200, 200), (60, 300, 30, 30)),  # small on the page
        (photo(0, 900, 60), (20, 300, 560, 37)),  # a banner
    ],
)
def test_decorations_are_left_out(
    path: Path, image: Image.Image, place: tuple[float, float, float, float]
) -> None:
    page = Page(text_at(60, 700, *BODY) + draw("I", *place), images={"I": image})
    assert figures(read(path, page)) == []


def test_logos_are_left_out_and_what_differs_is_kept(path: Path) -> None:
    logo, pages = photo(9, 120, 80), []
    for i in range(4):
        content = text_at(60, 600, f"Page {i}.") + draw("L", 60, 700, 120, 80)
        content += draw("I", 60, 200, 300, 150)
        pages.append(Page(content, images={"L": logo, "I": photo(i)}))
    found = figures(read(path, *pages))
    assert [part.record.locator.page for part in found] == [1, 2, 3, 4]
    assert all(box(part)[1] > 0.5 for part in found)


def test_a_large_picture_is_no_logo_however_often_it_comes(path: Path) -> None:
    image = photo(1, 400, 300)
    pages = [
        Page(text_at(60, 700, f"Page {i}.") + draw("I", 60, 100, 480, 400), images={"I": image})
        for i in range(4)
    ]
    assert len(figures(read(path, *pages))) == 4


# Drawings


def chart(x: float, y: float) -> str:
    """A line chart: axes, ticks and a curve of twenty pieces with dots."""
    out = f"{x} {y} m {x + 300} {y} l S {x} {y} m {x} {y + 200} l S\n"
    points = [(x + 15 * i, y + 100 + 80 * np.sin(i / 2)) for i in range(20)]
    out += "{:.1f} {:.1f} m ".format(*points[0])
    out += " ".join(f"{a:.1f} {b:.1f} l" for a, b in points[1:]) + " S\n"
    for a, b in points:
        out += f"{a - 3:.1f} {b:.1f} m {a:.1f} {b + 3:.1f} l {a + 3:.1f} {b:.1f} l f\n"
    return out


def bars(x: float, y: float) -> str:
    heights = (60, 100, 40, 180, 140, 90, 30, 120)
    out = "0.2 0.4 0.8 rg\n"
    return out + "".join(f"{x + 40 * i} {y} 30 {h} re f\n" for i, h in enumerate(heights))


def pie(x: float, y: float) -> str:
    out = ""
    for colour, (a, b) in zip(
        ("1 0 0", "0 1 0", "0 0 1", "1 1 0"), ((1, 1), (-1, 1), (-1, -1), (1, -1)), strict=True
    ):
        out += f"{colour} rg {x} {y} m {x + 120 * a} {y} l {x + 120 * a} {y + 66 * b} "
        out += f"{x + 66 * a} {y + 120 * b} {x} {y + 120 * b} c f\n"
    return out


@pytest.mark.parametrize(
    ("drawing", "expected"),
    [
        (chart(100, 200), (100, 200, 400, 400)),
        (bars(100, 200), (100, 200, 410, 380)),
        (pie(250, 300), (130, 180, 370, 420)),
    ],
    ids=["chart", "bars", "pie"],
)
def test_drawings_are_cut_out_of_the_rendered_page(
    path: Path, drawing: str, expected: tuple[float, float, float, float]
) -> None:
    [figure] = figures(read(path, Page(text_at(60, 700, *BODY) + drawing)))
    left, bottom, right, top = expected
    place = (left / 600, 1 - top / 800, right / 600, 1 - bottom / 800)
    assert box(figure) == pytest.approx(place, abs=0.025)
    assert figure.image is not None
    assert abs(max(figure.image.size) - 1024) <= 2
    assert figure.record.image is not None
    assert figure.record.image.mime == "image/png"


def test_the_labels_of_a_drawing_are_on_its_picture_and_the_text_below_is_not(path: Path) -> None:
    body = text_at(60, 160, "A paragraph below that is about as wide as the page, and no label.")
    labelled = text_at(70, 395, "400") + text_at(100, 185, "one") + text_at(370, 185, "eight")
    [figure] = figures(
        read(path, Page(text_at(60, 700, *BODY) + chart(100, 200) + labelled + body))
    )
    left, top, right, bottom = box(figure)
    assert left * 600 < 70
    assert (1 - bottom) * 800 < 185
    assert (1 - bottom) * 800 > 170
    assert top * 800 == pytest.approx(400, abs=20)
    assert right < 0.75


def table(x: float, y: float) -> str:
    """Ten rows of four cells, every other one shaded, ruled all around."""
    out = "".join(f"0.9 g {x} {y + 40 * i} 400 20 re f\n" for i in range(5))
    out += "".join(f"{x} {y + 20 * i} m {x + 400} {y + 20 * i} l S\n" for i in range(11))
    out += "".join(f"{x + 100 * i} {y} m {x + 100 * i} {y + 200} l S\n" for i in range(5))
    return out + "".join(f"{x + 100 * i} {y + 200} 100 24 re S\n" for i in range(4))


def frame_around_the_page() -> str:
    return "20 20 560 760 re S 30 30 540 740 re S 20 60 m 580 60 l S 20 720 m 580 720 l S\n"


def test_tables_and_frames_are_no_drawings(path: Path) -> None:
    content = text_at(60, 650, *BODY) + table(100, 200) + frame_around_the_page()
    assert figures(read(path, Page(content))) == []


def test_a_frame_does_not_swallow_the_drawing_in_it(path: Path) -> None:
    content = text_at(60, 650, *BODY) + chart(100, 200) + frame_around_the_page()
    [figure] = figures(read(path, Page(content)))
    assert box(figure)[2] < 0.75


def test_a_drawing_on_every_page_is_a_letterhead(path: Path) -> None:
    pages = [Page(text_at(60, 700, f"Page {i}.") + bars(100, 200)) for i in range(4)]
    assert figures(read(path, *pages)) == []


# Scans and blank pages


@pytest.mark.parametrize("place", [(0, 0, 600, 800), (40, 40, 520, 700)])
def test_a_scan_is_one_picture_of_the_page(
    path: Path, place: tuple[float, float, float, float]
) -> None:
    content = draw("S", *place) + draw("T", 400, 100, 150, 100)
    [scan] = read(path, Page(content, images={"S": photo(0, 600, 800), "T": photo(5)}))
    assert (scan.record.locator.page, scan.record.locator.bbox) == (1, None)
    assert scan.image is not None
    assert scan.image.size == (768, 1024)


def test_pil_saves_scans(path: Path) -> None:
    pages = [photo(i, 300, 400) for i in range(3)]
    pages[0].save(path, "PDF", save_all=True, append_images=pages[1:])
    found = read(path)
    assert [part.record.locator.page for part in found] == [1, 2, 3]
    assert all(part.image is not None and part.record.locator.bbox is None for part in found)


def test_a_page_drawn_without_a_text_layer_is_rendered(path: Path) -> None:
    glyphs = "".join(chart(60, 100 + 250 * i) for i in range(2))
    first, *_ = read(path, Page(glyphs))
    assert first.image is not None
    assert first.record.locator.bbox is None


def test_a_background_with_text_gives_the_text_and_the_page(path: Path) -> None:
    page = Page(draw("B", 0, 0, 600, 800) + text_at(60, 400, *BODY), images={"B": photo()})
    text, slide = read(path, page)
    assert text.record.text.startswith("The filter lasts")
    assert slide.image is not None
    assert slide.record.locator.bbox is None


def test_blank_pages_give_nothing_and_a_blank_document_is_empty(path: Path) -> None:
    [part] = read(path, Page(), Page(text_at(60, 700, "Here.")), Page("1 g 0 0 600 800 re f"))
    assert part.record.locator.page == 2
    with pytest.raises(EmptySource, match="no text and no picture"):
        read(path, Page(), Page())


# Broken files


def test_files_that_are_no_readable_pdf(path: Path) -> None:
    good = pdf(Page(text_at(60, 700, "Hello.")))
    for data in (b"%PDF-1.7\n", b"%PDF-1.7\n" + b"rubbish " * 99, good[:150]):
        path.write_bytes(data)
        with pytest.raises(DamagedSource, match="broken or truncated: download or export"):
            read(path)


def test_a_truncated_pdf_never_escapes_as_a_pdfium_error(path: Path) -> None:
    page = Page(text_at(60, 700, *BODY) + draw("I", 60, 300, 300, 150), images={"I": photo()})
    good = pdf(page, Page(text_at(60, 700, "Second page.")))
    for cut in range(0, len(good) - 1, max(1, len(good) // 60)):
        path.write_bytes(good[:cut])
        with suppress(DamagedSource, EmptySource):
            assert read(path)


def test_a_password_is_asked_for(path: Path) -> None:
    key = "<" + "5a" * 32 + ">"
    encrypt = f"/Filter /Standard /V 1 /R 2 /Length 40 /P -4 /O {key} /U {key}"
    trailer = f"/Encrypt << {encrypt} >> /ID [<00112233> <00112233>]"
    path.write_bytes(pdf(Page(text_at(60, 700, "Secret.")), trailer=trailer))
    with pytest.raises(EncryptedSource, match="password"):
        read(path)


def test_no_pages_and_no_bytes(path: Path) -> None:
    path.write_bytes(pdf())
    with pytest.raises(EmptySource, match="no pages"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(EmptySource, match="no bytes"):
        read(path)


def test_paths_that_the_system_refuses(tmp_path: Path) -> None:
    (tmp_path / "link.pdf").symlink_to(tmp_path / "gone.pdf")
    for path in (tmp_path, tmp_path / "link.pdf"):
        with pytest.raises(UnreadableSource, match="check that it exists and may be read"):
            read(path)


def test_a_file_name_that_is_not_unicode(tmp_path: Path) -> None:
    path = tmp_path / b"\xd6\xd0\xce\xc4.pdf".decode(errors="surrogateescape")  # GBK
    [part] = read(path, Page(text_at(60, 700, "Hello.")))
    assert part.record.text == "Hello."


def test_a_page_that_fails_is_named_and_the_others_are_read(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pages = [Page(text_at(60, 700, f"Page {i}.")) for i in (1, 2, 3)]
    data = pdf(*pages)
    second = data.index(b"/Type /Page ", data.index(b"/Type /Page ") + 9)
    path.write_bytes(data[:second] + b"/Type /Oops " + data[second + 12 :])
    with caplog.at_level(logging.WARNING, "mmrag"):
        assert texts(read(path)) == ["Page 1.", "Page 3."]
    assert "pages that cannot be read: [2]" in caplog.text


def test_a_picture_bomb_costs_the_picture_and_not_the_text(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    page = Page(text_at(60, 700, *BODY) + draw("I", 60, 300, 300, 150), images={"I": photo()})
    data = pdf(page).replace(b"/Width 200 /Height 100", b"/Width 50000 /Height 50000")
    path.write_bytes(data)
    [part] = read(path)
    assert part.record.text.startswith("The filter")
    assert "pages with pictures over the pixel limit: [1]" in caplog.text


# Threads and open files


def open_files() -> list[str]:
    links = Path("/proc/self/fd")
    if not links.exists():
        pytest.skip("open files are listed on Linux only")
    return [link.readlink().name for link in links.iterdir() if link.is_symlink()]


def test_four_threads_read_at_once(tmp_path: Path) -> None:
    paths = []
    for i in range(4):
        pages = [
            Page(text_at(60, 700, f"File {i} page {j}.") + chart(100, 200)) for j in range(2)
        ] + [Page(draw("S", 0, 0, 600, 800), images={"S": photo(i, 300, 400)})]
        paths.append(tmp_path / f"{i}.pdf")
        paths[-1].write_bytes(pdf(*pages))
    alone = [[part.record for part in read(path)] for path in paths]
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(read, paths * 5))
    for number, parts in enumerate(many):
        assert [part.record for part in parts] == alone[number % 4]


def test_an_abandoned_reading_closes_its_file(path: Path) -> None:
    path.write_bytes(pdf(*[Page(text_at(60, 700, f"Page {i}.")) for i in range(5)]))
    parts = PdfReader().read(source(path), media_folder(path.parent), 224)
    assert next(parts).record.text == "Page 0."
    del parts
    gc.collect()
    assert path.name not in open_files()


def test_refused_files_are_closed_too(path: Path) -> None:
    for data in (pdf(), b"", b"%PDF-1.7 rubbish"):
        path.write_bytes(data)
        with pytest.raises((EmptySource, DamagedSource)):
            read(path)
    assert path.name not in open_files()


def test_the_sample_manual(tmp_path: Path) -> None:
    import mmrag

    manual = Path(mmrag.__file__).parent / "sample" / "manual.pdf"
    parts = list(PdfReader().read(source(manual), media_folder(tmp_path), 224))
    pages = {part.record.locator.page for part in figures(parts)}
    assert pages == {1, 4, 8}, "the photograph, the chart and the scanned card; no logo, no table"
    [card] = [part for part in parts if part.record.locator.page == 8]
    assert card.record.locator.bbox is None
    assert any("请打开机身背面的滤网门" in text for text in texts(parts))
