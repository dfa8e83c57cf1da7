"""SentenceTransformerEncoder against SentenceTransformer.encode itself on the same weights."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
sentence_transformers = pytest.importorskip("sentence_transformers")

from mmrag.encode import encode_images  # noqa: E402
from mmrag.encoders import torch_model  # noqa: E402
from mmrag.encoders.sentence_transformers import (  # noqa: E402
    SentenceTransformerEncoder,
    SentenceTransformerImageEncoder,
)
from mmrag.errors import InputError, MissingExtra, ModelUnavailable  # noqa: E402
from mmrag.protocols import ImageEncoder, TextEncoder  # noqa: E402

from .torch_contract import TorchEncoderContract, TorchImageEncoderContract  # noqa: E402
from .transformers_models import bert, clip, qwen_vl  # noqa: E402

pytestmark = pytest.mark.torch

TEXTS = ["红色自行车", "a RED bicycle", "如何重置路由器密码", "naïve café, the wheel!", "404", ""]
DIGITS = "一二三四五六七八九十"  # each a token of its own


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each: their names are those of models whose prompts are known."""
    made = tmp_path_factory.mktemp("models")
    bert(made / "bge-small-zh-v1.5")
    bert(made / "e5-small-v2", pooling="mean")
    bert(made / "unknown", pooling="lasttoken")
    clip(made / "clip")
    return made


@pytest.fixture(scope="module")
def bge(folders: Path) -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(folders / "bge-small-zh-v1.5", precision="fp32")


@pytest.fixture(scope="module")
def seeing(folders: Path) -> SentenceTransformerImageEncoder:
    return SentenceTransformerImageEncoder(folders / "clip", precision="fp32")


class TestTextContract(TorchEncoderContract):
    @pytest.fixture(scope="class")
    def encoder(self, folders: Path) -> SentenceTransformerEncoder:
        # One prompt for both: to random weights, two prompts are two texts.
        same = {"query_prompt": "the ", "passage_prompt": "the "}
        return SentenceTransformerEncoder(folders / "e5-small-v2", precision="fp32", **same)


class TestImageContract(TorchImageEncoderContract):
    @pytest.fixture
    def encoder(self, seeing: SentenceTransformerImageEncoder) -> SentenceTransformerImageEncoder:
        return seeing


def reference(folder: Path) -> Any:
    return sentence_transformers.SentenceTransformer(str(folder), device="cpu")


def close(rows: Any, others: Any) -> bool:
    return bool(np.einsum("nd,nd->n", rows, np.asarray(others)).min() >= 0.99999)


