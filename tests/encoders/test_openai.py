"""OpenAIEncoder: the real client against a server on this machine, in good order and in bad."""

from __future__ import annotations

import json
import logging
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmrag.encoders import openai_tokens
from mmrag.encoders.openai import AT_ONCE, OpenAIEncoder
from mmrag.encoders.openai_tokens import requests_of, windows_of
from mmrag.errors import InputError, MissingExtra, ServiceError
from mmrag.protocols import ImageEncoder, TextEncoder
from mmrag.testing import EncoderContract

from .embeddings_server import EmbeddingsServer, Fault, embeddings_server, vector_of

openai = pytest.importorskip("openai")
pytestmark = pytest.mark.usefixtures("loopback")

KEY = "sk-a-very-secret-key-1234567890"
SOON = {"retry-after-ms": "1"}
LONG = " ".join(f"the wheel turns {i} times; 自行车的轮子在转{i}圈 🚲." for i in range(2000))


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ADMIN_KEY", "DATA_GYM_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "no tiktoken"))


@pytest.fixture
def server() -> Iterator[EmbeddingsServer]:
    with embeddings_server(key=KEY) as served:
        yield served


def encoder_for(server: EmbeddingsServer, **options: Any) -> OpenAIEncoder:
    # A model that is not OpenAI's, with short vectors: what is sent stays small.
    options = {"model": "small", "dimensions": server.dim, "api_key": KEY, **options}
    return OpenAIEncoder(base_url=server.url, **options)


def sent(server: EmbeddingsServer) -> list[list[str]]:
    return [body["input"] for body in server.bodies]


def expected(texts: list[str], dim: int) -> Any:
    return np.stack([vector_of(text, dim) for text in texts])


class TestContract(EncoderContract):
    @pytest.fixture
    def encoder(self, server: EmbeddingsServer) -> TextEncoder:
        return encoder_for(server)


class TestContractOfOpenAIsModel(EncoderContract):
    @pytest.fixture
    def encoder(self) -> Iterator[TextEncoder]:
        with embeddings_server(dim=1536) as served:
            yield OpenAIEncoder(base_url=served.url)


def test_it_is_a_text_encoder_and_no_image_encoder(server: EmbeddingsServer) -> None:
    assert isinstance(encoder_for(server), TextEncoder)
    assert not isinstance(encoder_for(server), ImageEncoder)


# What is sent and what comes back


@pytest.mark.parametrize("floats", [False, True])
def test_vectors_are_those_of_the_service_at_length_1(floats: bool) -> None:
    texts = ["a red bicycle", "如何重置路由器密码", "x"]
    with embeddings_server(floats=floats) as served:
        rows = encoder_for(served).encode_texts(texts, "query")
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected(texts, 64), atol=1e-6)


def test_a_model_of_openais_is_asked_for_no_dimension(server: EmbeddingsServer) -> None:
    server.dim = 3072
    encoder = OpenAIEncoder("text-embedding-3-large", base_url=server.url, api_key=KEY)
    assert encoder.encode_texts(["a"], "query").shape == (1, 3072)
    assert [sorted(body) for body in server.bodies] == [["encoding_format", "input", "model"]]


def test_dimensions_are_asked_for(server: EmbeddingsServer) -> None:
    encoder = OpenAIEncoder(dimensions=256, base_url=server.url, api_key=KEY)
    assert encoder.encode_texts(["a"], "query").shape == (1, 256)
    assert server.bodies[-1]["dimensions"] == 256


def test_the_dimension_of_another_model_is_learnt_once_from_many_threads(
    server: EmbeddingsServer,
) -> None:
    encoder = encoder_for(server, dimensions=None)
    assert server.bodies == []
    start = threading.Barrier(4)

    def encoded(number: int) -> Any:
        start.wait(10)
        return encoder.encode_texts([str(number)], "query")[0]

    with ThreadPoolExecutor(4) as pool:
        rows = np.stack(list(pool.map(encoded, range(4))))
    np.testing.assert_allclose(rows, expected(["0", "1", "2", "3"], 64), atol=1e-6)
    assert sent(server)[0] == ["dimensions"]
    assert sorted(sent(server)[1:]) == [["0"], ["1"], ["2"], ["3"]]


