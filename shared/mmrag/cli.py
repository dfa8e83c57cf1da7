"""The ``mmrag`` command: index files, search them, look at an index, see a demo."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mmrag._version import __version__
from mmrag.display_cards import place
from mmrag.display_text import clip, excerpt, flowing, number, visible
from mmrag.errors import InputError, MmragError
from mmrag.filters import And, Eq, In, Scalar
from mmrag.types import Hit

__all__ = ["app", "main"]

USAGE, FAILED, INTERRUPTED = 2, 1, 130

app = typer.Typer(
    help="Index texts, pictures and PDFs; search them in words, with a picture, or both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)

Kb = Annotated[Path, typer.Option("--kb", help="The folder of the index.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command; bad input and what the system refuses end in one line, never a traceback."""
    try:
        app()
    except InputError as error:
        _fail(str(error), USAGE)
    except MmragError as error:
        _fail(str(error), FAILED)
    except BrokenPipeError:
        # The reader of a pipe has gone; Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(FAILED) from None
    except OSError as error:
        _fail(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "), FAILED)
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as done:
        if done.code == INTERRUPTED:  # Typer's word for Ctrl-C
            _interrupted()
        raise


def _interrupted() -> NoReturn:
    err.print("interrupted; what was finished is kept, run the command again to go on")
    # The index is closed by now. An interrupt that strikes while a pool starts a thread leaves one
    # that Python would wait for without end, so it is not asked to.
    os._exit(INTERRUPTED)


def _fail(message: str, status: int) -> NoReturn:
    err.print(Text.assemble(("error: ", "bold red"), visible(message)))
    raise SystemExit(status)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        out.print(f"mmrag {__version__}")
        raise typer.Exit


@app.command()
def index(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.", show_default=False)],
    kb: Kb,
    prune: Annotated[bool, typer.Option(help="Also delete what is gone from PATHS.")] = False,
    retry: Annotated[bool, typer.Option(help="Read files again that failed before.")] = False,
    as_json: Json = False,
) -> None:
    """Index files and folders, or bring the index up to date with them."""
    from mmrag.index import MultimodalIndex
    from mmrag.ingest import ingest

    with MultimodalIndex.open(kb) as opened, _progress() as progress:
        report = ingest(opened, paths, prune=prune, retry=retry, progress=progress)
    if as_json:
        _print_json(asdict(report))
    else:
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
    if not report.added + report.updated + report.unchanged + report.deleted:
        raise typer.Exit(FAILED)


@contextmanager
def _progress() -> Iterator[Callable[..., None] | None]:
    """A progress bar on a terminal; nothing elsewhere."""
    if not err.is_terminal:
        yield None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files  {task.fields[records]} records  {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("looking for changes", total=None, records=0, rate="")

        def show(status: Any) -> None:
            bar.update(
                task,
                description="indexing",
                completed=status.done,
                total=status.total,
                records=status.records,
                rate=f"{bar.tasks[0].speed or 0:.0f} files/s",
            )

        yield show


@app.command()
def search(
    kb: Kb,
    text: Annotated[str | None, typer.Argument(help="Words to search for.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to search with.")] = None,
    limit: Annotated[int, typer.Option(help="How many hits.")] = 10,
    where: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only records like this.")
    ] = None,
    route: Annotated[list[str] | None, typer.Option(help="Only this route.")] = None,
    fusion: Annotated[str | None, typer.Option(help="How the routes are fused.")] = None,
    as_json: Json = False,
) -> None:
    """Search an index in words, with a picture, or both."""
    from mmrag.filters import Exists
    from mmrag.index import MultimodalIndex

    conditions = [_condition(item) for item in where or ()]
    with MultimodalIndex.open(kb, create=False) as opened:
        hits = opened.search(
            text,
            image=image,
            limit=limit,
            where=And(tuple(conditions)) if conditions else None,
            routes=route or None,
            fusion=fusion,
        )
        if not hits:
            for condition in conditions:
                if not opened.count(Exists(condition.key)):
                    err.print(f"no record has the key {escape(repr(condition.key))}")
    if as_json:
        _print_json([_hit_json(hit) for hit in hits])
    elif not hits:
        out.print("no hits")
    for rank, hit in enumerate([] if as_json else hits, start=1):
        _print_hit(rank, hit, text or "")


def _condition(item: str) -> Eq | In:
    key, equals, value = item.partition("=")
    if not (key and equals):
        raise InputError(f"--where takes KEY=VALUE, not {item!r}")
    if value in ("true", "false"):
        return In(key, (value == "true", value))
    # On the command line a number and its digits look the same: both are meant.
    meant: list[Scalar] = [value]
    for number_type in (int, float):
        try:
            meant.append(number_type(value))
            break
        except ValueError:
            continue
    return In(key, tuple(meant)) if len(meant) > 1 else Eq(key, value)


def _hit_json(hit: Hit) -> dict[str, Any]:
    record = hit.record
    return {
        "id": record.id,
        "score": hit.score,
        "modality": record.modality,
        "source": record.source,
        "locator": asdict(record.locator),
        "text": record.text,
        "routes": [asdict(route) for route in hit.routes],
    }


def _print_hit(rank: int, hit: Hit, query: str) -> None:
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
    routes = "  ".join(
        f"{r.route} #{r.rank} {number(r.score)} ({r.contribution:+.2f})"
        for r in sorted(hit.routes, key=lambda r: -r.contribution)
    )
    out.print(Text(f"    {routes}", "dim"))


@app.command()
def info(kb: Kb, as_json: Json = False) -> None:
    """Say what an index holds."""
    from mmrag.index import MultimodalIndex

    with MultimodalIndex.open(kb, create=False) as opened:
        known = opened.info()
    if as_json:
        _print_json(asdict(known))
        return
    out.print(f"{known.records} records in {escape(str(kb))}, {known.bytes / 1e6:.1f} MB")
    for title, counts in (("modality", known.modalities), ("field", known.fields)):
        for name, count in counts.items():
            out.print(f"  {title:<9}{name:<12}{count:>9}")
    for field, space in known.encoders.items():
        out.print(f"  {'encoder':<9}{field:<12}{space}")
    for failure in known.failed:
        out.print(f"  failed   {escape(visible(failure.source))}: {failure.error}")


@app.command()
def optimize(kb: Kb) -> None:
    """Reclaim what was deleted, and build the search graphs of a large index (takes minutes)."""
    from mmrag.index import MultimodalIndex

    with MultimodalIndex.open(kb, create=False) as opened:
        opened.optimize()


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where the index and the page go.")] = Path(
        "mmrag-demo"
    ),
) -> None:
    """Index the sample corpus, ask it in every way, and write a page to look at."""
    from mmrag.demo import run_demo

    with _progress() as progress:
        answers = run_demo(folder, progress)
    for heading, hits in answers:
        asked = [hits.text or "", "(with a picture)" if hits.image is not None else ""]
        out.print(Text.assemble("\n", (heading, "bold"), "  ", (" ".join(asked).strip(), "italic")))
        for rank, hit in enumerate(hits[:3], start=1):
            _print_hit(rank, hit, hits.text or "")
    out.print(f"\nThe same with pictures: {escape(str(folder / 'demo.html'))}")


def _print_json(data: Any) -> None:
    # Not through Rich, which would wrap and colour it.
    sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=2) + "\n")
