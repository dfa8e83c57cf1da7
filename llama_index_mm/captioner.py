"""LLMCaptioner: any LlamaIndex model that takes pictures in its messages, as a captioner."""

from __future__ import annotations

from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.llms.llm import LLM

from mmrag.caption_prompt import PROMPT_VERSION, correction, prompt, quoted
from mmrag.captioners.base import OneByOne
from mmrag.captions import caption_in
from mmrag.errors import AnswerError, InputError
from mmrag.media import ImageInput
from mmrag.sources import picture_part
from mmrag.types import Caption

__all__ = ["LLMCaptioner"]


class LLMCaptioner(OneByOne):
    """A :class:`mmrag.protocols.Captioner`: one chat message a picture, and an answer in JSON.

    A picture is sent upright and scaled down to ``size`` pixels, as a JPEG, or as a PNG if it is
    transparent: models refuse large files, and kinds of files that mmrag can open. ``language`` is
    that of the descriptions: ``"auto"``, ``"zh"``, ``"en"`` or a language's name. An answer that is
    no whole caption, or in another language, is asked for once more with the error. ``concurrency``
    pictures are asked about at once.

    Raises:
        InputError: an argument cannot be used.
    """

    def __init__(
        self, llm: LLM, size: int = 1536, language: str = "auto", concurrency: int = 4
    ) -> None:
        if size < 1 or concurrency < 1:
            raise InputError("size and concurrency are 1 or more")
        self.llm, self.size, self.language = llm, size, language
        self.concurrency = concurrency
        self._prompt = prompt(language)

    @property
    def name(self) -> str:
        """The model's name, the pixels that it is shown, the language and the prompt's version."""
        model = f"{self.llm.class_name()} {self.llm.metadata.model_name}"
        return f"{model} {self.size}px {self.language} prompt {PROMPT_VERSION}"

    def one(self, image: ImageInput) -> Caption:
        """The whole caption of one picture.

        Raises:
            SourceError: it cannot be opened.
            AnswerError: twice no caption, a partial one, or one in another language.
            Exception: what the model's client raises.
        """
        picture = picture_part(image, self.size)
        shown = ImageBlock(image=picture.data, image_mimetype=picture.mime)
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
