"""TagCaptioner on the bundled encoder: what it names, what it leaves out, how often it is right."""

from __future__ import annotations

import numpy as np
import pytest

from mmrag.captioners.tags import TagCaptioner, bundled_vocabulary
from mmrag.encode import encode_images
from mmrag.encoders.bundled import BundledEncoder
from mmrag.errors import DamagedSource, InputError
from mmrag.protocols import Captioner
from mmrag.testing import FakeEncoder
from mmrag.types import Caption

from .labels import LABELS
from .pictures import SAMPLE, blank


@pytest.fixture(scope="module")
def tags() -> TagCaptioner:
    return TagCaptioner()


def test_the_vocabulary_is_in_two_languages() -> None:
    vocabulary = bundled_vocabulary()
    assert len(vocabulary) > 400
    assert len({english for english, _ in vocabulary}) == len(vocabulary)
    assert all(english.isascii() and not chinese.isascii() for english, chinese in vocabulary)


def test_what_is_sure_is_named_in_both_languages(tags: TagCaptioner) -> None:
    names = ("claw-hammer.jpg", "two-wheels.png", "six-strings.jpg")
    made = tags.caption([SAMPLE / name for name in names])
    assert [caption.keywords[:2] for caption in made] == [
        ("hammer", "锤子"),
        ("bicycle", "自行车"),
        ("guitar", "吉他"),
    ]
    assert all(caption == Caption(keywords=caption.keywords) for caption in made)


def test_what_is_unsure_is_left_out(tags: TagCaptioner) -> None:
    assert tags.caption([SAMPLE / "study-scores.png", SAMPLE / "wrench.jpg"]) == [Caption()] * 2


def test_the_figures_of_the_documentation(tags: TagCaptioner) -> None:
    """Of the sample; a bound that were not met would name next to everything, or nothing."""
    files = sorted(SAMPLE.iterdir())
    assert {file.stem for file in files} == set(LABELS)
    named = {3.75: [], 4.5: []}
    for sure, captions in named.items():
        captioner = TagCaptioner(tags.encoder, sure=sure)
        # A picture that is unsure at 3.75 is so at 4.5.
        few = [file for file, words in zip(files, named[3.75], strict=False) if words] or files
        by_file = dict(zip(few, captioner.caption(few), strict=True))
        captions += [by_file.get(file, Caption()).keywords[::2] for file in files]
    figures = {}
    for sure, captions in named.items():
        pairs = zip(files, captions, strict=True)
        right = [word in LABELS[file.stem] for file, words in pairs for word in words]
        figures[sure] = (np.mean([bool(words) for words in captions]), np.mean(right))
    assert figures[3.75] == (pytest.approx(0.42, abs=0.02), pytest.approx(0.65, abs=0.02))
    assert figures[4.5] == (pytest.approx(0.23, abs=0.02), pytest.approx(0.79, abs=0.02))


def test_scores_are_those_of_the_encoder(tags: TagCaptioner) -> None:
    encoder = BundledEncoder()
    words = [f"{word}" for word, _ in bundled_vocabulary()]
    alone = TagCaptioner(encoder, words, limit=400, sure=-100)
    (caption,) = alone.caption([SAMPLE / "espresso.jpg"])

    scores = (
        encoder.encode_texts(words, "query") @ encode_images(encoder, [SAMPLE / "espresso.jpg"])[0]
    )
    assert list(caption.keywords) == [words[i] for i in np.argsort(-scores, kind="stable")[:400]]


def test_any_image_encoder_and_vocabulary_will_do() -> None:
    words = [f"thing {number}" for number in range(40)]
    captioner = TagCaptioner(FakeEncoder(), [*words, *words], limit=2, sure=-100)
    checked: Captioner = captioner
    (caption,) = checked.caption([blank(30, 20)])
    assert len(caption.keywords) == 2
    assert set(caption.keywords) <= set(words)
    assert checked.name != TagCaptioner(FakeEncoder(), words[:35]).name


def test_arguments_are_checked(tags: TagCaptioner) -> None:
    words = [f"thing {number}" for number in range(40)]
    for wrong in ("cat", ["cat"], [*words, ""], [*words, 5], [*words, ()], 5):
        with pytest.raises(InputError, match="vocabulary"):
            TagCaptioner(vocabulary=wrong)
    with pytest.raises(InputError, match="limit"):
        TagCaptioner(limit=0)
    with pytest.raises(InputError, match="encodes no pictures"):
        TagCaptioner("clip")
    with pytest.raises(DamagedSource, match="sha256"):
        tags.caption([b"broken"])
    assert tags.caption([blank(1, 1)])[0].brief == ""