def test_an_empty_text_and_half_a_character_can_be_sent(server: EmbeddingsServer) -> None:
    rows = encoder_for(server).encode_texts(["", "cut \ud83d", "cut ?"], "passage")
    np.testing.assert_array_equal(rows[1], rows[2])
    assert sent(server) == [[" ", "cut ?", "cut ?"]]


def test_many_texts_are_several_requests_some_at_once_and_in_order(
    server: EmbeddingsServer,
) -> None:
    texts = [f"text {i}" for i in range(40)]
    server.max_inputs = 10
    server.gate = threading.Barrier(4)  # all four wait for each other: they are at once
    rows = encoder_for(server, batch_size=10).encode_texts(texts, "passage")
    np.testing.assert_allclose(rows, expected(texts, 64), atol=1e-6)
    assert sorted(map(len, sent(server))) == [10] * 4
    assert server.most_at_once == 4


def test_requests_are_bounded_in_texts_and_tokens() -> None:
    pieces = [("a", 1)] * 5000 + [("b", 100_000)] * 7 + [("c", 400_000), ("d", 1)]
    requests = list(requests_of(pieces, 290_000, 2048))
    assert [text for batch in requests for text in batch] == [text for text, _ in pieces]
    assert [len(batch) for batch in requests] == [2048, 2048, 906, 2, 2, 1, 1, 1]


def test_answers_out_of_order_are_put_in_order(server: EmbeddingsServer) -> None:
    texts = [f"text {i}" for i in range(9)]
    server.faults = [Fault(edit=lambda data: data[::-1])]
    rows = encoder_for(server).encode_texts(texts, "passage")
    np.testing.assert_allclose(rows, expected(texts, 64), atol=1e-6)


# Long texts


def test_a_long_text_is_split_and_pooled(server: EmbeddingsServer) -> None:
    text = " ".join(f"word{i}" for i in range(60))
    row = encoder_for(server, token_limit=128).encode_texts([text], "passage")[0]
    pieces = windows_of(text, 128, cl100k=False)
    assert sent(server) == [[piece for piece, _ in pieces]]
    assert len(pieces) > 3
    mean = sum(count * vector_of(piece, 64) for piece, count in pieces)
    np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


def assert_covered(text: str, pieces: list[tuple[str, int]]) -> None:
    """Every part of a text that does not repeat itself is in some piece, in order."""
    end = 0
    for piece, _ in pieces:
        begin = text.index(piece, max(0, end - len(piece) + 1))
        assert begin <= end
        end = begin + len(piece)
    assert end == len(text)


@pytest.mark.parametrize("limit", [64, 1000, 8191])
@pytest.mark.parametrize("text", [LONG, "x" * 20_000, "路" * 9000, "🚲" * 4000])
def test_windows_are_within_the_limit_and_cover_the_text(text: str, limit: int) -> None:
    pieces = windows_of(text, limit, cl100k=False)
    assert max(len(piece.encode()) for piece, _ in pieces) <= limit
    assert max(count for _, count in pieces) <= limit
    if text == LONG:
        assert_covered(text, pieces)
    assert sum(len(piece) for piece, _ in pieces) >= len(text)


def test_a_text_at_the_limit_is_whole() -> None:
    assert windows_of("x" * 64, 64, cl100k=False) == [("x" * 64, 64)]
    assert len(windows_of("x" * 65, 64, cl100k=False)) == 2


