"""The encoders of the command: chosen by name, remembered by the index, listed, exported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mmrag.cli_options import Json, path
from mmrag.cli_output import out, print_json
from mmrag.display_text import columns, fitting
from mmrag.errors import NotAnIndex

if TYPE_CHECKING:
    from mmrag.encoders import CatalogueEntry
    from mmrag.index import MultimodalIndex
    from mmrag.manifest import Manifest
    from mmrag.protocols import ImageEncoder, TextEncoder
    from mmrag.stores.edge import EdgeStore

__all__ = ["EncoderName", "TextEncoderName", "encoders", "export", "opened"]

EncoderName = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="NAME",
        help="The encoder of pictures and of words that are compared with them; the index "
        "remembers it. 'mmrag encoders' lists them.",
    ),
]
TextEncoderName = Annotated[
    str | None,
    typer.Option("--text-encoder", metavar="NAME", help="The encoder of texts, likewise."),
]
_DEFAULT = "bundled"
_HEADS = ("name", "dim", "text", "px", "languages", "recall@1", "licence", "install")
_WANTED = ("languages", "recall@1", "dim", "text", "px", "install", "licence")


@contextmanager
def opened(
    kb: Path, *, create: bool = False, image: str | None = None, text: str | None = None
) -> Iterator[MultimodalIndex]:
    """The index in a folder, with the encoders of these names, or else those that it remembers.

    Raises as :meth:`mmrag.MultimodalIndex.open` and :func:`mmrag.encoders.load_encoder` do.
    """
    from mmrag.index import MultimodalIndex
    from mmrag.manifest import Manifest

    chosen = {"image": _settled(image), "text": _settled(text)}
    store, manifest = _store(kb, create, chosen)
    try:
        before = manifest.encoders if manifest else {}
        names = {use: chosen[use] or before.get(use) or _DEFAULT for use in ("image", "text")}
        image_encoder, text_encoder = _encoders(names, manifest)
        index = MultimodalIndex.open(
            kb, store=store, image_encoder=image_encoder, text_encoder=text_encoder
        )
        if names != before and set(names.values()) != {_DEFAULT}:
            saved = Manifest.parse(store.manifest())
            store.save_manifest(saved.model_copy(update={"encoders": names}).dump())
    except BaseException:
        store.close()
        raise
    with index:
        yield index


def _store(
    kb: Path, create: bool, chosen: dict[str, str | None]
) -> tuple[EdgeStore, Manifest | None]:
    from mmrag.manifest import Manifest
    from mmrag.stores.edge import EdgeStore

    folder = kb.expanduser().absolute()
    try:
        store = EdgeStore(folder, create=False)
    except NotAnIndex:
        if not create:
            raise
        # A model that cannot be had leaves no empty index behind.
        for encoder in _encoders({use: name or _DEFAULT for use, name in chosen.items()}, None):
            _ = encoder.space
        store = EdgeStore(folder)
    try:
        saved = store.manifest()
        return store, None if saved is None else Manifest.parse(saved)
    except BaseException:
        store.close()
        raise


def _settled(name: str | None) -> str | None:
    from mmrag.encoders.loading import named

    return None if name is None else str(named(name))


def _encoders(names: dict[str, str], manifest: Manifest | None) -> tuple[ImageEncoder, TextEncoder]:
    """One object for both if it is one name, so that it is loaded once."""
    from mmrag.encoders.lazy import DeferredEncoder, DeferredImageEncoder
    from mmrag.encoders.loading import load_encoder, load_image_encoder

    image: ImageEncoder = load_image_encoder(names["image"])
    text: TextEncoder = image
    if names["text"] != names["image"]:
        text = load_encoder(names["text"])
    if manifest is None or manifest.encoders != names:
        return image, text
    spaces = manifest.spaces
    later = DeferredImageEncoder(lambda: image, spaces["image"], "image")
    if text is image:
        return later, later
    return later, DeferredEncoder(lambda: text, spaces["text"], "text")


def encoders(
    as_json: Json = False,
) -> None:
    """List the encoders that are known by name, with what is published about them."""
    from mmrag.encoders import CATALOGUE

    if as_json:
        print_json([_entry_json(entry) for entry in CATALOGUE])
        return
    out.print(_table(CATALOGUE, out.width), soft_wrap=False)
    out.print(
        "\nRecall@1: how often, in percent, the first picture is the right one for a caption, as "
        "published; all figures and their sources, licences and what to install are in --json.\n"
        "By model: open_clip:MODEL/TAG, chinese-clip:MODEL, sentence-transformers:MODEL, "
        "openai:MODEL, onnx:FOLDER."
    )


def _table(entries: Iterable[CatalogueEntry], width: int) -> Table:
    """The columns for which there is room; a name is never cut, it is what one copies."""
    rows = [_HEADS, *map(_cells, entries)]
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    shown = fitting(widths, width, 2, map(_HEADS.index, _WANTED))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for n in shown:
        numbers = _HEADS[n] in ("dim", "text", "px")
        table.add_column(
            _HEADS[n],
            justify="right" if numbers else "left",
            no_wrap=n > 0,
            overflow="fold",
        )
    for row in rows[1:]:
        table.add_row(*(escape(row[n]) for n in shown))
    return table


def _cells(entry: CatalogueEntry) -> tuple[str, ...]:
    found = next((f for f in entry.figures if f.task == "text->image"), None)
    return (
        entry.name,
        str(entry.dimension),
        str(entry.text_limit),
        str(entry.image_size or ""),
        " ".join(entry.languages),
        f"{found.recall_at_1:.1f} {found.dataset}" if found else "",
        entry.licence,
        "there" if entry.installed else f"mmrag[{entry.extra}]",
    )


def _entry_json(entry: CatalogueEntry) -> dict[str, Any]:
    more = {"space": entry.space, "extra": entry.extra, "installed": entry.installed}
    return {**asdict(entry), **more}


def export(
    model: Annotated[str, typer.Argument(help="An open_clip model, as --encoder takes it.")],
    folder: Annotated[
        Path, typer.Option("--out", parser=path, metavar="PATH", help="The new folder to write.")
    ],
    precision: Annotated[str, typer.Option(help="fp32, or int8: a quarter of the size.")] = "fp32",
    as_json: Json = False,
) -> None:
    """Write an open_clip model as ONNX, for machines without torch."""
    from mmrag.encoders.exporting import export_named

    done = export_named(model, folder, precision=precision)  # type: ignore[arg-type]  # checked
    if as_json:
        print_json(asdict(done))
        return
    out.print(
        f"{escape(done.folder)}: {done.precision}, {done.bytes / 1e6:.0f} MB; the lowest cosine to "
        f"the model is {done.image_cosine:.5f} for pictures and {done.text_cosine:.5f} for texts\n"
        f"use it: mmrag index PATH --kb DIR --encoder {escape(f'onnx:{folder}')}"
    )
