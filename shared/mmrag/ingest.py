"""Ingestion that can be trusted: files -> records -> index, resumable at any point, with a report.

Plan first (one hash a file; nothing is written), then reader threads decode ahead while the encoder
works, and one writer keeps the order *note the parts, write them, commit, delete what is stale*.
Memory is bounded by the queue between them, whatever the size of the corpus or of one file.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag.encode import Prepared
from mmrag.errors import EmptySource, InputError, MmragError, SourceError, StoreError
from mmrag.journal import Failure, Journal, JournalDamaged, Mark
from mmrag.pipeline import Ended, merged, threads
from mmrag.plan import Job, make_plan, unreadable
from mmrag.readers.base import MediaFolder
from mmrag.types import Record, key_of

if TYPE_CHECKING:
    from mmrag.index import MultimodalIndex

__all__ = ["Failure", "Progress", "Report", "Status", "ingest"]

BATCH = 64  # records that are encoded, written and committed at once
DEPTH = 128  # decoded records that wait for the encoder: about 26 MB of pixels

log = logging.getLogger("mmrag")


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run has come: files done of those to do, records written, files that failed."""

    done: int
    total: int
    records: int
    failed: int


Progress = Callable[[Status], None]


@dataclass(slots=True)
class Report:
    """What a run did, counted in files; ``records`` is what the index holds after it.

    ``failed`` names every file under the given paths that could not be indexed, also those that
    failed before and have not changed since.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    records: int = 0
    failed: list[Failure] = field(default_factory=list)
    seconds: float = 0.0


def ingest(
    index: MultimodalIndex,
    paths: Iterable[str | Path],
    *,
    prune: bool = False,
    retry: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Bring the index up to date with files and folders.

    ``prune`` also deletes the records of files under ``paths`` that are gone; ``retry`` reads files
    again that failed before and have not changed. A run that is killed or interrupted loses nothing
    that it has committed, and the next one ends in the same state as a run that was not.

    Raises:
        InputError: the index has no folder to keep its journal in.
        StoreError: the index cannot be written (``DiskFull`` among others); the rest is kept.
    """
    if index.folder is None:
        raise InputError("indexing files needs a folder for the journal: open(path, store=...)")
    started = time.monotonic()
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    run = _Run(index, index.folder, _open_journal(index, index.folder), progress)
    try:
        run.drop_stale()  # what a killed run has left half done
        run.work(run.plan(given, retry=retry))
        if prune:
            run.prune([Path(p).expanduser().absolute().resolve() for p in given])
        run.finish()
    finally:
        run.journal.close()
    run.report.records = index.count()
    run.report.seconds = round(time.monotonic() - started, 3)
    return run.report


