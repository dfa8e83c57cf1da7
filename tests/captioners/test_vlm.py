"""VlmCaptioner against a server on this machine: answers, errors, hangs, limits, totals."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from email.utils import formatdate
from itertools import count
from typing import Any

import pytest
from PIL import Image

from mmrag.caption_prompt import PROMPT_VERSION, prompt
from mmrag.captioners import chat
from mmrag.captioners.base import PictureRefused, caption_each
from mmrag.captioners.pace import Pace
from mmrag.captioners.vlm import VlmCaptioner
from mmrag.captions import parse_caption
from mmrag.errors import AnswerError, DamagedSource, InputError, ServiceError, UnreadableSource
from mmrag.protocols import Captioner
from mmrag.types import Caption

from ..chat_server import Answer, ChatServer, Raw, chat_server
from .pictures import CHINESE, GOOD, plain

pytestmark = pytest.mark.usefixtures("loopback")
pytest.importorskip("openai")

WHOLE = parse_caption(GOOD)
KEY = "sk-secret-0123456789"


class Clock:
    """Time that passes only by sleeping in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def captioner(server: ChatServer, clock: Clock | None = None, **options: Any) -> VlmCaptioner:
    made = VlmCaptioner("vision-1", base_url=server.url, api_key=KEY, **options)
    if clock is not None:
        per_minute = options.get("requests_per_minute")
        made._endpoint.pace = Pace(per_minute, clock=clock, sleep=clock.sleep)
    return made


def error(status: int, message: str = "no", **headers: str) -> Raw:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Raw(json.dumps({"error": {"message": message}}).encode(), status, names)


def in_turn(*answers: Answer) -> Any:
    """A server's answers one after the other; the last one again and again."""
    place = count()
    return lambda _: answers[min(next(place), len(answers) - 1)]


def test_a_picture_is_sent_small_and_its_caption_comes_back() -> None:
    with chat_server(GOOD) as server:
        made = captioner(server, size=64, language="en")
        assert made.caption([plain(size=(400, 100))]) == [WHOLE]
        (text, asked), (kind, (mime, data)) = server.parts()
    assert (text, asked, kind, mime) == ("text", prompt("en"), "image", "image/jpeg")
    assert Image.open(io.BytesIO(data)).size == (64, 16)
    body = server.bodies[0]
    assert body["model"] == "vision-1"
    assert body["response_format"]["json_schema"]["strict"] is True
    checked: Captioner = made
    assert checked.name == f"vlm vision-1 64px en prompt {PROMPT_VERSION}"


def test_tokens_and_costs_are_totalled() -> None:
    with chat_server(GOOD) as server:
        made = captioner(server)
        made.caption([plain(colour) for colour in ("red", "green", "blue")])
        usage = made.usage
    assert (usage.requests, usage.prompt_tokens, usage.completion_tokens) == (3, 3, 3)
    assert usage.cost(2.0, 10.0) == pytest.approx(36e-6)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ("I see a bar chart.", "no JSON"),
        (GOOD[:80], "no JSON"),
        (GOOD[:-1], "no whole JSON"),
        (GOOD.replace('["sales", "chart"]', "5"), "keywords"),
        ("", "no JSON"),
        ("x" * 300_000, "300,000 characters"),
    ],
)
def test_what_is_no_caption_is_asked_for_again_with_the_error(first: str, reason: str) -> None:
    with chat_server(in_turn(first, GOOD)) as server:
        assert captioner(server).caption([plain()]) == [WHOLE]
    assert len(server.bodies) == 2
    messages = server.bodies[1]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert reason in messages[2]["content"]
    assert len(messages[1]["content"]) <= 4000
    with chat_server(first) as server, pytest.raises(AnswerError, match=f"twice: .*{reason}"):
        captioner(server).caption([plain()])
    assert len(server.bodies) == 2


def test_a_caption_in_another_language_is_asked_for_again() -> None:
    with chat_server(in_turn(GOOD, CHINESE)) as server:
        (caption,) = captioner(server, language="zh").caption([plain()])
        assert caption.brief == "一张销售柱状图"
    assert "language 'zh'" in server.bodies[1]["messages"][2]["content"]
    with chat_server(GOOD) as server, pytest.raises(AnswerError, match="language 'zh'"):
        captioner(server, language="zh").caption([plain()])


