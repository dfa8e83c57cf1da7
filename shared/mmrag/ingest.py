"""Ingestion that can be trusted: files -> records -> index, resumable at any point, with a report.

Plan first (one hash a file; nothing is written), then reader threads decode ahead while the encoder
works, and one writer keeps the order *note the parts, write them, commit, delete what is stale*.
Memory is bounded by the queue between them, whatever the size of the corpus or of one file.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag.encode import Prepared
from mmrag.errors import (
    DiskFull,
    EmptySource,
    InputError,
    MmragError,
    ServiceError,
    SourceError,
    StoreError,
    UnreadableSource,
)
from mmrag.journal import Journal, Mark
from mmrag.pipeline import Ended, merged, threads
from mmrag.plan import Job, make_plan, unreadable
from mmrag.readers.base import MediaFolder
from mmrag.recovery import derived, opened_journal
from mmrag.report import Failure, Progress, Report, Status
from mmrag.scan import folders, gone, journal_key

if TYPE_CHECKING:
    from mmrag.index import MultimodalIndex

__all__ = ["Failure", "Progress", "Report", "Status", "ingest"]

BATCH = 64  # records that are encoded, written and committed at once
DEPTH = 128  # decoded records that wait for the encoder: about 26 MB of pixels

log = logging.getLogger("mmrag")


def ingest(
    index: MultimodalIndex,
    paths: Iterable[str | Path],
    *,
    prune: bool = False,
    retry: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Bring the index up to date with files and folders.

    ``prune`` also deletes the records of files that are gone from the folders in ``paths``; a
    folder that is gone itself is taken for a disk that is not mounted. ``retry`` reads files again
    that failed before and have not changed. A run that is killed or interrupted loses nothing that
    it has committed, and the next one ends in the same state as a run that was not.

    Raises:
        InputError: the index has no folder to keep its journal in.
        StoreLocked: another run is writing the same index.
        StoreError: the index cannot be written (``DiskFull`` among others); the rest is kept.
    """
    if index.folder is None:
        raise InputError("indexing files needs a folder for the journal: open(path, store=...)")
    started = time.monotonic()
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    with index.ingesting, opened_journal(index, index.folder) as journal:
        run = _Run(index, index.folder, journal, progress)
        run.drop_stale()  # what a killed run has left half done
        run.work(run.plan(given, retry=retry))
        if prune:
            run.prune(given)
        run.keep_refused(given)
        run.finish()
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
        self.ended: list[tuple[Job, BaseException | None]] = []
        self.broken: dict[Job, Exception] = {}
        self.filled: set[Job] = set()  # jobs of which something was written
        self.refused: dict[Path, Failure] = {}
        self.written = self.done = self.total = 0

    def plan(self, paths: Sequence[str | Path], *, retry: bool) -> list[Job]:
        """What has to be read; what has not is counted in the report."""
        plan = make_plan(paths, self.folder, self.journal, self.index.encoders, retry=retry)
        self.report.unchanged = plan.unchanged
        self.report.failed = plan.failed
        self.refused = plan.refused
        self.total = len(plan.jobs)
        return plan.jobs

    def work(self, jobs: list[Job]) -> None:
        """Read, encode and write all jobs."""
        if not jobs:
            return
        self.journal.clean = False
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
        encoders = self.index.encoders
        kept = encoders.kept(job.source.sha256)
        # A picture whose vector is kept is decoded as small as can be: nobody looks at it.
        size = encoders.image.image_size if kept is None else 1
        for part in job.reader.read(job.source, self.media, size):
            record = replace(part.record, extra={**part.record.extra, "path": str(job.source.path)})
            if part.image is None or record.image is None:
                yield Prepared(record)
            elif kept is not None:
                yield Prepared(record, None, {"image": kept})
            else:
                digest = record.image.sha256
                yield Prepared(record, encoders.image.preprocess(part.image), digest=digest)

    def _write(self) -> None:
        """Note, write, commit, delete what is stale; in this order."""
        # Taken away first: what an interrupt leaves half written here is not tried once more.
        (items, self.batch), (ended, self.ended) = (self.batch, []), (self.ended, [])
        batch = [(job, item) for job, item in items if job not in self.broken]
        if batch:
            self.journal.note(_noted(job, item) for job, item in batch)
            self._store(batch)
            self.written += len(batch)
            self.filled.update(job for job, _ in batch)
        if ended:
            self.index.store.flush()
            outcome = [(job, self._error(job, error)) for job, error in ended]
            self.journal.commit(_row(job, error) for job, error in outcome if _lasting(error))
            self.drop_stale([str(job.source.path) for job, error in outcome if job.known or error])
            for job, error in outcome:
                self._count(job, error)
            self.filled.difference_update(job for job, _ in outcome)
        if self.progress is not None and (items or ended):
            self.progress(Status(self.done, self.total, self.written, len(self.report.failed)))

    def _store(self, batch: list[tuple[Job, Prepared]]) -> None:
        """Write a batch; if that fails, job by job, so that one bad record harms its file only."""
        try:
            self.index.write([item for _, item in batch])
        except StoreError:
            raise
        except Exception:
            log.debug("a batch failed; its files go one by one", exc_info=True)
            refused: list[Job] = []
            for number, job in enumerate(dict.fromkeys(job for job, _ in batch)):
                try:
                    self.index.write([item for owner, item in batch if owner is job])
                except StoreError:
                    raise
                except Exception as error:
                    refused += [job] if isinstance(error, ServiceError) else []
                    if 1 < len(refused) == number + 1:
                        raise  # the encoder's service is down, and no file is at fault
                    self.broken[job] = error

    def _error(self, job: Job, error: BaseException | None) -> BaseException | None:
        """Why a job that has ended has failed, if it has."""
        error = self.broken.pop(job, error)
        if error is None and job not in self.filled:
            return EmptySource("there is neither text nor a picture in it")
        if isinstance(error, OSError):
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(f"{self.folder}: no room for a derived picture") from error
            return unreadable(job.source.name, error)
        if error is not None and not isinstance(error, MmragError):
            log.debug("reading %s failed", job.source.name, exc_info=error)
        return error

    def _count(self, job: Job, error: BaseException | None) -> None:
        self.done += 1
        failure = _failure(job, error)
        if failure is not None:
            self.report.failed.append(failure)
            if not _lasting(error):
                self.refused[job.source.path] = failure
        elif job.known is not None and job.known.state == "done":
            self.report.updated += 1
        else:
            self.report.added += 1

    def drop_stale(self, paths: Sequence[str] | None = None) -> None:
        """Delete the parts that no current version of a file has; of some files, or of all."""
        if stale := self.journal.stale(paths):
            self.index.delete(stale)
            self.index.store.flush()
        if stale or not self.journal.clean:
            self.journal.cleared(paths)

    def prune(self, given: Sequence[str | Path]) -> None:
        """Delete the records of files in the folders given that are gone."""
        roots = folders(given)
        lost = [
            source
            for source in self.journal.sources()
            if (source.state == "done" or source.mark)  # else there is nothing of it but an error
            and not roots.isdisjoint(Path(source.path).parents)
            and gone(Path(source.path))
        ]
        if lost:
            self.journal.clean = False
            self.journal.forget(source.path for source in lost)
            self.report.deleted = sum(source.state == "done" for source in lost)
            self.drop_stale()

    def keep_refused(self, given: Sequence[str | Path]) -> None:
        """Keep in the journal which files the system refuses, and forget which it did, as far as
        this run has looked."""
        found = ((journal_key(path), failure) for path, failure in self.refused.items())
        refused = {key: failure for key, failure in found if key is not None}
        known = self.journal.refused()
        news = {key: failure for key, failure in refused.items() if known.get(key) != failure}
        roots, keys = folders(given), {journal_key(Path(path)) for path in given}
        well = [
            key
            for key in known.keys() - refused.keys()
            if key in keys or not roots.isdisjoint(Path(key).parents)
        ]
        if news or well:
            self.journal.keep_refused(news, well)

    def finish(self) -> None:
        """Remove derived pictures that no record needs any more."""
        if not self.journal.clean:
            self.index.store.flush()
            needed = self.journal.media()
            for file in self.media.files():
                if file.relative_to(self.folder).as_posix() not in needed:
                    file.unlink(missing_ok=True)
            self.journal.clean = True


def _noted(job: Job, item: Prepared) -> tuple[str, int, str, str | None]:
    return str(job.source.path), job.generation, item.record.id, derived(item.record)


def _row(job: Job, error: BaseException | None) -> tuple[str, str, Mark, int, Failure | None]:
    source = job.source
    return str(source.path), source.name, job.mark, job.generation, _failure(job, error)


def _failure(job: Job, error: BaseException | None) -> Failure | None:
    if error is None:
        return None
    said = str(error).encode(errors="backslashreplace").decode()  # SQLite takes no half character
    return Failure(job.source.name, type(error).__name__, said)


def _lasting(error: BaseException | None) -> bool:
    """Whether it is the content that is at fault. All else (the system refuses the file, an extra
    is missing, an encoder's server is down) may be better in the next run: until then what the
    index has of the file stays."""
    if isinstance(error, UnreadableSource):
        return False
    return error is None or isinstance(error, SourceError | InputError)
