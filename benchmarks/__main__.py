"""Run the benchmarks and print one table: figure, measured, target, met or missed.

``python -m benchmarks`` runs all (15 to 20 minutes on two cores) and writes ``RESULTS.md``;
``python -m benchmarks query start`` runs those two. ``--json FILE`` keeps the numbers.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from benchmarks.figure import Benchmark, Outcome, table
from mmrag.pipeline import threads

NAMES = (
    "quality",
    "distractors",
    "long_text",
    "query",
    "start",
    "index",
    "memory",
    "encoders",
    "llama_index",
    "langchain",
    "cache",
    "parts",
)
RESULTS = Path(__file__).parent / "RESULTS.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="mmrag-bench-") as folder:
        for name in options.names or NAMES:
            started = time.monotonic()
            try:
                run: Benchmark = import_module(f"benchmarks.{name}").run
            except ModuleNotFoundError as error:
                print(f"{name}: left out, {error}", file=sys.stderr, flush=True)
                continue
            outcomes[name] = run(Path(folder))
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    text = _text(outcomes)
    print(text)
    if not options.names:
        RESULTS.write_text(f"# Benchmark results\n\n{text}\n", "utf-8")
    figures = [figure for outcome in outcomes.values() for figure in outcome.figures]
    if options.json is not None:
        numbers = [{**asdict(figure), "met": figure.met} for figure in figures]
        options.json.write_text(json.dumps(numbers, indent=1), "utf-8")
    return int(any(figure.met is False for figure in figures))


def _text(outcomes: dict[str, Outcome]) -> str:
    rows = [
        (f.benchmark, f.what, f.measured, f.target, f.verdict)
        for outcome in outcomes.values()
        for f in outcome.figures
    ]
    machine = f"{platform.machine()}, {threads()} cores, Python {platform.python_version()}"
    parts = [f"Machine: {machine}.", table(("benchmark", "figure", "measured", "target", ""), rows)]
    return "\n\n".join(parts + [t for outcome in outcomes.values() for t in outcome.tables])


if __name__ == "__main__":
    raise SystemExit(main())