def test_an_answer_of_ten_megabytes_is_not_read_to_its_end() -> None:
    body = json.dumps({"choices": [{"message": {"content": "x" * 10_000_000}}]}).encode()
    with chat_server(Raw(body)) as server, pytest.raises(AnswerError, match="over 2 MiB"):
        captioner(server).caption([plain()])


def test_an_error_inside_of_a_200_is_an_error() -> None:
    inside = Raw(json.dumps({"error": {"message": "out of memory"}}).encode())
    with chat_server(inside) as server, pytest.raises(ServiceError, match=r"\(200\): out of mem"):
        captioner(server).caption([plain()])
    busy = Raw(json.dumps({"error": {"message": "busy", "code": 429}}).encode())
    clock = Clock()
    with chat_server(in_turn(busy, GOOD)) as server:
        assert captioner(server, clock).caption([plain()]) == [WHOLE]
    assert clock.slept == [pytest.approx(1)]


@pytest.mark.parametrize("code", ["9" * 5000, 1301, "1301", 600, 99, -1, True, 429.5, {}, "٤٢٩"])
def test_a_code_that_is_no_status_is_not_taken_for_one(code: object) -> None:
    inside = Raw(json.dumps({"error": {"message": "no such plan", "code": code}}).encode())
    with chat_server(inside) as server:
        with pytest.raises(ServiceError, match=r"\(200\): no such plan"):
            captioner(server, Clock()).caption([plain()])
        assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "body",
    [
        *(b"<html>hello</html>", b"", b"[]", b'{"choices": []}', b"\xff", b'"x"', b"1" * 5000),
        *(b'{"choices": "x"}', b'{"choices": {"0": 1}}', b'{"choices": ["x"]}'),
        *(b'{"choices": [{"message": null}]}', b'{"choices": [{"message": "x"}]}'),
        *(b'{"choices": [{}]}', b'{"choices": [[]]}', b'{"choices": [{"message": ["x"]}]}'),
        *(b"[" * 900 + b"]" * 900, b"[" * 100_000),
    ],
)
def test_what_is_no_completion_is_an_error(body: bytes) -> None:
    with chat_server(Raw(body)) as server, pytest.raises(ServiceError, match="something else"):
        captioner(server).caption([plain()])


def test_a_minute_of_429_is_outlasted() -> None:
    clock = Clock()

    def answer(_: object) -> Answer:
        return error(429) if clock.now < 60 else GOOD

    with chat_server(answer) as server:
        assert captioner(server, clock).caption([plain()]) == [WHOLE]
    assert clock.slept == [pytest.approx(s) for s in (1, 2, 4, 8, 16, 32)]


def test_retry_after_is_honoured_and_bounded() -> None:
    clock = Clock()
    date = formatdate(time.time() + 50, usegmt=True)
    turns = error(429, Retry_After="20"), error(503, Retry_After=date), GOOD
    with chat_server(in_turn(*turns)) as server:
        assert captioner(server, clock).caption([plain()]) == [WHOLE]
    assert clock.slept[0] == pytest.approx(20)
    assert 45 < clock.slept[1] <= 50
    with chat_server(error(429, "daily limit", Retry_After="7200")) as server:
        with pytest.raises(ServiceError, match="daily limit; it asks to wait 7200 seconds"):
            captioner(server, clock).caption([plain()])
        assert len(server.bodies) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_retries_end(status: int) -> None:
    clock = Clock()
    with chat_server(error(status)) as server:
        with pytest.raises(ServiceError, match=rf"\({status}\).*asked 4 times"):
            captioner(server, clock, max_retries=3).caption([plain()])
        assert len(server.bodies) == 4


def test_no_thread_asks_a_busy_service() -> None:
    clock, lock = Clock(), threading.Lock()
    asked: list[float] = []

    def answer(_: object) -> Answer:
        with lock:
            asked.append(clock.now)
            return error(429, Retry_After="30") if len(asked) == 1 else GOOD

    with chat_server(answer) as server:
        made = captioner(server, clock, concurrency=1)
        assert made.caption([plain("red"), plain("blue")]) == [WHOLE, WHOLE]
    assert asked == [0, 30, 30]


