"""A cross-encoder that takes pictures: a tiny Qwen2-VL that answers yes or no."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")
pytest.importorskip("torchvision")

from PIL import Image  # noqa: E402
from sentence_transformers import CrossEncoder  # noqa: E402
from transformers import AutoProcessor, Qwen2VLForConditionalGeneration  # noqa: E402

from mmrag.errors import DamagedSource, InputError  # noqa: E402
from mmrag.rerank import CrossEncoderReranker  # noqa: E402
from mmrag.types import Caption, ImageRef, Record  # noqa: E402

from .tiny import painted, qwen  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def reranker(folder: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker(str(folder), device="cpu")


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    return [
        Record("text", "a dog"),
        painted(tmp_path / "red.png", "red"),
        Record("long", "a cat that sleeps on the sofa, red and blue"),
        painted(tmp_path / "blue.png", "blue", (90, 30)),
        painted(tmp_path / "green.png", "green", (30, 90)),
    ]


def said(kind: str, content: Any) -> dict[str, Any]:
    return {"type": kind, kind: content}


def opened(record: Record) -> Image.Image:
    assert record.image is not None
    return Image.open(record.image.uri).convert("RGB")


def content(record: Record) -> list[dict[str, Any]]:
    return [said("text", record.text) if record.image is None else said("image", opened(record))]


@cache
def alone(folder: Path) -> tuple[Any, Any]:
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder)
    return AutoProcessor.from_pretrained(folder), model.eval()


def forward(folder: Path, query: list[dict[str, Any]], document: list[dict[str, Any]]) -> float:
    """The probability of yes against no, by transformers alone."""
    processor, model = alone(folder.parent / "model")
    inputs = processor.apply_chat_template(
        [{"role": "query", "content": query}, {"role": "document", "content": document}],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        logits = model(**inputs).logits[0, -1]
    ids = processor.tokenizer.convert_tokens_to_ids(["yes", "no"])
    return float(logits[ids].double().softmax(0)[0])


def test_scores_of_texts_and_pictures_are_those_of_the_models_own_forward_pass(
    folder: Path, reranker: CrossEncoderReranker, records: list[Record]
) -> None:
    expected = [forward(folder, [said("text", "a cat")], content(record)) for record in records]
    assert len({round(score, 4) for score in expected}) == len(expected)
    assert reranker.rerank("a cat", None, records) == pytest.approx(expected, abs=1e-5)
    alone = [reranker.rerank("a cat", None, [record])[0] for record in records]
    assert alone == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("text", [None, "in blue"])
def test_queries_with_a_picture(
    folder: Path, reranker: CrossEncoderReranker, records: list[Record], text: str | None
) -> None:
    asked = opened(records[1])
    query = [said("image", asked), *([said("text", text)] if text else [])]
    expected = [forward(folder, query, content(record)) for record in records]
    assert reranker.rerank(text, asked, records) == pytest.approx(expected, abs=1e-5)


def test_pictures_and_texts_are_separate_batches(folder: Path, records: list[Record]) -> None:
    model = CrossEncoder(str(folder))
    batches: list[Any] = []
    model[0].register_forward_pre_hook(lambda module, inputs: batches.append(inputs[0]))
    CrossEncoderReranker(model).rerank("a cat", None, records)
    assert [("pixel_values" in b, len(b["input_ids"])) for b in batches] == [(False, 2), (True, 3)]


def test_the_best_of_text_caption_and_picture_counts(
    reranker: CrossEncoderReranker, records: list[Record]
) -> None:
    image = records[1].image
    whole = Record("whole", "a dog", image, Caption("a cat", data_points={"size": "3 kg"}))
    parts = [Record("t", "a dog"), Record("c", "a cat\nsize: 3 kg"), Record("i", image=image)]
    score, *alone = reranker.rerank("a cat", None, [whole, *parts])
    assert score == pytest.approx(max(alone), abs=1e-6)


def test_a_text_that_names_a_picture_is_never_opened(
    folder: Path, reranker: CrossEncoderReranker, records: list[Record]
) -> None:
    """sentence-transformers takes a text like these for the picture itself, URLs included."""
    assert records[1].image is not None
    texts = ["https://example.org/a.png", records[1].image.uri, "data:image/png;base64,AAAA"]
    expected = [forward(folder, [said("text", "a cat")], [said("text", t)]) for t in texts]
    found = reranker.rerank("a cat", None, [Record(text, text) for text in texts])
    assert found == pytest.approx(expected, abs=1e-5)
    asked = [forward(folder, [said("text", t)], [said("text", "a dog")]) for t in texts]
    found = [reranker.rerank(text, None, records[:1])[0] for text in texts]
    assert found == pytest.approx(asked, abs=1e-5)


def test_a_picture_that_the_model_raises_on_costs_the_others_nothing(
    reranker: CrossEncoderReranker,
    records: list[Record],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Qwen's processor refuses pictures that are 200 times as long as they are wide."""
    whole = reranker.rerank("a cat", None, records)
    ribbon = painted(tmp_path / "ribbon.png", "red", (600, 2))
    broken = Record("broken", image=ImageRef(str(tmp_path / "broken.png"), "", "", 0, 0))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with caplog.at_level(logging.WARNING, "mmrag"):
        scores = reranker.rerank("a cat", None, [broken, *records[:2], ribbon, *records[2:]])
    assert [scores.pop(3), scores.pop(0)] == [0, 0]
    assert scores == pytest.approx(whole, abs=1e-5)
    messages = sorted(record.getMessage().split(":")[0] for record in caplog.records)
    assert messages == [
        "record 'broken' is judged without its picture",
        f"record 'ribbon' is judged without its image, on which {reranker.name} failed",
    ]
    assert reranker.rerank("a cat", None, [ribbon]) == [0]


def test_a_large_picture_is_made_smaller(reranker: CrossEncoderReranker, tmp_path: Path) -> None:
    wide = painted(tmp_path / "wide.png", "red", (4000, 1000))
    (score,) = reranker.rerank("a cat", None, [wide])
    assert 0 < score < 1


def test_query_pictures_that_cannot_be_opened(
    reranker: CrossEncoderReranker, records: list[Record], tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DamagedSource):
        reranker.rerank("a cat", tmp_path / "a.png", records)
    with pytest.raises(InputError, match="URLs are not fetched"):
        reranker.rerank(None, "https://example.org/a.png", records)
