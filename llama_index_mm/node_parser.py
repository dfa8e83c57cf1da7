"""CaptionNodeParser: captions for pictures; ImageSafe: splitters that leave pictures alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import groupby
from typing import Any, ClassVar

from llama_index.core.bridge.pydantic import ConfigDict, Field, SerializeAsAny, model_validator
from llama_index.core.llms.llm import LLM
from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import BaseNode, ImageNode, Node
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.storage.kvstore.types import BaseKVStore
from llama_index.core.utils import get_tqdm_iterable
from typing_extensions import Self

from llama_index_mm.captioner import LLMCaptioner
from llama_index_mm.convert import image_of
from llama_index_mm.pickling import PickledWhole
from mmrag.captioners.base import caption_one
from mmrag.captions import full_text
from mmrag.errors import InputError, SourceError
from mmrag.identity import digest_of
from mmrag.media import ImageInput
from mmrag.metadata import CAPTION_KEY, CAPTION_TEXT_KEY, caption_of, caption_to_dict
from mmrag.types import Caption

__all__ = ["COLLECTION", "CaptionNodeParser", "ImageSafe"]

COLLECTION = "captions"
"""The collection of the cache."""

log = logging.getLogger("mmrag")


class _Parser(NodeParser):
    """What both have in common: async in a thread, and nodes that keep the relations they have."""

    # Neither makes new nodes; and LlamaIndex cannot read back what it writes of a function.
    id_func: Any = Field(default=None, exclude=True, repr=False)

    async def _aparse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> list[BaseNode]:
        return await asyncio.to_thread(self._parse_nodes, nodes, show_progress, **kwargs)

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: Mapping[str, BaseNode]
    ) -> list[BaseNode]:
        return nodes


class CaptionNodeParser(PickledWhole, _Parser):
    """Has every picture among documents and nodes described by a captioner.

    >>> CaptionNodeParser(captioner=OpenAI("gpt-4o-mini"))              # doctest: +SKIP

    ``captioner`` is an :class:`mmrag.protocols.Captioner` or a LlamaIndex model that takes pictures
    in its messages. A node with a picture that can be opened is given back as a captioned copy of
    the same kind, with the same id, text, place and relations; all other nodes, and those that have
    a caption, are given back as they are. The caption is in ``metadata["mmrag_caption"]``, which
    makes it a field of its own in an mmrag index, and as text in ``metadata["image_caption"]``,
    which language models are shown beside the picture. It is never part of the node's text, and no
    text embedding sees it.

    Captions are kept in ``caption_cache`` under the picture's hash and the captioner's name. A
    picture that could not be captioned after ``max_retries`` is an error, or with
    ``raise_on_error=False`` a warning, and its node goes on as it is; an ``IngestionPipeline`` with
    a cache of its own will then not try it again. What was captioned before an error is kept.

    Stock splitters keep the picture of an ``ImageDocument``, before this parser and after it. Of an
    ``ImageNode`` they make a ``TextNode``, and a ``Node`` they refuse: wrap them in
    :class:`ImageSafe`, also where captions may be longer than their chunks.
    """

    model_config = ConfigDict(extra="forbid")

    needed: ClassVar[tuple[str, ...]] = ("captioner",)

    captioner: Any = Field(
        default=None,
        exclude=True,
        repr=False,
        description="An mmrag.protocols.Captioner or an LLM.",
    )
    captioner_name: str = Field(
        default="", description="The captioner's name; checked if it is given."
    )
    caption_cache: BaseKVStore = Field(
        default_factory=SimpleKVStore, exclude=True, repr=False, description="Keeps captions."
    )
    num_workers: int = Field(default=4, gt=0, description="Pictures that are captioned at once.")
    max_retries: int = Field(default=0, ge=0, description="Tries after the first has failed.")
    retry_backoff: float = Field(
        default=1.0, ge=0, description="Seconds before the first retry; doubled for each other."
    )
    raise_on_error: bool = Field(
        default=True, description="Whether a picture that cannot be captioned is an error."
    )

    @model_validator(mode="after")
    def _with_captioner(self) -> Self:
        if isinstance(self.captioner, LLM):
            self.captioner = LLMCaptioner(self.captioner)
        if not (hasattr(self.captioner, "caption") and hasattr(self.captioner, "name")):
            raise InputError("pass captioner=, an mmrag.protocols.Captioner or an LLM")
        if self.captioner_name not in ("", self.captioner.name):
            raise InputError(f"the captioner is {self.captioner.name}, not {self.captioner_name}")
        self.captioner_name = self.captioner.name
        return self

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised form."""
        return "CaptionNodeParser"

    def _parse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> list[BaseNode]:
        digests: dict[int, str] = {}
        images: dict[str, ImageInput] = {}
        for number, node in enumerate(nodes):
            if CAPTION_KEY in node.metadata:
                continue
            try:
                if (image := image_of(node)) is not None:
                    digests[number] = digest_of(image)
                    images.setdefault(digests[number], image)
            except SourceError as error:
                self._failed(f"node {node.node_id!r}", error)
        captions = self._captions(images, show_progress)
        return [
            _captioned(node, captions[digests[number]]) if digests.get(number) in captions else node
            for number, node in enumerate(nodes)
        ]

    def _captions(self, images: Mapping[str, ImageInput], progress: bool) -> dict[str, Caption]:
        """The captions by digest, without those that could not be made."""
        pool = ThreadPoolExecutor(self.num_workers, "mmrag-caption")
        try:
            waiting = [
                (digest, pool.submit(copy_context().run, self._caption, digest, image))
                for digest, image in images.items()
            ]
            captions = {}
            for digest, future in get_tqdm_iterable(waiting, progress, "Captioning"):
                try:
                    captions[digest] = future.result()
                except Exception as error:  # a model's client may raise anything
                    self._failed(f"picture {digest}", error)
            return captions
        finally:
            pool.shutdown(cancel_futures=True)

    def _caption(self, digest: str, image: ImageInput) -> Caption:
        key = f"{self.captioner_name}/{digest}"
        kept = self.caption_cache.get(key, collection=COLLECTION)
        if (caption := caption_of({CAPTION_KEY: kept})) is None:
            caption = self._asked(image)
            self.caption_cache.put(key, caption_to_dict(caption), collection=COLLECTION)
        return caption

    def _asked(self, image: ImageInput) -> Caption:
        for attempt in range(self.max_retries):
            try:
                return self._once(image)
            except SourceError:
                raise  # the picture is at fault, and will be the next time
            except Exception as error:
                delay = self.retry_backoff * 2**attempt
                log.warning("captioning failed, next try in %.1f s: %s", delay, error)
                time.sleep(delay)
        return self._once(image)

    def _once(self, image: ImageInput) -> Caption:
        caption = caption_one(self.captioner, image)
        if not isinstance(caption, Caption):
            raise TypeError(f"{self.captioner_name} gave a {type(caption).__name__}, no Caption")
        return caption

    def _failed(self, what: str, error: Exception) -> None:
        if self.raise_on_error:
            raise error
        log.warning("%s has no caption: %s", what, error)


