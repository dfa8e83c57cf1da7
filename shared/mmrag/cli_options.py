"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Json", "Kb", "path"]


def path(given: str) -> Path:
    """An unset variable of the shell leaves an empty argument, and as a path that would be the
    working directory: indexed, or taken for the index."""
    if not given:
        raise typer.BadParameter("the path is empty: is a variable of the shell not set?")
    return Path(given)


Kb = Annotated[
    Path, typer.Option("--kb", parser=path, metavar="PATH", help="The folder of the index.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
