"""Captions for the pictures of an index: what is not described yet is, and nothing else changes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeGuard

from mmrag.captioners.base import PartialCaption, PictureRefused, caption_each, usage_by
from mmrag.encode import Prepared
from mmrag.errors import ServiceError
from mmrag.filters import And, Eq, Filter, Where, parse_filter
from mmrag.journal import Failure
from mmrag.openai_wire import Usage
from mmrag.pipeline import batched
from mmrag.protocols import Captioner
from mmrag.report import Progress, Status
from mmrag.types import Caption, ImageRef, Record, key_of

if TYPE_CHECKING:
    from mmrag.index import MultimodalIndex
    from mmrag.media import ImageInput

__all__ = ["CAPTIONER_KEY", "CaptionReport", "caption_index"]

CAPTIONER_KEY = "mmrag_captioner"
"""Record extra: the name of the captioner that made the caption. Those that the user gave, or that
came with a node or a document, have none, and are left as they are."""

PARTIAL = "partial: "
"""Stands before the name of a captioner of which some parts have failed: what the others made can
be found, and is no caption of that captioner."""

BATCH = 16  # pictures between two writes: what an interrupt can cost

log = logging.getLogger("mmrag")


@dataclass(slots=True)
class CaptionReport:
    """What a run did, counted in records with a picture. ``kept`` had a caption already; ``usage``
    is what was asked of a model meanwhile."""

    captioned: int = 0
    kept: int = 0
    failed: list[Failure] = field(default_factory=list)
    seconds: float = 0.0
    usage: Usage = field(default_factory=Usage)


def caption_index(
    index: MultimodalIndex,
    captioner: Captioner,
    *,
    where: Where = None,
    anew: bool = False,
    progress: Progress | None = None,
) -> CaptionReport:
    """Describe the pictures of an index, and make them findable by what is said of them.

    A picture that this captioner has described is left alone, and so is a caption that came with
    its record, unless ``anew``; captions of another captioner are replaced. Only captions are
    encoded. What is done is written every few pictures: an interrupted run goes on where it was.

    A picture that cannot be opened or described is in the report, and keeps what it had. Where only
    some parts of a composed captioner have failed, it is in the report too, and what the others
    made stands in for a caption until all have worked, unless there is a whole one.

    Raises:
        StoreError: the index cannot be written.
        ServiceError: the model cannot be reached at all. What other parts made meanwhile is kept.
    """
    started, before, report = time.monotonic(), usage_by(captioner), CaptionReport()
    pictured: Filter = Eq("modality", "image")
    asked = parse_filter(where)
    condition = pictured if asked is None else And((pictured, asked))
    total = index.count(condition)
    waiting = []  # ids, and first of all: a scan must not run into what was written meanwhile
    for records in index.store.scan(condition):
        for record in records:
            if _is_described(record, captioner.name) and not anew:
                report.kept += 1
            else:
                waiting.append(record.id)
    done = report.kept
    for ids in batched(waiting, BATCH):
        records = index.get(ids)
        outcomes = list(zip(records, _outcomes(captioner, records), strict=True))
        described = [(r, c) for r, c in outcomes if isinstance(c, Caption)]
        _write(index, captioner.name, described)
        parts = [(r, c.caption) for r, c in outcomes if _is_of_use(c, r)]
        _write(index, PARTIAL + captioner.name, parts)
        down = [error for _, c in outcomes if (error := _outage(c)) is not None]
        if 1 < len(down) == len(outcomes):
            raise down[0]  # no picture is at fault, and the others need not be asked
        for record, outcome in outcomes:
            if isinstance(outcome, Exception):
                log.debug("captioning %s failed", record.id, exc_info=outcome)
                name = record.source or record.id
                report.failed.append(Failure(name, type(outcome).__name__, str(outcome)))
        report.captioned += len(described)
        done += len(ids)
        if progress is not None:
            progress(Status(done, total, report.captioned, len(report.failed)))
    report.seconds = round(time.monotonic() - started, 3)
    report.usage = usage_by(captioner) - before
    return report


def _outage(outcome: object) -> ServiceError | None:
    """The error of a service that is down; of several parts, if nothing else has failed."""
    if isinstance(outcome, PartialCaption):
        errors = [_outage(failure) for failure in outcome.failures.values()]
        return errors[0] if errors and all(errors) else None
    is_refusal = isinstance(outcome, PictureRefused)
    return outcome if isinstance(outcome, ServiceError) and not is_refusal else None


def _is_of_use(outcome: object, record: Record) -> TypeGuard[PartialCaption]:
    """Whether it is a part of a caption that says something, and displaces no whole one."""
    if not isinstance(outcome, PartialCaption) or outcome.caption == Caption():
        return False
    return record.caption is None or str(record.extra.get(CAPTIONER_KEY)).startswith(PARTIAL)


def _is_described(record: Record, captioner: str) -> bool:
    return record.caption is not None and record.extra.get(CAPTIONER_KEY, captioner) == captioner


def _outcomes(captioner: Captioner, records: Sequence[Record]) -> Iterator[Caption | Exception]:
    """A caption a record, or why there is none; the same picture is described once."""
    images: dict[str, ImageInput] = {_identity(r.image): r.image.uri for r in records if r.image}
    made = dict(zip(images, caption_each(captioner, list(images.values())), strict=True))
    for record in records:
        if record.image is not None:
            yield made[_identity(record.image)]


def _identity(image: ImageRef) -> str:
    """What tells pictures apart; a reference that the caller made may have no digest."""
    return image.sha256 or image.uri


def _write(
    index: MultimodalIndex, captioner: str, described: Sequence[tuple[Record, Caption]]
) -> None:
    """Replace caption, keywords and the caption's vector; every other vector stays."""
    if not described:
        return
    stored = index.store.get([key_of(record.id) for record, _ in described])
    new = [
        replace(old, caption=caption, extra={**old.extra, CAPTIONER_KEY: captioner})
        for record, caption in described
        if (old := stored.get(key_of(record.id))) is not None  # deleted meanwhile
    ]
    kept = index.store.vectors([key_of(record.id) for record in new])
    index.write(
        [
            Prepared(
                record,
                vectors={f: v for f, v in kept[key_of(record.id)].items() if f != "caption"},
            )
            for record in new
        ]
    )
