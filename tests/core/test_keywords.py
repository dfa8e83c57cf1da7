"""Keyword vectors: which texts share a token, and what a token weighs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from mmrag.keywords import encode_document, encode_query


def matches(query: str, document: str) -> bool:
    """Whether every token of the query is in the document."""
    tokens = encode_query(query).indices
    assert tokens, f"nothing is left of {query!r}"
    return set(tokens) <= set(encode_document(document).indices)


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("run", "Running shoes, for runs"),
        ("ROUTER", "the router's password"),
        ("路由器密码", "如何重置路由器密码"),
        ("重置", "如何重置路由器密码"),
        ("wifi 密码", "重置 WiFi 的密码"),
        ("ＷｉＦｉ", "wifi"),
        ("404", "Error 404: not found"),
        ("３．１４", "pi is 3.14 or so"),
        ("2024", "2024年的报告"),
        ("第3章", "见第3章"),
        ("3", "见第3章"),
        ("1,000", "price: 1,000 €"),
        ("X100", "the X100 camera"),
        ("220V", "220v, 50Hz"),
        ("100%", "100 % cotton"),
        ("2024-01-02", "on 2024-01-02 at noon"),
        ("café", "Le café noir"),
        ("пароль", "забыл пароль"),
    ],
)
def test_found(query: str, document: str) -> None:
    assert matches(query, document)


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("404", "the A404 motorway"),
        ("14", "3.145"),
        ("100", "the X100 camera"),
        ("密码", "重置路由器"),
        ("book", "notebooks"),
    ],
)
def test_not_found(query: str, document: str) -> None:
    assert not matches(query, document)


@pytest.mark.parametrize("text", ["", " \n", "the of and", "的 了 是", "!? —。，"])
def test_nothing_is_left(text: str) -> None:
    assert not encode_query(text)
    assert not encode_document(text)


def test_a_query_weighs_each_token_once() -> None:
    assert encode_query("zebra zebra lion").values == (1.0, 1.0)


def test_a_document_weighs_by_frequency_and_length() -> None:
    # tf * (k + 1) / (tf + k * (1 - b + b * length / average)), k = 1.2, b = 0.75, average 64
    (weight,) = encode_document("zebra zebra").values
    assert weight == pytest.approx(2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 2 / 64)), rel=1e-5)
    (weight,) = encode_document("the zebra " * 64).values  # stop words do not count
    assert weight == pytest.approx(64 * 2.2 / (64 + 1.2), rel=1e-5)


def test_tokens_are_ascending() -> None:
    indices = encode_document("one zebra met two lions in the park 路由器密码 42").indices
    assert list(indices) == sorted(set(indices))


def test_lone_surrogates_and_long_texts_are_no_error() -> None:
    assert encode_query("zebra \ud800") == encode_query("zebra")
    assert matches("needle", "hay " * 100_000 + "needle")


def test_threads_agree() -> None:
    texts = [f"report {n} 第{n}章 of the router" for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(encode_document, texts)) == [encode_document(t) for t in texts]
