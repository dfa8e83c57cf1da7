"""MultimodalEmbedding: what LlamaIndex expects of an embedding model, and what others get wrong."""

from __future__ import annotations

import asyncio
import hashlib
import io
import pickle
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
)
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index.core.schema import (
    Document,
    ImageDocument,
    ImageNode,
    MediaResource,
    Node,
    TextNode,
)
from llama_index.core.storage.kvstore import SimpleKVStore
from PIL import Image

from llama_index_mm import MultimodalEmbedding
from mmrag.encoders.bundled import BundledEncoder
from mmrag.errors import DamagedSource, InputError, UnreadableSource
from mmrag.media import data_url
from mmrag.testing import FakeEncoder
from mmrag.types import Role

from .listening import Callbacks, listening
from .nodes import base64_of, painted, png

BUNDLED = BundledEncoder()  # the models are loaded once for all tests


class Watched(FakeEncoder):
    """Notes what it is asked, and how many calls run at once."""

    def __init__(self, dim: int = 64, meet: int = 1) -> None:
        super().__init__(dim)
        self.calls: list[tuple[str, int]] = []
        self.running = self.most = 0
        self.lock = threading.Lock()
        self.barrier = threading.Barrier(meet)

    @contextmanager
    def noted(self, kind: str, size: int) -> Iterator[None]:
        with self.lock:
            self.calls.append((kind, size))
            self.running += 1
            self.most = max(self.most, self.running)
        self.barrier.wait(10)
        yield
        with self.lock:
            self.running -= 1

    def encode_texts(self, texts: Sequence[str], role: Role) -> Any:
        with self.noted(role, len(texts)):
            return super().encode_texts([f"{role} {text}" for text in texts], role)

    def encode_pixels(self, pixels: Sequence[Any]) -> Any:
        with self.noted("image", len(pixels)):
            return super().encode_pixels(pixels)


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    return [str(painted(tmp_path / f"{c}.png", c)) for c in ("red", "green", "blue", "white")]


def watched(**options: Any) -> tuple[MultimodalEmbedding, Watched]:
    encoder = Watched(meet=options.pop("meet", 1))
    return MultimodalEmbedding(encoder=encoder, **options), encoder


def test_it_is_a_multi_modal_embedding() -> None:
    model = MultimodalEmbedding()
    assert isinstance(model, MultiModalEmbedding)
    assert model.class_name() == "MultimodalEmbedding"
    assert model.model_name == "bundled"
    assert model.get_text_embedding("a cat") == pytest.approx(
        BUNDLED.encode_texts(["a cat"], "passage")[0].tolist()
    )


def test_an_encoder_by_name() -> None:
    model = MultimodalEmbedding(encoder="bundled")
    assert isinstance(model.encoder, BundledEncoder)
    assert model.to_dict()["model_name"] == "bundled"
    with pytest.raises(ValueError, match="siglip2-base"):
        MultimodalEmbedding(encoder="siglip2-bas")
    with pytest.raises(ValueError, match="takes texts alone"):
        MultimodalEmbedding(model_name="bge-m3")


def test_words_find_the_picture() -> None:
    sample = Path(sys.modules["mmrag"].__file__ or "").parent / "sample" / "pictures"
    model = MultimodalEmbedding(encoder=BUNDLED)
    names = ["espresso.jpg", "chelsea.jpg", "brick-wall.jpg"]
    vectors = model.get_image_embedding_batch([str(sample / name) for name in names])
    for query, best in (("a cat", 1), ("一杯咖啡", 0), ("bricks", 2)):
        asked = model.get_query_embedding(query)
        assert int(np.argmax([model.similarity(asked, v) for v in vectors])) == best


# Batches


def test_texts_and_pictures_are_encoded_in_batches(pictures: list[str]) -> None:
    model, encoder = watched(embed_batch_size=3)
    model.get_text_embedding_batch([f"text {n}" for n in range(7)])
    model.get_image_embedding_batch(pictures)
    assert encoder.calls == [("passage", 3)] * 2 + [("passage", 1), ("image", 3), ("image", 1)]


def test_the_same_content_twice_in_a_batch_is_encoded_once(pictures: list[str]) -> None:
    model, encoder = watched()
    first, other, again = model.get_image_embedding_batch([pictures[0], pictures[1], pictures[0]])
    assert first == again != other
    assert encoder.calls == [("image", 2)]


@pytest.mark.parametrize("size", [0, -1, 2049])
def test_a_batch_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="embed_batch_size"):
        MultimodalEmbedding(embed_batch_size=size)


