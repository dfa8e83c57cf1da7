"""What LangChain's own standard tests have no suite for, in their style, as tests to subclass."""
# ruff: noqa: S101, D102  # tests: they assert, and their names say what

from __future__ import annotations

import base64
from abc import abstractmethod
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents.base import Blob
from langchain_core.embeddings import Embeddings
from langchain_core.messages.content import create_image_block
from PIL import Image

__all__ = ["ImageEmbeddingsTests"]


class ImageEmbeddingsTests:
    """What a LangChain embedding model with pictures has to do.

    It has ``embed_images(images)``, the name and argument that LangChain's vector stores call,
    ``embed_image(uris)``, and the async form of both. Subclass it beside LangChain's own
    ``EmbeddingsIntegrationTests``::

        class TestMyPictures(ImageEmbeddingsTests):
            @property
            def embeddings_class(self) -> type[Embeddings]:
                return MyEmbeddings

            @property
            def embedding_model_params(self) -> dict[str, Any]:
                return {"model": "model-001"}
    """

    @property
    @abstractmethod
    def embeddings_class(self) -> type[Embeddings]:
        """The class of the embedding model."""

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        """What the class is called with."""
        return {}

    @pytest.fixture
    def model(self) -> Any:
        """The embedding model."""
        return self.embeddings_class(**self.embedding_model_params)

    @pytest.fixture
    def pictures(self, tmp_path: Path) -> list[Path]:
        """Files of three pictures that do not look alike."""
        ramp = Image.linear_gradient("L")
        painted = {
            "red": Image.new("RGB", (64, 48), "red"),
            "ramp": ramp.convert("RGB"),
            "turned": ramp.rotate(180).convert("RGB"),
        }
        for name, image in painted.items():
            image.save(tmp_path / f"{name}.png")
        return [tmp_path / f"{name}.png" for name in painted]

    @pytest.fixture
    def torn(self, pictures: list[Path]) -> Path:
        """A file that ends in the middle of its picture."""
        path = pictures[0].with_name("torn.png")
        path.write_bytes(pictures[1].read_bytes()[:80])
        return path

    def test_pictures_give_lists_of_floats(self, model: Any, pictures: list[Path]) -> None:
        vectors = model.embed_images(pictures)
        assert isinstance(vectors, list)
        assert len(vectors) == len(pictures)
        assert all(type(vector) is list for vector in vectors)
        assert all(type(number) is float for vector in vectors for number in vector)

    def test_pictures_and_texts_have_vectors_of_one_length(
        self, model: Any, pictures: list[Path]
    ) -> None:
        vectors = [*model.embed_images(pictures), *model.embed_documents(["foo"])]
        assert {len(vector) for vector in vectors} == {len(model.embed_query("foo"))}

    def test_a_picture_has_one_vector_in_every_form(self, model: Any, pictures: list[Path]) -> None:
        path = pictures[1]
        data = path.read_bytes()
        text = base64.b64encode(data).decode()
        expected = _near(model.embed_images([path])[0])
        forms = {
            "path as a string": str(path),
            "bytes": data,
            "blob of a path": Blob.from_path(path),
            "blob of bytes": Blob.from_data(data, mime_type="image/png"),
            "content block": create_image_block(base64=text, mime_type="image/png"),
        }
        for form, image in forms.items():
            assert model.embed_images([image])[0] == expected, form

    def test_a_batch_gives_the_vectors_of_its_pictures_in_order(
        self, model: Any, pictures: list[Path]
    ) -> None:
        batch = model.embed_images([*pictures, pictures[0]])
        alone = [model.embed_images([path])[0] for path in pictures]
        assert [_near(vector) for vector in [*alone, alone[0]]] == batch
        assert not any(alone[0] == _near(other) for other in alone[1:])
        assert alone[1] != _near(alone[2])

    def test_embed_image_takes_paths(self, model: Any, pictures: list[Path]) -> None:
        vectors = model.embed_image(uris=[str(path) for path in pictures])
        assert vectors == [_near(vector) for vector in model.embed_images(pictures)]

    def test_no_picture_gives_no_vector(self, model: Any) -> None:
        assert model.embed_images([]) == []
        assert model.embed_image(uris=[]) == []

    def test_a_broken_picture_is_an_error_that_names_it(
        self, model: Any, pictures: list[Path], torn: Path
    ) -> None:
        for path in (torn, torn.with_name("missing.png")):
            with pytest.raises(Exception, match=path.name):
                model.embed_images([*pictures, path])
            with pytest.raises(Exception, match=path.name):
                model.embed_image(uris=[str(path)])

    def test_pictures_are_not_changed(self, model: Any, pictures: list[Path]) -> None:
        before = [path.read_bytes() for path in pictures]
        given: list[Any] = list(pictures)
        model.embed_images(given)
        assert given == pictures
        assert [path.read_bytes() for path in pictures] == before

    async def test_async_gives_the_vectors_of_sync(self, model: Any, pictures: list[Path]) -> None:
        expected = [_near(vector) for vector in model.embed_images(pictures)]
        assert await model.aembed_images(pictures) == expected
        assert await model.aembed_image(uris=[str(path) for path in pictures]) == expected
        assert await model.aembed_images([]) == []

    async def test_a_broken_picture_is_an_error_in_async_too(self, model: Any, torn: Path) -> None:
        with pytest.raises(Exception, match=torn.name):
            await model.aembed_images([torn])


def _near(vector: list[float]) -> Any:
    """Equal up to what rounding in another batch may change."""
    return pytest.approx(vector, abs=1e-5)
