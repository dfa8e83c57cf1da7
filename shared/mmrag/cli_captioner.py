"""Which captioner the options of a command ask for: ``--caption``, ``--vlm`` and those about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mmrag.errors import InputError

if TYPE_CHECKING:
    from mmrag.captioners.composed import Composed
    from mmrag.captioners.vlm import VlmCaptioner

__all__ = [
    "CaptionLanguage",
    "CaptionNames",
    "VlmConcurrency",
    "VlmName",
    "VlmOptions",
    "VlmRate",
    "VlmUrl",
    "captioner_asked",
    "captioner_named",
]

CONCURRENCY = 4

CaptionNames = Annotated[
    str | None,
    typer.Option(
        "--caption",
        metavar="NAMES",
        help="Also describe the pictures: ocr (the text in them), tags (keywords), vlm (a vision "
        "model's description), or several, as in ocr,tags.",
    ),
]
VlmName = Annotated[
    str | None,
    typer.Option("--vlm", metavar="MODEL", help="The vision model of 'vlm'."),
]
VlmUrl = Annotated[
    str | None,
    typer.Option(
        "--vlm-url",
        metavar="URL",
        help="Where its OpenAI-compatible API begins: http://localhost:11434/v1; else it is "
        "OpenAI's. Its key, if it needs one, is taken from MMRAG_API_KEY, that of OpenAI's own "
        "also from OPENAI_API_KEY.",
    ),
]
VlmRate = Annotated[
    float | None,
    typer.Option(
        "--vlm-rate", metavar="NUMBER", help="Requests a minute to it at most; else no limit."
    ),
]
VlmConcurrency = Annotated[
    int | None,
    typer.Option(
        "--vlm-concurrency",
        metavar="NUMBER",
        help="How many pictures it is asked about at once: 4.",
    ),
]
CaptionLanguage = Annotated[
    str | None,
    typer.Option(
        "--caption-language",
        metavar="LANGUAGE",
        help="The language in which 'vlm' describes: zh, en, or auto, that of the text in the "
        "picture.",
    ),
]


@dataclass(frozen=True, slots=True)
class VlmOptions:
    """What the options say of the vision model; None where they do not."""

    model: str | None = None
    url: str | None = None
    language: str | None = None
    rate: float | None = None
    concurrency: int | None = None


def captioner_asked(names: str | None, vlm: VlmOptions) -> Composed | None:
    """:func:`captioner_named`, and None if there are no names."""
    if names is not None:
        return captioner_named(names, vlm)
    _no_vlm(vlm)
    return None


def captioner_named(names: str, vlm: VlmOptions) -> Composed:
    """What the options ask for. Nothing is loaded or asked yet.

    Raises:
        UnknownName: a name is no captioner's.
        InputError: a vision model lacks its name or its key, or its options are there without it.
        MissingExtra: what a captioner needs is not installed.
    """
    from mmrag.captioners.composed import Composed, parse_captioners

    asked = "vlm" in (name.strip().lower() for name in names.split(","))
    if not asked:
        _no_vlm(vlm)
    made = parse_captioners(names, vlm=_vlm(vlm) if asked else None)
    return made if isinstance(made, Composed) else Composed([made])


def _no_vlm(options: VlmOptions) -> None:
    if options != VlmOptions():
        raise InputError(
            "--vlm, --vlm-url, --vlm-rate, --vlm-concurrency and --caption-language are for the "
            "captioner 'vlm': name it too"
        )


def _vlm(options: VlmOptions) -> VlmCaptioner:
    from mmrag.captioners.vlm import VlmCaptioner
    from mmrag.openai_wire import environment_key

    if options.model is None:
        raise InputError("'vlm' needs a vision model: give --vlm MODEL")
    # Here by the names of the options; the captioner's own checks name its arguments.
    if options.rate is not None and not options.rate > 0:
        raise InputError("--vlm-rate is above 0; without it there is no limit")
    if options.concurrency is not None and options.concurrency < 1:
        raise InputError("--vlm-concurrency is 1 or more")
    key = environment_key(options.url)
    if key is None and options.url is None:
        raise InputError(
            "OpenAI wants a key: set MMRAG_API_KEY or OPENAI_API_KEY, or give --vlm-url"
        )
    return VlmCaptioner(
        options.model,
        base_url=options.url,
        api_key=key,
        language=options.language or "auto",
        requests_per_minute=options.rate,
        concurrency=CONCURRENCY if options.concurrency is None else options.concurrency,
    )
