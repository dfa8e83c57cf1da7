"""What an answer cites: every form of ``[n]``, and what only looks like one."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag.citations import Citation, Citations, citations
from mmrag.types import Locator, Record

RECORDS = [
    Record("a", source="tea.md"),
    Record("b", source="manual.pdf", locator=Locator(page=3, bbox=(0.1, 0.2, 0.9, 0.5))),
    Record("c", source="talk.mp3", locator=Locator(start_s=12.5, end_s=20)),
]


def numbers(answer: str, count: int = 3) -> tuple[list[int], list[int]]:
    found = citations(answer, [Record(str(n)) for n in range(1, count + 1)])
    assert [int(cited.record.id) for cited in found.cited] == [c.number for c in found.cited]
    return [cited.number for cited in found.cited], list(found.invented)


@pytest.mark.parametrize(
    ("answer", "cited"),
    [
        ("It boils [1].", [1]),
        ("It boils[1][3].", [1, 3]),
        ("It boils [3] [1], and [3] again.", [3, 1]),
        ("It boils [1, 3].", [1, 3]),
        ("It boils [1,3;2].", [1, 3, 2]),
        ("It boils [ 2 ].", [2]),
        ("It boils [1-3].", [1, 2, 3]),
        ("It boils [2–3, 1].", [2, 3, 1]),
        ("水会沸腾【1】。", [1]),
        ("水会沸腾【1】【3】，然后【2、3】。", [1, 3, 2]),
        ("水会沸腾［１，３］。", [1, 3]),
        ("水会沸腾【1～2】", [1, 2]),
        ("**It boils** [[1]]", [1]),
        ("- one [1]\n- two [2]\n\n| a [3] |", [1, 2, 3]),
        ("It boils [1] (at 100 °C).", [1]),
        ("It boils [1](at 100 °C).", [1]),
        ("[1]: it boils", [1]),
        ("It boils [01].", [1]),
    ],
)
def test_every_form_of_a_citation_in_the_order_of_first_mention(
    answer: str, cited: list[int]
) -> None:
    assert numbers(answer) == (cited, [])


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "nothing at all",
        "see [this page](https://example.org/1)",
        "see [1](https://example.org)",
        'see [1](<a b.md> "title") and ![2](pic.png "a (b)")',
        "see [2](https://example.org/a_(b))",
        "`x[1]` and ``y`[2]`` [text]",
        "```python\nx[1] = y[2]\n```",
        "~~~\n[1]\n~~~~\n",
        "- in a list:\n\n   ```\n   [1]\n   ```",
        "> ```\n> [1]\n> ```",
        "[a] [x1] [1a] [1.5] [-1] [] [,] (1) {1} 1",
        "\\[1\\]",
        "back in [2024], or [1998-2024]",
        f"[{'9' * 5000}]",
    ],
)
def test_what_only_looks_like_a_citation_is_none(answer: str) -> None:
    assert numbers(answer) == ([], [])


@pytest.mark.parametrize(
    ("answer", "cited", "invented"),
    [
        ("It boils [0], [99], and [4].", [], [0, 99, 4]),
        ("It boils [1, 7] and [7].", [1], [7]),
        ("It boils [2-9].", [2, 3], [9]),
        ("It boils [0-2].", [1, 2], [0]),
        ("It boils [8-9].", [], [8, 9]),
        ("It boils [3-1].", [3, 1], []),
        ("It boils [1], as of [2024] and [999].", [1], [999]),
        ("It boils [1-2024].", [], []),
    ],
)
def test_numbers_that_no_source_has_are_invented(
    answer: str, cited: list[int], invented: list[int]
) -> None:
    assert numbers(answer) == (cited, invented)


def test_a_number_from_1000_on_is_a_source_if_there_are_that_many() -> None:
    assert numbers("[1024] [2024]", count=1500) == ([1024], [])


def test_without_sources_every_number_is_invented() -> None:
    assert numbers("It boils [1].", count=0) == ([], [1])


def test_code_ends_where_it_ends() -> None:
    assert numbers("```\nx[1]\n```\nand [2]") == ([2], [])
    assert numbers("`x[1]` and [2], `y[3]`") == ([2], [])
    assert numbers("a ` alone, [1]\n\nand another ` there, [2]") == ([1, 2], [])
    assert numbers("a `` b ` [1]") == ([1], [])


def test_a_citation_says_where_it_stands() -> None:
    found = citations("[2] and [3] and [1]", RECORDS)
    page, second, text = found.cited
    assert page == Citation(2, RECORDS[1])
    assert (page.source, page.page, page.bbox) == ("manual.pdf", 3, (0.1, 0.2, 0.9, 0.5))
    assert (second.source, second.start_s, second.end_s) == ("talk.mp3", 12.5, 20)
    assert (text.source, text.page, text.bbox, text.start_s) == ("tea.md", None, None, None)


def test_a_stream_cites_more_and_more() -> None:
    """What is whole stays cited, whatever comes; a half bracket, or open code, cites nothing."""
    answer = "It boils [1], 也说【2、3】.\n```\nx[0]\n```\nSee [2-3]."
    assert citations(answer, RECORDS).cited == tuple(Citation(n, RECORDS[n - 1]) for n in (1, 2, 3))
    before: tuple[Citation, ...] = ()
    for end in range(len(answer) + 1):
        found = citations(answer[:end], RECORDS)
        assert found.cited[: len(before)] == before
        assert not found.invented
        before = found.cited
    assert citations("It boils [1", RECORDS) == Citations()


@given(st.text(alphabet="[]【】［］()<>`~\"' \n0123９,-、", max_size=60))
def test_any_text_has_an_answer(answer: str) -> None:
    found = citations(answer, RECORDS)
    mentioned = [c.number for c in found.cited] + list(found.invented)
    assert len(mentioned) == len(set(mentioned))
    assert all(1 <= c.number <= 3 and c.record is RECORDS[c.number - 1] for c in found.cited)


@pytest.mark.parametrize(
    "piece",
    [
        *('[1](a "', "[1](a '", "[1](a (", "[1](a ", "[1](<", "[1]((", "[1](", "[1](" + " " * 50),
        *("[1,", "[1-", "[ ", "[" + " " * 50, "```\n", "~~~ ", "> "),
        *("`", "`` ` ", "`a`` ", "\n\n`a"),
    ],
)
def test_a_long_answer_takes_no_longer_than_its_length(piece: str) -> None:
    began = time.perf_counter()
    citations(piece * (100_000 // len(piece)), RECORDS)
    assert time.perf_counter() - began < 5
