"""Opening the journal for a run: alone, and in step with what the index holds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag.errors import StoreLocked
from mmrag.journal import Journal, JournalDamaged, journal_errors
from mmrag.lock import lock_file
from mmrag.types import Record

if TYPE_CHECKING:
    from mmrag.index import MultimodalIndex

__all__ = ["derived", "opened_journal"]

log = logging.getLogger("mmrag")


@contextmanager
def opened_journal(index: MultimodalIndex, folder: Path) -> Iterator[Journal]:
    """The journal of the index in ``folder``.

    One that is lost, damaged or left by a run that did not come to its end is first brought in
    step with the index, so that nothing stale stays behind; of a lost one every file is read again.

    Raises:
        StoreLocked: another run has it open, in this process or in another one.
        StoreError: the index or the journal cannot be read or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "journal.lock"), closing(_journal(folder / "journal.sqlite")) as journal:
        is_empty = journal.clean and not index.store.count()
        if is_empty and any(source.state == "done" for source in journal.sources()):
            log.warning("the index of %s is empty: every file is read again", journal.path)
            journal.forget_all()
        if not journal.clean:
            batches = index.store.scan()
            records = (
                r for batch in batches for r in batch if isinstance(r.extra.get("path"), str)
            )
            journal.adopt((r.extra["path"], r.id, r.source, derived(r)) for r in records)
        yield journal


def derived(record: Record) -> str | None:
    """The uri of the record's picture if it lives in the index's own folder."""
    if record.image is None or Path(record.image.uri).is_absolute():
        return None
    return record.image.uri


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with journal_errors(path):
        lock = lock_file(path)
    if lock is None:
        raise StoreLocked(f"another run writes the journal {path}: wait for it")
    with closing(lock):
        yield


def _journal(path: Path) -> Journal:
    try:
        return Journal(path)
    except JournalDamaged as error:
        log.warning("%s; it is made anew and every file is read again", error)
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
        return Journal(path)
