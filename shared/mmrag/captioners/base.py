"""One picture at a time: how captions are made of many, in order, and what became of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import ClassVar, Protocol, runtime_checkable

from mmrag.errors import AnswerError, InputError, ServiceError, SourceError
from mmrag.identity import reference_to
from mmrag.media import ImageInput
from mmrag.openai_wire import Usage
from mmrag.protocols import Captioner
from mmrag.types import Caption

__all__ = [
    "EachCaptioner",
    "OneByOne",
    "PartialCaption",
    "PictureRefused",
    "caption_each",
    "caption_one",
    "usage_by",
]


class PictureRefused(ServiceError):
    """The service refuses this one picture, and says why; others may be taken. ``status`` is that
    of its HTTP answer; None if it was the model that would not."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class PartialCaption(AnswerError):
    """Some parts of a composed captioner have failed: ``caption`` is what the others made, and
    ``failures`` the error of each that failed, by its name. Never a whole caption."""

    def __init__(self, caption: Caption, failures: Mapping[str, Exception]) -> None:
        said = "; ".join(f"{name}: {error}" for name, error in failures.items())
        super().__init__(f"the caption is not whole ({said})")
        self.caption, self.failures = caption, dict(failures)


@runtime_checkable
class EachCaptioner(Captioner, Protocol):
    """A captioner that goes on after a failure and says what became of each picture."""

    def caption_each(self, images: Iterable[ImageInput]) -> Iterator[Caption | Exception]:
        """A caption, or the error in its place, a picture, in order."""


class OneByOne(ABC):
    """The base of our captioners: a subclass has ``name`` and :meth:`one`.

    ``concurrency`` pictures are worked on at once. ``prompt_version`` and ``language`` are what a
    cache keeps captions under, beside the name.
    """

    concurrency: int = 1
    prompt_version: ClassVar[str] = ""
    language: str = ""

    @property
    @abstractmethod
    def name(self) -> str:
        """What made a caption: under another name it is made anew."""

    @abstractmethod
    def one(self, image: ImageInput) -> Caption:
        """The whole caption of one picture. May be called from several threads."""

    def caption(self, images: Sequence[ImageInput]) -> list[Caption]:
        """One whole caption a picture, in order; see :class:`mmrag.protocols.Captioner`.

        Raises:
            InputError: ``images`` is no list of pictures.
            MmragError: the first failure, whose message names the picture; the rest is not asked.
        """
        made = []
        for outcome in self.caption_each(images):
            if isinstance(outcome, Exception):
                raise outcome
            made.append(outcome)
        return made

    def caption_each(self, images: Iterable[ImageInput]) -> Iterator[Caption | Exception]:
        """A caption, or the error in its place, a picture, in order: a failure stops nothing.

        >>> for outcome in captioner.caption_each(pictures):          # doctest: +SKIP
        ...     print(outcome if isinstance(outcome, Exception) else outcome.brief)

        Raises:
            InputError: ``images`` is no list of pictures.
        """
        if isinstance(images, str | bytes) or not isinstance(images, Iterable):
            raise InputError(f"pass a list of pictures, not a {type(images).__name__}")
        return _in_order(self, images)


def caption_each(
    captioner: Captioner, images: Iterable[ImageInput]
) -> Iterator[Caption | Exception]:
    """What becomes of each picture, in order, with any captioner: its own ``caption_each``, or
    else picture by picture."""
    if isinstance(captioner, EachCaptioner):
        return captioner.caption_each(images)
    return (_outcome(captioner, image) for image in images)


def caption_one(captioner: Captioner, image: ImageInput) -> Caption:
    """The caption of one picture, by any captioner. Raises what the captioner raises."""
    if isinstance(captioner, OneByOne):
        return captioner.one(image)
    made = captioner.caption([image])
    if len(made) != 1:
        raise AnswerError(f"{captioner.name} made {len(made)} captions of one picture")
    return made[0]


def usage_by(captioner: Captioner) -> Usage:
    """What a captioner has asked of a model so far; nothing, where it does not say."""
    said = getattr(captioner, "usage", None)
    return said if isinstance(said, Usage) else Usage()


def _in_order(captioner: OneByOne, images: Iterable[ImageInput]) -> Iterator[Caption | Exception]:
    if captioner.concurrency == 1:
        yield from (_outcome(captioner, image) for image in images)
        return
    waiting: deque[Future[Caption | Exception]] = deque()
    pool = ThreadPoolExecutor(captioner.concurrency, "mmrag-caption")
    try:
        for image in images:
            # With the caller's context: what a framework traces belongs to who has asked.
            waiting.append(pool.submit(copy_context().run, _outcome, captioner, image))
            if len(waiting) > 2 * captioner.concurrency:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # also where the caller stops: what is under way ends by itself
        pool.shutdown(wait=False, cancel_futures=True)


def _outcome(captioner: Captioner, image: ImageInput) -> Caption | Exception:
    try:
        return caption_one(captioner, image)
    except SourceError as error:
        return type(error)(f"{reference_to(image)}: {error}")
    except Exception as error:  # of any class: a foreign captioner's client raises its own
        return error
