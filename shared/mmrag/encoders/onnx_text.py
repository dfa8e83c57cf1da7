"""From a text to a model's input with tokenizers alone, in windows where it is over the limit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmrag.encoders.onnx_config import TextSettings
from mmrag.encoders.open_clip_text import OVERLAP
from mmrag.encoders.text_cleaning import clean
from mmrag.encoders.windows import SLACK, split_windows
from mmrag.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["OnnxText"]


class OnnxText:
    """Cuts and tokenises texts as :class:`mmrag.encoders.open_clip.OpenClipEncoder` does."""

    def __init__(self, tokenizer: Tokenizer, settings: TextSettings) -> None:
        self._tokenizer, self._settings = tokenizer, settings
        self._limit = settings.context - tokenizer.num_special_tokens_to_add(is_pair=False)

    @classmethod
    def load(cls, path: Path, settings: TextSettings) -> OnnxText:
        """With the tokenizer in a ``tokenizer.json``.

        Raises:
            InputError: it cannot be read.
        """
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing more special
            raise InputError(f"the tokenizer '{path}' cannot be read: {error}") from None
        return cls(tokenizer, settings)

    def pieces(self, text: str) -> list[tuple[str, int]]:
        """The text itself if it fits, else windows of it that do, each with its tokens."""
        cleaned = clean(text, self._settings.clean)
        offsets = self._tokenizer.encode(cleaned, add_special_tokens=False).offsets
        if len(offsets) <= self._limit:
            return [(text, len(offsets))]
        cut = split_windows(cleaned, offsets, self._limit - SLACK, OVERLAP)
        # A window that is tokenised by itself may still be over the limit: it is cut again.
        return [
            piece
            for part, count in cut
            for piece in (self.pieces(part) if part != cleaned else [(part, count)])
        ]

    def tokens(self, piece: str) -> NDArray[np.int64]:
        """The model's input for one piece, ``[1, context]``."""
        settings = self._settings
        ids = self._tokenizer.encode(clean(piece, settings.clean)).ids
        if len(ids) > settings.context:  # one word without end
            ids = [*ids[: settings.context - 1], ids[-1]]
        row = np.full((1, settings.context), settings.pad, np.int64)
        row[0, : len(ids)] = ids
        if settings.strip is not None:
            row[row == settings.strip] = 0
        return row