class ImageSafe(_Parser):
    """A splitter for what is text; whatever holds a picture is given back as it is, in its place.

    >>> IngestionPipeline(transformations=[                             # doctest: +SKIP
    ...     ImageSafe(splitter=SentenceSplitter()), CaptionNodeParser(captioner=llm)
    ... ])
    """

    splitter: SerializeAsAny[NodeParser]

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised form."""
        return "ImageSafe"

    def _parse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> list[BaseNode]:
        parsed: list[BaseNode] = []
        for shown, run in groupby(nodes, _holds_picture):
            kept = list(run)
            parsed += kept if shown else self.splitter(kept, show_progress=show_progress, **kwargs)
        return parsed


def _captioned(node: BaseNode, caption: Caption) -> BaseNode:
    own = {CAPTION_TEXT_KEY: full_text(caption), CAPTION_KEY: caption_to_dict(caption)}
    return node.model_copy(
        update={
            "metadata": {**node.metadata, **own},
            "relationships": dict(node.relationships),
            "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, *own],
            "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, CAPTION_KEY],
        }
    )


def _holds_picture(node: BaseNode) -> bool:
    if isinstance(node, ImageNode):
        return any((node.image, node.image_path, node.image_url))
    return isinstance(node, Node) and node.image_resource is not None
