"""Composed: several captioners as one, each adding what it is good at."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from mmrag.captioners.base import OneByOne, PartialCaption, caption_one, usage_by
from mmrag.errors import InputError, SourceError, UnknownName
from mmrag.media import ImageInput
from mmrag.openai_wire import Usage
from mmrag.protocols import Captioner
from mmrag.types import Caption

__all__ = ["CAPTIONERS", "Composed", "merged", "parse_captioners"]

CAPTIONERS = ("ocr", "tags", "vlm")
"""The names that :func:`parse_captioners` knows, in the order in which they work."""


_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")


class Composed(OneByOne):
    """A :class:`mmrag.protocols.Captioner` made of several, which see each picture in order.

    >>> Composed([OcrCaptioner(), TagCaptioner()]).caption(["sign.jpg"])  # doctest: +SKIP

    Their captions are put together by :func:`merged`. Where a part fails, the others still work;
    the outcome is then a :class:`~mmrag.captioners.base.PartialCaption`, which has what they made
    and what failed. With each part in a :class:`~mmrag.captioners.cache.CachedCaptioner`, a second
    run asks only those that failed.

    Raises:
        InputError: there are no parts, the same one twice, or something that is no captioner.
    """

    prompt_version: ClassVar[str] = "merge 2"

    def __init__(self, parts: Sequence[Captioner]) -> None:
        self.parts = tuple(parts)
        if not self.parts:
            raise InputError("give at least one captioner")
        for part in self.parts:
            if not (hasattr(part, "caption") and isinstance(getattr(part, "name", None), str)):
                raise InputError(f"a {type(part).__name__} is no captioner: it has no caption()")
        names = [part.name for part in self.parts]
        if len(set(names)) < len(names):
            raise InputError(f"each captioner once, not {', '.join(names)}")
        self.concurrency = max(getattr(part, "concurrency", 1) for part in self.parts)

    @property
    def name(self) -> str:
        """The names of the parts, and the version of how several are put together."""
        names = " + ".join(part.name for part in self.parts)
        return names if len(self.parts) == 1 else f"{names}, {self.prompt_version}"

    @property
    def usage(self) -> Usage:
        """Requests and tokens of all parts so far."""
        return sum(map(usage_by, self.parts), Usage())

    def one(self, image: ImageInput) -> Caption:
        """What all parts say of one picture.

        Raises:
            SourceError: the picture cannot be opened.
            PartialCaption: some parts have failed.
            Exception: what the part raises, where there is but one.
        """
        made: list[Caption] = []
        failures: dict[str, Exception] = {}
        for part in self.parts:
            try:
                made.append(caption_one(part, image))
            except SourceError:
                raise  # no part can open it
            except Exception as error:  # of any class: it may be a foreign captioner's
                failures[part.name] = error
        if not failures:
            return merged(made)
        if len(self.parts) == 1:
            raise failures[self.parts[0].name]
        raise PartialCaption(merged(made), failures)


def merged(captions: Sequence[Caption]) -> Caption:
    """One caption of several of the same picture.

    ``brief`` and ``detailed`` are those of the last that has them; keywords are united, those of
    the last first; the text is that of the first that has one, which is what OCR has read, and then
    each line of the others that is not in it, word for word: what a model makes up displaces
    nothing. A data point that several have is the last one's. Lines are of the last that has them,
    which is OCR.

    >>> merged([Caption(text_content="Sale 50 %"), Caption("A sign", "A red sign.", ("sign",))])
    Caption(brief='A sign', detailed='A red sign.', keywords=('sign',), text_content='Sale 50 %', \
data_points={}, lines=())
    """
    latest = list(reversed(captions))
    words = {word.casefold(): word for caption in captions for word in reversed(caption.keywords)}
    points = {name: value for caption in captions for name, value in caption.data_points.items()}
    return Caption(
        brief=next((c.brief for c in latest if c.brief.strip()), ""),
        detailed=next((c.detailed for c in latest if c.detailed.strip()), ""),
        keywords=tuple(reversed(words.values())),
        text_content=_united(caption.text_content for caption in captions),
        data_points=points,
        lines=next((c.lines for c in latest if c.lines), ()),
    )


def _united(texts: Iterable[str]) -> str:
    whole = ""
    for text in filter(str.strip, texts):
        known = _words(whole)
        new = [line for line in text.splitlines() if _words(line) not in known]
        whole = "\n".join([whole, *new]) if whole else text
    return whole


def _words(text: str) -> str:
    """The words of a text, each between spaces, for comparing: a letter of Chinese is one."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(["", *_WORD.findall(folded), ""])


def parse_captioners(names: str, *, vlm: Captioner | None = None) -> OneByOne:
    """The captioner that a command line names, as ``"ocr,tags,vlm"``.

    They work in the order of :data:`CAPTIONERS`, whatever the order of the names.

    >>> parse_captioners("tags,ocr").name                                 # doctest: +SKIP
    'ocr rapidocr-3.10.0 1 ... + tags mmrag-bundled-1 ...'

    Raises:
        UnknownName: a name is not among them.
        InputError: there is no name, or ``vlm`` is among them and there is no such captioner.
        MissingExtra: what one of them needs is not installed.
    """
    asked = {name.strip().lower() for name in names.split(",") if name.strip()}
    for name in sorted(asked):
        if name not in CAPTIONERS:
            raise UnknownName("captioner", name, CAPTIONERS)
    if not asked:
        raise InputError(f"name at least one captioner: {', '.join(CAPTIONERS)}")
    if "vlm" in asked and vlm is None:
        raise InputError("vlm needs a vision model: give its endpoint and its name")
    made: Mapping[str, Captioner | None] = {"vlm": vlm}
    return Composed([made.get(name) or _offline(name) for name in CAPTIONERS if name in asked])


def _offline(name: str) -> Captioner:
    if name == "ocr":
        from mmrag.captioners.ocr import OcrCaptioner

        return OcrCaptioner()
    from mmrag.captioners.tags import TagCaptioner

    return TagCaptioner()
