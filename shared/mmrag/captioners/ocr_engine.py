"""RapidOCR, held to this machine: lines of text with their boxes, and how the text stands."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrag.captioners.reading_order import Line, Way
from mmrag.errors import AnswerError, MissingExtra, TooLarge

__all__ = ["Engine", "engine_version"]

Array = NDArray[np.uint8]

SIDE = 2000  # the model looks at so many pixels at most: a longer picture is read in pieces
LEAST = 64  # a thinner piece is widened by its edge: the model needs some ground around a line
ASKED = 3  # lines that are looked at to tell how the text stands
_FEATURE = "reading the text in pictures"


def engine_version() -> str:
    """The version of RapidOCR, which its models come with.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return version("rapidocr")
    except PackageNotFoundError:
        raise MissingExtra(_FEATURE, "ocr") from None


class Engine:
    """One RapidOCR. Thread-safe: a picture at a time, each on all cores."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: Any = None

    def lines(self, pixels: Array) -> list[Line]:
        """The lines of text in RGB pixels, in no order.

        Raises:
            AnswerError: the engine has failed.
            TooLarge: the picture does not fit into memory.
            MissingExtra: ``mmrag[ocr]`` is not installed.
        """
        pieces = _pieces(pixels)
        return [line for left, top, piece in pieces for line in self._read(piece, left, top)]

    def way(self, pixels: Array, lines: list[Line]) -> Way:
        """How the text stands, as its longest lines have it. Raises as :meth:`lines` does."""
        weights = Counter[bool]()
        for line in lines:
            weights[line.tall] += len(line.text) if len(line.text) > 1 else 0
        tall = weights[True] > weights[False]
        longest = sorted(
            (line for line in lines if line.tall == tall), key=lambda line: -len(line.text)
        )
        votes = Counter[Way]()
        for line in longest[:ASKED]:
            stands = self._stands(pixels, line)
            if stands == "upright":  # as nearly all do: one look is enough
                return stands
            votes[stands] += 1
        return votes.most_common(1)[0][0] if votes else "upright"

    def _stands(self, pixels: Array, line: Line) -> Way:
        crop = pixels[int(line.top) : int(line.bottom) + 1, int(line.left) : int(line.right) + 1]
        if line.tall and self._stacked(crop, line.text):
            return "columns"
        # The recogniser was shown it the right way up: which way is that?
        shown = np.rot90(crop) if line.tall else crop
        flipped = self._likeness(np.rot90(shown, 2), line.text)
        if flipped > self._likeness(shown, line.text):
            return "anticlockwise" if line.tall else "upside down"
        return "clockwise" if line.tall else "upright"

    def _likeness(self, crop: Array, text: str) -> float:
        return SequenceMatcher(None, self._said(crop), text, autojunk=False).ratio()

    def _said(self, crop: Array) -> str:
        said = self._run(_roomy(crop)[0], det=False, cls=False, rec=True).txts
        return said[0] if said else ""

    def _stacked(self, crop: Array, text: str) -> bool:
        """Whether the characters stand upright, one below the other: some of them are looked at."""
        text = "".join(text.split())
        if not any("\u3040" <= letter <= "\u9fff" for letter in text):
            return False
        height = len(crop) / len(text)
        places = sorted({0, len(text) // 2, len(text) - 1})
        alike = 0
        for place in places:
            cell = crop[max(0, int((place - 0.1) * height)) : int((place + 1.1) * height)]
            alike += text[place] in self._said(cell)
        return alike * 2 > len(places)

    def _read(self, piece: Array, left: int, top: int) -> Iterator[Line]:
        roomy, x, y = _roomy(piece)
        said = self._run(roomy, det=True, cls=True, rec=True)
        if not getattr(said, "txts", None):
            return
        for box, text, confidence in zip(said.boxes, said.txts, said.scores, strict=True):
            # The widening is cut off again: a box never leaves its piece.
            xs = np.clip(box[:, 0] - x, 0, piece.shape[1])
            ys = np.clip(box[:, 1] - y, 0, piece.shape[0])
            if text.strip() and xs.min() < xs.max() and ys.min() < ys.max():
                yield Line(
                    float(xs.min()) + left,
                    float(ys.min()) + top,
                    float(xs.max()) + left,
                    float(ys.max()) + top,
                    text.strip(),
                    float(confidence),
                )

    def _run(self, pixels: Array, *, det: bool, cls: bool, rec: bool) -> Any:
        bgr = np.ascontiguousarray(pixels[..., ::-1])
        try:
            with self._lock:  # it keeps the options of a call in itself
                if self._made is None:
                    self._made = _rapid_ocr()
                return self._made(bgr, use_det=det, use_cls=cls, use_rec=rec)
        except MissingExtra:
            raise
        except MemoryError:
            raise TooLarge("the picture does not fit into memory: scale it down") from None
        except Exception as error:  # OpenCV's, ONNX's and its own, of many classes
            said = str(error).strip().rpartition("\n")[2][:200]
            raise AnswerError(
                f"the text could not be read ({type(error).__name__}: {said})"
            ) from error


def _rapid_ocr() -> Any:
    try:
        import rapidocr
    except ImportError:
        raise MissingExtra(_FEATURE, "ocr") from None
    options: dict[str, Any] = {
        "Global.log_level": "critical",
        "Global.max_side_len": 2 * SIDE,
        # Not enlarged: small print is read better as it is, and a thin strip in finite time.
        "Det.limit_type": "max",
        "Det.limit_side_len": 2 * SIDE,
    }
    # With its path a model is never downloaded.
    folder = Path(rapidocr.__file__).parent / "models"
    for part in ("det", "cls", "rec"):
        found = list(folder.glob(f"*_{part}_*.onnx"))
        if len(found) != 1:
            raise MissingExtra(f"{_FEATURE} (the model {part!r} is not in {folder})", "ocr")
        options[f"{part.capitalize()}.model_path"] = str(found[0])
    return rapidocr.RapidOCR(params=options)


def _pieces(pixels: Array) -> Iterator[tuple[int, int, Array]]:
    """The picture in pieces of at most ``SIDE``, cut where the least is drawn, with the left and
    the top of each."""
    height, width = pixels.shape[:2]
    if max(height, width) <= SIDE:
        yield 0, 0, pixels
    elif width >= height:
        edges = _cuts(pixels)
        yield from ((start, 0, pixels[:, start:end]) for start, end in edges)
    else:
        edges = _cuts(pixels.transpose(1, 0, 2))
        yield from ((0, start, pixels[start:end]) for start, end in edges)


def _cuts(pixels: Array) -> Iterator[tuple[int, int]]:
    """From where to where the pieces of a wide picture go."""
    length = pixels.shape[1]
    ink = np.abs(np.diff(pixels[..., 1].astype(np.int16), axis=0)).sum(axis=0, dtype=np.int64)
    near = np.convolve(ink, np.ones(9, np.int64), "same")
    start = 0
    while length - start > SIDE:
        window = near[start + SIDE // 2 : start + SIDE]
        end = start + SIDE - 1 - int(np.argmin(window[::-1]))
        yield start, end
        start = end
    yield start, length


def _roomy(piece: Array) -> tuple[Array, int, int]:
    """The piece, widened to ``LEAST`` pixels each way, and by how much at its left and its top."""
    height, width = piece.shape[:2]
    y, x = max(0, LEAST - height + 1) // 2, max(0, LEAST - width + 1) // 2
    if not (x or y):
        return piece, 0, 0
    return np.pad(piece, ((y, y), (x, x), (0, 0)), "edge"), x, y
