"""What a LangChain transformer of documents with pictures has to do, as tests to subclass."""
# ruff: noqa: S101, D102  # tests: they assert, and their names say what

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import BaseDocumentTransformer, Document
from PIL import Image

__all__ = ["DocumentTransformerTests"]


class DocumentTransformerTests:
    """One document comes back for each, in order: for transformers that add something to documents,
    not for those that split or drop them. ::

        class TestMyTransformer(DocumentTransformerTests):
            @property
            def transformer_class(self) -> type[BaseDocumentTransformer]:
                return MyTransformer

            @property
            def transformer_params(self) -> dict[str, Any]:
                return {"model": FakeModel()}
    """

    @property
    @abstractmethod
    def transformer_class(self) -> type[BaseDocumentTransformer]:
        """The class of the transformer."""

    @property
    def transformer_params(self) -> dict[str, Any]:
        """What the class is called with."""
        return {}

    def picture_document(self, path: Path, **fields: Any) -> Document:
        """A document whose picture is the file at ``path``; override it for another form."""
        metadata = {"mmrag_image": str(path), **fields.pop("metadata", {})}
        return Document(**{"page_content": "", **fields, "metadata": metadata})

    @pytest.fixture
    def transformer(self) -> BaseDocumentTransformer:
        """The transformer."""
        return self.transformer_class(**self.transformer_params)

    @pytest.fixture
    def documents(self, tmp_path: Path) -> list[Document]:
        """Pictures between texts: with and without id and text, one of them twice."""
        for colour in ("red", "blue"):
            Image.new("RGB", (64, 48), colour).save(tmp_path / f"{colour}.png")
        red, blue = tmp_path / "red.png", tmp_path / "blue.png"
        own: dict[str, Any] = {"source": "a.txt", "n": 1, "deep": {"list": [1, None]}, "空": "值"}
        return [
            Document(id="1", page_content="the first text", metadata=own),
            self.picture_document(red, id="foo", metadata=own),
            Document(page_content="a text without an id"),
            self.picture_document(blue, page_content="a text of its own"),
            self.picture_document(red, id="red again"),
            Document(id="empty", page_content=""),
        ]

    def test_each_document_comes_back_in_its_place(
        self, transformer: BaseDocumentTransformer, documents: list[Document]
    ) -> None:
        done = transformer.transform_documents(documents)
        assert [type(document) for document in done] == [Document] * len(documents)
        assert [document.id for document in done] == [document.id for document in documents]

    def test_pictures_get_something_and_keep_their_metadata(
        self, transformer: BaseDocumentTransformer, documents: list[Document]
    ) -> None:
        done = transformer.transform_documents(documents)
        for place in (1, 3, 4):
            before, after = documents[place], done[place]
            assert after != before
            assert before.metadata.items() <= after.metadata.items()
            assert after.page_content or not before.page_content

    def test_texts_are_left_alone(
        self, transformer: BaseDocumentTransformer, documents: list[Document]
    ) -> None:
        done = transformer.transform_documents(documents)
        for place in (0, 2, 5):
            assert done[place] == documents[place]

    def test_the_input_is_not_changed(
        self, transformer: BaseDocumentTransformer, documents: list[Document]
    ) -> None:
        before = [document.model_copy(deep=True) for document in documents]
        done = transformer.transform_documents(documents)
        assert documents == before
        done[1].metadata["n"] = 2
        assert documents == before

    def test_metadata_stays_json(
        self, transformer: BaseDocumentTransformer, documents: list[Document]
    ) -> None:
        for document in transformer.transform_documents(documents):
            assert json.loads(json.dumps(document.metadata)) == document.metadata

    def test_the_same_documents_give_the_same(
        self, transformer: BaseDocumentTransformer, documents: list[Document]
    ) -> None:
        first = transformer.transform_documents(documents)
        assert transformer.transform_documents(tuple(documents)) == first
        assert [transformer.transform_documents([one])[0] for one in documents] == list(first)

    def test_what_is_done_is_not_done_again(
        self, transformer: BaseDocumentTransformer, documents: list[Document]
    ) -> None:
        done = transformer.transform_documents(documents)
        assert transformer.transform_documents(done) == done

    def test_no_documents_give_none(self, transformer: BaseDocumentTransformer) -> None:
        assert list(transformer.transform_documents([])) == []

    async def test_async_gives_the_same(
        self, transformer: BaseDocumentTransformer, documents: list[Document]
    ) -> None:
        expected = transformer.transform_documents(documents)
        fresh = self.transformer_class(**self.transformer_params)
        assert await fresh.atransform_documents(documents) == expected
        assert list(await fresh.atransform_documents([])) == []

    async def test_a_missing_picture_is_an_error_that_names_its_document(
        self, transformer: BaseDocumentTransformer, tmp_path: Path
    ) -> None:
        gone = self.picture_document(tmp_path / "gone.png", id="the lost one")
        with pytest.raises(Exception, match="the lost one"):
            transformer.transform_documents([gone])
        with pytest.raises(Exception, match="the lost one"):
            await transformer.atransform_documents([gone])