def test_nothing_to_embed() -> None:
    model, encoder = watched()
    assert model.get_text_embedding_batch([]) == model.get_image_embedding_batch([]) == []
    assert model([]) == []
    assert encoder.calls == []


def test_progress_is_shown(capsys: pytest.CaptureFixture[str], pictures: list[str]) -> None:
    model, _ = watched()
    model.get_image_embedding_batch(pictures, show_progress=True)
    assert "Generating embeddings: 100%" in capsys.readouterr().err


# Async


def test_sync_and_async_give_the_same(pictures: list[str]) -> None:
    model, _ = watched(embed_batch_size=2)
    texts = ["one", "two", "three"]

    async def ask() -> list[Any]:
        return [
            await model.aget_query_embedding("one"),
            await model.aget_text_embedding("one"),
            await model.aget_text_embedding_batch(texts),
            await model.aget_image_embedding(pictures[0]),
            await model.aget_image_embedding_batch(pictures),
            await model.aget_agg_embedding_from_queries(texts),
            await model._aget_text_embeddings(texts),
            await model._aget_image_embeddings(pictures),
            [await model._aget_query_embedding("one"), await model._aget_text_embedding("one")],
            await model._aget_image_embedding(pictures[0]),
        ]

    assert asyncio.run(ask()) == [
        model.get_query_embedding("one"),
        model.get_text_embedding("one"),
        model.get_text_embedding_batch(texts),
        model.get_image_embedding(pictures[0]),
        model.get_image_embedding_batch(pictures),
        model.get_agg_embedding_from_queries(texts),
        model.get_text_embedding_batch(texts),
        model.get_image_embedding_batch(pictures),
        [model.get_query_embedding("one"), model.get_text_embedding("one")],
        model.get_image_embedding(pictures[0]),
    ]


def test_async_does_not_block_the_event_loop(pictures: list[str]) -> None:
    """Every call waits in the encoder for a task that only a free event loop can run."""
    model, encoder = watched(meet=2)

    async def ask() -> None:
        calls = [
            model.aget_query_embedding("q"),
            model.aget_text_embedding("t"),
            model.aget_text_embedding_batch(["t"]),
            model._aget_text_embedding("t"),
            model.aget_image_embedding(pictures[0]),
            model.aget_image_embedding_batch(pictures),
            model.acall([TextNode(text="t")]),
        ]
        for call in calls:
            task = asyncio.create_task(call)  # type: ignore[var-annotated,arg-type]
            while encoder.barrier.n_waiting == 0:
                await asyncio.sleep(0)
            encoder.barrier.wait(10)
            await task

    asyncio.run(ask())
    assert len(encoder.calls) == 7


def test_async_does_not_start_every_batch_at_once(pictures: list[str]) -> None:
    one, encoder = watched(embed_batch_size=1)
    asyncio.run(one.aget_image_embedding_batch(pictures))
    asyncio.run(one.aget_text_embedding_batch(["a", "b", "c"]))
    assert encoder.most == 1
    # Two meet at the barrier: they run at once, and never a third.
    two, encoder = watched(embed_batch_size=1, num_workers=2, meet=2)
    vectors = asyncio.run(two.aget_image_embedding_batch(pictures))
    assert encoder.most == 2
    assert vectors == one.get_image_embedding_batch(pictures)


def test_an_error_in_a_batch_ends_the_call(pictures: list[str], tmp_path: Path) -> None:
    model, encoder = watched(embed_batch_size=1)
    gone = str(tmp_path / "gone.png")
    with pytest.raises(UnreadableSource, match=r"gone\.png"):
        asyncio.run(model.aget_image_embedding_batch([gone, *pictures * 5]))
    assert len(encoder.calls) < 20


# Nodes


def nodes_of(pictures: list[str]) -> list[Any]:
    caption = {"mmrag_caption": {"brief": "a caption"}}
    return [
        TextNode(text="words", metadata={"title": "T", "secret": "S"}),
        ImageNode(image_path=pictures[0]),
        ImageNode(image_path=pictures[1], text="a caption", metadata=caption),
        ImageNode(image=base64_of(png("purple"))),
        ImageDocument(image_path=pictures[2]),
        Node(image_resource=MediaResource(path=Path(pictures[3])), text_resource=None),
        Node(text_resource=MediaResource(text="t"), image_resource=MediaResource(data=png("cyan"))),
        Document(text="a document"),
    ]


