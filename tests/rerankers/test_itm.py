"""BLIP's image-text matching: the scores of the library's own forward pass."""

from __future__ import annotations

import logging
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("torchvision")

from PIL import Image  # noqa: E402
from transformers import (  # noqa: E402
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipProcessor,
)

from mmrag.errors import AnswerError, InputError, MissingExtra, ModelUnavailable  # noqa: E402
from mmrag.rerank import ItmReranker, rerank_hits  # noqa: E402
from mmrag.testing import FakeReranker  # noqa: E402
from mmrag.types import Caption, Hit, ImageRef, Record  # noqa: E402

from .tiny import blip, painted  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blip(tmp_path_factory.mktemp("models") / "blip")


@pytest.fixture(scope="module")
def reranker(folder: Path) -> ItmReranker:
    return ItmReranker(str(folder), device="cpu")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Record]:
    colours = ["red", "blue", "green", "yellow"]
    return [painted(tmp_path / f"{c}.png", c, (60 + 9 * n, 50)) for n, c in enumerate(colours)]


@cache
def alone(folder: Path) -> tuple[Any, Any]:
    model = BlipForImageTextRetrieval.from_pretrained(folder)
    return BlipProcessor.from_pretrained(folder), model.eval()


def forward(folder: Path, text: str, record: Record) -> float:
    """The probability of a match, by transformers alone."""
    assert record.image is not None
    image = Image.open(record.image.uri).convert("RGB")
    processor, model = alone(folder)
    inputs = processor(images=image, text=text, return_tensors="pt")
    with torch.no_grad():
        return float(model(**inputs).itm_score.softmax(-1)[0, 1])


def test_scores_are_those_of_the_models_own_forward_pass(
    folder: Path, reranker: ItmReranker, pictures: list[Record]
) -> None:
    expected = [forward(folder, "a red cat", record) for record in pictures]
    assert len({round(score, 4) for score in expected}) == len(expected)
    assert reranker.rerank("a red cat", None, pictures) == pytest.approx(expected, abs=1e-5)
    alone = [reranker.rerank("a red cat", None, [record])[0] for record in pictures]
    assert alone == pytest.approx(expected, abs=1e-5)
    other = [forward(folder, "the dog", record) for record in pictures]
    assert reranker.rerank("the dog", None, pictures) == pytest.approx(other, abs=1e-5)


def test_what_a_record_says_is_judged_by_the_reranker_of_texts(
    folder: Path, reranker: ItmReranker, pictures: list[Record]
) -> None:
    seen = reranker.rerank("a cat", None, pictures)
    text = Record("text", "a cat")
    captioned = Record("c", image=pictures[0].image, caption=Caption("a cat and a dog"))
    mixed = [pictures[0], text, captioned, Record("none")]
    both = ItmReranker(str(folder), text=FakeReranker())
    assert both.rerank("a cat", None, mixed) == pytest.approx([seen[0], 1, 1, 0], abs=1e-6)
    assert reranker.rerank("a cat", None, mixed) == pytest.approx([seen[0], 0, seen[0], 0])
    assert both.name == f"image-text matching {folder} and fake reranker 1"


def test_texts_keep_their_evidence_where_nothing_judges_them(
    folder: Path, reranker: ItmReranker, pictures: list[Record]
) -> None:
    seen = reranker.rerank("a cat", None, pictures[:1])[0]
    texts = [Record("strong", "a cat"), Record("weak", "a dog")]
    hits = [Hit(texts[0], 9.0, ()), Hit(pictures[0], 0.1, ()), Hit(texts[1], -9.0, ())]
    for weight in (1.0, 0.2):
        found = rerank_hits(hits, reranker, "a cat", weight=weight)
        assert [h.record.id for h in found] == ["strong", "red", "weak"]
    assert 0.01 < seen < 0.99
    both = ItmReranker(str(folder), text=FakeReranker())
    assert [both.judges(texts[0]), reranker.judges(texts[0])] == [True, False]
    assert reranker.judges(pictures[0])


def test_pictures_that_cannot_be_judged_cost_the_others_nothing(
    folder: Path,
    reranker: ItmReranker,
    pictures: list[Record],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = reranker.rerank("a cat", None, pictures)
    gone = Record("gone", image=ImageRef("/nowhere/gone.png", "", "", 0, 0))
    web = Record("web", image=ImageRef("https://example.org/a.png", "", "", 0, 0))
    dot = painted(tmp_path / "dot.png", "red", (1, 1))
    with caplog.at_level(logging.WARNING, "mmrag"):
        scores = reranker.rerank("a cat", None, [gone, *pictures, web, dot])
    assert scores[0] == scores[5] == 0
    assert scores[1:5] == pytest.approx(whole, abs=1e-6)
    assert scores[6] == pytest.approx(forward(folder, "a cat", dot), abs=1e-5)
    assert {record.args[0] for record in caplog.records} == {"gone", "web"}  # type: ignore[index]
    assert reranker.rerank("a cat", None, []) == []


def test_a_question_over_the_limit_is_answered(
    reranker: ItmReranker, pictures: list[Record]
) -> None:
    assert all(0 < score < 1 for score in reranker.rerank("a red cat " * 50, None, pictures))


def test_queries_that_cannot_be_judged(reranker: ItmReranker, pictures: list[Record]) -> None:
    with pytest.raises(InputError, match="empty query"):
        reranker.rerank(" ", None, pictures)
    for text in (None, "a cat"):
        with pytest.raises(InputError, match="takes words only"):
            reranker.rerank(text, Image.new("RGB", (9, 9)), pictures)


def test_several_threads_and_a_pickled_copy_give_the_same(
    folder: Path, pictures: list[Record]
) -> None:
    reranker = ItmReranker(str(folder), text=FakeReranker())
    expected = reranker.rerank("a cat", None, pictures)
    copy = pickle.loads(pickle.dumps(reranker))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: copy.rerank("a cat", None, pictures), range(16)))
    assert all(scores == pytest.approx(expected, abs=1e-6) for scores in found)


def test_models_that_cannot_be_used(
    folder: Path, pictures: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="there is no file or folder"):
        ItmReranker(str(tmp_path / "gone"))
    with pytest.raises(InputError, match="not PosixPath"):
        ItmReranker(folder)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"not an mmrag\.protocols\.Reranker"):
        ItmReranker(str(folder), text="bge")  # type: ignore[arg-type]
    with pytest.raises(ModelUnavailable, match="some/blip"):
        ItmReranker("some/blip").rerank("a cat", None, pictures)
    model = BlipForImageTextRetrieval.from_pretrained(folder)
    BlipProcessor.from_pretrained(folder).save_pretrained(tmp_path / "captions")
    BlipForConditionalGeneration(model.config).save_pretrained(tmp_path / "captions")
    with pytest.raises(InputError, match="no head for image-text matching"):
        ItmReranker(str(tmp_path / "captions")).rerank("a cat", None, pictures)
    with torch.no_grad():
        model.itm_head.bias.fill_(torch.nan)
    model.save_pretrained(tmp_path / "broken")
    BlipProcessor.from_pretrained(folder).save_pretrained(tmp_path / "broken")
    with pytest.raises(AnswerError, match="not a number"):
        ItmReranker(str(tmp_path / "broken")).rerank("a cat", None, pictures)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"mmrag\[transformers\]"):
        ItmReranker()
