"""LLMCaptioner: any LlamaIndex model that takes pictures in its messages, as a captioner."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.llms.llm import LLM

from mmrag.captions import PROMPT, PROMPT_VERSION, parse_caption
from mmrag.media import ImageInput, sniff, thumbnail
from mmrag.types import Caption

__all__ = ["LLMCaptioner"]


class LLMCaptioner:
    """A :class:`mmrag.protocols.Captioner`: one chat message a picture, and an answer in JSON.

    A picture is sent upright and scaled down to ``size`` pixels, as a JPEG, or as a PNG if it is
    transparent: models refuse large files, and kinds of files that mmrag can open.
    """

    def __init__(self, llm: LLM, size: int = 1536) -> None:
        self.llm, self.size = llm, size

    @property
    def name(self) -> str:
        """The model's name and the version of the prompt."""
        return f"{self.llm.class_name()} {self.llm.metadata.model_name} prompt {PROMPT_VERSION}"

    def caption(self, images: Sequence[ImageInput]) -> list[Caption]:
        """One caption a picture, in order.

        Raises:
            SourceError: a picture cannot be opened.
            AnswerError: the answer is no caption, or not a whole one.
            Exception: what the model's client raises.
        """
        return [self._caption(image) for image in images]

    def _caption(self, image: ImageInput) -> Caption:
        data = thumbnail(image, self.size)
        shown = ImageBlock(image=data, image_mimetype=sniff(data[:64]))
        question = ChatMessage(role=MessageRole.USER, blocks=[TextBlock(text=PROMPT), shown])
        return parse_caption(self.llm.chat([question]).message.content or "")
