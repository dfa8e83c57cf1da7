"""The classes of nodes by their names, those of the user's own among them."""

from __future__ import annotations

from collections.abc import Iterator

from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    Node,
    TextNode,
)

__all__ = ["class_named"]

_BUILT_IN: dict[str, type[BaseNode]] = {
    kind.__name__: kind for kind in (TextNode, ImageNode, IndexNode, Node, Document, ImageDocument)
}


def class_named(name: str, stock: str) -> type[BaseNode]:
    """The class of this name; if there is none in this process, what LlamaIndex's own stores read
    the node as, by the name ``stock``."""
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    own = (found for base in (TextNode, Node) for found in _subclasses(base))
    return next((found for found in own if found.__name__ == name), _BUILT_IN.get(stock, TextNode))


def _subclasses(kind: type[BaseNode]) -> Iterator[type[BaseNode]]:
    for found in kind.__subclasses__():
        yield found
        yield from _subclasses(found)
