"""A small knowledge base about kettles: a text, two pictures with captions, a page of a PDF."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_openai import ChatOpenAI
from PIL import Image
from pydantic import Field

from langchain_mm import MultimodalVectorStore
from langchain_mm.convert import CAPTION_KEY, IMAGE_KEY, LOCATOR_KEY
from mmrag import MultimodalIndex
from mmrag.testing import FakeEncoder

from ..chat_server import ChatServer

__all__ = ["BOX", "Fixed", "chat_model", "kitchen", "marks_removed"]

BOX = [0.1, 0.2, 0.9, 0.5]


def documents(folder: Path) -> list[Document]:
    Image.new("RGB", (40, 30), (200, 30, 30)).save(folder / "kettle.jpg", "PNG")
    Image.new("RGBA", (30, 40), (30, 30, 200, 90)).save(folder / "plan.webp", "WEBP")
    return [
        Document("how to boil water", id="text", metadata={"source": "docs/tea.md"}),
        Document(
            "",
            id="kettle",
            metadata={
                "source": str(folder / "kettle.jpg"),
                IMAGE_KEY: str(folder / "kettle.jpg"),
                CAPTION_KEY: {"brief": "a red kettle", "text_content": "STOP AT 100"},
            },
        ),
        Document(
            "a kitchen plan",
            id="plan",
            metadata={
                "source": "manual.pdf",
                IMAGE_KEY: str(folder / "plan.webp"),
                LOCATOR_KEY: {"page": 3, "bbox": BOX},
            },
        ),
        Document(
            "said about boiling",
            id="talk",
            metadata={"source": "talk.mp3", LOCATOR_KEY: {"start_s": 12.5, "end_s": 20}},
        ),
    ]


@contextmanager
def kitchen(folder: Path) -> Iterator[MultimodalIndex]:
    encoder = FakeEncoder()
    index = MultimodalIndex.open(folder / "kb", text_encoder=encoder, image_encoder=encoder)
    with index:
        MultimodalVectorStore(index).add_documents(documents(folder))
        yield index


def chat_model(chat: ChatServer, **options: Any) -> ChatOpenAI:
    """The real client of the loopback server."""
    settings: dict[str, Any] = {"model": "gpt-4o-mini", "api_key": "none", "max_retries": 0}
    return ChatOpenAI(base_url=chat.url, **{**settings, **options})


class Fixed(BaseRetriever):
    """A retriever that is not ours: it has found these, whatever is asked."""

    found: list[Document]
    asked: list[str] = Field(default_factory=list)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        self.asked.append(query)
        return self.found


def marks_removed(text: str) -> str:
    """The text with the mark of its sources, which it begins with or has after a line, as MARK."""
    mark = text.partition("with the mark ")[2][:8]
    assert len(mark) == 8
    return text.replace(mark, "MARK")
