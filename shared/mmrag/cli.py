"""The ``mmrag`` command: index files, search them, look at an index, see a demo."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.markup import escape
from rich.text import Text

from mmrag import cli_ask, cli_caption, cli_eval
from mmrag._version import __version__
from mmrag.cli_captioner import (
    CaptionLanguage,
    CaptionNames,
    VlmConcurrency,
    VlmName,
    VlmOptions,
    VlmRate,
    VlmUrl,
    captioner_asked,
)
from mmrag.cli_encoders import EncoderName, TextEncoderName, encoders, export, opened
from mmrag.cli_options import Json, Kb, path
from mmrag.cli_output import (
    err,
    hit_json,
    never_fail,
    out,
    print_hit,
    print_json,
    print_report,
    progress,
)
from mmrag.display_text import visible
from mmrag.errors import InputError, MmragError
from mmrag.filters import And, Eq, In, Scalar

__all__ = ["app", "main"]

USAGE, FAILED, INTERRUPTED = 2, 1, 130

app = typer.Typer(
    help="Index texts, pictures and PDFs; search them in words, with a picture, or both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command; bad input and what the system refuses end in one line, never a traceback."""
    never_fail(sys.stdout, sys.stderr)
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


@app.command("index")
def index_files(
    paths: Annotated[
        list[Path], typer.Argument(parser=path, help="Files and folders.", show_default=False)
    ],
    kb: Kb,
    prune: Annotated[bool, typer.Option(help="Also delete what is gone from PATHS.")] = False,
    retry: Annotated[bool, typer.Option(help="Read files again that failed before.")] = False,
    encoder: EncoderName = None,
    text_encoder: TextEncoderName = None,
    caption: CaptionNames = None,
    vlm: VlmName = None,
    vlm_url: VlmUrl = None,
    vlm_rate: VlmRate = None,
    vlm_concurrency: VlmConcurrency = None,
    caption_language: CaptionLanguage = None,
    as_json: Json = False,
) -> None:
    """Index files and folders, or bring the index up to date with them."""
    options = VlmOptions(vlm, vlm_url, caption_language, vlm_rate, vlm_concurrency)
    captioner = captioner_asked(caption, options)
    captions = None
    with opened(kb, create=True, image=encoder, text=text_encoder) as index:
        with progress() as bar:
            report = index.add_files(paths, prune=prune, retry=retry, progress=bar)
        if not as_json:
            print_report(report)
        if captioner is not None:
            captions = cli_caption.add_captions(index, captioner)
    if as_json:
        more = {} if captions is None else {"captions": asdict(captions)}
        print_json({**asdict(report), **more})
    elif captions is not None:
        cli_caption.print_captions(captions)
    if not report.added + report.updated + report.unchanged + report.deleted:
        raise typer.Exit(FAILED)
    if captions is not None and captions.failed and not captions.captioned + captions.kept:
        raise typer.Exit(FAILED)


@app.command()
def search(
    kb: Kb,
    text: Annotated[str | None, typer.Argument(help="Words to search for.")] = None,
    image: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="PATH", help="A picture to search with."),
    ] = None,
    limit: Annotated[int, typer.Option(help="How many hits.")] = 10,
    where: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only records like this.")
    ] = None,
    route: Annotated[list[str] | None, typer.Option(help="Only this route.")] = None,
    fusion: Annotated[str | None, typer.Option(help="How the routes are fused.")] = None,
    rerank: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Put the best into the order of encoder, cross-encoder:MODEL, "
            "itm or itm:MODEL; 'mmrag eval --rerank' says whether that pays.",
        ),
    ] = None,
    encoder: EncoderName = None,
    text_encoder: TextEncoderName = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print JSON; a hit's source is the path as it was given to 'mmrag index', "
            "relative to where that ran.",
        ),
    ] = False,
) -> None:
    """Search an index in words, with a picture, or both."""
    from mmrag.filters import Exists

    conditions = [_condition(item) for item in where or ()]
    with opened(kb, image=encoder, text=text_encoder) as index:
        hits = index.search(
            text,
            image=image,
            limit=limit,
            where=And(tuple(conditions)) if conditions else None,
            routes=route or None,
            fusion=fusion,
            rerank=None if rerank is None else cli_eval.reranker_named(rerank, index),
        )
        if not hits:
            for condition in conditions:
                if not index.count(Exists(condition.key)):
                    err.print(f"no record has the key {escape(repr(condition.key))}")
    if as_json:
        print_json([hit_json(hit) for hit in hits])
    elif not hits:
        out.print("no hits")
    for rank, hit in enumerate([] if as_json else hits, start=1):
        print_hit(rank, hit, text or "")


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


@app.command()
def info(kb: Kb, as_json: Json = False) -> None:
    """Say what an index holds."""
    with opened(kb) as index:
        known = index.info()
    if as_json:
        print_json(asdict(known))
        return
    out.print(f"{known.records} records in {escape(str(kb))}, {known.bytes / 1e6:.1f} MB")
    for title, counts in (("modality", known.modalities), ("field", known.fields)):
        for name, count in counts.items():
            out.print(f"  {title:<9}{name:<12}{count:>9}")
    for field, space in known.encoders.items():
        out.print(f"  {'encoder':<9}{field:<12}{space}")
    for use, name in known.names.items():
        out.print(f"  {'named':<9}{use:<12}{escape(name)}")
    if known.failed is None:
        out.print("  the journal is damaged: failures are not known until the next 'mmrag index'")
    for failure in known.failed or ():
        out.print(f"  failed   {escape(visible(failure.source))}: {failure.error}")


@app.command()
def optimize(kb: Kb, as_json: Json = False) -> None:
    """Reclaim what was deleted, and build the search graphs of a large index (takes minutes)."""
    with opened(kb) as index:
        index.optimize()
        known = index.info()
    if as_json:
        print_json({"records": known.records, "bytes": known.bytes})
    else:
        room = f"{known.bytes / 1e6:.1f} MB"
        out.print(f"optimized: {known.records} records in {escape(str(kb))}, {room}")


@app.command()
def demo(
    folder: Annotated[
        Path,
        typer.Option("--out", parser=path, metavar="PATH", help="Where the index and the page go."),
    ] = Path("mmrag-demo"),
) -> None:
    """Index the sample corpus, ask it in every way, and write a page to look at."""
    from mmrag.demo import run_demo

    with progress() as bar:
        answers = run_demo(folder, bar)
    for heading, hits in answers:
        asked = [hits.text or "", "(with a picture)" if hits.image is not None else ""]
        out.print(Text.assemble("\n", (heading, "bold"), "  ", (" ".join(asked).strip(), "italic")))
        for rank, hit in enumerate(hits[:3], start=1):
            print_hit(rank, hit, hits.text or "")
    out.print(f"\nThe same with pictures: {escape(str(folder / 'demo.html'))}")


app.command()(encoders)
app.command()(export)
cli_ask.register(app)
cli_caption.register(app)
cli_eval.register(app)
