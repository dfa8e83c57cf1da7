"""Captioners together and captions kept: merging, failures, the cache, interruption, damage."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmrag.captioners.base import OneByOne, PartialCaption, caption_each
from mmrag.captioners.cache import CachedCaptioner, CaptionCache
from mmrag.captioners.composed import Composed, merged, parse_captioners
from mmrag.errors import (
    AnswerError,
    DamagedSource,
    InputError,
    ServiceError,
    StoreError,
    UnknownName,
)
from mmrag.identity import digest_of
from mmrag.media import ImageInput
from mmrag.openai_wire import Usage
from mmrag.protocols import Captioner
from mmrag.testing import FakeCaptioner
from mmrag.types import Caption, TextLine

from .pictures import plain

RED, BLUE = plain("red"), plain("blue")


class Scripted(OneByOne):
    """A captioner that gives, or raises, what it was made with, and counts."""

    def __init__(self, name: str, *said: Caption | Exception, concurrency: int = 1) -> None:
        self._name, self.said, self.asked = name, said, 0
        self.concurrency = concurrency

    @property
    def name(self) -> str:
        return self._name

    def one(self, image: ImageInput) -> Caption:
        said = self.said[min(self.asked, len(self.said) - 1)]
        self.asked += 1
        if isinstance(said, Exception):
            raise said
        return said


OCR = Caption(text_content="Sale 50 % today")
TAGS = Caption(keywords=("sign", "标志", "red"))
VLM = Caption("A sign", "A red sign.", ("Red", "shop"), "Sale", {"discount": "50 %"})


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CaptionCache]:
    with CaptionCache(tmp_path / "captions.db") as opened:
        yield opened


def test_each_part_gives_what_it_is_good_at() -> None:
    whole = merged([OCR, TAGS, VLM])
    assert whole == Caption(
        "A sign",
        "A red sign.",
        whole.keywords,
        "Sale 50 % today",
        {"discount": "50 %"},
    )
    assert {word.casefold() for word in whole.keywords} == {"sign", "标志", "red", "shop"}
    assert len(whole.keywords) == 4
    assert merged([]) == Caption()
    assert merged([VLM]) == VLM


@pytest.mark.parametrize(
    ("read", "described", "together"),
    [
        ("Sale 50 %\ntoday", "Sale", "Sale 50 %\ntoday"),
        ("Sale 50 %\ntoday", "SALE  ５０％ Today!", "Sale 50 %\ntoday"),
        ("Sale", "A novel\nSale\nwhich nobody wrote", "Sale\nA novel\nwhich nobody wrote"),
        ("Sale\n\n50 %", "Sale only\nSale only", "Sale\n\n50 %\nSale only\nSale only"),
        ("2012", "12\n201", "2012\n12\n201"),
        ("SummerSale", "Summer Sale", "SummerSale\nSummer Sale"),
        ("床前明月光\n疑是地上霜", "明月光疑是\n地上\n举头", "床前明月光\n疑是地上霜\n举头"),
        ("Sale", "***\n\n", "Sale"),
        (" \n", "Sale\n---", "Sale\n---"),
        ("", "", ""),
    ],
)
def test_what_was_read_comes_first_and_then_what_only_the_model_says(
    read: str, described: str, together: str
) -> None:
    captions = [Caption(text_content=text) for text in (read, described)]
    assert merged(captions).text_content == together


def test_lines_are_kept_whoevers_text_is() -> None:
    read = Caption(text_content="Sale", lines=(TextLine("Sale", (0, 0, 1, 1)),))
    assert merged([read, TAGS]).lines == read.lines
    whole = merged([read, Caption(text_content="Sale today")])
    assert (whole.text_content, whole.lines) == ("Sale\nSale today", read.lines)


def test_a_failing_part_does_not_lose_the_others_work() -> None:
    error = ServiceError("down")
    parts = Scripted("ocr", OCR), Scripted("tags", TAGS), Scripted("vlm", error, VLM)
    both = Composed(parts)
    assert both.name == "ocr + tags + vlm, merge 2"
    assert Composed(parts[:1]).name == "ocr"
    first, second = both.caption_each([RED, BLUE])
    assert isinstance(first, PartialCaption)
    assert first.caption == merged([OCR, TAGS])
    assert first.failures == {"vlm": error}
    assert "vlm: down" in str(first)
    assert second == merged([OCR, TAGS, VLM])
    with pytest.raises(PartialCaption):
        Composed([Scripted("ocr", OCR), Scripted("vlm", error)]).caption([RED])
    with pytest.raises(ServiceError, match="down"):
        Composed([Scripted("vlm", error)]).caption([RED])
    with pytest.raises(DamagedSource):
        Composed([FakeCaptioner(), Scripted("ocr", OCR)]).caption([b"broken"])


def test_a_second_run_asks_only_the_part_that_failed(cache: CaptionCache) -> None:
    ocr, vlm = Scripted("ocr", OCR), Scripted("vlm", AnswerError("prose"), VLM)
    both = Composed([CachedCaptioner(ocr, cache), CachedCaptioner(vlm, cache)])
    assert isinstance(next(both.caption_each([RED])), PartialCaption)
    assert both.caption([RED]) == [merged([OCR, VLM])]
    assert both.caption([RED]) == [merged([OCR, VLM])]
    assert (ocr.asked, vlm.asked) == (1, 2)


def test_what_the_parts_ask_of_models_is_summed_up(cache: CaptionCache) -> None:
    class Counted(Scripted):
        @property
        def usage(self) -> Usage:
            return Usage(self.asked, 10 * self.asked, self.asked)

    parts = [Counted("a", VLM), CachedCaptioner(Counted("b", VLM), cache), Scripted("c", OCR)]
    both = Composed([*parts, FakeCaptioner()])
    assert both.usage == Usage()
    both.caption([RED, BLUE, RED])
    assert both.usage == Usage(5, 50, 5)


def test_any_captioner_gives_outcomes() -> None:
    fake: Captioner = FakeCaptioner()
    good, broken, last = caption_each(fake, [RED, b"broken", BLUE])
    assert isinstance(good, Caption)
    assert isinstance(last, Caption)
    assert good.brief == "A red picture"
    assert last.brief == "A blue picture"
    assert isinstance(broken, DamagedSource)

    class Silent:
        name = "silent"

        def caption(self, images: Sequence[ImageInput]) -> list[Caption]:
            return []

    assert isinstance(next(caption_each(Silent(), [RED])), AnswerError)


def test_outcomes_come_as_they_are_asked_for() -> None:
    taken: list[int] = []

    def pictures() -> Iterator[bytes]:
        for number in range(1000):
            taken.append(number)
            yield RED

    outcomes = Scripted("a", VLM, concurrency=2).caption_each(pictures())
    assert next(outcomes) == VLM
    outcomes.close()  # type: ignore[attr-defined]
    assert len(taken) < 10


def test_names_on_a_command_line(monkeypatch) -> None:
    vlm = Scripted("vlm", VLM)
    assert parse_captioners("vlm", vlm=vlm).name == "vlm"
    made = parse_captioners(" tags, VLM,tags ", vlm=vlm)
    assert made.name.startswith("tags mmrag-bundled-1 ")
    assert made.name.endswith(" + vlm, merge 2")
    with pytest.raises(UnknownName, match="ocr, tags, vlm"):
        parse_captioners("ocr,magic")
    with pytest.raises(InputError, match="endpoint"):
        parse_captioners("vlm")
    for nothing in ("", " , "):
        with pytest.raises(InputError, match="at least one"):
            parse_captioners(nothing)


def test_what_is_no_captioner_is_refused(cache: CaptionCache) -> None:
    wrongs: list[Any] = [[], ["ocr"], [FakeCaptioner(), FakeCaptioner()], [None]]
    for wrong in wrongs:
        with pytest.raises(InputError):
            Composed(wrong)
    no_captioner: Any = "ocr"
    with pytest.raises(InputError, match="no captioner"):
        CachedCaptioner(no_captioner, cache)
    with pytest.raises(InputError, match="CaptionCache"):
        CachedCaptioner(FakeCaptioner(), no_captioner)


def test_a_caption_is_made_once(cache: CaptionCache) -> None:
    fake = FakeCaptioner()
    cached = CachedCaptioner(fake, cache)
    made = cached.caption([RED, BLUE, RED])
    assert made == cached.caption([RED, BLUE, RED]) == FakeCaptioner().caption([RED, BLUE, RED])
    assert len(fake.seen) == 2
    with CaptionCache(cache.path) as again:
        assert CachedCaptioner(fake, again).caption([BLUE]) == made[1:2]
    assert len(fake.seen) == 2


def test_the_key_is_digest_captioner_prompt_and_language(cache: CaptionCache) -> None:
    def made(name: str, prompt: str, language: str) -> Scripted:
        captioner = Scripted(name, VLM)
        captioner.prompt_version = prompt  # type: ignore[misc]
        captioner.language = language
        return captioner

    cache.put("d", made("a", "1", "en"), VLM)
    assert cache.get("d", made("a", "1", "en")) == VLM
    for other in (made("b", "1", "en"), made("a", "2", "en"), made("a", "1", "zh")):
        assert cache.get("d", other) is None
    assert cache.get("e", made("a", "1", "en")) is None


def test_all_of_a_caption_is_kept(cache: CaptionCache) -> None:
    odd = Caption("爱", "a\nb\0c", ("x", "y"), "'\"\\", {"a": "1.50", "b": "2 %"})
    odd = replace(odd, lines=(TextLine("爱\n", (1 / 3, 0.0, 1.0, 0.1234)),))
    cache.put("d", FakeCaptioner(), odd)
    assert cache.get("d", FakeCaptioner()) == odd
    cache.put("d", FakeCaptioner(), Caption("\ud800"))
    assert cache.get("d", FakeCaptioner()) == Caption("?")


def test_failures_and_partial_captions_are_not_kept(cache: CaptionCache) -> None:
    both = Composed([Scripted("ocr", OCR), Scripted("vlm", ServiceError("down"))])
    assert isinstance(next(CachedCaptioner(both, cache).caption_each([RED])), PartialCaption)
    assert cache.get(digest_of(RED), both) is None


def test_stopping_loses_no_finished_caption(cache: CaptionCache) -> None:
    """The second picture is done while the first is not: it is stored, though nobody gets it."""
    go, done = threading.Event(), threading.Event()

    class Slow(Scripted):
        def one(self, image: ImageInput) -> Caption:
            if image == RED:
                go.wait(10)
                raise KeyboardInterrupt
            return VLM

    class Watched(CachedCaptioner):
        def one(self, image: ImageInput) -> Caption:
            caption = super().one(image)
            done.set()
            return caption

    def pictures() -> Iterator[bytes]:
        yield RED
        yield BLUE
        assert done.wait(10)
        go.set()

    slow = Slow("slow", concurrency=2)
    with pytest.raises(KeyboardInterrupt):
        list(Watched(slow, cache).caption_each(pictures()))
    with CaptionCache(cache.path) as again:
        assert again.get(digest_of(BLUE), slow) == VLM
        assert again.get(digest_of(RED), slow) is None


KILLED = """
import os, sys
from mmrag.captioners.cache import CachedCaptioner, CaptionCache
from mmrag.testing import FakeCaptioner
cached = CachedCaptioner(FakeCaptioner(), CaptionCache(sys.argv[1]))
for number, outcome in enumerate(cached.caption_each(sys.argv[2:])):
    if number == 1:
        os._exit(9)
