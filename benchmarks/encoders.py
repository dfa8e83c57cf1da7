"""OpenClipEncoder against the bare model: ViT-B-32, the same random weights throughout.

Pictures: 256 JPEGs of 1280 x 960. "Plain loop" is the best that can be written by hand: batches of
the best size, preprocessed (or else only decoded) beforehand, one batch at a time on all cores or
one batch a core side by side: whichever is faster in that round. Against it stand
``encode_pixels`` on what was preprocessed, and ``encode_images`` from files. All in fp32, three
rounds of one of each in turn, and the median of a round's ratios.

LangChain's and LlamaIndex's are their loops, word for word but for the model, which is given
(langchain-experimental 0.4.2, llama-index-embeddings-clip 0.7.0): one picture at a time, in fp32,
which is all they do. ``auto`` is what ``OpenClipEncoder`` does if nothing is said: bf16 where the
CPU has units for it.

Texts: 64 captions at once, and one query alone (of a small model), against the tokenizer and the
model by hand.

Memory: the peak of a fresh process that encodes 500 and 5,000 pictures from files.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks import photos
from benchmarks.encoders_bare import SMALL, Bare, one_by_one, side_by_side
from benchmarks.figure import Figure, Outcome, median
from mmrag import media
from mmrag.encode import encode_images
from mmrag.pipeline import batched

COUNT, ROUNDS = 256, 3
FOR_PEERS = 64  # photographs a round, of those that take one at a time
SIZES = (8, 16, 32, 64)
TEXTS = 64
QUERIES = 200
FEW, MANY = 500, 5_000

Way = Callable[[], object]


def run(work: Path) -> Outcome:
    folder = work / "wide"
    photos.write(folder, COUNT, [(1280, 960)], quality=85, grain=5)
    files, bare = sorted(folder.rglob("*.jpg")), Bare()
    figures = [*_pictures(bare, files), *_texts(bare), *_memory(folder)]
    return Outcome(figures)


def _pictures(bare: Bare, files: Sequence[Path]) -> list[Figure]:
    fp32, auto = bare.encoder("fp32"), bare.encoder("auto")
    decoded = [media.load(file, target=fp32.image_size).image for file in files]
    floats = torch.stack([bare.preprocess(picture) for picture in decoded])
    pixels = [fp32.preprocess(picture) for picture in decoded]
    same = (fp32.encode_pixels(pixels[:64]) * auto.encode_pixels(pixels[:64])).sum(axis=1).min()
    loops: dict[str, tuple[Way, int]] = {}
    for name, way in ("one by one", one_by_one), ("side by side", side_by_side):
        size = _best_size(lambda size, way=way: way(bare.pixels, floats[:64].split(size)))
        print(f"{name}: batches of {size}", file=sys.stderr)
        loops[f"preprocessed, {name}"] = (partial(way, bare.pixels, floats.split(size)), COUNT)
        batches = list(batched(decoded, size))
        loops[f"decoded, {name}"] = (partial(way, bare.pictures, batches), COUNT)
    peers = files[:FOR_PEERS]
    rates = _rounds(
        {
            **loops,
            "pixels": (lambda: fp32.encode_pixels(pixels), COUNT),
            "files": (lambda: encode_images(fp32, files), COUNT),
            "bf16 pixels": (lambda: auto.encode_pixels(pixels), COUNT),
            "auto files": (lambda: encode_images(auto, files), COUNT),
            "langchain": (lambda: bare.langchain(peers), FOR_PEERS),
            "llama_index": (lambda: bare.llama_index(peers), FOR_PEERS),
        }
    )
    for given in ("preprocessed", "decoded"):
        both = zip(rates[f"{given}, one by one"], rates[f"{given}, side by side"], strict=True)
        rates[given] = [max(pair) for pair in both]
    used = auto._loaded().model.precision_of(auto._loaded().transform.encode)

    def rate(what: str, way: str) -> Figure:
        return Figure("encoders", what, median(rates[way]), "/s")

    def ratio(what: str, way: str, to: str, at_least: float | None = None) -> Figure:
        each = [a / b for a, b in zip(rates[way], rates[to], strict=True)]
        return Figure("encoders", what, median(each), "x", at_least=at_least)

    return [
        rate("plain loop, preprocessed", "preprocessed"),
        rate("from files, fp32", "files"),
        rate(f"from files, auto ({used})", "auto files"),
        ratio("encode_pixels / plain loop", "pixels", "preprocessed", 0.95),
        ratio("from files / plain loop, preprocessed", "files", "preprocessed", 0.95),
        ratio("from files / plain loop, decoded", "files", "decoded"),
        ratio(f"from files, auto ({used}) / LangChain's", "auto files", "langchain", 2.5),
        ratio(f"from files, auto ({used}) / LlamaIndex's", "auto files", "llama_index", 2.5),
        ratio("from files, fp32 / LangChain's", "files", "langchain"),
        ratio("from files, fp32 / LlamaIndex's", "files", "llama_index"),
        ratio(f"encode_pixels, auto ({used}) / fp32", "bf16 pixels", "pixels"),
        Figure("encoders", f"lowest cosine, auto ({used}) to fp32", float(same), at_least=0.999),
    ]


def _texts(bare: Bare) -> list[Figure]:
    encoder = bare.encoder("fp32")
    texts = [
        f"a photograph of {number} red bicycles that lean on a wall" for number in range(TEXTS)
    ]
    encoder.encode_texts(texts, "passage")
    rates = _rounds(
        {
            "ours": (lambda: encoder.encode_texts(texts, "passage"), TEXTS),
            "bare": (lambda: bare.texts(texts), TEXTS),
        }
    )
    each = [ours / theirs for ours, theirs in zip(rates["ours"], rates["bare"], strict=True)]
    return [
        Figure(
            "encoders", f"{TEXTS} texts / tokenizer and model", median(each), "x", at_least=0.95
        ),
        Figure("encoders", "added to a single query", _added(), "ms", under=1.0),
    ]


def _added() -> float:
    """Milliseconds. Of a small model, which takes hardly longer itself: what is added to it is
    added to every model, and cannot be told from the noise of a large one."""
    bare = Bare(SMALL)
    encoder = bare.encoder("fp32")
    encoder.encode_texts(["loads it"], "query")
    added = []
    for number in range(QUERIES):
        query = [f"red bicycle {number}"]
        ours = _seconds(partial(encoder.encode_texts, query, "query"))
        added.append(ours - _seconds(partial(bare.texts, query)))
    return median(added) * 1000


def _memory(folder: Path) -> list[Figure]:
    command = [sys.executable, "-m", "benchmarks.encoders", str(folder)]
    few, many = (
        float(
            subprocess.run([*command, str(n)], check=True, stdout=subprocess.PIPE, text=True).stdout
        )
        for n in (FEW, MANY)
    )
    return [
        Figure("encoders", f"peak memory, {FEW:,} photographs", few, "MB"),
        Figure("encoders", f"peak memory, {MANY:,} / {FEW:,}", many / few, "x", under=1.1),
    ]


def _best_size(loop: Callable[[int], object]) -> int:
    return max(SIZES, key=lambda size: max(_rate(partial(loop, size), 64) for _ in range(2)))


def _rounds(ways: dict[str, tuple[Way, int]]) -> dict[str, list[float]]:
    """Items a second of each way, in rounds of one of each."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, (way, count) in ways.items():
            rates[name].append(_rate(way, count))
    return rates


def _rate(way: Way, count: int) -> float:
    return count / _seconds(way)


def _seconds(way: Way) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def _main(folder: Path, count: int) -> None:
    files = itertools.cycle(sorted(folder.rglob("*.jpg")))
    encode_images(Bare().encoder("auto"), itertools.islice(files, count))
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    print(int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
