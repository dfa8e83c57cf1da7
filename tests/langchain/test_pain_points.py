"""What users of LangChain ran into with pictures, and where it is shown that ours does not have it.

Under each report, or part of LangChain that it is about, stand the tests: ``file.test_name`` is in
``test_file.py`` beside this one, and ``test_name`` stands below.

langchain#38186: embeddings take no pictures
    embeddings.test_a_picture_has_one_vector_in_every_form
langchain#28710: there is no interface for them
    embeddings.test_chroma_takes_pictures
langchain#18222: a document is its text
    transformer.test_the_caption_is_a_field_of_its_own_and_not_text
langchain#23567: a model that needs a GPU, and all pictures in memory
    embeddings.test_the_bundled_encoder_is_the_default
    embeddings.test_pictures_are_decoded_ahead_of_the_encoder
langchain#37046: what is twice in a list counts twice
    fusion_retriever.test_issue_37046_a_document_that_is_twice_in_a_list_counts_once
langchain#38627: fusion loses metadata
    test_what_is_fused_keeps_its_metadata_and_says_who_found_it
langchain#16445: fusion loses scores
    fusion_retriever.test_issue_16445_scores_come_back
langchain#39052: lambda_mult is inverted over Qdrant
    vector_store.test_lambda_mult_is_not_inverted
langchain#39047: Qdrant refuses ids that are no UUIDs
    indexing.test_every_cleanup_with_every_key
    vector_store.test_ids
langchain#34812: nothing is async over Qdrant
    test_async_over_qdrant_gives_what_sync_gives
qdrant#5116, nextcloud-mcp-server#1199: a hidden constant lets one ranking win
    test_one_ranking_does_not_win_by_a_hidden_constant
langchain#31950: Chat Completions refuse pictures in the messages of tools
    tool.test_an_agent_on_chat_completions_searches_and_answers
    tool.test_auto_sends_pictures_to_models_that_are_known_to_take_them
langchain#37312: a tool that answers with pictures is long to write
    tool.test_with_pictures_the_content_is_blocks_in_the_order_of_the_ranks
LibreChat-AI/agents#344: some models take no picture wherever it stands
    tool.test_without_pictures_the_content_is_a_string_with_captions_and_places
langgraph#3442: what of a tool's answer the model sees
    tool.test_an_agent_on_chat_completions_searches_and_answers
langchain#19142, langchain-nvidia#343: rerankers lose metadata and change what they are given
    reranker.test_pictures_and_scores_that_langchains_own_loses
    test_no_part_changes_what_it_was_given
langchain#33292, langchain#33327: there is no ContextualCompressionRetriever any more
    retriever.test_langchain_33292_a_reranker_needs_no_other_retriever
langsmith-sdk#356, langfuse#1676: traces are full of pixels
    retriever.test_traces_get_references_and_no_bytes
    chain.test_pictures_of_documents_are_in_the_trace_of_the_model_alone
    chain.test_the_picture_of_a_question_is_a_short_name_in_traces

OpenCLIPEmbeddings: files stay open, and only paths are taken
    test_no_file_stays_open
    embeddings.test_a_picture_has_one_vector_in_every_form
EnsembleRetriever: pictures without captions are one document, k is ignored, sync is sequential
    fusion_retriever.test_pictures_without_captions_stay_apart
    fusion_retriever.test_k_of_the_call_counts
    fusion_retriever.test_a_document_without_the_id_key_is_no_error
    fusion_retriever.test_sync_asks_all_at_once_too
MultiVectorRetriever: two stores to be kept alike, and no query by a picture
    vector_store.test_a_picture_and_its_text_are_one_document
Cookbook: words are taken for base64, only the first picture is sent, all are called JPEG
    images.test_words_are_never_taken_for_base64
    convert.test_text_is_never_taken_for_a_picture
    chain.test_the_model_is_sent_numbered_sources_pictures_and_the_question_in_order
Chroma: base64 as text, a search by a picture that fails
    vector_store.test_pictures_in_every_form
QdrantVectorStore: writing erases other vectors, scores of RRF count as cosines
    reuse.test_adding_a_text_keeps_the_picture_of_its_point
    vector_store.test_relevance_is_from_0_to_1_and_keeps_the_order
Flashrank, Jina, Cohere and Voyage: reranked documents have no ids
    test_no_part_changes_what_it_was_given
Indexing: other pixels under the same path are skipped
    indexing.test_other_pixels_under_the_same_path_are_noticed
Safety: any path in a document is opened
    opening.test_a_picture_that_no_index_holds_is_not_opened
    opening.test_what_an_index_holds_is_opened_as_long_as_it_is_the_same
Safety: URLs are opened, and small files of very many pixels
    test_no_url_is_fetched_wherever_it_stands
    test_a_url_in_a_document_that_was_found_is_left_out
    test_a_bomb_is_refused_wherever_it_stands
"""

from __future__ import annotations

import ast
import asyncio
import copy
import gc
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from qdrant_client import QdrantClient

