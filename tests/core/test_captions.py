"""Captions: what is taken from a model's answer, and what is not."""

from __future__ import annotations

import pytest

from mmrag.caption_prompt import PROMPT
from mmrag.captions import full_text, parse_caption
from mmrag.errors import AnswerError
from mmrag.types import Caption

ANSWER = """\
{"brief": "A bar chart of sales", "detailed": "Sales by year. They rise.",
 "keywords": ["sales", " "], "text_content": "Sales\\n2020 2021 ",
 "data_points": {"2020": 1.5, "2021": "2"}}"""
CAPTION = Caption(
    "A bar chart of sales",
    "Sales by year. They rise.",
    ("sales",),
    "Sales\n2020 2021",
    {"2020": "1.5", "2021": "2"},
)


DRAFT = ANSWER.replace("bar chart", "pie chart")


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "```json\n{}\n```",
        "Here it is:\n{}\nAnything else?",
        "Here is the JSON {as asked}: {}",
        "{}\nI kept to the form {as asked}.",
        'Of the form {"brief": ...}: {}',
        f"<think>Perhaps {DRAFT}, or {{no}}.</think>{{}}",
        f'<think>Perhaps {DRAFT[:-1]}? Or {{"a": 1}}</think>\n{{}}\n{{"done": true}}',
    ],
)
def test_a_caption_is_taken_from_an_answer(around: str) -> None:
    assert parse_caption(around.replace("{}", ANSWER)) == CAPTION


@pytest.mark.parametrize(
    "wrong", [ANSWER.replace('"brief"', "brief"), f"<think>{DRAFT}</think>{ANSWER[:-1]},}}"]
)
def test_an_answer_that_is_slightly_wrong_is_repaired(wrong: str) -> None:
    pytest.importorskip("json_repair")
    assert parse_caption(wrong) == CAPTION


@pytest.mark.parametrize("cut", [1, 2, 30, 120, -5, -1])
def test_a_draft_is_not_taken_for_an_answer_that_is_cut_short(cut: int) -> None:
    with pytest.raises(AnswerError, match="no caption"):
        parse_caption(f"<think>Perhaps {DRAFT}</think>{ANSWER[:cut]}")


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I cannot help with that.",
        "{",
        ANSWER[:-1],
        ANSWER[: len(ANSWER) // 2],
        ANSWER.replace("text_content", "text"),
        ANSWER.replace("A bar chart of sales", " "),
        ANSWER.replace('["sales", " "]', '"sales"'),
        f"{ANSWER} {ANSWER[:-1]}",
    ],
)
def test_an_answer_that_is_not_whole_is_no_caption(answer: str) -> None:
    with pytest.raises(AnswerError, match="no caption"):
        parse_caption(answer)


def test_the_prompt_asks_for_what_is_parsed() -> None:
    for key in ("brief", "detailed", "keywords", "text_content", "data_points"):
        assert f'"{key}"' in PROMPT


def test_the_full_text_has_all_that_a_caption_says() -> None:
    assert full_text(CAPTION).splitlines() == [
        "A bar chart of sales",
        "Sales by year. They rise.",
        "sales",
        "Sales",
        "2020 2021",
        "2020: 1.5",
        "2021: 2",
    ]
    assert full_text(Caption()) == ""