def test_nodes_are_embedded_by_their_pictures_or_else_their_text(pictures: list[str]) -> None:
    model, encoder = watched()
    nodes = nodes_of(pictures)
    nodes[0].excluded_embed_metadata_keys = ["secret"]
    done = model(nodes)
    assert list(map(id, done)) == list(map(id, nodes))
    assert Counter(encoder.calls) == {("image", 6): 1, ("passage", 2): 1}
    expected = [
        model.get_text_embedding("title: T\n\nwords"),
        model.get_image_embedding(pictures[0]),
        model.get_image_embedding(pictures[1]),
        model.get_image_embedding(png("purple")),
        model.get_image_embedding(pictures[2]),
        model.get_image_embedding(pictures[3]),
        model.get_image_embedding(png("cyan")),
        model.get_text_embedding("a document"),
    ]
    assert [node.embedding for node in done] == expected
    again = asyncio.run(model.acall(nodes_of(pictures)[1:]))
    assert [node.embedding for node in again] == expected[1:]


def test_an_image_node_is_never_embedded_as_an_empty_text(pictures: list[str]) -> None:
    model, encoder = watched()
    (node,) = model([ImageNode(image_path=pictures[0])])
    assert node.embedding == model.get_image_embedding(pictures[0])
    for empty in (ImageNode(image_url="https://example.org/a.png"), ImageNode(id_="empty")):
        with pytest.raises(InputError, match=empty.node_id):
            model([empty])
    assert {kind for kind, _ in encoder.calls} == {"image"}
    (told,) = model([ImageNode(image_url="https://example.org/a.png", text="a cat")])
    assert told.embedding == model.get_text_embedding("a cat")


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(png()[:60])
    model, _ = watched()
    with pytest.raises(DamagedSource, match=r"broken\.png: the picture is broken"):
        model([ImageNode(image_path=str(broken))])
    with pytest.raises(DamagedSource, match=r"^sha256:"):
        model.get_image_embedding(png()[:60])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda path: path,
        lambda path: Path(path).read_bytes(),
        lambda path: io.BytesIO(Path(path).read_bytes()),
        Path,
        Image.open,
        lambda path: data_url(Path(path).read_bytes(), "image/png"),
    ],
)
def test_a_picture_may_come_in_any_form(pictures: list[str], wrap: Any) -> None:
    model, _ = watched(embeddings_cache=SimpleKVStore())
    assert model.get_image_embedding(wrap(pictures[0])) == model.get_image_embedding(pictures[0])


# Roles, and the cache


def test_queries_and_passages_have_their_roles() -> None:
    model, encoder = watched()
    query, passage = model.get_query_embedding("same"), model.get_text_embedding("same")
    assert encoder.calls == [("query", 1), ("passage", 1)]
    assert query != passage
    mean = model.get_agg_embedding_from_queries(["same", "other"])
    other = model.get_query_embedding("other")
    assert mean == pytest.approx(np.mean([query, other], axis=0).tolist())


@pytest.mark.parametrize("use_async", [False, True])
def test_pr_23181_the_cache_does_not_give_a_passage_for_a_query(use_async: bool) -> None:
    plain, _ = watched()
    cached, encoder = watched(embeddings_cache=SimpleKVStore())
    for _ in range(2):
        if use_async:
            passage = asyncio.run(cached.aget_text_embedding("same"))
            query = asyncio.run(cached.aget_query_embedding("same"))
        else:
            passage = cached.get_text_embedding("same")
            query = cached.get_query_embedding("same")
        assert passage == plain.get_text_embedding("same")
        assert query == plain.get_query_embedding("same")
    assert encoder.calls == [("passage", 1), ("query", 1)], "the second time they are cached"


def test_the_cache_does_not_mix_encoders() -> None:
    store = SimpleKVStore()
    small = MultimodalEmbedding(encoder=FakeEncoder(32), embeddings_cache=store)
    large = MultimodalEmbedding(encoder=FakeEncoder(48), embeddings_cache=store)
    assert len(small.get_text_embedding("same")) == 32
    assert len(large.get_text_embedding("same")) == 48


def test_issue_23002_the_cache_knows_a_picture_by_its_content(tmp_path: Path) -> None:
    model, encoder = watched(embeddings_cache=SimpleKVStore())
    path = painted(tmp_path / "a.png", "red")
    red = model.get_image_embedding(str(path))
    copy = painted(tmp_path / "copy.png", "red")
    assert model.get_image_embedding(str(copy)) == red
    assert len(encoder.calls) == 1
    painted(path, "blue")
    blue = model.get_image_embedding(str(path))
    assert blue != red
    assert model.get_image_embedding_batch([str(copy), str(path)]) == [red, blue]
    assert len(encoder.calls) == 2


