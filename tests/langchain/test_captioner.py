"""ChatModelCaptioner: captions by any LangChain chat model that takes pictures."""

from __future__ import annotations

import base64
import io
import json
import threading
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents.base import Blob
from langchain_core.exceptions import ModelConnectionError
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from PIL import Image

from langchain_mm import ChatModelCaptioner
from mmrag.caption_prompt import PROMPT, PROMPT_VERSION, prompt
from mmrag.errors import AnswerError, DamagedSource, InputError, UnreadableSource
from mmrag.types import Caption

from ..chat_server import ChatServer, chat_server
from .chat_models import COLOURS, SchemaVision, ToolVision, Vision, colour_caption, painted


class Refused(Exception):
    """What providers' clients raise: not known to mmrag, and with a status."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"status {status}")
        if status is not None:
            self.status_code = status


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [painted(tmp_path / f"{colour}.png", colour) for colour in COLOURS]


THREE = [colour_caption(colour) for colour in COLOURS]

# What is asked, and of whom


@pytest.mark.parametrize("kind", [Vision, SchemaVision, ToolVision])
async def test_one_caption_a_picture_in_order(kind: type[Vision], three: list[Path]) -> None:
    assert ChatModelCaptioner(kind()).caption(three) == THREE
    assert await ChatModelCaptioner(kind()).acaption([*three[::-1], three[0]]) == [
        *THREE[::-1],
        THREE[0],
    ]
    assert ChatModelCaptioner(kind()).caption([]) == []
    assert await ChatModelCaptioner(kind()).acaption([]) == []


def test_a_picture_is_sent_upright_scaled_down_and_with_its_true_type(tmp_path: Path) -> None:
    wide = Image.new("RGB", (400, 200), "red")
    wide.paste("blue", (0, 0, 200, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    wide.save(tmp_path / "wide.jpg", exif=exif)
    Image.new("RGBA", (400, 300), (255, 0, 0, 90)).save(tmp_path / "clear.gif.png")
    Image.new("RGB", (30, 30), "lime").save(tmp_path / "small.bmp")
    model = Vision()
    files = ["wide.jpg", "clear.gif.png", "small.bmp"]
    ChatModelCaptioner(model, size=100, concurrency=1).caption([tmp_path / f for f in files])
    sent = [(mime, Image.open(io.BytesIO(data))) for mime, data in model.pictures]
    assert [(mime, image.format, image.size) for mime, image in sent] == [
        ("image/jpeg", "JPEG", (50, 100)),
        ("image/png", "PNG", (100, 75)),
        ("image/jpeg", "JPEG", (30, 30)),
    ]
    top = sent[0][1].getpixel((25, 10))
    assert isinstance(top, tuple)
    assert top[2] > 240 > 20 > top[0], "what was left is now above"
    assert not sent[0][1].getexif()


def test_the_message_is_always_the_same_so_that_caches_hit(
    three: list[Path],
) -> None:
    model = Vision()
    captioner = ChatModelCaptioner(model)
    captioner.caption(three[:1])
    captioner.caption(three[:1])
    first, second = model.seen
    assert [m.content for m in first] == [m.content for m in second]
    text, image = first[0].content
    assert text == {"type": "text", "text": PROMPT}
    assert isinstance(image, dict)
    assert sorted(image) == ["base64", "mime_type", "type"]


def test_pictures_come_in_every_form(three: list[Path]) -> None:
    data = three[1].read_bytes()
    text = base64.b64encode(data).decode()
    forms: list[Any] = [
        str(three[1]),
        data,
        f"data:image/png;base64,{text}",
        io.BytesIO(data),
        Image.open(three[1]),
        Blob.from_path(three[1]),
        {"type": "image", "base64": text, "mime_type": "image/png"},
    ]
    assert ChatModelCaptioner(Vision()).caption(forms) == [THREE[1]] * len(forms)


def test_the_name_says_all_that_changes_captions() -> None:
    end = f"prompt {PROMPT_VERSION}"
    assert ChatModelCaptioner(Vision()).name == f"Vision vision-1 1536px auto {end}"
    chat = ChatOpenAI(model="gpt-4o-mini", api_key="none")
    made = ChatModelCaptioner(chat, size=512, language="zh")
    assert made.name == f"ChatOpenAI gpt-4o-mini 512px zh {end}"
    nameless = FakeListChatModel(responses=["x"])
    assert ChatModelCaptioner(nameless).name == f"FakeListChatModel 1536px auto {end}"


def test_pictures_are_asked_about_at_once_but_not_more_than_allowed(three: list[Path]) -> None:
    """Each call waits for a second one: alone, none would end. A third would break the barrier."""
    barrier, running, most = threading.Barrier(2), [0], [0]
    lock = threading.Lock()

    def meeting() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        barrier.wait(10)
        with lock:
            running[0] -= 1

    model = Vision(meeting=meeting)
    assert ChatModelCaptioner(model, concurrency=2).caption([*three, three[0]])[:3] == THREE
    assert most[0] == 2


def test_what_is_asked_belongs_to_the_trace_of_who_asked(three: list[Path]) -> None:
    chains: list[Any] = []
    parents: list[Any] = []

    class Tracer(BaseCallbackHandler):
        def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
            chains.append(kwargs["run_id"])

        def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
            parents.append(kwargs["parent_run_id"])

    chain = RunnableLambda(lambda paths: ChatModelCaptioner(Vision()).caption(paths))
    chain.invoke(three, {"callbacks": [Tracer()]})
    assert parents == 3 * chains


# Schemas


def test_a_model_that_knows_schemas_is_asked_in_one(three: list[Path]) -> None:
    model = SchemaVision()
    assert ChatModelCaptioner(model).caption(three[:1]) == THREE[:1]
    (schema,) = model.schemas
    assert schema["title"] == "PictureCaption"
    names = ["brief", "detailed", "keywords", "text_content", "data_points"]
    assert schema["required"] == list(schema["properties"]) == names
    assert "additionalProperties" not in json.dumps(schema), "strict providers refuse free keys"


@pytest.mark.parametrize("status", [400, 422, None])
async def test_a_refused_schema_is_not_sent_again(three: list[Path], status: int | None) -> None:
    model = SchemaVision(refuses=Refused(status))
    captioner = ChatModelCaptioner(model, concurrency=1)
    assert captioner.caption(three) == THREE
    assert await captioner.acaption(three) == THREE
    assert len(model.schemas) == 1
    fresh = SchemaVision(refuses=Refused(status))
    assert await ChatModelCaptioner(fresh, concurrency=1).acaption(three) == THREE
    assert len(fresh.schemas) == 1


@pytest.mark.parametrize(
    "error", [*map(Refused, (429, 401, 500)), TimeoutError(), ModelConnectionError()]
)
async def test_other_errors_of_a_provider_are_its_own(three: list[Path], error: Exception) -> None:
    model = SchemaVision(refuses=error)
    captioner = ChatModelCaptioner(model)
    with pytest.raises(type(error)):
        captioner.caption(three[:1])
    with pytest.raises(type(error)):
        await captioner.acaption(three[:1])
    assert model.seen == [], "the question was not put again"
    model.refuses = None
    captioner.caption(three[:1])
    assert len(model.schemas) == 3, "a schema is still sent"


def test_a_schema_is_kept_when_the_question_fails_without_it_too(three: list[Path]) -> None:
    model = SchemaVision(refuses=Refused(400), says={"red": Refused(400)})
    captioner = ChatModelCaptioner(model)
    with pytest.raises(Refused):
        captioner.caption(three[:1])
    model.refuses = None
    assert captioner.caption(three[1:2]) == THREE[1:2]
    assert len(model.schemas) == 2


# Answers


PROSE = "I am sorry, I see a red field."
WHOLE = json.dumps(
    {"brief": "B", "detailed": "D", "keywords": ["k"], "text_content": "", "data_points": {}}
)
CHINESE = json.dumps({**json.loads(WHOLE), "brief": "红色", "detailed": "只有红色。"})


@pytest.mark.parametrize("kind", [Vision, SchemaVision, ToolVision])
@pytest.mark.parametrize("answer", [PROSE, WHOLE[:-20], "", "{}", WHOLE.replace("B", " ")])
async def test_an_answer_that_is_no_caption_is_an_error(
    kind: type[Vision], answer: str, three: list[Path]
) -> None:
    model = kind(says={"red": answer})
    with pytest.raises(AnswerError, match="is no caption"):
        ChatModelCaptioner(model).caption(three[:1])
    with pytest.raises(AnswerError, match="is no caption"):
        await ChatModelCaptioner(model).acaption(three[:1])
    assert len(model.seen) == 4, "two calls each"


@pytest.mark.parametrize("kind", [Vision, SchemaVision, ToolVision])
@pytest.mark.parametrize("how", ["caption", "acaption"])
async def test_what_is_no_caption_is_asked_for_once_more_with_the_error(
    kind: type[Vision], how: str, three: list[Path]
) -> None:
    class Learning(kind):  # type: ignore[valid-type, misc]
        def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
            self.says = {"red": CHINESE if len(messages) > 1 else WHOLE}
            return super()._generate(messages, *args, **kwargs)

    model = Learning()
    captioner = ChatModelCaptioner(model, language="zh")
    made = captioner.caption(three[:1]) if how == "caption" else await captioner.acaption(three[:1])
    assert made[0].brief == "红色"
    (question,), (asked, said, told) = model.seen
    assert asked == question
    assert question.content[0]["text"] == prompt("zh")
    assert (said.type, json.loads(said.text)["brief"]) == ("ai", "B")
    assert told.type == "human"
    assert "language 'zh'" in told.text


def test_a_language_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="language"):
        ChatModelCaptioner(Vision(), language="{}")


@pytest.mark.parametrize("kind", [Vision, SchemaVision, ToolVision])
def test_what_stands_around_the_json_is_ignored(kind: type[Vision], three: list[Path]) -> None:
    model = kind(says={"red": f"Here you are:\n```json\n{WHOLE}\n```\nAnything else?"})
    assert ChatModelCaptioner(model).caption(three[:1]) == [Caption("B", "D", ("k",))]


def test_a_refusal_is_told(three: list[Path]) -> None:
    class Refusing(SchemaVision):
        def with_structured_output(self, schema: Any, **kwargs: Any) -> Any:
            error = ValueError("I do not describe fields.")
            answer = {"raw": AIMessage(content=""), "parsed": None, "parsing_error": error}
            return RunnableLambda(lambda _: answer)

    with pytest.raises(AnswerError, match="is no caption: I do not"):
        ChatModelCaptioner(Refusing()).caption(three[:1])


def test_data_points_may_be_pairs_and_a_label_may_occur_twice(three: list[Path]) -> None:
    points = [
        {"label": "2024", "value": 7},
        {"label": "2025", "value": "8"},
        {"label": "2024", "value": "9"},
    ]
    said = json.dumps({**json.loads(WHOLE), "data_points": points})
    (caption,) = ChatModelCaptioner(SchemaVision(says={"red": said})).caption(three[:1])
    assert caption.data_points == {"2024": "7; 9", "2025": "8"}


@pytest.mark.parametrize("kind", [Vision, SchemaVision, ToolVision])
async def test_one_error_does_not_lose_the_others(kind: type[Vision], three: list[Path]) -> None:
    broken = three[0].with_name("broken.png")
    broken.write_bytes(three[0].read_bytes()[:70])
    model = kind(says={"lime": ConnectionError("the line is dead")})
    captioner = ChatModelCaptioner(model)
    made = list(captioner.caption_each([*three, broken]))
    assert [made[0], made[2]] == [THREE[0], THREE[2]]
    assert isinstance(made[1], ConnectionError)
    assert isinstance(made[3], DamagedSource)
    assert "broken.png: " in str(made[3])
    with pytest.raises(ConnectionError):
        captioner.caption(three)
    with pytest.raises(ConnectionError):
        await captioner.acaption(three)
    assert model.colours[-3:].count("blue") == 1, "the others were asked about all the same"


# Used wrongly


async def test_a_picture_that_cannot_be_opened_is_not_asked_about(tmp_path: Path) -> None:
    model = Vision()
    captioner = ChatModelCaptioner(model)
    for call in (captioner.caption, captioner.acaption):
        with pytest.raises(UnreadableSource, match=r"gone\.png"):
            result = call([tmp_path / "gone.png"])
            if not isinstance(result, list):
                await result
    with pytest.raises(InputError, match="path, a data URL"):
        captioner.caption([42])  # type: ignore[list-item]
    with pytest.raises(InputError):
        captioner.caption(["https://example.org/a.png"])
    assert model.seen == []


@pytest.mark.parametrize("given", ["red.png", b"bytes", Path("red.png"), None])
def test_one_picture_is_not_a_list(given: Any) -> None:
    with pytest.raises(InputError, match="pass a list of pictures"):
        ChatModelCaptioner(Vision()).caption(given)


def test_what_cannot_caption_is_refused() -> None:
    for model in ("gpt-4o", None, Vision, Vision() | str):
        with pytest.raises(InputError, match="pass a LangChain chat model"):
            ChatModelCaptioner(model)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="takes no pictures"):
        ChatModelCaptioner(Vision(profile={"image_inputs": False}))
    ChatModelCaptioner(Vision(profile={"image_inputs": True}))
    with pytest.raises(InputError, match="1 or more"):
        ChatModelCaptioner(Vision(), concurrency=0)


# A real client


def chat_openai(chat: ChatServer, **options: Any) -> BaseChatModel:
    return ChatOpenAI(
        model="gpt-4o-mini", base_url=chat.url, api_key="none", max_retries=0, **options
    )


def structured() -> str:
    points = [{"label": "share", "value": "100"}]
    return json.dumps({**json.loads(WHOLE), "data_points": points})


@pytest.mark.usefixtures("loopback")
async def test_openai_is_held_to_the_schema(three: list[Path]) -> None:
    with chat_server(structured()) as chat:
        expected = [Caption("B", "D", ("k",), "", {"share": "100"})]
        assert ChatModelCaptioner(chat_openai(chat)).caption(three[:1]) == expected
        assert await ChatModelCaptioner(chat_openai(chat)).acaption(three[:1]) == expected
        assert len(chat.bodies) == 2
        for body in chat.bodies:
            asked = body["response_format"]["json_schema"]
            assert (asked["name"], asked["strict"]) == ("PictureCaption", True)
        text, (kind, (mime, data)) = chat.parts()
    assert text == ("text", PROMPT)
    assert (kind, mime) == ("image", "image/jpeg")
    assert Image.open(io.BytesIO(data)).size == (40, 30)


@pytest.mark.usefixtures("loopback")
async def test_a_server_that_knows_no_schema_is_asked_without(three: list[Path]) -> None:
    with chat_server(WHOLE) as chat:
        chat.refuses = "response_format"
        captioner = ChatModelCaptioner(chat_openai(chat), concurrency=1)
        assert captioner.caption(three) == [Caption("B", "D", ("k",))] * 3
        assert await captioner.acaption(three) == [Caption("B", "D", ("k",))] * 3
        assert ["response_format" in body for body in chat.bodies] == [True] + [False] * 6


@pytest.mark.usefixtures("loopback")
async def test_a_server_that_ignores_the_schema_is_understood(three: list[Path]) -> None:
    with chat_server(f"Sure!\n```json\n{WHOLE}\n```") as chat:
        captioner = ChatModelCaptioner(chat_openai(chat), concurrency=1)
        assert captioner.caption(three) == [Caption("B", "D", ("k",))] * 3
        assert await captioner.acaption(three[:1]) == [Caption("B", "D", ("k",))]
        chat.answer = PROSE
        with pytest.raises(AnswerError, match="I am sorry"):
            captioner.caption(three[:1])


@pytest.mark.usefixtures("loopback")
def test_the_clients_own_errors_come_through(three: list[Path]) -> None:
    with chat_server() as chat:
        chat.refuses = "messages"
        with pytest.raises(openai.BadRequestError, match="unknown option"):
            ChatModelCaptioner(chat_openai(chat)).caption(three[:1])
    chat.url = "http://127.0.0.1:1/v1"  # where nobody answers
    with pytest.raises(openai.APIConnectionError):
        ChatModelCaptioner(chat_openai(chat)).caption(three[:1])
