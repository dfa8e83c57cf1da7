"""What the catalogue says of one encoder."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

__all__ = ["CatalogueEntry", "Dataset", "Family", "Figure", "Task"]

Family = Literal["bundled", "open_clip", "chinese-clip", "sentence-transformers", "openai"]
Dataset = Literal["Flickr30k", "COCO", "Flickr30k-CN", "MUGE"]
Task = Literal["text->image", "image->text"]

_EXTRAS: dict[Family, tuple[str, ...]] = {
    "bundled": (),
    "open_clip": ("open-clip",),
    "chinese-clip": ("transformers",),
    "sentence-transformers": ("sentence-transformers",),
    "openai": ("openai",),
}
# The packages of each extra that an encoder cannot do without.
_PACKAGES = {
    "open-clip": ("open_clip", "torch"),
    "transformers": ("transformers", "torch"),
    "sentence-transformers": ("sentence_transformers", "torch"),
    "openai": ("openai", "tiktoken"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A published zero-shot recall in percent, and where it stands.

    ``text->image`` looks for the picture that a caption was written for, ``image->text`` for the
    captions of a picture.
    """

    dataset: Dataset
    task: Task
    recall_at_1: float
    recall_at_5: float | None
    source: str


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One encoder that :func:`mmrag.encoders.load_encoder` knows by name.

    Args:
        name: what ``load_encoder`` and ``mmrag index --encoder`` take.
        family: which package runs it.
        model: what that package calls it.
        dimension: the length of its vectors.
        text_limit: the tokens of one window, special ones included; a longer text is split and
            pooled.
        image_size: the side in pixels of what the model sees; None for an encoder of texts alone.
        languages: of its training texts; ``multilingual`` is fifty and more.
        licence: of the weights.
        pretrained: the weights' name, where ``model`` is only the architecture.
        aliases: other names for it.
        figures: published retrieval figures that were read at their source; many models have none.
        needs_transformers: whether its tokenizer or its tower of texts is one of transformers,
            which the extra of its family does not install.
    """

    name: str
    family: Family
    model: str
    dimension: int
    text_limit: int
    image_size: int | None
    languages: tuple[str, ...]
    licence: str
    pretrained: str | None = None
    aliases: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    needs_transformers: bool = False

    @property
    def space(self) -> str:
        """The ``family`` of its ``Space``; of two models of one family, the digest tells."""
        if self.family == "openai":
            return f"openai/{self.model}"
        return "mmrag-bundled-1" if self.family == "bundled" else self.family

    @property
    def extra(self) -> str | None:
        """What ``pip install 'mmrag[...]'`` has to be given for it, such as ``openai``, or
        ``open-clip,transformers`` for two; None if nothing is missing by design."""
        return ",".join(self._extras()) or None

    @property
    def installed(self) -> bool:
        """Whether the packages that it needs are on this machine; its weights may still not be."""
        packages = {package for extra in self._extras() for package in _PACKAGES[extra]}
        return all(find_spec(package) is not None for package in packages)

    def _extras(self) -> tuple[str, ...]:
        own = _EXTRAS[self.family]
        return (*own, "transformers") if self.needs_transformers else own

    def figure(self, dataset: Dataset, task: Task) -> Figure | None:
        """Its published figure for this data set and task, if there is one."""
        wanted = (dataset, task)
        return next((f for f in self.figures if (f.dataset, f.task) == wanted), None)
