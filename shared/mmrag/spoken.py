"""An answer without what a model thinks aloud before it."""

from __future__ import annotations

__all__ = ["Spoken", "spoken"]

_THINKS, _SPEAKS = "<think>", "</think>"


class Spoken:
    """What of an answer that comes in pieces is the answer: some models think aloud first, between
    ``<think>`` and ``</think>``, and a source that is only considered there is not cited.

    >>> said = Spoken()
    >>> [said.heard(piece) for piece in ("<thi", "nk>[4]? No.</think> ", "Press it", " [1].")]
    ['', '', 'Press it', ' [1].']
    """

    def __init__(self) -> None:
        self._held, self._begun = "", False

    def heard(self, piece: str) -> str:
        """What can be passed on after this piece: nothing, as long as the model thinks."""
        if self._begun:
            return piece
        held = (self._held + piece).lstrip()
        if held.startswith(_THINKS):
            _, ended, rest = held.partition(_SPEAKS)
            held = rest.lstrip() if ended else held
        self._begun = bool(held) and not (held.startswith(_THINKS) or _THINKS.startswith(held))
        self._held = "" if self._begun else held
        return held if self._begun else ""

    def rest(self) -> str:
        """What is left at the end: nothing of thoughts that have not ended."""
        held, self._held = self._held, ""
        return "" if held.startswith(_THINKS) else held


def spoken(text: str) -> str:
    """:class:`Spoken` for a whole answer."""
    said = Spoken()
    return said.heard(text) + said.rest()
