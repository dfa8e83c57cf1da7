"""How CLIP models clean a text before they tokenise it, without the packages that they do it with.

open_clip calls ``ftfy.fix_text`` first. What that does to text that is not broken is done here in
the same way (HTML entities, ligatures, full-width forms, curly quotes, line breaks, control
characters, NFC); what it guesses about text that was decoded wrongly ("â€™" for an apostrophe) is
not: such a text is taken as it is.
"""

from __future__ import annotations

import html
import re
import string
import unicodedata
from typing import Literal

__all__ = ["Cleaning", "clean"]

Cleaning = Literal["lower", "whitespace", "canonicalize"]
"""As open_clip names them: ``canonicalize`` drops punctuation too."""

_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")
_TERMINAL = re.compile(r"\x1b\[[\d;]*[a-zA-Z]")
_LINE_BREAK = re.compile("\r\n|[\r\u2028\u2029]")
_PUNCTUATION = str.maketrans("", "", string.punctuation)

_LIGATURES = "ĲĳŉǱǲǳǄǅǆǇǈǉǊǋǌﬀﬁﬂﬃﬄﬅﬆ"
_LETTERS = "IJ,ij,ʼn,DZ,Dz,dz,DŽ,Dž,dž,LJ,Lj,lj,NJ,Nj,nj,ff,fi,fl,ffi,ffl,ſt,st"
_CONTROLS: dict[int, None] = dict.fromkeys(
    [
        *range(0x09),
        *(0x0B, *range(0x0E, 0x20), 0x7F, 0xFEFF),
        *range(0x206A, 0x2070),
        *range(0xFFF9, 0xFFFD),
    ]
)
_C1 = bytes(code for code in range(0x80, 0xA0) if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D))
_CHARACTERS: dict[int, str] = {
    0x3000: " ",
    **{code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFF01, 0xFFF0)},
    **{ord(one): letters for one, letters in zip(_LIGATURES, _LETTERS.split(","), strict=True)},
    **dict.fromkeys((0x2BC, *range(0x2018, 0x201C)), "'"),
    **dict.fromkeys(range(0x201C, 0x2020), '"'),
    **{code: bytes([code]).decode("cp1252") for code in _C1},  # as Windows meant them
}


def clean(text: str, how: Cleaning) -> str:
    """The text as the model was trained to see it.

    >>> clean(" A &amp; B’s   ﬁne\\nday ", "lower")
    "a & b's fine day"
    """
    text = _fixed(text)
    text = html.unescape(html.unescape(text))
    if how == "canonicalize":
        text = text.strip().replace("_", " ").translate(_PUNCTUATION)
    text = text if how == "whitespace" else text.lower()
    return " ".join(text.split())


def _fixed(text: str) -> str:
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    entities = True  # until a line has a "<": then it is markup, and they are meant as they stand
    lines = []
    for line in re.findall("[^\n]*\n|[^\n]+", text):
        entities = entities and "<" not in line
        lines.append(_fixed_line(line, entities))
    return "".join(lines)


def _fixed_line(line: str, entities: bool) -> str:
    while True:
        before = line
        if entities:
            line = _ENTITY.sub(lambda found: _unescaped(found.group()), line)
        # In this order: an escape sequence begins with a control, and may end in a ligature.
        line = _LINE_BREAK.sub("\n", line.translate(_CHARACTERS))
        line = unicodedata.normalize("NFC", _TERMINAL.sub("", line).translate(_CONTROLS))
        if line == before:
            return line


def _unescaped(entity: str) -> str:
    """Only what is understood as a whole: "&notit;" is not "¬it;"."""
    plain = html.unescape(entity)
    return entity if ";" in plain else plain