@pytest.fixture
def cl100k(monkeypatch: pytest.MonkeyPatch) -> Any:
    """tiktoken with its file, which LlamaIndex brings along."""
    tiktoken = pytest.importorskip("tiktoken")
    found = find_spec("llama_index.core")
    if found is None or found.origin is None:
        pytest.skip("needs llama-index-core")
    folder = Path(found.origin).parent / "_static" / "tiktoken_cache"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
    return tiktoken.get_encoding("cl100k_base")


def test_with_tiktokens_file_a_text_is_as_long_as_the_model_sees_it(cl100k: Any) -> None:
    text = "the wheel turns and the chain follows " * 1000
    count = len(cl100k.encode(text))
    assert len(text) > 4 * count
    assert windows_of(text, count, cl100k=True) == [(text, count)]
    assert len(windows_of(text, count - 1, cl100k=True)) == 2


@pytest.mark.parametrize("text", [LONG, "路" * 9000, "👩‍👩‍👧🚲" * 2000, "<|endoftext|>" * 3000])
def test_exact_windows_are_within_the_limit_and_cover_the_text(cl100k: Any, text: str) -> None:
    pieces = windows_of(text, 1000, cl100k=True)
    assert max(len(cl100k.encode_ordinary(piece)) for piece, _ in pieces) <= 1000
    assert min(len(cl100k.encode_ordinary(piece)) for piece, _ in pieces[:-1]) > 600
    if text == LONG:
        assert_covered(text, pieces)
    assert sum(len(piece) for piece, _ in pieces) >= len(text)


def test_long_texts_pass_the_limits_of_openai(cl100k: Any) -> None:
    texts = [LONG, "short", "路由器" * 5000] * 6
    with embeddings_server(
        dim=1536, count_tokens=lambda text: len(cl100k.encode_ordinary(text))
    ) as served:
        rows = OpenAIEncoder(base_url=served.url).encode_texts(texts, "passage")
        assert len(served.bodies) > 1
    np.testing.assert_array_equal(rows[:3], rows[3:6])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_without_tiktokens_file_long_texts_pass_them_too(cl100k: Any, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
        with embeddings_server(
            dim=1536, count_tokens=lambda text: len(cl100k.encode_ordinary(text))
        ) as served:
            OpenAIEncoder(base_url=served.url).encode_texts([LONG, "短" * 9000], "passage")


def test_a_wrong_file_of_tiktokens_is_neither_used_nor_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("tiktoken")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    file = openai_tokens._file()
    assert file.name == "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"  # as tiktoken names it
    file.write_bytes(b"half a file")
    assert windows_of(LONG, 8191, cl100k=True) == windows_of(LONG, 8191, cl100k=False)
    assert file.read_bytes() == b"half a file"


# Failures that pass


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(429, headers=SOON)] * 5,
        [Fault(500, headers=SOON), Fault(502, headers=SOON), Fault(503, headers=SOON)],
        [Fault(429, headers={"retry-after": "0.01"})],
        [Fault(cut=True)],
        [Fault(500)],
    ],
    ids=["429 storm", "5xx", "retry-after", "cut off in the middle", "500 without a word"],
)
def test_a_request_that_fails_is_sent_again(server: EmbeddingsServer, faults: list[Fault]) -> None:
    server.faults = list(faults)
    rows = encoder_for(server).encode_texts(["a", "b"], "passage")
    np.testing.assert_allclose(rows, expected(["a", "b"], 64), atol=1e-6)
    assert sent(server) == [["a", "b"]] * (len(faults) + 1)
    assert server.answers == 1


def test_a_storm_over_many_requests_loses_nothing(server: EmbeddingsServer) -> None:
    texts = [f"text {i}" for i in range(80)]
    server.faults = [Fault(429, headers=SOON), Fault(), Fault(503, headers=SOON)] * 4
    rows = encoder_for(server, batch_size=10).encode_texts(texts, "passage")
    np.testing.assert_allclose(rows, expected(texts, 64), atol=1e-6)
    assert server.answers == 8
    assert len(server.bodies) == 8 + 8


