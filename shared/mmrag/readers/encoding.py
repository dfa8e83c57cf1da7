"""In which encoding a text file is written.

By the standard library: charset-normalizer knows ninety more encodings, and is slower and less
sure on the few that text files really have.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from mmrag.errors import DamagedSource

__all__ = ["encoding_of"]

_BLOCK = 1 << 20
_SAMPLE = 1 << 15
# UTF-32 first: its mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LAYOUT = frozenset("\t\n\r\f\b\x1b")  # control characters that logs and listings do have
_TYPOGRAPHY = frozenset("‘’“”–—…€«»°·§©®™£¥±×½¼²³¡¿º¨•")
_ENOUGH = 0.7  # the share of characters that must make sense
_STRAY = 0.01  # the share of broken characters that an otherwise good text may have
_TELLING = 40  # different ideographs; fewer say nothing of the script
_FOREIGN = 0.03  # the share of ideographs below which what is usual in Chinese is missing
_BROKEN = re.compile("[\ufffd\x00-\x07\x0b\x0e-\x1a\x1c-\x1f]")


def encoding_of(path: Path) -> str:
    """The codec's name: by byte order mark, else UTF-8 if all of the file is, else by what the
    bytes make sense in: UTF-16, GB18030 (which includes GBK), mostly UTF-8, Windows-1252. If they
    make sense in none, UTF-8 again, as long as under 1% of the characters are broken.

    Reads the file once, a megabyte at a time, and one with broken characters twice.

    Raises:
        DamagedSource: it makes sense in none of them, or is not text.
        OSError: the system refuses the file.
    """
    with path.open("rb") as file:
        head = file.read(4)
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec
    sample, is_utf8 = _sample(path)
    has_zeros = b"\0" in sample
    # ASCII read as UTF-16 can pass for Chinese, UTF-16 read as UTF-8 for nothing.
    if has_zeros and _nearly_utf8(path):
        return "utf-8"
    if has_zeros:
        candidates: tuple[str, ...] = _UTF16
    elif is_utf8:
        candidates = ("utf-8",)
    else:
        candidates = ("gb18030", "utf-8", *_UTF16, "cp1252")
    best = max(candidates, key=lambda codec: _sense(sample, codec))
    nonsense = best == "gb18030" and _is_no_chinese(sample)
    if nonsense or _sense(sample, best) < _ENOUGH:
        if not has_zeros and _nearly_utf8(path):
            return "utf-8"
        raise DamagedSource(
            "not text, or not in UTF-8, UTF-16, GB18030 or Windows-1252: save it as UTF-8"
        )
    return best


def _sample(path: Path) -> tuple[bytes, bool]:
    """The bytes that tell the encoding, and whether the whole file is UTF-8: its start, or where
    it first stops being UTF-8, since a long English preface says nothing about what follows."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    first = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            first = first or block[:_SAMPLE]
            at = block.find(b"\0")
            if at >= 0:
                return _around(block, at), False
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return _around(block, error.start), False
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return first, False
    return first, True


def _nearly_utf8(path: Path) -> bool:
    """Whether hardly any character of the whole file is broken if it is read as UTF-8."""
    most = _STRAY * path.stat().st_size  # it has at most so many characters as bytes
    total = broken = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        while broken <= most and (piece := file.read(_BLOCK)):
            total += len(piece)
            broken += len(_BROKEN.findall(piece))
    return broken < _STRAY * total


def _around(block: bytes, at: int) -> bytes:
    """The bytes near an offset, from where a character starts: an even offset or a line's start."""
    start = max(0, at - _SAMPLE // 2) // 2 * 2
    if start and b"\0" not in block:
        start = max(start, block.rfind(b"\n", start, at) + 1)
    return block[start : start + _SAMPLE]


def _sense(sample: bytes, codec: str) -> float:
    """Which share of the characters makes sense if this is the encoding, 0..1."""
    text = sample.decode(codec, "replace")
    if sum(char < " " and char not in _LAYOUT for char in text) > len(text) / 10:
        return 0.0
    # In the others, ASCII says nothing: it reads the same in all of them.
    judged = text if codec in _UTF16 else [char for char in text if char > "\x7f"]
    if codec == "cp1252" and len(judged) > 0.4 * len(text):
        return 0.0
    return sum(map(_JUDGES[codec], judged)) / len(judged) if judged else 1.0


def _is_whole(char: str) -> float:
    return float(char != "\ufffd")


def _is_chinese(char: str) -> float:
    """1 for what Chinese texts are made of, and a half for ideographs that are rare in them."""
    if not ("\u2010" <= char <= "\u206f" or "\u3000" <= char <= "\u3020" or char >= "\u4e00"):
        return 0.0
    try:
        char.encode("gb2312")
    except UnicodeEncodeError:
        return 0.5 if char <= "\u9fff" else 0.0
    return 1.0


def _is_no_chinese(sample: bytes) -> bool:
    """Whether what decodes as GB18030, as nearly all pairs of high bytes do, is written in another
    script: from the bytes of its ideographs, each counted once. Of those in a Chinese text, be it a
    table or a list of names, half have a first byte from 0xC9 on (Hangul in EUC-KR none) and a
    third a second byte below 0xC0 (Cyrillic and Greek, pairs of letters here, hardly any)."""
    found = {char for char in sample.decode("gb18030", "replace") if "\u4e00" <= char <= "\u9fff"}
    pairs = [pair for pair in (char.encode("gb18030") for char in found) if len(pair) == 2]
    if len(pairs) < _TELLING:
        return False
    late = sum(not 0xB0 <= first < 0xC9 for first, _ in pairs)
    low = sum(second < 0xC0 for _, second in pairs)
    return min(late, low) < _FOREIGN * len(pairs)


def _is_familiar(char: str) -> float:
    if char <= "\x7f":
        return float(char >= " " or char in _LAYOUT)
    return _is_chinese(char) or 0.75 * (char.isalpha() and char < "\u3400")


def _is_western(char: str) -> float:
    return float(char.isalpha() or char in _TYPOGRAPHY)


_UTF16 = ("utf-16-le", "utf-16-be")
_JUDGES = {
    "utf-8": _is_whole,
    "gb18030": _is_chinese,
    "utf-16-le": _is_familiar,
    "utf-16-be": _is_familiar,
    "cp1252": _is_western,
}
