"""What has to stand before a text so that a model embeds it as a query, or as a passage."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["PROMPTS", "Prompts", "find_prompts", "own_prompts"]


class Prompts(NamedTuple):
    """What stands before a query and before a passage; empty for nothing."""

    query: str = ""
    passage: str = ""


_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
_INSTRUCT = Prompts(f"Instruct: {_SEARCH}\nQuery: ")
_BGE_EN = Prompts("Represent this sentence for searching relevant passages: ")

PROMPTS: Mapping[str, Prompts] = MappingProxyType(
    {
        r"bge-m3": Prompts(),
        r"bge-\w+-zh(-v1\.5)?": Prompts("为这个句子生成表示以用于检索相关文章："),
        r"bge-\w+-en(-v1\.5)?": _BGE_EN,
        r"mxbai-embed-large-v1": _BGE_EN,
        r"snowflake-arctic-embed-(xs|s|m|m-long|l|m-v1\.5)": _BGE_EN,
        r"snowflake-arctic-embed-[ml]-v2\.0": Prompts("query: "),
        r"(multilingual-e5-large|e5-mistral-7b)-instruct": _INSTRUCT,
        r"(multilingual-)?e5-(small|base|large)(-v2)?": Prompts("query: ", "passage: "),
        r"gte-qwen\d?(\.\d)?-[\w.]+-instruct": _INSTRUCT,
        r"gte-.+": Prompts(),
        r"qwen3-embedding-.+": Prompts(f"Instruct: {_SEARCH}\nQuery:"),
        r"nomic-embed-text-.+": Prompts("search_query: ", "search_document: "),
        r"embeddinggemma-.+": Prompts("task: search result | query: ", "title: none | text: "),
    }
)
"""By what a model is called (its name in lower case, as a whole), as its authors say; the first
that fits counts."""


def find_prompts(names: Iterable[str]) -> Prompts | None:
    """The prompts of the first known model among these names on the hub, folders and paths into a
    hub's cache; None if none of them is known.

    Example:
        >>> find_prompts(["/models/bge-small-en-v1.5"]).query
        'Represent this sentence for searching relevant passages: '
    """
    for name in names:
        for part in reversed(re.split(r"[/\\]|--", name.lower())):
            for pattern, prompts in PROMPTS.items():
                if re.fullmatch(pattern, part):
                    return prompts
    return None


def own_prompts(prompts: Mapping[str, str], default: str | None) -> Prompts | None:
    """What a model of sentence-transformers says itself, in its ``prompts`` and the name of its
    default one; None if it says nothing.

    sentence-transformers gives every model an empty ``document``, which hides a ``passage`` from
    its ``encode_document``: here an empty one does not count.
    """
    always = prompts.get(default or "") or ""
    query = prompts.get("query") or always
    passages = (prompts.get(name) for name in ("document", "passage", "corpus"))
    passage = next(filter(None, passages), always)
    return Prompts(query, passage) if query or passage else None
