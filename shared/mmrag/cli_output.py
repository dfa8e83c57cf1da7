"""What the command prints: hits, reports, progress, JSON."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mmrag.display_cards import place
from mmrag.display_text import clip, excerpt, flowing, number, visible
from mmrag.metadata import route_to_dict

if TYPE_CHECKING:
    from mmrag.report import Report
    from mmrag.types import Hit, RouteScore

__all__ = [
    "err",
    "hit_json",
    "never_fail",
    "out",
    "print_hit",
    "print_json",
    "print_report",
    "progress",
]

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)


def never_fail(*streams: TextIO) -> None:
    """What a stream cannot encode is written as an escape: a pipe may be ASCII or GBK, and the
    texts of an index have every character."""
    for stream in streams:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def progress(
    doing: str = "indexing", things: str = "files", made: str = "records"
) -> Iterator[Callable[..., None] | None]:
    """A progress bar on a terminal; nothing elsewhere. It counts ``things`` and what is made of
    them."""
    if not err.is_terminal:
        yield None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{things}  {{task.fields[records]}} {made}  {{task.fields[rate]}}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("looking for changes", total=None, records=0, rate="")

        def show(status: Any) -> None:
            speed = bar.tasks[0].speed or 0
            bar.update(
                task,
                description=doing,
                completed=status.done,
                total=status.total,
                records=status.records,
                rate=f"{speed:.{0 if speed >= 10 else 1}f} {things}/s",
            )

        yield show


def print_report(report: Report) -> None:
    """What a run of ingestion did, and each file that failed."""
    out.print(
        f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged, "
        f"{report.deleted} deleted, {len(report.failed)} failed in {report.seconds:.1f} s; "
        f"the index holds {report.records} records"
    )
    for failure in report.failed:
        err.print(
            Text.assemble(
                (visible(failure.source), "yellow"),
                f": {failure.error}: {visible(failure.message)}",
            )
        )


def hit_json(hit: Hit) -> dict[str, Any]:
    """A hit as JSON data; the source is as it was given."""
    record = hit.record
    return {
        "id": record.id,
        "score": hit.score,
        "modality": record.modality,
        "source": record.source,
        "locator": asdict(record.locator),
        "text": record.text,
        "routes": [route_to_dict(route) for route in hit.routes],
    }


def print_hit(rank: int, hit: Hit, query: str) -> None:
    """A hit in three lines: where it is, what it says, why it was found."""
    record = hit.record
    head = Text.assemble(
        (f"{rank:>2}  ", "dim"),
        (f"{number(hit.score):<8}", "bold"),
        (f"{record.modality:<6}", "cyan" if record.modality == "image" else "green"),
        visible(record.source or record.id),
        f"  {place(record.locator)}",
    )
    out.print(head)
    if record.text:
        out.print(Text(f"    {clip(flowing(excerpt(record.text, query, 160)), 160)}"))
    routes = "  ".join(map(_said, sorted(hit.routes, key=lambda r: -r.contribution)))
    out.print(Text(f"    {routes}", "dim"))


def _said(route: RouteScore) -> str:
    parts = f" in {', '.join(route.parts)}" if route.parts else ""
    return f"{route.route} #{route.rank} {number(route.score)} ({route.contribution:+.2f}){parts}"


def print_json(data: Any) -> None:
    """Data as JSON; not through Rich, which would wrap and colour it. In ASCII if the stream is not
    UTF-8, since the escapes of Python are not those of JSON."""
    ascii_only = codecs.lookup(sys.stdout.encoding or "utf-8").name != "utf-8"
    sys.stdout.write(json.dumps(data, ensure_ascii=ascii_only, indent=2) + "\n")
