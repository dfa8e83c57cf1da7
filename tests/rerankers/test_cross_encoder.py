"""Cross-encoders: the scores of the library's own forward pass, in batches and one by one."""

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
pytest.importorskip("sentence_transformers")

from sentence_transformers import CrossEncoder  # noqa: E402
from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402

from mmrag.errors import (  # noqa: E402
    AnswerError,
    InputError,
    MissingExtra,
    ModelUnavailable,
)
from mmrag.protocols import Reranker  # noqa: E402
from mmrag.rerank import CrossEncoderReranker  # noqa: E402
from mmrag.types import Caption, ImageRef, Record  # noqa: E402

from .tiny import LIMIT, WORDS, bert  # noqa: E402

pytestmark = pytest.mark.torch

TEXTS = ["a cat sleeps", "the dog", "a red dog, a blue cat.", "on the sofa", "blue", "a"]
RECORDS = [Record(str(n), text) for n, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def reranker(folder: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker(str(folder), device="cpu")


class Watched(CrossEncoder):
    """A model that keeps the pairs of each call, and has memory for a few of them only."""

    room = 10_000

    def predict(self, inputs: Any, **options: Any) -> Any:
        self.__dict__.setdefault("calls", []).append(list(inputs))
        if len(inputs) > self.room:
            raise RuntimeError("out of memory")
        return super().predict(inputs, **options)


@cache
def alone(folder: Path) -> tuple[Any, Any]:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder), model.eval()


def forward(folder: Path, query: str, text: str) -> float:
    """The probability by transformers alone."""
    tokenizer, model = alone(folder)
    with torch.no_grad():
        odds = model(**tokenizer(query, text, return_tensors="pt")).logits
    return float(torch.sigmoid(odds))


def test_scores_are_those_of_the_models_own_forward_pass(
    folder: Path, reranker: CrossEncoderReranker
) -> None:
    expected = [forward(folder, "a cat", text) for text in TEXTS]
    assert max(expected) - min(expected) > 0.1  # the texts can be told apart
    assert reranker.rerank("a cat", None, RECORDS) == pytest.approx(expected, abs=1e-5)
    alone = [reranker.rerank("a cat", None, [record])[0] for record in RECORDS]
    assert alone == pytest.approx(expected, abs=1e-5)
    library = CrossEncoder(str(folder)).predict([("a cat", text) for text in TEXTS])
    assert expected == pytest.approx(list(library), abs=1e-5)


def test_a_loaded_model_with_log_odds_gives_the_same(folder: Path) -> None:
    """As those of MS MARCO do: their activation is the identity."""
    model = CrossEncoder(str(folder), activation_fn=torch.nn.Identity())
    expected = [forward(folder, "a cat", text) for text in TEXTS]
    scores = CrossEncoderReranker(model).rerank("a cat", None, RECORDS)
    assert scores == pytest.approx(expected, abs=1e-5)


def test_large_log_odds_are_no_ties(folder: Path) -> None:
    """In single precision everything above 17 would be 1."""
    model = CrossEncoder(str(folder))
    with torch.no_grad():
        model[0].model.classifier.bias += 22
    scores = CrossEncoderReranker(model).rerank("a cat", None, RECORDS)
    assert len(set(scores)) == len(scores)
    odds = model.predict([("a cat", text) for text in TEXTS], activation_fn=torch.nn.Identity())
    assert sorted(range(6), key=lambda n: scores[n]) == sorted(range(6), key=lambda n: odds[n])


def test_the_better_of_text_and_caption_counts(reranker: CrossEncoderReranker) -> None:
    """And the caption counts with all that it says, as one that was read off a picture has only
    text_content."""
    read = Caption(text_content="the dog")
    both = Record("both", "a cat sleeps", caption=read)
    parts = [Record("text", "a cat sleeps"), Record("caption", "the dog")]
    score, *alone = reranker.rerank("a cat", None, [both, *parts])
    assert score == pytest.approx(max(alone), abs=1e-6)
    assert reranker.rerank("a cat", None, [Record("r", caption=read)]) == pytest.approx(alone[1:])


def test_a_record_with_nothing_to_read_scores_0(reranker: CrossEncoderReranker) -> None:
    records = [
        Record("none"),
        Record("blank", " \n"),
        Record("i", image=ImageRef("x", "", "", 0, 0)),
    ]
    assert reranker.rerank("a cat", None, records) == [0, 0, 0]
    assert reranker.rerank("a cat", None, []) == []


def test_a_long_text_is_judged_by_its_best_window_and_never_cut(folder: Path) -> None:
    model = Watched(str(folder))
    long = " ".join(WORDS[5 + n % 11] for n in range(150))
    (score,) = CrossEncoderReranker(model).rerank("a red cat", None, [Record("long", long)])
    pairs = [pair for call in model.calls for pair in call]
    assert len(pairs) > 5
    assert all(len(model.tokenizer(*pair)["input_ids"]) <= LIMIT for pair in pairs)
    windows = [forward(folder, *pair) for pair in pairs]
    assert score == pytest.approx(max(windows), abs=1e-5)
    # Every word is in some window: each window is a piece of the text, and they overlap.
    covered = set()
    for _, piece in pairs:
        start = long.find(piece)
        while start >= 0:
            covered |= set(range(start, start + len(piece)))
            start = long.find(piece, start + 1)
    assert {n for n, letter in enumerate(long) if letter != " "} <= covered


def test_a_query_over_the_limit_is_answered(reranker: CrossEncoderReranker) -> None:
    assert all(0 < score < 1 for score in reranker.rerank("a cat " * 100, None, RECORDS))


def test_memory_that_runs_out_halves_the_batch_for_good(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = Watched(str(folder))
    reranker = CrossEncoderReranker(model)
    expected = reranker.rerank("a cat", None, RECORDS * 4)
    model.room, model.calls = 5, []
    with caplog.at_level(logging.WARNING, "mmrag"):
        assert reranker.rerank("a cat", None, RECORDS * 4) == pytest.approx(expected, abs=1e-6)
    assert "going on with" in caplog.text
    model.calls = []
    assert reranker.rerank("a cat", None, RECORDS * 4) == pytest.approx(expected, abs=1e-6)
    assert max(map(len, model.calls)) <= 5


def test_a_candidate_that_the_model_raises_on_costs_the_others_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The tokenizer knows a word that the model has no vector for."""
    reranker = CrossEncoderReranker(str(bert(tmp_path / "bert", words=len(WORDS) - 1)))
    whole = reranker.rerank("a cat", None, RECORDS)
    bad = Record("the bad one", "a broken cat")
    with caplog.at_level(logging.WARNING, "mmrag"):
        scores = reranker.rerank("a cat", None, [*RECORDS[:3], bad, *RECORDS[3:]])
    assert scores[3] == 0
    assert scores[:3] + scores[4:] == pytest.approx(whole, abs=1e-6)
    (warning,) = caplog.records
    assert "'the bad one' is judged without its text" in warning.getMessage()
    # Alone too: it is the candidate that is at fault, and not the model.
    assert reranker.rerank("a cat", None, [bad]) == [0]
    captioned = Record("half", "a broken cat", caption=Caption("the dog"))
    assert reranker.rerank("a cat", None, [captioned]) == pytest.approx(whole[1:2], abs=1e-6)


def test_a_model_that_fails_on_everything_is_an_error(folder: Path) -> None:
    model = CrossEncoder(str(folder))
    with torch.no_grad():
        model[0].model.classifier.bias.fill_(torch.nan)
    with pytest.raises(AnswerError, match="nothing at all: the model's score is not a number"):
        CrossEncoderReranker(model).rerank("a cat", None, RECORDS)
    out_of_range = CrossEncoder(str(folder), activation_fn=torch.nn.Softplus())
    with torch.no_grad():
        out_of_range[0].model.classifier.bias += 5
    with pytest.raises(AnswerError, match=r"not in 0\.\.1"):
        CrossEncoderReranker(out_of_range).rerank("a cat", None, RECORDS)


def test_several_threads_and_a_pickled_copy_give_the_same(reranker: CrossEncoderReranker) -> None:
    same: Reranker = pickle.loads(pickle.dumps(reranker))
    expected = reranker.rerank("a cat", None, RECORDS)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: same.rerank("a cat", None, RECORDS), range(16)))
    assert all(scores == pytest.approx(expected, abs=1e-6) for scores in found)
    assert same.name == reranker.name


def test_a_loaded_model_is_pickled_with_it(folder: Path) -> None:
    reranker = CrossEncoderReranker(CrossEncoder(str(folder)))
    copy = pickle.loads(pickle.dumps(reranker))
    expected = reranker.rerank("a cat", None, RECORDS)
    assert copy.rerank("a cat", None, RECORDS) == pytest.approx(expected, abs=1e-6)
    assert copy.name == f"cross-encoder {folder}"


def test_queries_that_cannot_be_judged(reranker: CrossEncoderReranker, tmp_path: Path) -> None:
    for text in (None, "", " \n"):
        with pytest.raises(InputError, match="empty query"):
            reranker.rerank(text, None, RECORDS)
    with pytest.raises(InputError, match="not int"):
        reranker.rerank(5, None, RECORDS)  # type: ignore[arg-type]
    (tmp_path / "a.png").write_bytes(b"no picture")
    for text in (None, "a cat"):
        with pytest.raises(InputError, match="takes words only"):
            reranker.rerank(text, tmp_path / "a.png", RECORDS)


def test_models_that_cannot_be_used(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="there is no file or folder"):
        CrossEncoderReranker(str(tmp_path / "gone"))
    with pytest.raises(InputError, match="not int"):
        CrossEncoderReranker(5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="leave device out"):
        CrossEncoderReranker(CrossEncoder(str(folder)), device="cpu")
    with pytest.raises(InputError, match="gives 3 scores a pair"):
        CrossEncoderReranker(str(bert(tmp_path / "three", labels=3))).rerank("a", None, RECORDS)
    with pytest.raises(InputError, match="no head for scores"):
        CrossEncoderReranker(str(bert(tmp_path / "bare", head=False))).rerank("a", None, RECORDS)
    with pytest.raises(InputError, match="the device 'moon' cannot be used"):
        CrossEncoderReranker(str(folder), device="moon").rerank("a", None, RECORDS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no model that can be loaded"):
        CrossEncoderReranker(str(tmp_path / "empty")).rerank("a", None, RECORDS)
    with pytest.raises(ModelUnavailable, match="some/reranker"):
        CrossEncoderReranker("some/reranker").rerank("a", None, RECORDS)


def test_without_sentence_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"mmrag\[sentence-transformers\]"):
        CrossEncoderReranker("BAAI/bge-reranker-v2-m3")