def painted(size: tuple[int, int], seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return Image.fromarray(noise).resize(size)


PROMPTS = [
    ("bge-small-zh-v1.5", "query", "为这个句子生成表示以用于检索相关文章："),
    ("bge-small-zh-v1.5", "passage", ""),
    ("e5-small-v2", "query", "query: "),
    ("e5-small-v2", "passage", "passage: "),
    ("unknown", "query", ""),
    ("unknown", "passage", ""),
]


@pytest.mark.parametrize(("name", "role", "prompt"), PROMPTS)
def test_texts_are_those_of_sentence_transformers_in_a_batch_and_alone(
    folders: Path, name: str, role: Any, prompt: str
) -> None:
    model = reference(folders / name)
    encoder = SentenceTransformerEncoder(folders / name, precision="fp32")
    wanted = model.encode(TEXTS, prompt=prompt, normalize_embeddings=True)
    assert close(encoder.encode_texts(TEXTS, role), wanted)
    for text, row in zip(TEXTS, wanted, strict=True):
        assert close(encoder.encode_texts([text], role), row[None])
    other = model.encode(TEXTS, prompt="the ", normalize_embeddings=True)
    assert not close(encoder.encode_texts(TEXTS, role), other)  # a prompt does matter


def test_prompts_that_the_model_has_itself_go_before_those_of_its_name(
    folders: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "e5-small-v2"
    shutil.copytree(folders / "e5-small-v2", copy)
    config = copy / "config_sentence_transformers.json"
    said = json.loads(config.read_text())
    own = {"query": "red ", "passage": "the "}  # and no "document", as many have it
    config.write_text(json.dumps({**said, "prompts": own}))
    model, encoder = reference(copy), SentenceTransformerEncoder(copy, precision="fp32")
    for role, prompt in own.items():
        wanted = model.encode(TEXTS, prompt=prompt, normalize_embeddings=True)
        assert close(encoder.encode_texts(TEXTS, role), wanted)  # type: ignore[arg-type]
    wanted = model.encode_query(TEXTS, normalize_embeddings=True)
    assert close(encoder.encode_texts(TEXTS, "query"), wanted)


def test_prompts_that_are_given_go_before_all_others(folders: Path) -> None:
    folder = folders / "e5-small-v2"
    encoder = SentenceTransformerEncoder(folder, query_prompt="", passage_prompt="the ")
    model = reference(folder)
    queries = model.encode(TEXTS, normalize_embeddings=True)
    passages = model.encode(TEXTS, prompt="the ", normalize_embeddings=True)
    assert close(encoder.encode_texts(TEXTS, "query"), queries)
    assert close(encoder.encode_texts(TEXTS, "passage"), passages)


def test_a_long_text_is_the_mean_of_its_windows_each_with_the_prompt(folders: Path) -> None:
    """64 positions, of which [CLS], [SEP] and "query: " (query is 5 tokens here) take 8."""
    folder = folders / "e5-small-v2"
    model, encoder = reference(folder), SentenceTransformerEncoder(folder, precision="fp32")
    prompt = model.tokenizer.encode("query: ", add_special_tokens=False)
    fits = 64 - 2 - len(prompt)
    whole = (DIGITS * 10)[:fits]
    wanted = model.encode([whole], prompt="query: ", normalize_embeddings=True)
    assert close(encoder.encode_texts([whole], "query"), wanted)

    size, shared = fits - 4, (fits - 4) // 10
    long = (DIGITS * 20)[: 3 * size - 2 * shared]  # three windows exactly
    starts = [place * (size - shared) for place in range(3)]
    windows = [long[start : start + size] for start in starts]
    parts = model.encode(windows, prompt="query: ", normalize_embeddings=True)
    mean = parts.mean(axis=0)
    row = encoder.encode_texts([long], "query")
    assert close(row, (mean / np.linalg.norm(mean))[None])
    cut = model.encode([long], prompt="query: ", normalize_embeddings=True)
    assert not close(row, cut)  # as sentence-transformers cuts it off


def test_a_prompt_that_leaves_no_room_is_refused(folders: Path) -> None:
    encoder = SentenceTransformerEncoder(folders / "unknown", query_prompt="the red " * 30)
    with pytest.raises(InputError, match="shorten the prompt"):
        encoder.encode_texts(["a"], "query")


def test_a_prompt_is_not_pooled_where_the_model_says_so(folders: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders / "e5-small-v2", tmp_path / "instructor"))
    config = folder / "1_Pooling" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "include_prompt": False}))
    model = reference(folder)
    wanted = model.encode(TEXTS, prompt="the red ", normalize_embeddings=True)
    encoder = SentenceTransformerEncoder(folder, query_prompt="the red ", precision="fp32")
    assert close(encoder.encode_texts(TEXTS, "query"), wanted)
    pooled = SentenceTransformerEncoder(folders / "e5-small-v2", query_prompt="the red ")
    assert not close(pooled.encode_texts(TEXTS, "query"), wanted)


def test_vectors_that_the_model_shortens_are_short(folders: Path) -> None:
    folder = str(folders / "unknown")
    model = sentence_transformers.SentenceTransformer(folder, device="cpu", truncate_dim=8)
    wanted = model.encode(TEXTS, normalize_embeddings=True)
    encoder = SentenceTransformerEncoder(model, precision="fp32")
    assert encoder.space.dim == 8
    assert close(encoder.encode_texts(TEXTS, "query"), wanted)
    assert encoder.space != SentenceTransformerEncoder(folder).space


def test_a_model_without_attention_has_no_limit(tmp_path: Path) -> None:
    """StaticEmbedding (model2vec) takes texts of any length as they are."""
    from sentence_transformers.models import StaticEmbedding

    from .transformers_models import fast_bert_tokenizer

    torch.manual_seed(0)
    static = StaticEmbedding(fast_bert_tokenizer().backend_tokenizer, embedding_dim=16)
    model = sentence_transformers.SentenceTransformer(modules=[static], device="cpu")
    model.save(str(tmp_path))
    encoder = SentenceTransformerEncoder(tmp_path, precision="fp32")
    texts = ["a red bicycle", "the history of rome " * 500]
    wanted = reference(tmp_path).encode(texts, normalize_embeddings=True)
    assert close(encoder.encode_texts(texts, "passage"), wanted)


def test_pictures_and_texts_of_clip_are_those_of_sentence_transformers(
    folders: Path, seeing: SentenceTransformerImageEncoder, tmp_path: Path
) -> None:
    model = reference(folders / "clip")
    pictures = [painted(size, seed) for seed, size in enumerate([(60, 40), (33, 90), (32, 32)])]
    paths = [tmp_path / f"{place}.png" for place in range(len(pictures))]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    wanted = model.encode(pictures, normalize_embeddings=True)
    assert close(encode_images(seeing, pictures), wanted)
    assert close(encode_images(seeing, paths), wanted)
    for picture, row in zip(pictures, wanted, strict=True):
        assert close(seeing.encode_pixels([seeing.preprocess(picture)]), row[None])
    texts = model.encode(TEXTS, normalize_embeddings=True)
    assert close(seeing.encode_texts(TEXTS, "query"), texts)
    assert close(seeing.encode_texts(TEXTS, "passage"), texts)
    assert seeing.image_size == 32
    assert seeing.space.dim == 16


