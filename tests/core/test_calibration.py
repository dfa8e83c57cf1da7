"""Calibration by arithmetic, and what it is for: one meaning of evidence in every route."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrag.calibration import Null, dense_evidence, keyword_evidence
from mmrag.demo import SAMPLE
from mmrag.index import MultimodalIndex
from mmrag.references import REFERENCE_QUERIES
from mmrag.types import Record


def test_null_is_the_median_and_the_way_to_the_mean_of_the_highest() -> None:
    scores = np.arange(1001, dtype=np.float32)  # 998 is the 99.8th percentile; mean of 998..1000
    assert Null.of(scores) == Null(500.0, pytest.approx(499.0))


def test_a_constant_null_has_a_width_to_divide_by() -> None:
    assert Null.of(np.ones(50, np.float32)).width > 0


def test_a_few_pairs_say_nothing_and_cosines_are_judged_with_caution() -> None:
    assert Null.of(np.array([0.7, 0.7], np.float32)) == Null(0.0, 0.5)
    assert Null.of(np.empty(0, np.float32)) == Null(0.0, 0.5)


@pytest.mark.parametrize("others", [0, 1, 2])
def test_the_same_picture_comes_first_however_few_there_are(tmp_path: Path, others: int) -> None:
    pictures = [SAMPLE / "pictures" / n for n in ("chelsea.jpg", "beacon.png", "espresso.jpg")]
    with MultimodalIndex.open(tmp_path / "kb") as index:
        index.add_files([*pictures[: 1 + others], SAMPLE / "texts" / "cat-care.md"])
        first, *_ = index.search(image=pictures[0])
    assert first.record.source == str(pictures[0])
    assert 1 < first.score < 4


def test_dense_evidence_moves_the_centre_halfway_to_the_querys_own_mean() -> None:
    own = np.full(10, 0.2, np.float32)  # ten of a sample: a sixth of the way
    found = dense_evidence([0.5], Null(0.1, 0.2), own, population=100)
    centre = 5 / 6 * 0.1 + 1 / 6 * 0.2
    assert found == (pytest.approx((0.5 - centre) / 0.2),)


def test_a_larger_crowd_takes_more_evidence_to_stand_out() -> None:
    own, null = np.zeros(0, np.float32), Null(0.0, 1.0)
    (small,) = dense_evidence([3.0], null, own, population=256)
    (large,) = dense_evidence([3.0], null, own, population=100_000)
    expected = (math.sqrt(2 * math.log(100_000)) - math.sqrt(2 * math.log(256))) / 3.17
    assert small == 3.0
    assert large == pytest.approx(3.0 - expected)


def test_dense_evidence_is_invariant_to_the_scale_of_a_route() -> None:
    """What makes routes of different encoders comparable."""
    rng = np.random.default_rng(0)
    reference, own = rng.normal(size=1000), rng.normal(size=50)
    plain = dense_evidence([1.0, 2.0], Null.of(reference), own, 50)
    scaled = dense_evidence(
        [0.3 + 0.1, 0.3 + 0.2], Null.of(0.3 + 0.1 * reference), 0.3 + 0.1 * own, 50
    )
    assert scaled == pytest.approx(plain)


def test_keyword_evidence_goes_by_share_and_by_information() -> None:
    single = math.log1p(1000)  # what singles out one of a thousand records
    scores = [single, 2 * single, 4 * single, 0.0]
    assert keyword_evidence(scores, tokens=2, population=1000) == (
        pytest.approx(4 * (1 / 2) ** 2 * (1 / 1.6) ** 2),  # one of two words
        4.0,  # both: the whole query, and more than is needed to be sure
        4.0,
        0.0,
    )
    # A single word is all of its query, and yet not as sure.
    assert keyword_evidence([single], tokens=1, population=1000) == (pytest.approx(4 / 1.6**2),)


def test_reference_queries_are_many_and_in_both_languages() -> None:
    assert len(REFERENCE_QUERIES) == len(set(REFERENCE_QUERIES)) == 64
    assert sum(query.isascii() for query in REFERENCE_QUERIES) == 32


def test_reference_vectors_are_kept_and_made_anew_when_damaged(tmp_path: Path) -> None:
    with MultimodalIndex.open(tmp_path / "kb") as index:
        index.add([Record(id=str(i), text=f"number {i}") for i in range(5)])
        first = index.search("number 3")
        (kept,) = (tmp_path / "kb" / "calibration").iterdir()
        whole = kept.read_bytes()
    for damage in (whole[:100], b"", b"not an array"):
        kept.write_bytes(damage)
        with MultimodalIndex.open(tmp_path / "kb") as index:
            assert index.search("number 3") == first
        assert kept.read_bytes() == whole


def test_reference_vectors_that_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a folder that is write-protected, which nothing is to root."""
    with MultimodalIndex.open(tmp_path / "kb") as index:
        index.add([Record(id=str(i), text=f"number {i}") for i in range(5)])
        first = index.search("number 3")
    folder = tmp_path / "kb" / "calibration"
    shutil.rmtree(folder)
    folder.write_text("no folder")
    with MultimodalIndex.open(tmp_path / "kb") as index:
        assert index.search("number 3") == first
    folder.unlink()

    def full(file: Any, *_: object, **__: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with MultimodalIndex.open(tmp_path / "kb") as index:
        assert index.search("number 3") == first
    assert list(folder.iterdir()) == []


def test_a_query_about_nothing_in_the_index_has_little_evidence(tmp_path: Path) -> None:
    with MultimodalIndex.open(tmp_path / "kb") as index:
        index.add(
            [
                Record(id="tea", text="Green tea is steeped for two minutes in hot water."),
                Record(id="bus", text="The number 7 bus leaves from the town hall every hour."),
                Record(id="vat", text="Value added tax is due on the tenth of the next month."),
            ]
        )
        (about,) = index.search("how long to steep green tea", limit=1)
        (beside,) = index.search("penguins of the antarctic", limit=1)
    assert about.record.id == "tea"
    assert about.score > 1.2
    assert beside.score < 0.9


def test_one_record_alone_can_be_found(tmp_path: Path) -> None:
    with MultimodalIndex.open(tmp_path / "kb") as index:
        index.add([Record(id="only", text="a lighthouse")])
        assert [hit.record.id for hit in index.search("lighthouse")] == ["only"]
