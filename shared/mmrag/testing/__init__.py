"""For tests of and with mmrag: fakes without a model or a disk, and contracts to subclass.

The fakes are deterministic: :class:`FakeEncoder`, :class:`FakeCaptioner` and :class:`FakeReranker`
need no weights, :class:`MemoryStore` no engine.
:class:`StoreContract`, :class:`EncoderContract` and :class:`ImageEncoderContract` are classes of
tests that any store or encoder has to pass; they need pytest, the fakes do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmrag.testing.fakes import FakeCaptioner, FakeEncoder, FakeReranker
from mmrag.testing.memory_store import MemoryStore

if TYPE_CHECKING:
    from mmrag.testing.encoder_contract import EncoderContract, ImageEncoderContract
    from mmrag.testing.store_contract import StoreContract

__all__ = [
    "EncoderContract",
    "FakeCaptioner",
    "FakeEncoder",
    "FakeReranker",
    "ImageEncoderContract",
    "MemoryStore",
    "StoreContract",
]


def __getattr__(name: str) -> Any:
    if name == "StoreContract":
        from mmrag.testing.store_contract import StoreContract

        return StoreContract
    if name in ("EncoderContract", "ImageEncoderContract"):
        from mmrag.testing import encoder_contract

        return getattr(encoder_contract, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