class _Run:
    """One run: the state that plan, work and finish share. Only the calling thread writes."""

    def __init__(
        self, index: MultimodalIndex, folder: Path, journal: Journal, progress: Progress | None
    ) -> None:
        self.index, self.folder, self.journal, self.progress = index, folder, journal, progress
        self.media = MediaFolder(folder / "media")
        self.report = Report()
        self.batch: list[tuple[Job, Prepared]] = []
        self.ended: list[tuple[Job, Exception | None]] = []
        self.broken: dict[Job, Exception] = {}
        self.filled: set[Job] = set()  # jobs of which something was written
        self.written = self.done = self.total = 0

    def plan(self, paths: Sequence[str | Path], *, retry: bool) -> list[Job]:
        """What has to be read; what has not is counted in the report."""
        plan = make_plan(paths, self.folder, self.journal, self.index.encoders, retry=retry)
        self.report.unchanged = plan.unchanged
        self.report.failed = plan.failed
        self.total = len(plan.jobs)
        return plan.jobs

    def work(self, jobs: list[Job]) -> None:
        """Read, encode and write all jobs."""
        if not jobs:
            return
        self.journal.unclean = True
        entries = merged(jobs, self._read, workers=threads(), depth=DEPTH)
        try:
            for job, item in entries:
                if isinstance(item, Ended):
                    self.ended.append((job, item.error))
                else:
                    self.batch.append((job, item))
                if len(self.batch) >= BATCH or len(self.ended) >= BATCH:
                    self._write()
            self._write()
        except KeyboardInterrupt:
            entries.close()
            self._write()  # what came to its end is kept
            raise
        finally:
            entries.close()

    def _read(self, job: Job) -> Iterator[Prepared]:
        if isinstance(job.reader, SourceError):
            raise job.reader
        encoder = self.index.encoders.image
        for part in job.reader.read(job.source, self.media, encoder.image_size):
            extra = {**part.record.extra, "path": str(job.source.path)}
            pixels = None if part.image is None else encoder.preprocess(part.image)
            yield Prepared(replace(part.record, extra=extra), pixels)

    def _write(self) -> None:
        """Note, write, commit, delete what is stale; in this order."""
        batch = [(job, item) for job, item in self.batch if job not in self.broken]
        if batch:
            self.journal.note(_noted(job, item.record) for job, item in batch)
            self._store(batch)
            self.written += len(batch)
            self.filled.update(job for job, _ in batch)
        if self.ended:
            self.index.store.flush()
            outcome = [(job, self._failure(job, error)) for job, error in self.ended]
            self.journal.commit(
                (str(job.source.path), job.source.name, job.mark, job.generation, failure)
                for job, failure in outcome
            )
            for job, failure in outcome:
                self._count(job, failure)
            self.filled.difference_update(job for job, _ in outcome)
        self.batch, self.ended = [], []
        if self.progress is not None:
            self.progress(Status(self.done, self.total, self.written, len(self.report.failed)))

    def _store(self, batch: list[tuple[Job, Prepared]]) -> None:
        """Write a batch; if that fails, job by job, so that one bad record harms its file only."""
        try:
            self.index.write([item for _, item in batch])
        except StoreError:
            raise
        except Exception:
            log.debug("a batch failed; its files go one by one", exc_info=True)
            for job in dict.fromkeys(job for job, _ in batch):
                try:
                    self.index.write([item for owner, item in batch if owner is job])
                except StoreError:
                    raise
                except Exception as error:
                    self.broken[job] = error

    def _failure(self, job: Job, error: Exception | None) -> Failure | None:
        error = self.broken.pop(job, error)
        if error is None and job not in self.filled:
            error = EmptySource("there is neither text nor a picture in it")
        if error is None:
            return None
        if isinstance(error, OSError):
            error = unreadable(job.source.name, error)
        if not isinstance(error, MmragError):
            log.debug("reading %s failed", job.source.name, exc_info=error)
        return Failure(job.source.name, type(error).__name__, str(error))

    def _count(self, job: Job, failure: Failure | None) -> None:
        self.done += 1
        path = str(job.source.path)
        if job.known is not None or failure is not None:
            self.drop_stale(path)
        if failure is not None:
            self.report.failed.append(failure)
        elif job.known is not None:
            self.report.updated += 1
        else:
            self.report.added += 1

    def drop_stale(self, path: str | None = None) -> None:
        """Delete the parts that no current version of a file has; of one file, or of all."""
        if stale := self.journal.stale(path):
            self.index.store.delete([key_of(i) for i in stale])
            self.index.store.flush()
            self.journal.cleared(path)

    def prune(self, roots: list[Path]) -> None:
        """Delete the records of files below ``roots`` that are gone."""
        for path, _ in list(self.journal.paths()):
            file = Path(path)
            if any(file.is_relative_to(root) for root in roots) and not file.exists():
                self.journal.unclean = True
                self.journal.forget(path)
                self.report.deleted += 1
        self.drop_stale()

    def finish(self) -> None:
        """Remove derived pictures that no record needs any more."""
        self.index.store.flush()
        if self.journal.unclean:
            needed = self.journal.media()
            for file in self.media.files():
                if file.relative_to(self.folder).as_posix() not in needed:
                    file.unlink(missing_ok=True)
            self.journal.unclean = False


def _noted(job: Job, record: Record) -> tuple[str, int, str, str | None]:
    return str(job.source.path), job.generation, record.id, _derived(record)


def _derived(record: Record) -> str | None:
    """The uri of a picture that lives in the index's own folder."""
    if record.image is None or Path(record.image.uri).is_absolute():
        return None
    return record.image.uri


def _open_journal(index: MultimodalIndex, folder: Path) -> Journal:
    """The journal; one that is lost or damaged is made anew from what the index holds, so that
    every file is read again and nothing stale stays behind."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "journal.sqlite"
    lost = not path.exists()
    try:
        journal = Journal(path)
    except JournalDamaged as error:
        log.warning("%s; it is made anew and every file is read again", error)
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            (folder / name).unlink(missing_ok=True)
        journal, lost = Journal(path), True
    if lost:
        for batch in index.store.scan():
            ours = [r for r in batch if "path" in r.extra]
            journal.note((r.extra["path"], 0, r.id, _derived(r)) for r in ours)
            names = {r.extra["path"]: r.source for r in ours}
            journal.commit((p, name, Mark("", "", ""), 0, None) for p, name in names.items())
        journal.unclean = True
    return journal
