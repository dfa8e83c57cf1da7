"""The encoder reranker: mixed records, queries in words and pictures, scores that compare."""

from __future__ import annotations

import logging
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mmrag.rerank
from mmrag.encoders.bundled import BundledEncoder
from mmrag.errors import DamagedSource, InputError
from mmrag.media import data_url
from mmrag.protocols import Captioner, Reranker
from mmrag.references import REFERENCE_QUERIES
from mmrag.rerank import EncoderReranker
from mmrag.rerankers import encoder
from mmrag.testing import FakeCaptioner, FakeEncoder, FakeReranker
from mmrag.types import Caption, ImageRef, Record

from .files import picture, saved

SAMPLE = Path(mmrag.rerank.__file__).parent / "sample" / "pictures"
ENCODER = BundledEncoder()


def shown(name: str, caption: Caption | None = None) -> Record:
    return Record(name, image=ImageRef(str(SAMPLE / name), "", "", 0, 0), caption=caption)


MIXED = [
    Record("sleep", "Cats sleep up to sixteen hours a day."),
    shown("chelsea.jpg"),
    Record("coffee", "How to brew an espresso at home"),
    shown("espresso.jpg"),
    Record("report", "Quarterly report of the company"),
    shown("brick-wall.jpg"),
]


@pytest.fixture(scope="module")
def reranker() -> EncoderReranker:
    return EncoderReranker(ENCODER)


def best(scores: list[float], count: int) -> set[str]:
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    return {MIXED[i].id for i in order[:count]}


@pytest.mark.parametrize(
    ("text", "image", "expected"),
    [
        ("a cat", None, {"sleep", "chelsea.jpg"}),
        ("咖啡", None, {"coffee", "espresso.jpg"}),
        (None, "kitten-and-yarn.jpg", {"chelsea.jpg"}),
    ],
)
def test_texts_and_pictures_are_in_one_order(
    reranker: EncoderReranker, text: str | None, image: str | None, expected: set[str]
) -> None:
    """A matching picture is not below all texts, although its cosines are the lower ones."""
    scores = reranker.rerank(text, None if image is None else SAMPLE / image, MIXED)
    assert best(scores, len(expected)) == expected
    assert all(0 <= score <= 1 for score in scores)


def test_words_and_a_picture_together_are_the_mean_of_both(reranker: EncoderReranker) -> None:
    words = reranker.rerank("coffee", None, MIXED)
    looks = reranker.rerank(None, SAMPLE / "kitten-and-yarn.jpg", MIXED)
    both = reranker.rerank("coffee", SAMPLE / "kitten-and-yarn.jpg", MIXED)
    assert both == pytest.approx([(w + s) / 2 for w, s in zip(words, looks, strict=True)])


def test_the_same_picture_scores_the_highest(reranker: EncoderReranker) -> None:
    scores = reranker.rerank(None, SAMPLE / "espresso.jpg", MIXED)
    assert best(scores, 1) == {"espresso.jpg"}
    assert max(scores) > 0.99