def test_the_service_says_when_to_come_back(server: EmbeddingsServer) -> None:
    server.faults = [Fault(429, headers={"retry-after": "0.6"})]
    started = time.monotonic()
    encoder_for(server).encode_texts(["a"], "query")
    assert time.monotonic() - started >= 0.6  # the client's own first wait is 0.5 at most


def test_without_its_word_each_wait_is_longer(
    server: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    # The client's name for the module, so that the server's own sleeps stay as they are.
    stand_in = SimpleNamespace(sleep=waits.append, time=time.time, monotonic=time.monotonic)
    monkeypatch.setattr("openai._base_client.time", stand_in)
    server.faults = [Fault(503)] * 6
    encoder_for(server).encode_texts(["a"], "query")
    assert len(waits) == 6
    for wait, most in zip(waits, (0.5, 1, 2, 4, 8, 8), strict=True):
        assert 0.75 * most <= wait <= most  # with jitter


def test_a_timeout_is_tried_again(server: EmbeddingsServer) -> None:
    server.faults = [Fault(hang=True)]
    rows = encoder_for(server, timeout=0.5).encode_texts(["a"], "query")
    np.testing.assert_allclose(rows, expected(["a"], 64), atol=1e-6)
    assert len(server.bodies) >= 2  # on a busy machine a good answer may be late too


# Failures that stay


def number(place: int, value: Any) -> Callable[[Any], Any]:
    def edit(data: Any) -> Any:
        data[place]["embedding"] = value
        return data

    return edit


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(429, "Rate limit reached"), "Rate limit reached.*limits"),
        (Fault(429, "too fast", {"retry-after": "3600"}), "too fast.*wait 3600"),
        (Fault(500, "the GPU is on fire"), r"\(500\): the GPU is on fire"),
        (Fault(400, "no such thing"), r"\(400\): no such thing"),
        (Fault(401, "Incorrect API key"), "refuses the key.*OPENAI_API_KEY"),
        (Fault(403, "not for you"), r"\(403\): not for you; this key"),
        (Fault(404, "no model small"), "no model small; check the model's name"),
        (Fault(422, "batch size 2 > 1"), "batch size 2 > 1; .*set batch_size"),
        (Fault(hang=True), "did not answer in time, tried once"),
        (Fault(cut=True), "cannot be reached, tried once: .*closed"),
        (Fault(body=b"<html>welcome"), "something else than embeddings"),
        (Fault(body=b"[1, 2]"), "something else than embeddings"),
        (Fault(body=b'{"data": null}'), "something else than embeddings"),
        (Fault(body=b'{"data": []}'), "0 vectors for 2 texts, none for number 0, 1"),
        (Fault(edit=lambda data: data[1:]), "1 vectors for 2 texts, none for number 0"),
        (Fault(edit=lambda data: data * 2), "4 vectors for 2 texts"),
        (Fault(edit=lambda data: [data[0], data[0]]), "2 vectors for 2 texts, none for number 1"),
        (Fault(edit=lambda data: [{**data[0], "index": 7}, data[1]]), "none for number 0"),
        (Fault(edit=lambda data: [{**item, "index": None} for item in data]), "none for number 0"),
        (Fault(edit=lambda data: ["a", "b"]), "none for number 0, 1"),
        (Fault(edit=number(1, "!!!")), "no list of numbers"),
        (Fault(edit=number(1, None)), "no list of numbers"),
        (Fault(edit=number(1, [[1.0]])), "no list of numbers"),
        (Fault(edit=number(1, [1.0, 2.0])), "2 and 64 dimensions in place of 64"),
        (Fault(edit=number(1, [0.0] * 64)), "zero or not finite"),
        (Fault(edit=number(1, [float("nan")] * 64)), "zero or not finite"),
    ],
)
def test_what_stays_wrong_is_an_error_that_says_what(
    server: EmbeddingsServer, fault: Fault, says: str
) -> None:
    server.faults = [fault]
    encoder = encoder_for(server, max_retries=0, timeout=0.3 if fault.hang else 10)
    with pytest.raises(ServiceError, match=says):
        encoder.encode_texts(["a", "b"], "passage")
    if fault.hang:
        encoder = encoder_for(server)  # which has time for a good answer
    np.testing.assert_allclose(encoder.encode_texts(["a"], "query"), expected(["a"], 64), atol=1e-6)


