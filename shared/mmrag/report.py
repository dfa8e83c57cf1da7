"""What a run of ingestion says of itself, while it goes on and at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mmrag.journal import Failure

__all__ = ["Failure", "Progress", "Report", "Status"]


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
