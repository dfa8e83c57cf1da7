"""``mmrag caption``, and the captions of ``mmrag index --caption``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from mmrag.cli_captioner import (
    CaptionLanguage,
    VlmConcurrency,
    VlmName,
    VlmOptions,
    VlmRate,
    VlmUrl,
    captioner_named,
)
from mmrag.cli_options import Json, path
from mmrag.cli_output import err, out, print_json, progress
from mmrag.display_text import visible

if TYPE_CHECKING:
    from rich.console import Console

    from mmrag.captioners.composed import Composed
    from mmrag.captioning import CaptionReport
    from mmrag.index import MultimodalIndex
    from mmrag.openai_wire import Usage
    from mmrag.types import Caption

__all__ = ["add_captions", "print_captions", "register"]

CACHE = "captions.sqlite"
"""The file in an index's folder that keeps each caption from the moment that it is made."""

_FAILED = 1


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(caption)


def add_captions(index: MultimodalIndex, captioner: Composed) -> CaptionReport:
    """Describe the pictures of an index that are not described yet, with a progress bar.

    Raises as :func:`mmrag.captioning.caption_index` does.
    """
    from mmrag.captioners.cache import CachedCaptioner, CaptionCache
    from mmrag.captioners.composed import Composed

    cache = CaptionCache(index.resolve(CACHE))
    # Each part by itself: where one fails, the next run asks no other again.
    kept = Composed([CachedCaptioner(part, cache) for part in captioner.parts])
    with progress("captioning", "pictures", "captions") as bar:
        report = index.add_captions(kept, progress=bar)
    # Not closed where this is interrupted: what a model answers until the end is kept too.
    cache.close()
    return report


def print_captions(report: CaptionReport) -> None:
    """What a run of captioning did, and each picture that failed."""
    out.print(
        f"{report.captioned} captioned, {report.kept} kept, {len(report.failed)} failed "
        f"in {report.seconds:.1f} s"
    )
    for failure in report.failed:
        _print_failure(failure.source, failure.error, failure.message)
    _print_usage(report.usage, out)


def caption(
    files: Annotated[list[Path], typer.Argument(parser=path, help="Pictures.", show_default=False)],
    *,
    names: Annotated[
        str,
        typer.Option(
            "--with", metavar="NAMES", help="By what: ocr, tags, vlm, or several, as in ocr,vlm."
        ),
    ] = "ocr,tags",
    vlm: VlmName = None,
    vlm_url: VlmUrl = None,
    vlm_rate: VlmRate = None,
    vlm_concurrency: VlmConcurrency = None,
    language: CaptionLanguage = None,
    as_json: Json = False,
) -> None:
    """Describe pictures, and print what is said of them."""
    options = VlmOptions(vlm, vlm_url, language, vlm_rate, vlm_concurrency)
    captioner = captioner_named(names, options)
    made = 0
    listed = []
    for file, outcome in zip(files, captioner.caption_each(files), strict=True):
        failed = isinstance(outcome, Exception)
        made += not failed
        if as_json:
            listed.append(_json(file, outcome))
        elif isinstance(outcome, Exception):
            _print_failure(str(file), type(outcome).__name__, str(outcome))
        else:
            out.print(Text(visible(str(file)), "bold"))
            for label, said in _lines(outcome):
                out.print(Text.assemble((f"  {label:<10}", "dim"), visible(said)))
    if as_json:
        print_json(listed)
    _print_usage(captioner.usage, err if as_json else out)
    if not made:
        raise typer.Exit(_FAILED)


def _lines(caption: Caption) -> Iterator[tuple[str, str]]:
    """What a caption says, line by line, each part with its name at its first line."""
    points = [f"{name}: {value}" for name, value in caption.data_points.items()]
    parts = {
        "brief": [caption.brief],
        "detailed": [caption.detailed],
        "keywords": [", ".join(caption.keywords)],
        "text": caption.text_content.splitlines(),
        "data": points,
    }
    said = {label: list(filter(str.strip, lines)) for label, lines in parts.items()}
    for label, lines in said.items():
        for number, line in enumerate(lines):
            yield label if number == 0 else "", line
    if not any(said.values()):
        yield "", "nothing to say"


def _json(file: Path, outcome: Caption | Exception) -> dict[str, Any]:
    from mmrag.metadata import caption_to_dict

    if isinstance(outcome, Exception):
        error = {"error": type(outcome).__name__, "message": str(outcome)}
        return {"source": str(file), "caption": None, **error}
    return {"source": str(file), "caption": caption_to_dict(outcome)}


def _print_usage(usage: Usage, where: Console) -> None:
    """What a vision model was asked, if one was."""
    if not usage.requests:
        return
    times = "once" if usage.requests == 1 else f"{usage.requests:,} times"
    tokens = f"{usage.prompt_tokens:,} tokens in, {usage.completion_tokens:,} tokens out"
    counted = usage.prompt_tokens + usage.completion_tokens > 0
    where.print(f"asked {times}: {tokens if counted else 'it does not say how many tokens'}")


def _print_failure(source: str, error: str, message: str) -> None:
    said = message.removeprefix(f"{source}: ")
    err.print(Text.assemble((visible(source), "yellow"), f": {error}: {visible(said)}"))