def test_a_score_is_monotone_in_the_cosine_and_a_half_where_one_unrelated_pair_in_100_is() -> None:
    encoder = FakeEncoder()
    texts = ["red apple", "red apple pie", "red paint", "nothing in common"]
    scores = EncoderReranker(encoder).rerank("red apple", None, [Record(t, t) for t in texts])
    query = encoder.encode_texts(["red apple"], "query")[0]
    cosines = encoder.encode_texts(texts, "passage") @ query
    rows = encoder.encode_texts(REFERENCE_QUERIES, "query")
    size = len(rows)
    apart = [
        float(rows[i] @ rows[j])
        for i in range(size)
        for j in range(size)
        if (i - j) % (size // 2)  # the second half are translations of the first
    ]
    middle, tail = np.quantile(np.array(apart, np.float32), (0.5, 0.99))
    evidence = (cosines - middle) / (tail - middle)
    assert scores == pytest.approx([1 / (1 + math.exp(-2 * (e - 1))) for e in evidence], abs=1e-5)
    assert scores == sorted(scores, reverse=True)


def test_the_better_of_text_caption_and_picture_counts(reranker: EncoderReranker) -> None:
    image = ImageRef(str(SAMPLE / "brick-wall.jpg"), "", "", 0, 0)
    told = Record("told", "Quarterly report", image, Caption("a cat", "a cat on a sofa"))
    alone = [
        Record("text", "Quarterly report"),
        Record("image", image=image),
        Record("caption", "a cat\na cat on a sofa"),
    ]
    scores = reranker.rerank("a cat", None, [told, *alone])
    assert scores[0] == max(scores[1:]) == scores[3]


def test_a_caption_without_descriptions_counts_with_what_it_has(reranker: EncoderReranker) -> None:
    """As one by a reader of text in pictures."""
    read = Record("read", caption=Caption(text_content="a cat on a sofa"))
    text = Record("text", "a cat on a sofa")
    assert len(set(reranker.rerank("a cat", None, [read, text]))) == 1


def test_a_score_does_not_depend_on_the_other_records(
    reranker: EncoderReranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reranker.rerank("a cat", None, MIXED)
    assert [reranker.rerank("a cat", None, [record])[0] for record in MIXED] == whole
    monkeypatch.setattr(encoder, "BATCH", 2)
    assert reranker.rerank("a cat", None, MIXED) == whole


def test_a_picture_that_cannot_be_opened_counts_as_none(
    reranker: EncoderReranker, caplog: pytest.LogCaptureFixture
) -> None:
    gone = ImageRef("/nowhere/gone.png", "", "", 0, 0)
    web = ImageRef("https://example.org/a.png", "", "", 0, 0)
    other = ImageRef(str(SAMPLE / "chelsea.jpg"), "0" * 64, "", 0, 0)  # the file was replaced
    records = [
        Record("empty"),
        Record("gone", image=gone),
        Record("other", image=other),
        Record("web", "a cat", web),
    ]
    with caplog.at_level(logging.WARNING, "mmrag"):
        scores = reranker.rerank("a cat", None, records)
    assert scores[:3] == [0, 0, 0]
    assert scores[3] == reranker.rerank("a cat", None, [Record("text", "a cat")])[0]
    assert {r.args[0] for r in caplog.records} == {"gone", "other", "web"}  # type: ignore[index]


def test_a_picture_in_a_data_url_is_opened(reranker: EncoderReranker) -> None:
    url = data_url((SAMPLE / "chelsea.jpg").read_bytes(), "image/jpeg")
    inline = Record("inline", image=ImageRef(url, "", "", 0, 0))
    first, second = reranker.rerank("a cat", None, [inline, shown("chelsea.jpg")])
    assert first == second


def test_queries_that_cannot_be_judged(reranker: EncoderReranker, tmp_path: Path) -> None:
    for text in (None, "", " \n"):
        with pytest.raises(InputError, match="empty query"):
            reranker.rerank(text, None, MIXED)
    with pytest.raises(InputError, match="not int"):
        reranker.rerank(5, None, MIXED)  # type: ignore[arg-type]
    (tmp_path / "broken.png").write_bytes(saved(picture(), "PNG")[:60])
    with pytest.raises(DamagedSource):
        reranker.rerank(None, tmp_path / "broken.png", MIXED)
    assert reranker.rerank("a cat", None, []) == []


def test_it_is_pickled_with_its_encoder_and_used_by_several_threads() -> None:
    copy = pickle.loads(pickle.dumps(EncoderReranker(FakeEncoder(32))))
    assert copy.name == "encoder fake"
    assert copy.encoder.space.dim == 32
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: copy.rerank("red", SAMPLE / "fruit.bmp", MIXED), range(16)))
    assert all(scores == found[0] for scores in found)


def test_the_fakes_follow_the_protocols() -> None:
    captioner: Captioner = FakeCaptioner()
    red = saved(picture(20, 10), "PNG")
    first, again = captioner.caption([red, red])
    assert first == again
    assert first.detailed.endswith("20 x 10 pixels")
    fake: Reranker = FakeReranker()
    records = [
        Record("a", "a red bicycle"),
        Record("b", caption=Caption("a red wall")),
        Record("c"),
    ]
    assert fake.rerank("red bicycle", None, records) == [1.0, 0.5, 0.0]
    with pytest.raises(InputError):
        fake.rerank("", None, records)