def test_a_hang_ends_by_the_timeout() -> None:
    clock, hang = Clock(), threading.Event()
    with chat_server(in_turn(Raw(hang=hang), GOOD)) as server:
        # Long enough for an answer on a machine that is busy.
        assert captioner(server, clock, timeout=1.5).caption([plain()]) == [WHOLE]
        hang.set()
    hang = threading.Event()
    with chat_server(Raw(b"x" * 5000, hang=hang, halves=True)) as server:
        with pytest.raises(ServiceError, match=r"in 0\.2 seconds \(asked 3 times\)"):
            captioner(server, clock, timeout=0.2).caption([plain()])
        hang.set()


def test_no_server_is_a_service_error() -> None:
    with chat_server() as server:
        pass
    with pytest.raises(ServiceError, match="cannot be reached"):
        captioner(server, Clock()).caption([plain()])


def test_a_picture_that_is_refused_fails_alone() -> None:
    red = plain("red")

    def answer(body: dict[str, Any]) -> Answer:
        shown = body["messages"][0]["content"][1]["image_url"]["url"]
        return error(400, "unsupported image") if shown == refused else GOOD

    with chat_server(GOOD) as server:
        captioner(server).caption([red])
        refused = server.bodies[0]["messages"][0]["content"][1]["image_url"]["url"]
    with chat_server(answer) as server:
        outcomes = [*captioner(server).caption_each([plain("blue"), red, plain("green")])]
    assert outcomes[0] == outcomes[2] == WHOLE
    assert isinstance(outcomes[1], PictureRefused)
    assert "unsupported image" in str(outcomes[1])


@pytest.mark.parametrize(
    "choice",
    [
        {"finish_reason": "stop", "message": {"content": None, "refusal": "I will not"}},
        {"finish_reason": "content_filter", "message": {"content": ""}},
    ],
)
def test_a_model_that_will_not_is_a_refusal(choice: dict[str, Any]) -> None:
    body = json.dumps({"choices": [choice]}).encode()
    with chat_server(Raw(body)) as server:
        with pytest.raises(PictureRefused, match="will not describe"):
            captioner(server).caption([plain()])
        assert len(server.bodies) == 1


def test_an_answer_at_the_token_limit_is_not_whole() -> None:
    choice = {"finish_reason": "length", "message": {"content": GOOD}}
    body = json.dumps({"choices": [choice]}).encode()
    with chat_server(Raw(body)) as server, pytest.raises(AnswerError, match="cut short"):
        captioner(server).caption([plain()])


def test_a_schema_that_is_refused_is_not_sent_again() -> None:
    with chat_server(GOOD) as server:
        server.refuses = "response_format"
        made = captioner(server, concurrency=1)
        assert made.caption([plain("red"), plain("blue")]) == [WHOLE, WHOLE]
    assert ["response_format" in body for body in server.bodies] == [True, False, False]


def test_a_picture_that_is_refused_does_not_cost_the_schema() -> None:
    with chat_server(in_turn(error(400), error(400), GOOD, error(400), GOOD)) as server:
        outcomes = [*captioner(server, concurrency=1).caption_each([plain()] * 4)]
    assert [isinstance(outcome, Caption) for outcome in outcomes] == [False, True, False, True]
    sent = ["response_format" in body for body in server.bodies]
    assert sent == [True, False, True, True, True]


