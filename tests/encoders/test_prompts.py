"""Which prompt a model gets, by its name and by what it says itself."""

from __future__ import annotations

import pytest

from mmrag.encoders.prompts import Prompts, find_prompts, own_prompts

ZH = "为这个句子生成表示以用于检索相关文章："
EN = "Represent this sentence for searching relevant passages: "
TASK = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)


@pytest.mark.parametrize(
    ("name", "query", "passage"),
    [
        ("BAAI/bge-small-zh-v1.5", ZH, ""),
        ("BAAI/bge-large-zh", ZH, ""),
        ("BAAI/bge-base-en-v1.5", EN, ""),
        ("BAAI/bge-m3", "", ""),
        ("intfloat/e5-base-v2", "query: ", "passage: "),
        ("intfloat/multilingual-e5-small", "query: ", "passage: "),
        ("intfloat/multilingual-e5-large-instruct", f"{TASK} ", ""),
        ("thenlper/gte-large", "", ""),
        ("Alibaba-NLP/gte-Qwen2-1.5B-instruct", f"{TASK} ", ""),
        ("Qwen/Qwen3-Embedding-0.6B", TASK, ""),
        ("nomic-ai/nomic-embed-text-v1.5", "search_query: ", "search_document: "),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", "query: ", ""),
        ("/models/bge-small-zh-v1.5", ZH, ""),
        (r"C:\models\e5-small", "query: ", "passage: "),
        ("/cache/models--BAAI--bge-base-en-v1.5/snapshots/0a1b2c", EN, ""),
    ],
)
def test_known_models(name: str, query: str, passage: str) -> None:
    assert find_prompts([name]) == Prompts(query, passage)


@pytest.mark.parametrize(
    "name", ["sentence-transformers/all-MiniLM-L6-v2", "", "my-bge-m3-tuned", "BAAI/bge-reranker"]
)
def test_unknown_models(name: str) -> None:
    assert find_prompts([name]) is None


def test_the_first_name_that_is_known_counts() -> None:
    names = ["mine", "intfloat/e5-base", "BAAI/bge-m3"]
    assert find_prompts(names) == Prompts("query: ", "passage: ")


@pytest.mark.parametrize(
    ("prompts", "default", "expected"),
    [
        ({}, None, None),
        ({"query": "", "document": ""}, None, None),
        ({"query": "q: ", "document": ""}, None, Prompts("q: ")),
        ({"query": "q: ", "document": "", "passage": "p: "}, None, Prompts("q: ", "p: ")),
        ({"query": "", "document": "d: ", "passage": "p: "}, None, Prompts("", "d: ")),
        ({"query": "", "document": "", "sts": "s: "}, None, None),
        ({"query": "", "document": "", "sts": "s: "}, "sts", Prompts("s: ", "s: ")),
        ({"query": "q: ", "document": "", "sts": "s: "}, "sts", Prompts("q: ", "s: ")),
    ],
)
def test_what_a_model_says_itself(
    prompts: dict[str, str], default: str | None, expected: Prompts | None
) -> None:
    assert own_prompts(prompts, default) == expected
