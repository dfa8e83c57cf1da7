"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmrag.inputs import is_url

__all__ = ["Json", "Kb", "path"]


def path(given: str) -> Path:
    """An unset variable of the shell leaves an empty argument, and as a path that would be the
    working directory: indexed, or taken for the index. A URL would lose one of its slashes, and
    the message that there is no such file would name what nobody has typed."""
    if not given:
        raise typer.BadParameter("the path is empty: is a variable of the shell not set?")
    if is_url(given):
        file = given[:5].lower() == "file:"
        hint = "give the path alone" if file else "download it first, then give its path"
        raise typer.BadParameter(f"URLs are not fetched: {hint}")
    return Path(given)


Kb = Annotated[
    Path, typer.Option("--kb", parser=path, metavar="PATH", help="The folder of the index.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