"""


def test_a_killed_process_loses_no_finished_caption(tmp_path: Path) -> None:
    paths = []
    for colour in ("red", "green", "blue"):
        paths.append(tmp_path / f"{colour}.png")
        paths[-1].write_bytes(plain(colour))
    file = tmp_path / "captions.db"
    killed = subprocess.run([sys.executable, "-c", KILLED, file, *paths], check=False)
    assert killed.returncode == 9
    fake = FakeCaptioner()
    with CaptionCache(file) as cache:
        CachedCaptioner(fake, cache).caption(paths)
    assert fake.seen == [digest_of(paths[2])]


WRITER = """
import sys
from mmrag.captioners.cache import CaptionCache
from mmrag.testing import FakeCaptioner
from mmrag.types import Caption
with CaptionCache(sys.argv[1]) as cache:
    for number in range(50):
        cache.put(f"{sys.argv[2]}-{number}", FakeCaptioner(), Caption(str(number)))
"""


def test_several_processes_write(tmp_path: Path) -> None:
    file = tmp_path / "captions.db"
    runs = [subprocess.Popen([sys.executable, "-c", WRITER, file, name]) for name in "ab"]
    assert [run.wait(60) for run in runs] == [0, 0]
    with CaptionCache(file) as cache:
        made = [cache.get(f"{name}-{n}", FakeCaptioner()) for name in "ab" for n in range(50)]
    assert made == [Caption(str(number)) for number in range(50)] * 2


@pytest.mark.parametrize("damage", ["noise", "cut", "other table", "broken page"])
def test_a_damaged_file_is_made_anew(damage: str, tmp_path: Path, caplog) -> None:
    file = tmp_path / "captions.db"
    fake = FakeCaptioner()
    with CaptionCache(file) as cache:
        for number in range(200):
            cache.put(str(number), fake, Caption("x" * 100))
    whole = file.read_bytes()
    if damage == "noise":
        file.write_bytes(b"this is no database at all " * 100)
    elif damage == "cut":
        file.write_bytes(whole[: len(whole) // 2 + 100])
    elif damage == "broken page":
        file.write_bytes(whole[:4096] + os.urandom(4096) + whole[8192:])
    else:
        file.unlink()
        other = sqlite3.connect(file)
        other.execute("CREATE TABLE captions (something)")
        other.close()
    with caplog.at_level(logging.WARNING, "mmrag"), CaptionCache(file) as cache:
        assert "damaged" in caplog.text
        assert cache.get("1", fake) is None
        cache.put("1", fake, VLM)
        assert cache.get("1", fake) == VLM
    assert (tmp_path / "captions.db.damaged").exists()


def test_a_file_that_is_damaged_while_it_is_open_is_made_anew(tmp_path: Path, caplog) -> None:
    file = tmp_path / "captions.db"
    with CaptionCache(file) as cache:
        cache.put("1", FakeCaptioner(), VLM)
        file.write_bytes(b"no database any more" * 1000)
        assert CachedCaptioner(FakeCaptioner(), cache).caption([RED])[0].brief == "A red picture"
        cache.put("2", FakeCaptioner(), VLM)
        assert cache.get("2", FakeCaptioner()) == VLM


def test_a_cache_that_cannot_be_used_loses_no_caption(tmp_path: Path, caplog) -> None:
    with pytest.raises(StoreError, match="cannot be used"):
        CaptionCache(tmp_path)
    wrong: Any = 5
    with pytest.raises(InputError, match="path"):
        CaptionCache(wrong)
    cache = CaptionCache(tmp_path / "captions.db")
    cache.close()
    cache.close()
    with pytest.raises(StoreError, match="closed"):
        cache.get("1", FakeCaptioner())
    assert CachedCaptioner(FakeCaptioner(), cache).caption([RED])[0].brief == "A red picture"
    assert "not kept" in caplog.text


def test_a_row_that_is_not_ours_is_made_anew(cache: CaptionCache) -> None:
    cache.put("d", FakeCaptioner(), VLM)
    other = sqlite3.connect(cache.path)
    for said in ("no json", '{"brief": 5}', "[]"):
        with other:
            other.execute("UPDATE captions SET caption=?", (said,))
        assert cache.get("d", FakeCaptioner()) is None
    other.close()


def test_broken_pictures_are_named(cache: CaptionCache, tmp_path: Path) -> None:
    outcomes = [*CachedCaptioner(FakeCaptioner(), cache).caption_each([tmp_path / "no.png", RED])]
    assert "no.png" in str(outcomes[0])
    assert isinstance(outcomes[1], Caption)