from langchain_mm import (
    CaptionTransformer,
    ChatModelCaptioner,
    CrossModalReranker,
    MultimodalEmbeddings,
    MultimodalRetriever,
    MultimodalVectorStore,
    create_multimodal_rag_chain,
    create_multimodal_tool,
)
from langchain_mm.convert import HIT_KEY, IMAGE_KEY
from langchain_mm.fusion_retriever import FusionRetriever
from langchain_mm.indexing import content_key
from mmrag import MultimodalIndex, QdrantStore
from mmrag.errors import InputError, MmragError, TooLarge
from mmrag.testing import FakeCaptioner, FakeEncoder, FakeReranker

from ..core.files import png_header
from .chat_models import Vision, painted
from .kitchen import Fixed, documents, kitchen

HERE = Path(__file__).parent


@pytest.fixture
def index(tmp_path: Path) -> Iterator[MultimodalIndex]:
    with kitchen(tmp_path) as index:
        yield index


def test_each_test_that_is_named_exists() -> None:
    named = re.findall(r"^ +(?:(\w+)\.)?(test_\w+)$", str(__doc__), re.M)
    indented = [line for line in str(__doc__).splitlines() if line.startswith(" ")]
    assert len(named) == len(indented) > 30
    for file in {file for file, _ in named}:
        tree = ast.parse((HERE / f"test_{file or 'pain_points'}.py").read_text("utf-8"))
        there = {node.name for node in tree.body if isinstance(node, _FUNCTIONS)}
        if file == "embeddings":  # of the suite that it subclasses
            there.add("test_a_picture_has_one_vector_in_every_form")
        assert {name for where, name in named if where == file} <= there


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


# Fusion


def test_what_is_fused_keeps_its_metadata_and_says_who_found_it() -> None:
    tea = Document("tea", id="tea", metadata={"deep": {"er": [1]}, "page": 3})
    bread = Document("bread", id="bread", metadata={"page": 9})
    retrievers = {"words": Fixed(found=[bread, tea]), "pictures": Fixed(found=[tea])}
    first, second = FusionRetriever(retrievers=retrievers).invoke("x")
    for document, given in ((first, tea), (second, bread)):
        hit = document.metadata.pop(HIT_KEY)
        assert document == given
        assert hit["score"] == pytest.approx(sum(r["contribution"] for r in hit["routes"]))
    named = FusionRetriever(retrievers=retrievers).invoke("x")[0].metadata[HIT_KEY]["routes"]
    assert [(route["route"], route["rank"]) for route in named] == [("pictures", 1), ("words", 2)]


def test_one_ranking_does_not_win_by_a_hidden_constant() -> None:
    """Qdrant's own default counts the first rank of one list more than the fourth of both."""
    one, two = ([Document(f"{name}{n}", id=f"{name}{n}") for n in range(3)] for name in "ab")
    both = Document("both", id="both")
    retrievers = [Fixed(found=[*one, both]), Fixed(found=[*two, both])]
    assert FusionRetriever(retrievers=retrievers).invoke("x")[0].id == "both"
    as_qdrant = FusionRetriever(retrievers=retrievers, rank_constant=1)
    assert as_qdrant.invoke("x")[0].id == "a0"


# Qdrant


async def test_async_over_qdrant_gives_what_sync_gives(tmp_path: Path) -> None:
    encoder, qdrant = FakeEncoder(), QdrantStore(QdrantClient(":memory:"), "kb")
    options: dict[str, Any] = {"text_encoder": encoder, "image_encoder": encoder}
    with MultimodalIndex.open(store=qdrant, **options) as index:
        store = MultimodalVectorStore(index)
        await store.aadd_documents(documents(tmp_path))
        retriever = MultimodalRetriever(index=store, k=2)
        questions = ["boil water", "a kitchen plan", "a red kettle"]
        expected = [retriever.invoke(question) for question in questions]
        assert [found[0].id for found in expected] == ["text", "plan", "kettle"]
        found = await asyncio.gather(*map(retriever.ainvoke, questions * 3))
        assert found == expected * 3
        assert await store.adelete(["text"])
        assert await store.aget_by_ids(["text", "plan"]) == store.get_by_ids(["plan"])


# What is given stays what it is


