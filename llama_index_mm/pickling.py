"""Pickling, which LlamaIndex's pipelines do to send a component to another process."""

from __future__ import annotations

from typing import Any, ClassVar

from llama_index.core.schema import BaseComponent

__all__ = ["PickledWhole"]


class PickledWhole(BaseComponent):
    """A base for components that mean nothing without the model they hold.

    LlamaIndex leaves out what cannot be pickled, also from the component that is being pickled;
    the copy would then quietly use another model. Here such a field is an error, and the original
    stays as it is.
    """

    needed: ClassVar[tuple[str, ...]] = ()
    """The fields that a copy must have."""

    def __getstate__(self) -> dict[str, Any]:
        before = dict(self.__dict__)
        try:
            state = super().__getstate__()
            state["__dict__"] = dict(state["__dict__"])
        finally:
            self.__dict__.update(before)
        for name in self.needed:
            if name not in state["__dict__"]:
                raise TypeError(f"{getattr(self, name)!r} cannot be pickled: use num_workers=None")
        return state
