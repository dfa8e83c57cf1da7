"""How much 2,500 unrelated English texts in the index harm the development set's results.

Measured: nDCG@10 as in ``quality``, before and after docstrings of Python's standard library, in
texts of 300 to 900 characters, have been added. A ranking of raw scores lets them crowd the
pictures out, and RRF gives them half of all places; calibration should keep most of what it had.
"""

from __future__ import annotations

import ast
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from benchmarks import judged
from benchmarks.figure import Figure, Outcome, table
from mmrag import Record

COUNT = 2_500
SHORTEST, LONGEST = 300, 900
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
WAYS = [*judged.SINGLE, *judged.OTHERS, judged.DEFAULT]


def run(work: Path) -> Outcome:
    queries = judged.load()
    columns = judged.columns(queries)
    with judged.build(work / "crowded") as index:
        before = {way.name: judged.score(index, way, queries) for way in WAYS}
        index.add(Record(id=f"docstring {i}", text=t) for i, t in enumerate(_docstrings()))
        after = {way.name: judged.score(index, way, queries) for way in WAYS}

    def kept(name: str, column: str) -> float:
        where = columns[column]
        return float(after[name][where].mean() / before[name][where].mean())

    rows = [
        (
            way.name,
            *(f"{after[way.name][where].mean():.3f}" for where in columns.values()),
            f"{kept(way.name, 'image'):.0%}",
        )
        for way in WAYS
    ]
    shown = ("raw cosine", "rrf", judged.DEFAULT.name)
    return Outcome(
        [
            Figure(
                "distractors",
                f"image-only queries, {name}: nDCG after / before",
                kept(name, "image"),
                "x",
            )
            for name in shown
        ],
        [
            f"nDCG@10 with {COUNT:,} unrelated English texts in the index:\n\n"
            + table(("", *columns, "image kept"), rows)
        ],
    )


def _docstrings() -> list[str]:
    """A random sample of such texts, the same for the same Python."""
    return random.Random(0).sample(sorted(set(_all_texts())), COUNT)


def _all_texts() -> Iterator[str]:
    """The docstrings of each file; short ones together with those that follow."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        if "site-packages" in path.parts:
            continue
        text = ""
        for docstring in _in_file(path):
            text += docstring + "\n\n"
            if len(text) >= SHORTEST:
                yield text[:LONGEST].strip()
                text = ""


def _in_file(path: Path) -> Iterator[str]:
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (SyntaxError, ValueError):
        return
    for node in nodes:
        if isinstance(node, DOCUMENTED) and (docstring := ast.get_docstring(node)):
            yield docstring