def test_a_cache_of_batches_encodes_only_what_is_new(pictures: list[str]) -> None:
    store = SimpleKVStore()
    model, encoder = watched(embeddings_cache=store)
    plain, _ = watched()
    model.get_text_embedding_batch(["a", "b"])
    model.get_image_embedding_batch(pictures[:3])
    encoder.calls.clear()
    assert model.get_text_embedding_batch(["b", "c", "a"]) == plain.get_text_embedding_batch(
        ["b", "c", "a"]
    )
    assert model.get_image_embedding_batch(pictures) == plain.get_image_embedding_batch(pictures)
    model([ImageNode(image_path=pictures[0]), TextNode(text="c")])
    assert encoder.calls == [("passage", 1), ("image", 1)]
    assert len(store.get_all(collection="embeddings")) == 3 + 4


def test_the_cache_has_neither_texts_nor_paths(pictures: list[str]) -> None:
    store = SimpleKVStore()
    model, _ = watched(embeddings_cache=store)
    model.get_text_embedding("a private sentence")
    model.get_image_embedding(pictures[0])
    kept = str(store.get_all(collection="embeddings"))
    assert "private" not in kept
    assert pictures[0] not in kept


def test_changing_a_vector_does_not_change_the_cache() -> None:
    model, _ = watched(embeddings_cache=SimpleKVStore())
    first = model.get_text_embedding("a")
    kept = list(first)
    first[0] = 9.0
    model.get_text_embedding("a")[0] = 9.0
    assert model.get_text_embedding("a") == kept


class Limiter(BaseRateLimiter):
    count = 0

    def acquire(self) -> None:
        self.count += 1

    async def async_acquire(self) -> None:
        raise AssertionError("async is the sync way in a thread")


def test_a_rate_limiter_is_asked_before_each_call_of_the_encoder(pictures: list[str]) -> None:
    limiter = Limiter()
    model, encoder = watched(
        rate_limiter=limiter, embeddings_cache=SimpleKVStore(), embed_batch_size=2
    )
    for _ in range(2):
        model.get_image_embedding_batch(pictures)
        asyncio.run(model.aget_text_embedding_batch(["a", "b", "c"]))
    assert limiter.count == len(encoder.calls) == 4


# Long texts, other encoders


def test_issue_16937_a_text_over_the_context_length_is_embedded_to_its_end() -> None:
    model = MultimodalEmbedding(encoder=BUNDLED)
    long = "the wheel turns and the chain follows " * 400
    ends = [model.get_text_embedding(long + end) for end in ("", "a volcano erupts " * 200)]
    volcano = model.get_query_embedding("a volcano erupts")
    assert model.similarity(volcano, ends[1]) > model.similarity(volcano, ends[0]) + 0.1


def test_issue_17147_any_encoder_can_be_used() -> None:
    model = MultimodalEmbedding(encoder=FakeEncoder(16))
    assert model.model_name == "fake"
    assert len(model.get_text_embedding("a")) == 16
    with pytest.raises(ValueError, match="ImageEncoder"):
        MultimodalEmbedding(encoder=3)


# Serialisation


def test_the_settings_survive_a_round_trip() -> None:
    model = MultimodalEmbedding(
        encoder=BUNDLED, embed_batch_size=7, num_workers=2, embeddings_cache=SimpleKVStore()
    )
    data = model.to_dict()
    assert data["class_name"] == "MultimodalEmbedding"
    for copy in (MultimodalEmbedding.from_dict(data), MultimodalEmbedding.from_json(model.json())):
        assert copy.to_dict() == data
        assert copy.get_query_embedding("a") == model.get_query_embedding("a")


def test_an_encoder_that_is_not_bundled_has_to_be_passed_again() -> None:
    data = MultimodalEmbedding(encoder=FakeEncoder()).to_dict()
    with pytest.raises(ValueError, match="as encoder="):
        MultimodalEmbedding.from_dict(data)
    assert MultimodalEmbedding.from_dict(data, encoder=FakeEncoder()).to_dict() == data
    with pytest.raises(ValueError, match="the encoder's space is"):
        MultimodalEmbedding.from_dict(data, encoder=FakeEncoder(32))


