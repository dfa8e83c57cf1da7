"""Hits in a terminal, in a notebook and as a page: inert, self-contained, readable."""

from __future__ import annotations

import pickle
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from mmrag.display import Hits, hit_line, hits_html, page_html
from mmrag.display_assets import ROUTE_COLOURS
from mmrag.display_cards import CARDS, place
from mmrag.display_text import clip, clip_words, clock, columns, excerpt, flowing, marked, number
from mmrag.routes import ROUTES
from mmrag.types import Caption, Hit, ImageRef, Locator, Record, RouteScore, TextLine

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></title><script>alert(1)</script>",
    "<svg/onload=alert(1)>",
    "http://evil.example/x.png",
    "\x00\x1b[31m\u202egpj.exe\n\udc80",
]
VOID = {"img", "meta", "rect"}


class Page(HTMLParser):
    """Collects what a browser would make of the HTML."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.marks: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data
        if "mark" in self.open:
            self.marks.append(data)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def assert_inert(html: str) -> Page:
    page = Page(html)
    assert page.open == []
    known = {"html", "head", "meta", "title", "style", "body", "main", "section", "h1", "h2", "p"}
    known |= {"div", "span", "img", "mark", "svg", "rect", "details", "summary"}
    assert set(page.tags) <= known
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert all(src.startswith("data:image/") for src in page.values("src"))
    assert not {name for name, _ in page.attributes} & {"href", "srcset", "action", "data"}
    style = " ".join([*re.findall("<style>(.*?)</style>", html, re.S), *page.values("style")])
    assert "url(" not in style
    assert "@import" not in style
    html.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)
    return page


def text_hit(text: str = "Hello", source: str = "a.txt", **more: object) -> Hit:
    record = Record("r", text=text, source=source, **more)  # type: ignore[arg-type]
    return Hit(record, 0.0325, (RouteScore("keywords", 4, 2.1, 0.0164),))


def image_hit(path: Path | str, caption: str = "", **more: object) -> Hit:
    image = ImageRef(str(path), "0" * 64, "image/jpeg", 40, 30)
    told = Caption(brief=caption) if caption else None
    record = Record("i", image=image, caption=told, source=str(path), **more)  # type: ignore[arg-type]
    return Hit(record, 0.5, (RouteScore("text->image", 1, 0.31, 0.5),))


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    path = tmp_path / "cat.jpg"
    Image.new("RGB", (40, 30), "orange").save(path)
    return path


class TestText:
    def test_numbers_have_three_significant_digits(self) -> None:
        values = [0.83, 0.0325, 12.44, 1234.5, 0.0, -0.5, 99.96, float("nan"), float("inf")]
        shown = ["0.830", "0.0325", "12.4", "1234", "0.00", "-0.500", "100", "nan", "inf"]
        assert [number(value) for value in values] == shown

    def test_clock(self) -> None:
        assert [clock(at) for at in (0, 65.9, 3600, -1)] == ["0:00", "1:05", "1:00:00", "0:00"]

    def test_place(self) -> None:
        assert place(Locator(page=3, start_s=12, end_s=75)) == "p. 3 · 0:12–1:15"
        assert place(Locator(start_s=float("nan"))) == ""

    def test_a_chinese_character_is_two_columns_and_an_accent_none(self) -> None:
        assert columns("ab猫") == 4
        assert columns("e\u0301") == 1

    @pytest.mark.parametrize("text", ["short", "猫" * 50, "a猫" * 30, "e" + "\u0301" * 5000])
    def test_clip_keeps_to_its_columns(self, text: str) -> None:
        for keep_end in (False, True):
            clipped = clip(text, 20, keep_end=keep_end)
            assert columns(clipped) <= 20
            assert len(clipped) <= 40
        assert (clip(text, 20) == text) == (columns(text) <= 20 and len(text) <= 40)

    def test_clip_words_ends_between_words(self) -> None:
        assert clip_words("press the reset button", 13) == "press the…"
        assert clip_words("press the reset", 15) == "press the reset"

    def test_flowing_has_one_line_and_nothing_unseen(self) -> None:
        assert flowing(" a\r\n\tb\u200b\u202ec\x1b ") == "a bc\\x1b"


class TestMarks:
    @pytest.mark.parametrize(
        ("text", "query", "expected"),
        [
            ("Two cats sat", "a CAT", "Two <mark>cats</mark> sat"),
            ("the image", "images", "the <mark>image</mark>"),
            ("concatenate", "cat", "concatenate"),
            ("按住复位按钮十秒", "复位按钮在哪", "按住<mark>复位按钮</mark>十秒"),
            ("一只小猫", "红色的猫", "一只小<mark>猫</mark>"),
            ("使用USB接口", "usb", "使用<mark>USB</mark>接口"),
            ("the cat", "the of", "<mark>the</mark> cat"),
            ("a<b>&c", "b", "a&lt;<mark>b</mark>&gt;&amp;c"),
            ("anything", "", "anything"),
            ("b.c bxc", "[(.*+? b.c", "<mark>b</mark>.<mark>c</mark> bxc"),
        ],
    )
    def test_english_words_and_chinese_substrings(
        self, text: str, query: str, expected: str
    ) -> None:
        assert marked(text, query) == expected

    def test_the_excerpt_is_where_most_of_the_query_is(self) -> None:
        text = "A router. " + "Other things. " * 40 + "Press the reset button of the router. " * 2
        found = excerpt(text, "reset the router", 100)
        assert found.startswith("…")
        assert "reset button of the router" in found
        assert columns(found) <= 100

    def test_the_excerpt_of_chinese_text(self) -> None:
        text = "前言内容很长。" * 60 + "请按住复位按钮十秒。" + "后面的内容。" * 60
        found = excerpt(text, "复位按钮", 80)
        assert "复位按钮" in found
        assert columns(found) <= 80

    def test_without_a_match_the_excerpt_is_the_beginning(self) -> None:
        assert excerpt("begin " + "word " * 100, "nothing", 30).startswith("begin")


class TestLine:
    def test_picture(self) -> None:
        line = hit_line(image_hit("pictures/cat.jpg"))
        assert line == "0.500 image pictures/cat.jpg  [text->image #1 0.310]"

    def test_text(self) -> None:
        hit = text_hit("Press the reset button", "manual.pdf", locator=Locator(page=3))
        expected = '0.0325 text  manual.pdf p. 3  "Press the reset button"  [keywords #4 2.10]'
        assert repr(hit) == expected

    def test_the_best_routes_come_first_and_the_others_are_counted(self) -> None:
        routes = [RouteScore(name, 1, 0.5, part) for part, name in enumerate("abcd")]
        line = hit_line(Hit(Record("x"), 1.0, tuple(routes)))
        assert line == "1.00 text  x  [d #1 0.500 · c #1 0.500 +2]"

    @pytest.mark.parametrize(
        "text", [*HOSTILE, "猫" * 500, "word " * 500, "e" + "\u0301" * 900, ""]
    )
    def test_one_line_of_120_columns_without_control_characters(self, text: str) -> None:
        routes = tuple(RouteScore(text or "r", 10**6, 1e-12, float("nan")) for _ in range(9))
        hit = Hit(Record(text or "id", text=text, source=text), -1.23e-9, routes)
        for line in (hit_line(hit), repr(Hits([hit]))):
            assert columns(line) <= 120
            assert line.isprintable()


class TestGallery:
    @pytest.mark.parametrize("bad", HOSTILE)
    def test_hostile_strings_are_shown_and_do_nothing(self, bad: str, cat: Path) -> None:
        caption = Caption(brief=bad, detailed=bad, text_content=bad)
        image = ImageRef(bad, bad, bad, 1, 1)
        records = [
            Record(bad, text=bad, source=bad, metadata={bad: bad, "list": [bad]}),
            Record(bad, text=bad, image=image, caption=caption, source=bad),
            Record(bad, image=ImageRef(str(cat), "", bad, 0, 0), caption=caption),
        ]
        hits = Hits([Hit(r, 1, (RouteScore(bad, 1, 1, 1),)) for r in records], text=bad, image=bad)
        assert_inert(hits._repr_html_())
        assert_inert(page_html(bad, [(bad, bad, hits)]))
        assert "alert(1)" in Page(hits._repr_html_()).text or "alert" not in bad

    def test_a_picture_is_a_data_url(self, cat: Path) -> None:
        page = assert_inert(hits_html([image_hit(cat)], query_image=cat))
        assert len(page.values("src")) == 2
        assert all(src.startswith("data:image/jpeg;base64,") for src in page.values("src"))

    def test_a_transparent_picture_is_a_png(self, tmp_path: Path) -> None:
        Image.new("RGBA", (9, 9), (255, 0, 0, 80)).save(tmp_path / "a.png")
        (src,) = assert_inert(hits_html([image_hit(tmp_path / "a.png")])).values("src")
        assert src.startswith("data:image/png;base64,")

    def test_a_big_noisy_picture_stays_small(self, tmp_path: Path) -> None:
        noise = Image.effect_noise((900, 900), 120)
        Image.merge("RGBA", [noise, noise.rotate(90), noise.rotate(180), noise]).save(
            tmp_path / "noise.png"
        )
        assert len(hits_html([image_hit(tmp_path / "noise.png")])) < 220_000

    def test_a_missing_picture_leaves_a_tile(self, tmp_path: Path, cat: Path) -> None:
        gone = tmp_path / "gone.jpg"
        page = assert_inert(hits_html([image_hit(gone), image_hit(cat)]))
        assert f"picture not found: {gone}"[:150] in page.text
        assert page.tags.count("img") == 1

    def test_a_broken_picture_leaves_a_tile_that_says_why(self, tmp_path: Path) -> None:
        (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
        page = assert_inert(hits_html([image_hit(tmp_path / "broken.jpg")]))
        assert "picture cannot be shown" in page.text
        assert any("broken or truncated" in title for title in page.values("title"))

    def test_the_query_is_marked_in_texts_and_captions(self, cat: Path) -> None:
        hits = [text_hit("A cat sat."), text_hit("一只小猫"), image_hit(cat, "A cat")]
        assert Page(hits_html(hits, query="cats 猫")).marks == ["cat", "猫", "cat"]

    def test_lines_that_match_are_marked_where_they_stand(self, cat: Path) -> None:
        read = (
            TextLine("Total due", (0.25, 0.5, 0.75, 1.5)),
            TextLine("Invoice", (0, 0, 1, 0.5)),
            TextLine("total", (float("nan"), 0, 1, 1)),
        )
        image = ImageRef(str(cat), "0" * 64, "image/jpeg", 40, 30)
        hit = Hit(Record("i", image=image, caption=Caption(lines=read)), 0.5, ())
        page = assert_inert(hits_html([hit], query="the totals"))
        assert page.values("viewbox") == ["0 0 40 30"]
        assert page.values("preserveaspectratio") == ["xMidYMid slice"]
        sides = [page.values(side) for side in ("x", "y", "width", "height")]
        assert sides == [["10.0"], ["15.0"], ["20.0"], ["15.0"]]
        assert "rect" not in Page(hits_html([hit], query="bicycle")).tags
        cat.unlink()
        assert "rect" not in Page(hits_html([hit], query="total")).tags

    def test_a_card_says_where_and_why(self) -> None:
        locator = Locator(page=3, bbox=(0.1, 0.25, 0.5, 2.0), start_s=65)
        hit = text_hit("Hello", "C:\\docs\\manual.pdf", locator=locator)
        page = assert_inert(hits_html([hit]))
        for word in ("manual.pdf", "p. 3 · 1:05", "0.0325", "keywords", "#4", "2.10", "text"):
            assert word in page.text
        assert "C:\\docs\\manual.pdf" in page.values("title")
        assert "10% to 50% across, 25% to 100% down" in page.text
        assert "keywords adds 0.0164" in page.values("title")

    def test_bars_compare_hits(self) -> None:
        half = Hit(
            Record("a"), 1, (RouteScore("keywords", 1, 9, 0.25), RouteScore("x", 2, 1, 0.25))
        )
        whole = Hit(Record("b"), 2, (RouteScore("text->text", 1, 0.9, 1.0),))
        assert Page(hits_html([whole, half])).values("style") == [
            "width:100.0%",
            "width:25.0%",
            "width:25.0%",
        ]

    @pytest.mark.parametrize("part", [0.0, -0.5, float("nan"), float("inf")])
    def test_a_contribution_that_is_no_length_has_no_bar(self, part: float) -> None:
        page = Page(hits_html([Hit(Record("a"), 1, (RouteScore("r", 1, part, part),))]))
        assert page.values("style") == []

    def test_boxes_that_are_not_numbers_are_left_out(self) -> None:
        hit = text_hit(locator=Locator(page=1, bbox=(float("nan"), 0, 1, 1)))
        assert "svg" not in Page(hits_html([hit])).tags

    def test_every_route_has_its_own_colour(self) -> None:
        assert list(ROUTE_COLOURS) == list(ROUTES)
        assert len(set(ROUTE_COLOURS.values())) == len(ROUTES)

    def test_a_long_list_is_cut(self) -> None:
        hits = Hits([text_hit()] * (CARDS + 5))
        assert "and 5 more" in Page(hits._repr_html_()).text
        assert repr(hits).splitlines()[-1] == "and 5 more"

    def test_styles_stay_in_the_gallery(self) -> None:
        (style,) = re.findall("<style>(.*?)</style>", hits_html([]), re.S)
        rules = re.sub(r"@media[^{]*\{((?:[^{}]*\{[^}]*\})*)\}", r"\1", style)
        selectors = [rule.split("{")[0].strip() for rule in rules.split("}") if "{" in rule]
        assert len(selectors) > 30
        assert all(s == ".mmrag" or s.startswith(".mmrag ") for s in selectors)
        assert not [s for s in selectors if "," in s]


class TestHits:
    def test_it_is_a_tuple_that_knows_what_was_asked(self, cat: Path) -> None:
        one, two = text_hit("one"), text_hit("two")
        hits = Hits([one, two], text="q", image=str(cat))
        assert isinstance(hits, tuple)
        assert list(hits) == [one, two]
        assert (hits.text, hits.image) == ("q", str(cat))
        assert hits[0] is one
        assert isinstance(hits[:1], Hits)
        assert (list(hits[1:]), hits[:1].text) == ([two], "q")
        assert len(hits) == 2
        assert two in hits

    def test_empty(self) -> None:
        assert repr(Hits()) == "no hits"
        assert not Hits()
        assert "no hits" in assert_inert(Hits(text="q")._repr_html_()).text

    def test_repr_is_a_numbered_line_a_hit(self) -> None:
        lines = repr(Hits([text_hit("one\ntwo"), text_hit("two")])).splitlines()
        assert [line[:4] for line in lines] == [" 1. ", " 2. "]
        assert '"one two"' in lines[0]

    def test_pickle_keeps_everything(self) -> None:
        hits = Hits([text_hit(metadata={}, extra={})], text="q", image=b"bytes")
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(hits, protocol))
            assert type(again) is Hits
            assert (again, again.text, again.image) == (hits, "q", b"bytes")

    def test_the_gallery_shows_the_query(self, cat: Path) -> None:
        page = assert_inert(Hits([text_hit()], text="where?", image=Image.open(cat))._repr_html_())
        assert page.text.strip().startswith("where?")
        assert page.values("alt") == ["the picture that was asked with"]


class TestPage:
    def test_a_whole_document(self, cat: Path) -> None:
        hits = Hits([image_hit(cat), text_hit()], text="cat", image=cat)
        html = page_html("Demo", [("Animals", "By words.", hits), ("空", "", Hits(text="空"))])
        page = assert_inert(html)
        assert html.startswith("<!DOCTYPE html>")
        assert page.open == []
        assert page.tags.count("section") == 2
        assert page.tags.count("style") == 1
        assert "utf-8" in page.values("charset")
        assert any("default-src 'none'" in content for content in page.values("content"))
        for word in ("Demo", "Animals", "By words.", "空", "no hits", "text → image", "keywords"):
            assert word in page.text
        assert "http://" not in html
        assert "https://" not in html

    def test_a_heading_that_is_the_query_is_not_said_twice(self) -> None:
        page = Page(page_html("t", [("find a cat", "", Hits(text="find a cat"))]))
        assert page.text.count("find a cat") == 1

    def test_no_sections(self) -> None:
        assert_inert(page_html("Nothing", []))
