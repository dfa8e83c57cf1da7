"""``mmrag ask``: a question to an index and a chat model, answered with citations."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from mmrag.cli_encoders import opened
from mmrag.cli_options import Json, Kb, path
from mmrag.cli_output import err, out, print_json
from mmrag.display_cards import place, source_of
from mmrag.display_text import visible
from mmrag.errors import MmragError

if TYPE_CHECKING:
    from mmrag.asking import Answer, ChatModel
    from mmrag.citations import Citation
    from mmrag.types import Record

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(ask)


def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    *,
    kb: Kb,
    llm: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Where the model's OpenAI-compatible API begins: http://localhost:11434/v1. Its "
            "key, if it needs one, is taken from MMRAG_API_KEY, that of OpenAI's own also from "
            "OPENAI_API_KEY.",
        ),
    ],
    model: Annotated[str, typer.Option(metavar="NAME", help="What the service calls the model.")],
    image: Annotated[
        Path | None, typer.Option(parser=path, metavar="PATH", help="A picture to ask about.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many hits the answer may rest on.")] = 8,
    stream: Annotated[
        bool, typer.Option("--stream/--no-stream", help="Print the answer as it comes.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Answer a question from an index, and say which sources the answer rests on."""
    from mmrag.asking import answer
    from mmrag.neighbours import with_neighbours
    from mmrag.openai_chat import OpenAIChat
    from mmrag.openai_wire import environment_key

    chat = OpenAIChat(model, base_url=llm, api_key=environment_key(llm))
    with opened(kb) as index:
        hits = index.search(question, image=image, limit=limit)
        records = with_neighbours(index, hits)
    if as_json:
        print_json(_json(answer(question, records, chat, image=image)))
    elif stream:
        _print_sources(_streamed(question, records, chat, image))
    else:
        said = answer(question, records, chat, image=image)
        _write(f"{said.text.strip()}\n")
        _print_sources(said)


def _streamed(question: str, records: list[Record], chat: ChatModel, image: Path | None) -> Answer:
    """Print the answer as it comes."""
    from mmrag.asking import Answer, stream_answer

    begun = False
    try:
        for item in stream_answer(question, records, chat, image=image):
            if isinstance(item, Answer):
                return item
            _write(item)
            begun = True
    finally:
        if begun:
            _write("\n")
    raise MmragError("the model's answer did not end")  # stream_answer ends with it


def _write(text: str) -> None:
    """Lines as they are, but nothing that would command the terminal."""
    sys.stdout.write("\n".join(map(visible, text.replace("\t", "    ").split("\n"))))
    sys.stdout.flush()


def _print_sources(said: Answer) -> None:
    out.print()
    for citation in said.citations:
        out.print(Text(f"[{citation.number}] {_where(citation.record)}"))
    if not said.citations:
        out.print("the answer cites no source")
    if said.invented:
        numbers = ", ".join(f"[{number}]" for number in said.invented)
        err.print(Text.assemble(("warning: ", "yellow"), f"cited, but no source: {numbers}"))


def _where(record: Record) -> str:
    """The file, the page, the seconds, the box, and the picture if that is another file."""
    box = record.locator.bbox
    parts = [visible(source_of(record)), place(record.locator)]
    parts += [] if box is None else ["box " + " ".join(f"{edge:.2f}" for edge in box)]
    if record.image is not None and Path(record.image.uri).name != Path(record.source).name:
        parts.append(visible(record.image.uri))
    return "  ".join(filter(None, parts))


def _json(said: Answer) -> dict[str, Any]:
    return {
        "text": said.text,
        "citations": [_citation(each) for each in said.citations],
        "invented": list(said.invented),
        "usage": None if said.usage is None else asdict(said.usage),
    }


def _citation(citation: Citation) -> dict[str, Any]:
    record = citation.record
    return {
        "number": citation.number,
        "id": record.id,
        "modality": record.modality,
        "source": record.source,
        "locator": asdict(record.locator),
        "image": None if record.image is None else record.image.uri,
    }
