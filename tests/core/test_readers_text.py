"""Text files: chunks that lose nothing and keep to their sections, in whatever encoding."""

from __future__ import annotations

import codecs
import re
import tracemalloc
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmrag.errors import DamagedSource, EmptySource, UnreadableSource
from mmrag.readers.base import Part
from mmrag.readers.encoding import encoding_of
from mmrag.readers.split import LIMIT, split, split_text, weigh
from mmrag.readers.text import TextReader

from .files import media_folder, source

ENGLISH = "The filter lasts a year. Wash it every month, if you can. It must be dry before use. "
CHINESE = "滤网可以使用一年。请每月清洗一次，晾干后再装回。使用前请先关闭电源！"


def read_lazily(path: Path) -> Iterator[Part]:
    return TextReader().read(source(path), media_folder(path.parent), 224)


def read(path: Path) -> list[Part]:
    return list(read_lazily(path))


def texts(path: Path) -> list[str]:
    return [part.record.text for part in read(path)]


# Chunks

fragments = st.sampled_from(
    [
        *("# Title\n", "## Part\n", "Old\n===\n", "\n", "\n\n", " ", "```\n", "~~~~\n"),
        *(
            "| a | b |\n",
            "- item\n",
            "1. one\n",
            ENGLISH,
            CHINESE,
            "word ",
            "e.g. Mr. Li. ",
            "…\r\n",
        ),
        *("x" * 2000, "中" * 900, ". . . ", "\t", "\u3000", "a, b; " * 300, "#", "|\n", "\ufeff"),
    ]
)


@given(st.lists(fragments, max_size=40).map("".join), st.booleans(), st.booleans())
@example("# only\n## headings\n", True, False)
@example("word " * 9000, True, False)
def test_no_character_is_lost_and_no_chunk_is_too_long(
    text: str, markdown: bool, rows: bool
) -> None:
    chunks = list(split([text], markdown=markdown, rows=rows))
    done = 0
    for chunk in chunks:
        end = chunk.start + len(chunk.text)
        assert text[chunk.start : end] == chunk.text, "a chunk is a slice of the text"
        assert not text[done : chunk.start].strip(), "nothing is left out"
        assert end > done, "a chunk is never all overlap"
        assert weigh(chunk.text) <= LIMIT
        assert chunk.line == text.count("\n", 0, chunk.start) + 1
        done = end
    assert not text[done:].strip()


@given(st.lists(fragments, max_size=20).map("".join), st.integers(1, 700))
def test_chunks_do_not_depend_on_how_the_text_arrives(text: str, step: int) -> None:
    pieces = [text[i : i + step] for i in range(0, len(text), step)]
    assert list(split(pieces)) == list(split([text]))


def test_chunks_have_about_the_size_that_an_encoder_wants() -> None:
    for text, low, high in ((ENGLISH * 60, 600, 800), (CHINESE * 60, 300, 400)):
        chunks = split_text(text)
        assert all(low <= len(chunk) <= high for chunk in chunks[:-1]), "the last is what is left"


@pytest.mark.parametrize(("text", "ends"), [(ENGLISH * 30, "."), (CHINESE * 40, "。！")])
def test_chunks_end_at_sentences_and_overlap_by_one_or_two(text: str, ends: str) -> None:
    chunks = list(split([text]))
    assert len(chunks) > 3
    for one, two in pairwise(chunks):
        assert one.text[-1] in ends
        shared = text[two.start : one.start + len(one.text)].strip()
        assert 1 <= len(re.findall(f"[{ends}]", shared)) <= 2
        assert weigh(shared) <= LIMIT / 4


def test_sentences_end_where_a_reader_says_so() -> None:
    long = "This sentence fills the chunk with words that nobody needs to read. " * 11
    tail = "See Fig. 3 and e.g. Mr. Smith at 3.14 m. Then stop."
    chunks = split_text(long + tail)
    assert chunks[-1].endswith(tail)


def test_sections_do_not_run_into_one_another() -> None:
    text = (
        "# Setup\n\nUnpack it.\n\n## Wi-Fi\n\nHold the key.\n\n## Clock\n### Zone ###\n"
        "Choose one.\n\nService\n=======\n\nCall us.\n"
    )
    assert [(chunk.text, chunk.line, chunk.heading) for chunk in split([text])] == [
        ("# Setup\n\nUnpack it.", 1, "Setup"),
        ("## Wi-Fi\n\nHold the key.", 5, "Setup > Wi-Fi"),
        ("## Clock\n### Zone ###\nChoose one.", 9, "Setup > Clock > Zone"),
        ("Service\n=======\n\nCall us.", 13, "Service"),
    ]


