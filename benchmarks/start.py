"""What it costs to start: ``import mmrag``, and opening an index of 100,000 records.

Measured: the median time of fresh processes that import mmrag, less that of fresh processes that
do nothing, in turn, 20 each; and that nothing heavy has been loaded by it. Then, in seven fresh
processes, ``MultimodalIndex.open`` on an index of 100,000 records (two dense fields and keywords)
that was closed cleanly, the first search (which loads the text model) and the second. The files
are in the page cache; calibration's reference queries are on disk, as after any search.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import synthetic
from benchmarks.figure import Figure, Outcome, median

SIZE = 100_000
RUNS, OPENINGS = 20, 7
HEAVY = ("torch", "onnxruntime", "llama_index", "langchain_core", "PIL", "numpy", "qdrant_edge")
IMPORT_S, OPEN_S = 0.15, 1.0

_LOADED = f"import sys, mmrag; print(*[n for n in {HEAVY!r} if n in sys.modules])"
_OPEN = """
import json, sys, time
from mmrag import MultimodalIndex
started = time.perf_counter()
index = MultimodalIndex.open(sys.argv[1])
opened = time.perf_counter()
index.search("a red lighthouse at the sea")
first = time.perf_counter()
index.search("a bowl of noodles")
second = time.perf_counter()
index.close()
print(json.dumps([opened - started, first - opened, second - first]))
"""


def run(work: Path) -> Outcome:
    nothing, imports = [], []
    for _ in range(RUNS):
        nothing.append(_seconds("pass"))
        imports.append(_seconds("import mmrag"))
    heavy = _output(_LOADED).split()
    folder = str(synthetic.build(work, SIZE))
    _output(_OPEN, folder)  # encodes the reference queries, which are kept
    times = [json.loads(_output(_OPEN, folder)) for _ in range(OPENINGS)]
    opened, first, second = zip(*times, strict=True)
    say = f"{SIZE:,} records"
    return Outcome(
        [
            Figure("start", "python -c pass", median(nothing), "s"),
            Figure("start", "import mmrag", median(imports), "s"),
            Figure(
                "start",
                "import mmrag, above pass",
                median(imports) - median(nothing),
                "s",
                under=IMPORT_S,
            ),
            Figure("start", f"heavy modules it loads {heavy or ''}".strip(), len(heavy), under=1),
            Figure("start", f"open {say}", median(opened), "s", under=OPEN_S),
            Figure("start", f"first search of {say}, model loading included", median(first), "s"),
            Figure("start", f"second search of {say}", median(second), "s"),
        ]
    )


def _seconds(code: str) -> float:
    started = time.perf_counter()
    _output(code)
    return time.perf_counter() - started


def _output(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
