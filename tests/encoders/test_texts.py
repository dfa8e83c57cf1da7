"""What every encoder does with texts and roles that cannot be used, before it loads anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrag.encoders.cache import CachedEncoder, EmbeddingCache
from mmrag.encoders.chinese_clip import ChineseClipEncoder
from mmrag.encoders.foreign import ForeignEncoder
from mmrag.encoders.onnx_clip import OnnxClipEncoder
from mmrag.encoders.open_clip import OpenClipEncoder
from mmrag.encoders.openai import OpenAIEncoder
from mmrag.encoders.sentence_transformers import SentenceTransformerEncoder
from mmrag.errors import InputError
from mmrag.protocols import TextEncoder
from mmrag.testing import FakeEncoder


class Foreign(ForeignEncoder):
    framework = "test"

    def _called(self) -> tuple[str, str]:
        return "Fake", ""

    def _query(self, text: str) -> Any:
        return FakeEncoder().encode_texts([text], "query")[0]

    def _passages(self, texts: list[str]) -> Any:
        return FakeEncoder().encode_texts(texts, "passage")


RUNNING: dict[str, Callable[[Path], TextEncoder]] = {
    "cached": lambda folder: CachedEncoder(FakeEncoder(), EmbeddingCache(folder)),
    "foreign": lambda folder: Foreign(),
}
NEVER_LOADED: dict[str, Callable[[Path], TextEncoder]] = {
    "chinese-clip": lambda folder: ChineseClipEncoder("no model"),
    "onnx": lambda folder: OnnxClipEncoder(folder / "nothing"),
    "open_clip": lambda folder: OpenClipEncoder("no model"),
    "openai": lambda folder: OpenAIEncoder(),
    "sentence-transformers": lambda folder: SentenceTransformerEncoder("no model"),
}


@pytest.mark.parametrize("make", [*RUNNING.values(), *NEVER_LOADED.values()])
@pytest.mark.parametrize(
    ("texts", "role", "says"),
    [
        ("hello", "query", "a list of strings, not one string"),
        (None, "query", "a list of strings, not NoneType"),
        (["fine", b"bytes"], "passage", "is a string, not bytes"),
        (["fine", 7], "passage", "is a string, not int"),
        (["fine"], "question", "'query' or a 'passage', not 'question'"),
        ([], "passages", "'query' or a 'passage', not 'passages'"),
        (["fine"], None, "'query' or a 'passage', not None"),
    ],
)
def test_what_is_no_text_or_no_role_is_refused(
    make: Callable[[Path], TextEncoder], texts: Any, role: Any, says: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says):
        make(tmp_path).encode_texts(texts, role)


@pytest.mark.parametrize("make", RUNNING.values(), ids=RUNNING)
def test_a_generator_is_read_once(make: Callable[[Path], TextEncoder], tmp_path: Path) -> None:
    texts = ["a red bicycle", "the history of Rome", "half \ud83d a pair"]
    encoder = make(tmp_path)
    rows = encoder.encode_texts((text for text in texts), "passage")  # type: ignore[arg-type]
    np.testing.assert_array_equal(rows, encoder.encode_texts(texts, "passage"))
    assert len(rows) == 3
