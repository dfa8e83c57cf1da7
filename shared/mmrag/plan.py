"""The plan of an ingestion: which files have to be read. Making it writes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmrag._version import __version__
from mmrag.encode import Encoders
from mmrag.errors import SourceError, UnreadableSource
from mmrag.journal import Failure, Journal, Mark, Source
from mmrag.pipeline import ahead, batched, threads
from mmrag.readers import HEAD, reader_for
from mmrag.readers.base import Reader, SourceFile
from mmrag.scan import Found, scan

__all__ = ["Job", "Plan", "inspect", "make_plan", "unreadable"]

HASH_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A file to be read, or why it cannot be; ``known`` is what the journal has of it so far."""

    source: SourceFile
    reader: Reader | SourceError
    mark: Mark
    known: Source | None

    @property
    def generation(self) -> int:
        """The generation that its parts are written under."""
        return self.known.generation + 1 if self.known else 1


@dataclass(slots=True)
class Plan:
    """The files to read, how many need not be, and those that cannot be, as known without reading
    them. ``refused`` are those of them, by their paths, that the system refuses now."""

    jobs: list[Job] = field(default_factory=list)
    unchanged: int = 0
    failed: list[Failure] = field(default_factory=list)
    refused: dict[Path, Failure] = field(default_factory=dict)


def make_plan(
    paths: Iterable[str | Path],
    folder: Path,
    journal: Journal,
    encoders: Encoders,
    *,
    retry: bool = False,
) -> Plan:
    """Compare the hash of every file under ``paths`` with the journal of the index in ``folder``.

    A file that failed before is read again when it has changed, or with ``retry``.
    """
    spaces = sorted(encoders.spaces().items())
    space = ",".join(f"{name}={space.digest[:16]}" for name, space in spaces)
    plan = Plan()
    with ThreadPoolExecutor(threads(), "mmrag-hash") as pool:
        for batch in ahead(pool, inspect, batched(scan(paths, folder), HASH_BATCH)):
            for inspected in batch:
                _decide(plan, journal, space, inspected, retry=retry)
    return plan


def inspect(found: Found) -> tuple[Found, str, Reader | SourceError]:
    """A file, its hash ("" if it cannot be read now), and its reader or why there is none."""
    if found.error is not None:
        return found, "", found.error
    try:
        with found.path.open("rb") as file:
            head = file.read(HEAD)
            digest = hashlib.sha256(head)
            try:
                reader = reader_for(found.path, head)
            except SourceError as error:
                # Refused by its name and head; the rest, perhaps hours of video, says no more.
                return found, digest.hexdigest(), error
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        return found, "", unreadable(found.name, error)
    return found, digest.hexdigest(), reader


def _decide(
    plan: Plan,
    journal: Journal,
    space: str,
    inspected: tuple[Found, str, Reader | SourceError],
    *,
    retry: bool,
) -> None:
    found, sha256, reader = inspected
    if isinstance(reader, SourceError):
        if not sha256:
            # It cannot be read now: what the index has of it stays, and the next run looks again.
            failure = Failure(found.name, type(reader).__name__, str(reader))
            plan.failed.append(failure)
            plan.refused[found.path] = failure
            return
        label = f"none {__version__}"  # another release may be able to read it
    else:
        label = f"{type(reader).__name__} {reader.version}"
    mark = Mark(sha256, label, space)
    known = journal.source(str(found.path))
    if known is not None and known.mark == str(mark):
        if known.state == "done":
            plan.unchanged += 1
            return
        before = journal.failure(str(found.path))
        if before is not None and not retry:
            plan.failed.append(replace(before, source=found.name))
            return
    plan.jobs.append(Job(SourceFile(found.path, found.name, sha256), reader, mark, known))


def unreadable(name: str, error: OSError) -> UnreadableSource:
    """The operating system's error, as ours."""
    return UnreadableSource(f"{name}: {error.strerror or error}")