def test_code_and_tables_stay_whole_where_they_fit() -> None:
    code = "```python\n# not a heading\n\n" + "print('line')\n" * 30 + "```\n"
    table = "| part | price |\n|---|---|\n" + "| bolt | 3 |\n" * 30
    text = f"# Use\n\n{ENGLISH * 5}\n\n{code}\n{ENGLISH * 4}\n\n{table}\nAfter it.\n"
    chunks = list(split([text]))
    assert any(code.strip() in chunk.text for chunk in chunks)
    assert any(table.strip() in chunk.text for chunk in chunks)
    assert {chunk.heading for chunk in chunks} == {"Use"}


def test_a_paragraph_is_not_split_if_the_chunk_before_it_is_full_enough() -> None:
    first, second = ENGLISH * 7, ENGLISH * 6
    one, two = split_text(f"{first.strip()}\n\n{second.strip()}")
    assert one == first.strip()
    assert two.endswith(second.strip())


def test_rows_stand_alone_and_do_not_overlap() -> None:
    rows = [f"{number},bolt,{number * 3}\n" for number in range(300)]
    chunks = [chunk.text for chunk in split(["".join(rows)], rows=True)]
    assert "\n".join(chunks) == "".join(rows).strip()


def test_white_space_has_no_chunks() -> None:
    assert split_text("") == split_text(" \n\t\n") == []


# Files


def test_a_markdown_file_becomes_records(tmp_path: Path) -> None:
    path = tmp_path / "a\nname 🐼.md"
    path.write_text("# Tea\n\nGreen tea.\n\n## Water\n\n80 degrees.\n", encoding="utf-8")
    one, two = (part.record for part in read(path))
    assert (one.text, dict(one.metadata)) == ("# Tea\n\nGreen tea.", {"line": 1, "heading": "Tea"})
    assert dict(two.metadata) == {"line": 5, "heading": "Tea > Water"}
    assert one.source == two.source == "a\nname 🐼.md"
    assert one.id != two.id
    assert [part.record for part in read(path)] == [one, two], "reading again gives the same"