def test_another_dimension_than_the_models_is_an_error(server: EmbeddingsServer) -> None:
    encoder = OpenAIEncoder(base_url=server.url, api_key=KEY)
    with pytest.raises(ServiceError, match="64 dimensions in place of 1536"):
        encoder.encode_texts(["a"], "query")


def test_the_first_error_of_many_requests_ends_them(server: EmbeddingsServer) -> None:
    # Of those at once all fail; what is sent before that is known has no answer.
    server.faults = [Fault(400, "enough")] * AT_ONCE + [Fault(hang=True)] * 96
    with pytest.raises(ServiceError, match="enough"):
        encoder_for(server, batch_size=1, max_retries=0).encode_texts(["a"] * 100, "passage")
    assert len(server.bodies) <= 2 * AT_ONCE


def test_a_server_that_is_not_there(server: EmbeddingsServer) -> None:
    url = "http://someone:password@127.0.0.1:1/v1"
    encoder = OpenAIEncoder(base_url=url, api_key=KEY, max_retries=0)
    with pytest.raises(ServiceError, match="cannot be reached, tried once: ") as caught:
        encoder.encode_texts(["a"], "query")
    assert "http://127.0.0.1:1/v1" in str(caught.value)
    assert "password" not in str(caught.value)


# The key


def test_the_key_is_in_no_message_and_no_log(
    server: EmbeddingsServer, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = encoder_for(server, max_retries=1)
    with caplog.at_level(logging.DEBUG):
        encoder.encode_texts(["a"], "query")
        server.faults = [
            Fault(401, f"Incorrect API key provided: {KEY}."),
            Fault(401, f"Incorrect API key provided: {KEY[:8]}****{KEY[-4:]}."),
            Fault(500, f"header Authorization: Bearer {KEY}", SOON),
            Fault(500, f"header Authorization: Bearer {KEY}", SOON),
        ]
        errors = []
        for _ in range(3):
            with pytest.raises(ServiceError) as caught:
                encoder.encode_texts(["a"], "query")
            errors.append("".join(traceback.format_exception(caught.value)))
    assert server.keys[0] == KEY
    said = "\n".join([*errors, repr(encoder), str(encoder.space), caplog.text])
    assert "refuses the key: Incorrect API key provided: ***." in said
    assert "HTTP Request: POST" in said  # the client did log
    assert KEY not in said
    assert KEY[-4:] not in said


def test_the_key_comes_from_the_environment(
    server: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_for(server, api_key=None)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    encoder.encode_texts(["a"], "query")
    assert server.keys == [KEY]
    assert KEY.encode() not in pickle.dumps(encoder)


def test_without_a_key_openai_is_an_error_and_ones_own_server_is_none() -> None:
    with pytest.raises(ServiceError, match="set OPENAI_API_KEY, or pass api_key="):
        OpenAIEncoder().encode_texts(["a"], "query")
    with embeddings_server() as served:
        encoder_for(served, api_key=None).encode_texts(["a"], "query")


# The space, and being an object


def test_the_space_goes_by_model_dimension_and_limit() -> None:
    space = OpenAIEncoder().space
    assert (space.family, space.dim) == ("openai/text-embedding-3-small", 1536)
    same = [
        OpenAIEncoder(dimensions=1536),
        OpenAIEncoder(base_url="http://gateway/v1", api_key="x", batch_size=7, timeout=1),
    ]
    others = [
        OpenAIEncoder("text-embedding-ada-002"),
        OpenAIEncoder(dimensions=512),
        OpenAIEncoder(token_limit=512),
        OpenAIEncoder("text-embedding-3-large", dimensions=1536),
    ]
    assert {encoder.space for encoder in same} == {space}
    assert len({encoder.space.digest for encoder in [*others, *same]}) == len(others) + 1


def test_a_pickled_copy_works(server: EmbeddingsServer) -> None:
    encoder = encoder_for(server)
    before = encoder.encode_texts(["a"], "query")
    copy = pickle.loads(pickle.dumps(encoder))
    assert copy.space == encoder.space
    np.testing.assert_array_equal(copy.encode_texts(["a"], "query"), before)


def test_a_client_is_used_as_it_is(server: EmbeddingsServer) -> None:
    client = openai.OpenAI(
        base_url=server.url, api_key=KEY, default_headers={"X-Team": "search"}, max_retries=0
    )
    encoder = OpenAIEncoder("small", dimensions=64, client=client)
    encoder.encode_texts(["a"], "query")
    server.faults = [Fault(500, headers=SOON)]
    with pytest.raises(ServiceError):
        encoder.encode_texts(["a"], "query")
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"model": ""}, "the name of a model, not ''"),
        ({"model": None}, "the name of a model, not None"),
        ({"dimensions": 0}, "a whole number from 1 to 1,536, not 0"),
        ({"dimensions": 1537}, "a whole number from 1 to 1,536, not 1537"),
        ({"dimensions": "5"}, "a whole number from 1 to 1,536, not '5'"),
        ({"model": "mine", "dimensions": 2.5}, "a whole number 1 or more, not 2.5"),
        ({"token_limit": 0}, "token_limit: a whole number 16 or more, not 0"),
        ({"batch_size": 0}, "batch_size: a whole number 1 or more, not 0"),
        ({"batch_size": None}, "batch_size: .*, not None"),
        ({"max_retries": -1}, "max_retries: a whole number 0 or more, not -1"),
        ({"max_retries": 1.5}, "max_retries: .*, not 1.5"),
        ({"timeout": -1}, "a number of seconds over 0, not -1"),
        ({"timeout": float("nan")}, "a number of seconds over 0, not nan"),
        ({"timeout": "5"}, "a number of seconds over 0, not '5'"),
        ({"client": "https://api.openai.com"}, "not str"),
        ({"client": openai.AsyncOpenAI(api_key="x")}, "not AsyncOpenAI"),
        ({"client": openai.OpenAI(api_key="x"), "api_key": "y"}, "a client has its own"),
        ({"client": openai.OpenAI(api_key="x"), "timeout": 5}, "a client has its own"),
    ],
)
def test_arguments_that_cannot_be_used(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        OpenAIEncoder(**arguments)


def test_a_text_is_a_string(server: EmbeddingsServer) -> None:
    with pytest.raises(InputError, match="not bytes"):
        encoder_for(server).encode_texts([b"a"], "query")  # type: ignore[list-item]
    assert server.bodies == []


def test_texts_may_come_from_a_generator(server: EmbeddingsServer) -> None:
    rows = encoder_for(server).encode_texts((text for text in ("a", "b")), "query")  # type: ignore[arg-type]
    np.testing.assert_allclose(rows, expected(["a", "b"], 64), atol=1e-6)


def test_without_the_package_it_says_what_to_install(
    server: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_for(server)
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(MissingExtra, match=r"mmrag\[openai\]"):
        encoder.encode_texts(["a"], "query")


def test_what_is_sent_is_json_of_plain_texts(server: EmbeddingsServer) -> None:
    encoder_for(server).encode_texts(["naïve café 🚲\n\ttab"], "passage")
    assert json.loads(json.dumps(server.bodies[0]["input"])) == ["naïve café 🚲\n\ttab"]