def test_what_changes_the_vectors_changes_the_dict() -> None:
    """LlamaIndex's pipeline caches a transformation under its dict."""
    dicts = [MultimodalEmbedding(encoder=FakeEncoder(dim)).to_dict() for dim in (32, 48)]
    assert dicts[0] != dicts[1]


def test_it_is_pickled_with_its_encoder() -> None:
    copy = pickle.loads(pickle.dumps(MultimodalEmbedding(encoder=FakeEncoder(16))))
    assert len(copy.get_text_embedding("a")) == 16
    bundled = pickle.loads(pickle.dumps(MultimodalEmbedding(encoder=BUNDLED, embed_batch_size=3)))
    assert bundled.embed_batch_size == 3
    assert bundled.get_text_embedding("a") == pytest.approx(
        BUNDLED.encode_texts(["a"], "passage")[0].tolist()
    )


def test_an_encoder_that_cannot_be_pickled_is_not_replaced_by_another() -> None:
    model, encoder = watched()  # its lock cannot be pickled
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(model)
    assert model.encoder is encoder, "and the original stays whole"


def test_pickling_leaves_the_original_as_it_is() -> None:
    store = SimpleKVStore()
    store.put("lock", {"lock": threading.Lock()})  # a store that cannot be pickled
    model = MultimodalEmbedding(encoder=FakeEncoder(), embeddings_cache=store)
    copy = pickle.loads(pickle.dumps(model))
    assert copy.embeddings_cache is None
    assert model.embeddings_cache is store


def test_models_are_loaded_at_the_first_use() -> None:
    code = (
        "import sys; from llama_index_mm import MultimodalEmbedding; m = MultimodalEmbedding();"
        "m.to_dict(); assert 'onnxruntime' not in sys.modules;"
        "m.get_text_embedding('a'); assert 'onnxruntime' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")


def test_many_threads_may_be_the_first_to_use_it() -> None:
    model = MultimodalEmbedding(encoder=BundledEncoder())

    async def ask() -> list[list[float]]:
        return await asyncio.gather(*(model.aget_text_embedding("same") for _ in range(16)))

    first, *others = asyncio.run(ask())
    assert all(vector == first for vector in others)


@pytest.mark.slow
def test_a_pipeline_embeds_in_several_processes(pictures: list[str]) -> None:
    model = MultimodalEmbedding(encoder=BUNDLED)
    nodes = [ImageNode(image_path=path) for path in pictures] + [
        TextNode(text=f"text {n}") for n in range(4)
    ]
    done = IngestionPipeline(transformations=[model]).run(nodes=nodes, num_workers=2)
    expected = model.get_image_embedding_batch(pictures)
    expected += model.get_text_embedding_batch([f"text {n}" for n in range(4)])
    assert [node.node_id for node in done] == [node.node_id for node in nodes]
    np.testing.assert_allclose([node.embedding for node in done], expected, atol=1e-6)


# Events


@pytest.mark.parametrize("use_async", [False, True])
def test_events_name_what_was_embedded_and_never_hold_its_bytes(
    pictures: list[str], use_async: bool
) -> None:
    callbacks = Callbacks()
    model, _ = watched(callback_manager=CallbackManager([callbacks]), embed_batch_size=2)
    data = png("purple")
    images = [pictures[0], io.BytesIO(data), data_url(data, "image/png")]
    with listening(EmbeddingStartEvent, EmbeddingEndEvent) as events:
        if use_async:
            asyncio.run(model.aget_text_embedding_batch(["one", "two"]))
            asyncio.run(model.aget_query_embedding("three"))
            vectors = asyncio.run(model.aget_image_embedding_batch(images))
            asyncio.run(model.aget_image_embedding(data))
        else:
            model.get_text_embedding_batch(["one", "two"])
            model.get_query_embedding("three")
            vectors = model.get_image_embedding_batch(images)
            model.get_image_embedding(data)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    names = [["one", "two"], ["three"], [pictures[0], digest], [digest], [digest]]
    starts, ends = events[::2], events[1::2]
    assert [event.chunks for event in ends] == names
    assert ends[2].embeddings == vectors[:2]
    assert [event.model_dict for event in starts] == [model.to_payload()] * 5
    assert all(event.span_id for event in ends[:2]), "the events belong to the spans of the calls"
    assert [kind for kind, _ in callbacks.ends] == [CBEventType.EMBEDDING] * 5
    assert [payload[EventPayload.CHUNKS] for _, payload in callbacks.ends] == names
    assert callbacks.ends[3][1][EventPayload.EMBEDDINGS] == vectors[2:]