def test_an_edit_changes_only_the_ids_of_what_it_touches(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(ENGLISH * 30)
    before = [part.record.id for part in read(path)]
    path.write_text(ENGLISH * 30 + "One more.")
    after = [part.record.id for part in read(path)]
    assert before[:-1] == after[: len(before) - 1]
    assert before[-1] not in after


ENCODED = [
    ("utf-8", CHINESE),
    ("utf-8-sig", CHINESE),
    ("gbk", CHINESE),
    ("gb18030", "价格：€20，表情🐼。" + CHINESE),
    ("gbk", "name,城市\nLi Na,北京\n"),
    ("utf-16", CHINESE),
    ("utf-16-le", CHINESE),
    ("utf-16-be", CHINESE),
    ("utf-16-le", ENGLISH),
    ("utf-16-be", ENGLISH),
    ("utf-16-le", "滤网"),
    ("utf-32", CHINESE),
    ("cp1252", "Der Müller fährt für 20 € nach Köln – “schön”, naïve café.\n"),
    ("ascii", ENGLISH),
    ("utf-8", "カタカナ и кириллица 한국어 ελληνικά"),
]


@pytest.mark.parametrize(("codec", "text"), ENCODED)
def test_the_encoding_is_found(tmp_path: Path, codec: str, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(codec))
    assert " ".join(texts(path)) == text.strip()


def test_gbk_after_a_long_english_preface(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(ENGLISH.encode() * 40_000 + b"\n" + CHINESE.encode("gbk"))
    assert encoding_of(path) == "gb18030"


def test_one_broken_character_does_not_cost_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.txt"
    path.write_bytes((CHINESE * 3).encode()[:-1])
    assert encoding_of(path) == "utf-8"
    assert texts(path)[-1].endswith("先关闭电源\ufffd")


STRAY = [b"\xed\xa0\x80", b"\0", b"\xff\xfe\xfd", b"\x01\x02"]


@pytest.mark.parametrize("stray", STRAY)
@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_stray_bytes_do_not_cost_the_file(tmp_path: Path, stray: bytes, text: str) -> None:
    """A log that was cut by a crash, an export with half a character: the rest is good text."""
    path = tmp_path / "a.txt"
    path.write_bytes((text * 40).encode() + stray + (text * 40).encode() + b"\0 end")
    assert encoding_of(path) == "utf-8"
    read_back = " ".join(texts(path))
    assert read_back.endswith("\ufffd end")
    assert "\0" not in read_back


def test_a_letter_of_another_encoding_is_no_stray_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes((ENGLISH * 60 + "In a café.").encode("cp1252"))
    assert encoding_of(path) == "cp1252"
    path.write_bytes((ENGLISH * 60).encode() + CHINESE[:8].encode("gbk"))
    assert encoding_of(path) == "gb18030"


def test_replacement_characters_of_an_english_file_are_as_good(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(ENGLISH * 60 + "\ufffd", "utf-8")
    assert encoding_of(path) == "utf-8"


def test_line_ends_of_every_system_are_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_bytes(b"# A\r\none\rtwo\r\n\r\n# B\r\nthree\r\n")
    assert texts(path) == ["# A\none\ntwo", "# B\nthree"]


@pytest.mark.parametrize(
    "data",
    [
        b"a text with a \0 byte in it" * 9,
        bytes(range(256)) * 40,
        b"\x01\x02\x03\x04\x05" * 100,
        CHINESE.encode("big5", "ignore") * 3,
        codecs.BOM_UTF8[:2] + b"\xff" * 300,
        # What the first stray byte is followed by counts, however far away it is.
        ENGLISH.encode() * 20_000 + b"\0" + ENGLISH.encode() * 500 + bytes(range(256)) * 400,
        ENGLISH.encode() * 20_000 + b"\xed\xa0\x80" + ENGLISH.encode() * 500 + b"\xff" * 50_000,
    ],
)
def test_what_is_not_text_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(DamagedSource, match="save it as UTF-8"):
        read(path)


KOREAN = (
    "공유기의 비밀번호는 제품 뒷면에 붙어 있는 스티커에서 찾을 수 있습니다. "
    "설정을 처음으로 되돌리려면 단추를 십 초 동안 누르고 불이 깜박일 때까지 기다려 주세요. "
    "전원을 끄기 전에 필터를 꺼내어 물로 씻고 그늘에서 말린 다음 다시 끼웁니다."
)
RUSSIAN = (
    "Пароль маршрутизатора указан на наклейке снизу. Чтобы сбросить настройки, нажмите кнопку и "
    "удерживайте её десять секунд, пока не начнёт мигать лампочка. Перед чисткой отключите "
    "питание, выньте фильтр, промойте его холодной водой и высушите в тени."
)


@pytest.mark.parametrize("times", [1, 300])
@pytest.mark.parametrize(
    ("codec", "text"), [("euc-kr", KOREAN), ("cp1251", RUSSIAN), ("koi8-r", RUSSIAN)]
)
def test_what_only_decodes_as_chinese_is_refused(
    tmp_path: Path, codec: str, text: str, times: int
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\n".join([text] * times).encode(codec))
    with pytest.raises(DamagedSource, match="save it as UTF-8"):
        read(path)
    path.write_text(text, "utf-8")
    assert " ".join(texts(path)) == text


@pytest.mark.parametrize(
    "text",
    [
        "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜戚谢邹喻柏水窦章云苏潘葛",
        "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水",
        "天地玄黃宇宙洪荒日月盈昃辰宿列張寒來暑往秋收冬藏閏餘成歲律呂調陽雲騰致雨露結為霜金生麗水",
        "阿坝,安康,安庆,安顺,安阳,鞍山,巴中,白城,白山,白银,百色,蚌埠,包头,宝鸡,保定,保山,北海,本溪,毕节,滨州,亳州",
        "学而时习之，不亦说乎？有朋自远方来，不亦乐乎？人不知而不愠，不亦君子乎？其为人也孝弟，而好犯上者，鲜矣。",
        "编号,品名,规格,检测结果\n" + "甲,钢板,合格\n" * 500,
        "氢氦锂铍硼碳氮氧氟氖钠镁铝硅磷硫氯氩钾钙钪钛钒铬锰铁钴镍铜锌镓锗砷硒溴氪铷锶钇锆铌钼锝钌铑钯银镉",
    ],
)
def test_lists_and_classical_chinese_are_chinese(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode("gbk"))
    assert encoding_of(path) == "gb18030"


def test_empty_and_blank_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for data in (b"", b" \n\n ", codecs.BOM_UTF8):
        path.write_bytes(data)
        with pytest.raises(EmptySource, match="no text"):
            read(path)


def test_files_that_the_system_refuses(tmp_path: Path) -> None:
    (tmp_path / "link.txt").symlink_to(tmp_path / "gone.txt")
    for path in (tmp_path, tmp_path / "link.txt"):
        with pytest.raises(UnreadableSource, match="check that it exists and may be read"):
            read(path)


@pytest.mark.parametrize("kind", ["paragraphs", "one line", "blank"])
def test_memory_stays_bounded_however_large_the_file(tmp_path: Path, kind: str) -> None:
    """Read whole to find the encoding, and for 3,000 chunks to split it: the peak is the same for
    a file of any length."""
    path = tmp_path / "large.txt"
    block = {"paragraphs": (ENGLISH * 9 + "\n\n"), "one line": ENGLISH, "blank": " " * 800}[kind]
    size = 4_000_000 if kind == "blank" else 32_000_000
    with path.open("w") as file:
        for _ in range(size // len(block)):
            file.write(block)
        file.write("end")
    tracemalloc.start()
    parts = list(islice(map(part_length, read_lazily(path)), 3000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(parts) == (1 if kind == "blank" else 3000)
    assert peak < 6_000_000


def part_length(part: Part) -> int:
    return len(part.record.text)


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(ENGLISH * 50)
    parts = read_lazily(path)
    assert next(parts).record.text.startswith("The filter")