@pytest.mark.parametrize("content", [None, 7, {}, [None, 7, {"text": 7}]])
def test_a_message_without_words_is_an_empty_answer(content: object) -> None:
    body = {"choices": [{"message": {"content": content}, "finish_reason": []}], "usage": "x"}
    sent, says = Raw(json.dumps(body).encode()), r"asked twice: .*no JSON"
    with chat_server(sent) as server, pytest.raises(AnswerError, match=says):
        captioner(server).caption([plain()])


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "the key: api_key, or MMRAG"), (404, "base_url or --vlm-url")]
)
def test_the_key_is_never_shown(status: int, advice: str, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    said = f"wrong key {KEY}, or sk-pr***56"
    with chat_server(error(status, said)) as server:
        made = captioner(server)
        with pytest.raises(ServiceError, match=advice) as caught:
            made.caption([plain()])
        assert len(server.bodies) == 1
    for text in (str(caught.value), repr(made), made.name, caplog.text):
        assert KEY not in text
        assert "sk-" not in text


def test_another_server_is_not_sent_the_key_for_openai(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    made = VlmCaptioner("m", base_url="http://127.0.0.1:1/v1")
    assert made._endpoint.client.api_key != KEY


def test_requests_are_spaced() -> None:
    clock = Clock()
    with chat_server(GOOD) as server:
        made = captioner(server, clock, requests_per_minute=30, concurrency=1)
        made.caption([plain(colour) for colour in ("red", "green", "blue")])
    assert clock.now == pytest.approx(4)


def test_after_a_hold_requests_are_still_spaced() -> None:
    """Three threads wait for their turns while the service becomes busy: then they do not come all
    at once."""
    clock = Clock()
    pace = Pace(30, clock=clock, sleep=clock.sleep)
    asleep, go_on, sent = threading.Semaphore(0), threading.Semaphore(0), list[float]()

    def sleep(seconds: float) -> None:
        asleep.release()
        assert go_on.acquire(timeout=10)

    def ask() -> None:
        pace.wait()
        sent.append(clock.now)
        asleep.release()

    pace.wait()
    pace._sleep = sleep
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert asleep.acquire(timeout=10)
    pace.hold(30)
    while len(sent) < 3:
        clock.now += 1
        waiting = 3 - len(sent)
        go_on.release(waiting)
        for _ in range(waiting):
            assert asleep.acquire(timeout=10)
    for thread in threads:
        thread.join()
    assert sent == [30, 32, 34]


def test_pictures_are_asked_about_at_once_and_kept_in_order() -> None:
    together = threading.Barrier(3)

    def answer(body: dict[str, Any]) -> Answer:
        together.wait(5)
        return GOOD.replace("A bar", str(len(str(body))))

    with chat_server(answer) as server:
        made = captioner(server, concurrency=3)
        sizes = [(10, 10), (300, 300), (900, 900)]
        briefs = [c.brief for c in made.caption([plain(size=size) for size in sizes])]
    lengths = [int(brief.split()[0]) for brief in briefs]
    assert lengths == sorted(lengths)


def test_broken_pictures_fail_alone_and_are_named(tmp_path) -> None:
    missing = tmp_path / "none.png"
    with chat_server(GOOD) as server:
        outcomes = [*caption_each(captioner(server), [b"no picture", plain(), missing])]
    assert isinstance(outcomes[0], DamagedSource)
    assert outcomes[1] == WHOLE
    assert isinstance(outcomes[2], UnreadableSource)
    assert str(missing) in str(outcomes[2])
    assert len(server.bodies) == 1


def test_arguments_are_checked(monkeypatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for wrong in (
        {"size": 0},
        {"size": "5"},
        {"base_url": "localhost:11434"},
        {"concurrency": 0},
        {"timeout": 0},
        {"max_retries": -1},
        {"requests_per_minute": 0},
        {"language": ""},
        {"client": "no client"},
    ):
        with pytest.raises(InputError):
            VlmCaptioner("m", **{"base_url": "http://127.0.0.1:1/v1"} | wrong)
    with pytest.raises(InputError, match="model"):
        VlmCaptioner("", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        VlmCaptioner("m")
    with pytest.raises(InputError, match="list of pictures"):
        VlmCaptioner("m", base_url="http://127.0.0.1:1/v1").caption("one.png")
    assert VlmCaptioner("m", base_url="http://127.0.0.1:1/v1").caption([]) == []


def test_a_client_of_ones_own_is_taken() -> None:
    import openai

    with chat_server(GOOD) as server:
        client = openai.OpenAI(base_url=server.url, api_key=KEY)
        assert VlmCaptioner("m", client=client).caption([plain()]) == [WHOLE]
        assert client.max_retries == openai.DEFAULT_MAX_RETRIES
        with pytest.raises(InputError, match="client, or"):
            VlmCaptioner("m", client=client, api_key=KEY)


def test_the_bounds_are_what_the_documentation_says() -> None:
    assert chat.MOST_BYTES == 2 * 1024 * 1024
    assert sum(min(chat.LONGEST_BACKOFF, 2.0**tried) for tried in range(6)) > 60