def test_a_model_that_takes_pictures_of_any_shape_in_chat_messages(tmp_path: Path) -> None:
    folder = qwen_vl(tmp_path)
    model = reference(folder)
    pictures = [painted(size, seed) for seed, size in enumerate([(90, 60), (50, 200), (80, 80)])]
    prompts = {"query_prompt": "find the red", "passage_prompt": "the"}
    encoder = SentenceTransformerImageEncoder(folder, precision="fp32", **prompts)
    wanted = model.encode(pictures, prompt="the", normalize_embeddings=True)
    assert close(encode_images(encoder, pictures), wanted)
    alone = [encoder.encode_pixels([encoder.preprocess(picture)])[0] for picture in pictures]
    assert close(np.stack(alone), wanted)
    typed = [{"text": text} for text in TEXTS]
    texts = model.encode(typed, prompt="find the red", normalize_embeddings=True)
    assert close(encoder.encode_texts(TEXTS, "query"), texts)
    assert not close(encoder.encode_texts(TEXTS, "passage"), texts)
    assert encoder.encode_texts([DIGITS * 100], "query").shape == (1, 32)
    assert encoder.image_size == 112


def test_a_text_that_looks_like_a_picture_is_a_text(
    seeing: SentenceTransformerImageEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sentence-transformers would fetch the first two and open the third."""
    monkeypatch.chdir(tmp_path)
    painted((40, 40), 1).save("red.png")
    texts = ["https://example.org/red.png", "data:image/png;base64,AAAA", "red.png"]
    rows = seeing.encode_texts(texts, "query")
    spaced = seeing.encode_texts([f" {text}" for text in texts], "query")  # the same tokens
    assert close(rows, spaced)


def test_transparent_is_white(seeing: SentenceTransformerImageEncoder) -> None:
    clear = Image.new("RGBA", (50, 80), (10, 20, 30, 0))
    white = Image.new("RGB", (50, 80), "white")
    np.testing.assert_array_equal(seeing.preprocess(clear), seeing.preprocess(white))


class BatchesFirst:
    """A runner whose batches are all made before the first of them is run, as in two lanes."""

    def encode(self, forward: Any, items: Any, collate: Any) -> Any:
        batches = [collate([item]) for item in items]
        return np.concatenate([forward(self, batch) for batch in batches])

    truncate_dim = None

    def __call__(self, features: Any, task: str) -> Any:
        return {"sentence_embedding": np.float32([[len(features["said"])]])}


def test_what_is_no_tensor_stays_with_its_batch(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = SentenceTransformerEncoder(folders / "unknown")._loaded()
    monkeypatch.setattr(model, "_runner", BatchesFirst())
    monkeypatch.setattr(model, "_text_features", lambda batch, role: {"said": batch[0]})
    assert model.encode_texts([DIGITS[:1], DIGITS[:5], DIGITS], "query").tolist() == [
        [1],
        [5],
        [10],
    ]


def test_texts_and_pictures_are_each_tried_in_bf16(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def pays(model: Any, forward: Any, inputs: Any) -> bool:
        tried.append({name for name in inputs if name in ("input_ids", "pixel_values")})
        return False

    monkeypatch.setattr(torch_model, "has_bf16", lambda: True)
    monkeypatch.setattr(torch_model.TorchModel, "_pays", pays)
    encoder = SentenceTransformerImageEncoder(folders / "clip")
    pixels = [encoder.preprocess(painted((40, 40), seed)) for seed in range(8)]
    for _ in range(2):
        for role in ("query", "passage"):
            encoder.encode_texts(list(DIGITS), role)  # type: ignore[arg-type]
        encoder.encode_pixels(pixels)
    assert tried == [{"input_ids"}, {"input_ids"}, {"pixel_values"}]


def test_which_are_text_encoders_and_which_image_encoders(
    folders: Path, bge: SentenceTransformerEncoder, seeing: SentenceTransformerImageEncoder
) -> None:
    assert isinstance(bge, TextEncoder)
    assert not isinstance(bge, ImageEncoder)
    assert isinstance(seeing, ImageEncoder)
    assert SentenceTransformerEncoder(folders / "clip").space == seeing.space
    blind = SentenceTransformerImageEncoder(folders / "unknown")
    with pytest.raises(InputError, match=r"unknown.* takes no pictures"):
        blind.preprocess(Image.new("RGB", (9, 9)))


def test_other_weights_prompts_or_pooling_are_another_space(
    folders: Path, bge: SentenceTransformerEncoder, tmp_path: Path
) -> None:
    folder = folders / "bge-small-zh-v1.5"
    others = [
        SentenceTransformerEncoder(bert(tmp_path / "bge-small-zh-v1.5", seed=1)),
        SentenceTransformerEncoder(bert(tmp_path / "mean" / "bge-small-zh-v1.5", pooling="mean")),
        SentenceTransformerEncoder(folder, query_prompt="q"),
        SentenceTransformerEncoder(folder, passage_prompt="p"),
    ]
    assert len({bge.space, *(other.space for other in others)}) == 5
    assert SentenceTransformerEncoder(folder, precision="bf16", batch_size=2).space == bge.space
    assert bge.space.family == "sentence-transformers"
    assert bge.space.dim == 32


def test_a_folder_at_home(
    folders: Path, bge: SentenceTransformerEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folders))
    assert SentenceTransformerEncoder("~/bge-small-zh-v1.5").space == bge.space


def test_a_ready_model_is_the_same_space_as_its_folder_even_when_it_was_used(
    folders: Path,
) -> None:
    folder = folders / "unknown"
    model = reference(folder)
    model.encode(["used " * 100, "before"])
    encoder = SentenceTransformerEncoder(model)
    assert encoder.space == SentenceTransformerEncoder(folder).space
    assert repr(encoder) == "SentenceTransformerEncoder('SentenceTransformer')"


def test_it_is_loaded_once_by_many_threads(folders: Path, bge: SentenceTransformerEncoder) -> None:
    fresh = SentenceTransformerEncoder(folders / "bge-small-zh-v1.5", precision="fp32")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: fresh.encode_texts(TEXTS, "query"), range(8)))
    wanted = bge.encode_texts(TEXTS, "query")
    for rows in found:
        np.testing.assert_allclose(rows, wanted, atol=1e-6)


def test_lower_precision_is_nearly_the_same(folders: Path, bge: Any) -> None:
    half = SentenceTransformerEncoder(folders / "bge-small-zh-v1.5", precision="bf16")
    rows = half.encode_texts(TEXTS, "query")
    assert (rows * bge.encode_texts(TEXTS, "query")).sum(axis=1).min() > 0.99


def test_an_encoder_survives_pickling(
    folders: Path, bge: SentenceTransformerEncoder, seeing: SentenceTransformerImageEncoder
) -> None:
    seeing.encode_texts(["loaded"], "query")
    for encoder in (bge, seeing):
        copy = pickle.loads(pickle.dumps(encoder))
        assert copy.space == encoder.space
    ready = pickle.loads(pickle.dumps(SentenceTransformerEncoder(reference(folders / "unknown"))))
    assert ready.space == SentenceTransformerEncoder(folders / "unknown").space


@pytest.mark.parametrize("bad", [b"bytes", None, 7])
def test_what_is_no_text_is_refused(bge: SentenceTransformerEncoder, bad: Any) -> None:
    with pytest.raises(InputError, match="is a string, not"):
        bge.encode_texts(["fine", bad], "query")
    with pytest.raises(InputError, match="not one string"):
        bge.encode_texts("one string", "query")
    with pytest.raises(InputError, match="'query' or a 'passage', not 'question'"):
        bge.encode_texts(["a"], "question")  # type: ignore[arg-type]


def test_half_a_surrogate_is_a_text_like_any_other(bge: SentenceTransformerEncoder) -> None:
    rows = bge.encode_texts(["half \ud83d a pair", "half ? a pair"], "passage")
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_a_folder_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file or folder .*missing"):
        SentenceTransformerEncoder(tmp_path / "missing").encode_texts(["a"], "query")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty.*holds no model that can be loaded"):
        SentenceTransformerEncoder(tmp_path / "empty").encode_texts(["a"], "query")


def test_a_name_that_cannot_be_had_is_model_unavailable() -> None:
    says = r"BAAI/bge-small-zh-v1.5.*could not be reached.*'sentence-transformers:DIR'"
    with pytest.raises(ModelUnavailable, match=says):
        _ = SentenceTransformerEncoder().space


def test_something_else_than_a_model_is_refused() -> None:
    with pytest.raises(InputError, match="expected a SentenceTransformer or its name, not Linear"):
        SentenceTransformerEncoder(torch.nn.Linear(2, 2)).encode_texts(["a"], "query")


def test_without_the_package_it_says_what_to_install(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"mmrag\[sentence-transformers\]"):
        SentenceTransformerEncoder(folders / "unknown").encode_texts(["a"], "query")