def test_no_part_changes_what_it_was_given(tmp_path: Path) -> None:
    def kept(given: list[Document], part: Callable[[list[Document]], Any]) -> Any:
        before = copy.deepcopy(given)
        made = part(given)
        assert given == before
        return made

    with kitchen(tmp_path) as index:
        store = MultimodalVectorStore(index)
        loaded = documents(tmp_path)
        captioned = kept(loaded, CaptionTransformer(FakeCaptioner()).transform_documents)
        assert kept(captioned, store.add_documents) == [document.id for document in loaded]
        reranker = CrossModalReranker(reranker=FakeReranker())
        words = "a kitchen plan"
        reranked = kept(captioned, lambda given: reranker.compress_documents(given, words))
        assert {d.id for d in reranked} == {"text", "kettle", "plan", "talk"}
        found = MultimodalRetriever(index=store).invoke("a kitchen plan")
        fixed = Fixed(found=found)
        kept(found, lambda _: FusionRetriever(retrievers=[fixed, fixed]).invoke(words))
        model = FakeListChatModel(responses=["See [1]."])
        kept(found, lambda _: create_multimodal_rag_chain(fixed, model).invoke(words))
        kept(found, lambda _: create_multimodal_tool(fixed, mode="images").invoke(words))
        kept(found, lambda given: [content_key(document) for document in given])
        kept(found, store.add_documents)
        assert HIT_KEY not in store.get_by_ids(["plan"])[0].metadata


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="the system does not list open files")
def test_no_file_stays_open(tmp_path: Path) -> None:
    paths = [painted(tmp_path / f"{n}.png", size=(600, 400)) for n in range(40)]
    most = 0

    class Counting(FakeEncoder):
        def encode_pixels(self, pixels: Any) -> Any:
            nonlocal most
            most = max(most, len(os.listdir("/dev/fd")))  # noqa: PTH208
            return super().encode_pixels(pixels)

    gc.collect()  # what other tests left open may be closed at any time
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208
    vectors = MultimodalEmbeddings(encoder=Counting(), batch_size=20).embed_images(paths)
    assert len(vectors) == len(paths)
    gc.collect()
    assert len(os.listdir("/dev/fd")) <= before  # noqa: PTH208
    assert most < before + 15, "those of the threads that decode, not of all pictures"


# Safety


def _document(image: str) -> Document:
    return Document("", id="a", metadata={IMAGE_KEY: image})


def _answer(index: MultimodalIndex, image: str) -> object:
    model = FakeListChatModel(responses=["yes"])
    chain = create_multimodal_rag_chain(MultimodalRetriever(index=index), model)
    return chain.invoke({"question": "what is it?", "image": image})


_OPENING: dict[str, Callable[[MultimodalIndex, str], object]] = {
    "embeddings": lambda _, image: MultimodalEmbeddings(encoder=FakeEncoder()).embed_images(
        [image]
    ),
    "add_images": lambda index, image: MultimodalVectorStore(index).add_images([image]),
    "add_documents": lambda i, image: MultimodalVectorStore(i).add_documents([_document(image)]),
    "search": lambda i, image: MultimodalVectorStore(i).similarity_search_by_image(image),
    "retriever": lambda index, image: MultimodalRetriever(index=index).retrieve(image=image),
    "block": lambda index, image: MultimodalRetriever(index=index).retrieve(
        image={"type": "image_url", "image_url": {"url": image}}
    ),
    "reranker": lambda _, image: CrossModalReranker(reranker=FakeReranker()).rerank(
        [Document("tea")], image=image
    ),
    "captions": lambda _, image: CaptionTransformer(FakeCaptioner()).transform_documents(
        [_document(image)]
    ),
    "captioner": lambda _, image: ChatModelCaptioner(Vision()).caption([image]),
    "chain": _answer,
}


@pytest.mark.parametrize("where", _OPENING)
def test_no_url_is_fetched_wherever_it_stands(index: MultimodalIndex, where: str) -> None:
    """A fetch would be the error of the network that tests do not have."""
    count = index.count()
    for url in ("http://127.0.0.1:9/a.png", "s3://bucket/a.png", f"file://{HERE}/a.png"):
        with pytest.raises(InputError, match="URLs are not fetched"):
            _OPENING[where](index, url)
    assert index.count() == count


@pytest.mark.parametrize("where", [name for name in _OPENING if name != "block"])
def test_a_bomb_is_refused_wherever_it_stands(
    index: MultimodalIndex, where: str, tmp_path: Path
) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_header(50_000, 50_000))
    count = index.count()
    with pytest.raises(TooLarge, match="50,000 x 50,000 pixels"):
        _OPENING[where](index, str(bomb))
    assert index.count() == count


def test_a_url_in_a_document_that_was_found_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """A store of others may say anything; the other documents are still to be answered from."""
    found = [_document("http://127.0.0.1:9/a.png"), Document("Tea is hot.", id="tea")]
    retriever = Fixed(found=found)
    said = create_multimodal_tool(retriever, mode="images").invoke("tea")
    assert "Tea is hot." in str(said)
    assert "127.0.0.1" not in str(said)
    model = FakeListChatModel(responses=["hot [2]"])
    answer = create_multimodal_rag_chain(retriever, model).invoke("tea")
    assert [cited["document"] for cited in answer["citations"]] == found[1:]
    reranked = CrossModalReranker(reranker=FakeReranker()).compress_documents(found, "tea")
    assert [document.id for document in reranked] == ["tea", "a"]
    assert caplog.text.count("URLs are not fetched") == 3
    with pytest.raises(MmragError, match="URLs are not fetched"):
        content_key(found[0])
