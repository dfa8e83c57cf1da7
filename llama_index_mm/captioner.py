"""LLMCaptioner: any LlamaIndex model that takes pictures in its messages, as a captioner."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.llms.llm import LLM

from mmrag.caption_prompt import PROMPT_VERSION, correction, prompt, quoted
from mmrag.captions import caption_in
from mmrag.errors import AnswerError
from mmrag.media import ImageInput, sniff, thumbnail
from mmrag.types import Caption

__all__ = ["LLMCaptioner"]


class LLMCaptioner:
    """A :class:`mmrag.protocols.Captioner`: one chat message a picture, and an answer in JSON.

    A picture is sent upright and scaled down to ``size`` pixels, as a JPEG, or as a PNG if it is
    transparent: models refuse large files, and kinds of files that mmrag can open. ``language`` is
    that of the descriptions: ``"auto"``, ``"zh"``, ``"en"`` or a language's name. An answer that is
    no whole caption, or in another language, is asked for once more with the error.

    Raises:
        InputError: ``language`` is no name of a language.
    """

    def __init__(self, llm: LLM, size: int = 1536, language: str = "auto") -> None:
        self.llm, self.size, self.language = llm, size, language
        self._prompt = prompt(language)

    @property
    def name(self) -> str:
        """The model's name, the pixels that it is shown, the language and the prompt's version."""
        model = f"{self.llm.class_name()} {self.llm.metadata.model_name}"
        return f"{model} {self.size}px {self.language} prompt {PROMPT_VERSION}"

    def caption(self, images: Sequence[ImageInput]) -> list[Caption]:
        """One caption a picture, in order.

        Raises:
            SourceError: a picture cannot be opened.
            AnswerError: twice no caption, a partial one, or one in another language.
            Exception: what the model's client raises.
        """
        return [self._caption(image) for image in images]

    def _caption(self, image: ImageInput) -> Caption:
        data = thumbnail(image, self.size)
        shown = ImageBlock(image=data, image_mimetype=sniff(data[:64]))
        blocks = [TextBlock(text=self._prompt), shown]
        messages = [ChatMessage(role=MessageRole.USER, blocks=blocks)]
        answer = self._ask(messages)
        try:
            return caption_in(answer, self.language)
        except AnswerError as error:
            messages += [
                ChatMessage(quoted(answer), role=MessageRole.ASSISTANT),
                ChatMessage(correction(error), role=MessageRole.USER),
            ]
        return caption_in(self._ask(messages), self.language, again=True)

    def _ask(self, messages: list[ChatMessage]) -> str:
        return self.llm.chat(messages).message.content or ""
