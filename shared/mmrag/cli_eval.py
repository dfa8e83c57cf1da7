"""``mmrag eval``: how well an index finds what is known to be relevant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from mmrag.cli_encoders import opened
from mmrag.cli_options import Json, Kb, path
from mmrag.cli_output import err, out, print_json
from mmrag.errors import InputError, UnknownName
from mmrag.fusion import fusion_named

if TYPE_CHECKING:
    from mmrag.evaluate import Evaluation
    from mmrag.index import MultimodalIndex
    from mmrag.protocols import Reranker

__all__ = ["register", "reranker_named"]

_RERANKERS = ("encoder", "cross-encoder:MODEL", "itm", "itm:MODEL")


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("eval")(evaluate_queries)


def evaluate_queries(
    queries: Annotated[
        Path,
        typer.Argument(parser=path, help="JSON lines of queries, or a folder as BEIR has them."),
    ],
    *,
    kb: Kb,
    qrels: Annotated[
        Path | None,
        typer.Option(
            parser=path, metavar="PATH", help="What is relevant, as BEIR or TREC write it."
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", help="How many results recall and hit rate see.")] = 10,
    fusion: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another fusion than the default; repeatable."),
    ] = None,
    rerank: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"A reranker: {', '.join(_RERANKERS)}.")
    ] = None,
    ablate: Annotated[bool, typer.Option("--ablate", help="Leave out each route in turn.")] = False,
    plot: Annotated[
        Path | None, typer.Option(parser=path, metavar="FILE", help="Draw the result, as an SVG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure recall, hit rate, MRR and nDCG of an index with your own queries, for each route
    alone and for their fusion. The first way of the table is what the others are compared with."""
    from mmrag.evaluate import evaluate
    from mmrag.judgements import read_judgements
    from mmrag.ways import ways_of

    if plot is not None and plot.suffix.lower() != ".svg":
        raise InputError(f"a plot is an SVG: name it {plot.with_suffix('.svg').name!r}")
    fusions = fusion or ["calibrated"]
    for name in fusions:
        fusion_named(name)
    judged = read_judgements(queries, qrels)
    with opened(kb) as index, _progress() as progress:
        reranker = None if rerank is None else reranker_named(rerank, index)
        ways = ways_of(index, judged, fusions=fusions, reranker=reranker, ablate=ablate)
        found = evaluate(index, judged, ways=ways, k=k, progress=progress)
    if as_json:
        print_json(asdict(found))
    else:
        _print(found)
    if plot is not None:
        from mmrag.evaluation_report import plot_svg

        plot.write_text(plot_svg(found), "utf-8")


def reranker_named(name: str, index: MultimodalIndex) -> Reranker:
    """``encoder`` (the index's own for pictures), ``cross-encoder:MODEL``, ``itm`` or
    ``itm:MODEL``, where MODEL is a name on the hub or a path.

    Raises:
        UnknownName: it is none of these.
        MissingExtra: what the model needs is not installed.
    """
    from mmrag.rerank import CrossEncoderReranker, EncoderReranker, ItmReranker

    family, colon, model = name.partition(":")
    if name == "encoder":
        return EncoderReranker(index.encoders.image)
    if family == "cross-encoder" and model:
        return CrossEncoderReranker(model)
    if family == "itm" and (model or not colon):
        return ItmReranker(model) if model else ItmReranker()
    raise UnknownName("reranker", name, _RERANKERS)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on a terminal; nothing elsewhere."""
    if not err.is_terminal:
        yield None
        return
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task("queries", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print(found: Evaluation) -> None:
    from mmrag.evaluation_report import tables

    said = f"{found.queries} queries; intervals are 95%, of the bootstrap"
    out.print(*tables(found, out.width), said, sep="\n", soft_wrap=False)
