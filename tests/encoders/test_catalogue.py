"""The catalogue's facts against the packages that run the models, and every name's one line."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from importlib.metadata import metadata
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import mmrag.encoders
from mmrag import cli_encoders
from mmrag.encoders import CATALOGUE, CatalogueEntry, load_encoder, load_image_encoder
from mmrag.encoders.bundled import BundledEncoder
from mmrag.encoders.lazy import DeferredImageEncoder
from mmrag.encoders.loading import entry_named, named
from mmrag.errors import InputError, SpaceMismatch, UnknownName
from mmrag.testing import FakeEncoder, ImageEncoderContract

OPEN_CLIP = [entry for entry in CATALOGUE if entry.family == "open_clip"]


def test_names_are_unique_and_entries_frozen() -> None:
    names = [name.lower() for e in CATALOGUE for name in (e.name, *e.aliases)]
    assert len(names) == len(set(names))
    with pytest.raises(dataclasses.FrozenInstanceError):
        CATALOGUE[0].name = "mine"  # type: ignore[misc]


def test_figures_say_where_they_stand_and_are_percentages() -> None:
    figures = [figure for entry in CATALOGUE for figure in entry.figures]
    assert len(figures) > 40
    for figure in figures:
        assert figure.source
        at_1, at_5 = figure.recall_at_1, figure.recall_at_5
        assert 1 < at_1 < (at_5 or 100) <= 100
    for entry in CATALOGUE:
        assert len({(f.dataset, f.task) for f in entry.figures}) == len(entry.figures)
    large = entry_named("openai/clip-vit-large-patch14")
    assert large is not None
    found = large.figure("COCO", "image->text")
    assert found is not None
    assert (found.recall_at_1, found.recall_at_5) == (56.3, 79.4)
    assert large.figure("MUGE", "text->image") is None


def test_the_bundled_entry_says_what_the_encoder_is() -> None:
    entry, encoder = entry_named("bundled"), BundledEncoder()
    assert entry is not None
    assert (entry.space, entry.dimension) == (encoder.space.family, encoder.space.dim)
    assert entry.image_size == encoder.image_size
    assert entry.installed
    assert entry.extra is None


def test_extras_are_those_of_the_distribution() -> None:
    declared = set(metadata("mmrag").get_all("Provides-Extra") or [])
    assert {extra for e in CATALOGUE if e.extra for extra in e.extra.split(",")} <= declared


def test_an_entry_says_all_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"open_clip", "torch"}
    monkeypatch.setattr("mmrag.encoders.entry.find_spec", lambda name: name in there or None)
    plain, siglip = entry_named("openclip-vit-b-32"), entry_named("siglip2-base")
    assert plain is not None and siglip is not None
    assert (plain.extra, plain.installed) == ("open-clip", True)
    assert (siglip.extra, siglip.installed) == ("open-clip,transformers", False)
    there.add("transformers")
    assert siglip.installed


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_table_cuts_nothing_and_has_what_is_to_be_installed_where_there_is_room(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmrag.encoders.entry.find_spec", lambda name: None)
    printed = StringIO()
    Console(file=printed, width=width).print(cli_encoders._table(CATALOGUE, width))
    assert ("mmrag[open-clip,transformers]" in printed.getvalue()) == (width >= 120)
    assert "…" not in printed.getvalue()


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda e: e.name)
def test_every_name_makes_an_encoder_without_loading_anything(entry: CatalogueEntry) -> None:
    for name in (entry.name, entry.name.upper(), *entry.aliases):
        encoder = load_encoder(name)
        assert hasattr(type(encoder), "encode_texts")
        assert str(named(name)) == entry.name
    if entry.image_size is None:
        with pytest.raises(InputError, match="takes texts alone; for pictures there are bundled"):
            load_image_encoder(entry.name)
    else:
        assert hasattr(type(load_image_encoder(entry.name)), "encode_pixels")


@pytest.mark.torch
@pytest.mark.parametrize("entry", OPEN_CLIP, ids=lambda e: e.name)
def test_open_clip_knows_the_model_and_its_weights(entry: CatalogueEntry) -> None:
    open_clip = pytest.importorskip("open_clip")
    assert (entry.model, entry.pretrained) in open_clip.list_pretrained()
    config = open_clip.get_model_config(entry.model)
    assert entry.dimension == config["embed_dim"]
    assert entry.text_limit == config["text_cfg"].get("context_length", 77)
    seen: Any = open_clip.get_pretrained_cfg(entry.model, entry.pretrained)
    weights_want_quick_gelu = seen.get("quick_gelu", False)
    assert config.get("quick_gelu", False) == weights_want_quick_gelu
    assert entry.image_size == config["vision_cfg"]["image_size"]
    assert entry.space == "open_clip"
    of_transformers = {"hf_model_name", "hf_tokenizer_name"} & config["text_cfg"].keys()
    assert entry.needs_transformers == bool(of_transformers)


@pytest.mark.torch
def test_spaces_and_numbers_are_those_of_the_families() -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("openai")
    from mmrag.encoders import chinese_clip, open_clip, sentence_model
    from mmrag.encoders.openai import DIMENSIONS, TOKEN_LIMIT, OpenAIEncoder

    for entry in CATALOGUE:
        if entry.family == "chinese-clip":
            assert entry.space == chinese_clip.FAMILY
            assert entry.text_limit == chinese_clip.CONTEXT
        if entry.family == "open_clip":
            assert entry.space == open_clip.FAMILY
        if entry.family == "sentence-transformers":
            assert entry.space == sentence_model.FAMILY
        if entry.family == "openai":
            assert (entry.dimension, entry.text_limit) == (DIMENSIONS[entry.model], TOKEN_LIMIT)
            assert entry.space == OpenAIEncoder(entry.model).space.family


@pytest.mark.parametrize(
    ("name", "family", "model", "pretrained"),
    [
        ("open_clip:ViT-B-32/openai", "open_clip", "ViT-B-32", "openai"),
        ("open_clip:ViT-B-32//models/b32.pt", "open_clip", "ViT-B-32", "/models/b32.pt"),
        ("open_clip:hf-hub:timm/SigLIP2", "open_clip", "hf-hub:timm/SigLIP2", None),
        ("open_clip:local-dir:/models/x", "open_clip", "local-dir:/models/x", None),
        ("chinese-clip:mine/cn", "chinese-clip", "mine/cn", None),
        ("sentence-transformers:a/b", "sentence-transformers", "a/b", None),
        ("openai:my-model", "openai", "my-model", None),
        ("onnx:/exports/clip", "onnx", "/exports/clip", None),
    ],
)
def test_names_by_family_and_model(
    name: str, family: str, model: str, pretrained: str | None
) -> None:
    found = named(name)
    assert (found.family, found.model, found.pretrained) == (family, model, pretrained)
    assert str(found) == name
    assert type(load_encoder(name)).__module__.startswith("mmrag.encoders.")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("siglip2", "unknown encoder 'siglip2'; known: .*siglip2-base, siglip2-so400m"),
        ("bgem3", "bge-m3"),
        ("text-embedding-3-smal", "text-embedding-3-small"),
        ("zzz", "bundled, chinese-clip-vit-base"),
        ("", "unknown encoder"),
        ("torch:whatever", "unknown encoder 'torch:whatever'"),
        ("onnx:", "unknown encoder 'onnx:'"),
        ("bundled:x", "unknown encoder 'bundled:x'; known: bundled"),
    ],
)
def test_unknown_names_say_which_are_spelled_alike(name: str, says: str) -> None:
    with pytest.raises(UnknownName, match=says):
        load_encoder(name)


def test_a_path_says_in_which_forms_it_can_be_given(tmp_path: Path) -> None:
    with pytest.raises(UnknownName) as caught:
        load_encoder(str(tmp_path))
    forms = str(caught.value).rpartition("as one of ")[2].split(", ")
    assert forms == [
        f"open_clip:local-dir:{tmp_path}",
        f"chinese-clip:{tmp_path}",
        f"sentence-transformers:{tmp_path}",
        f"onnx:{tmp_path}",
    ]
    assert all(named(form).family == form.partition(":")[0] for form in forms)
    (tmp_path / "b32.pt").touch()
    with pytest.raises(UnknownName, match=r"it is a file: .*'open_clip:MODEL//.*b32\.pt'"):
        load_encoder(str(tmp_path / "b32.pt"))
    with pytest.raises(InputError, match="a folder is open_clip:local-dir:<folder>"):
        load_encoder(f"open_clip:{tmp_path}")


def test_other_names_that_cannot_be_used() -> None:
    with pytest.raises(InputError, match="lacks its weights"):
        load_encoder("open_clip:ViT-B-32")
    with pytest.raises(InputError, match="is a string, not NoneType"):
        load_encoder(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="takes texts alone"):
        load_image_encoder("openai:my-model")
    with pytest.raises(AttributeError, match=r"'mmrag\.encoders' has no attribute 'nothing'"):
        _ = mmrag.encoders.nothing


def test_a_remembered_name_means_the_same_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "b32.pt").touch()
    assert str(named("onnx:model")) == f"onnx:{tmp_path / 'model'}"
    assert (
        str(named("sentence-transformers:model")) == f"sentence-transformers:{tmp_path / 'model'}"
    )
    assert str(named("open_clip:local-dir:model")) == f"open_clip:local-dir:{tmp_path / 'model'}"
    assert str(named("open_clip:ViT-B-32/b32.pt")) == f"open_clip:ViT-B-32/{tmp_path / 'b32.pt'}"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(named("onnx:~/model")) == f"onnx:{tmp_path / 'model'}"
    assert str(named("open_clip:local-dir:~/model")) == f"open_clip:local-dir:{tmp_path / 'model'}"
    assert str(named("open_clip:ViT-B-32/~/b32.pt")) == f"open_clip:ViT-B-32/{tmp_path / 'b32.pt'}"
    assert str(named("chinese-clip:~nobody-at-all/x")) == "chinese-clip:~nobody-at-all/x"
    assert str(named("openai:model")) == "openai:model"
    assert str(named("sentence-transformers:BAAI/bge-m3")) == "bge-m3"


def test_the_catalogue_and_a_bundled_encoder_load_nothing_heavy() -> None:
    code = (
        "import sys; from mmrag.encoders import CATALOGUE, load_encoder; load_encoder('bundled');"
        "print(*{'torch', 'transformers', 'open_clip', 'openai', 'onnxruntime'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert done.stdout.strip() == ""


class TestDeferred(ImageEncoderContract):
    @pytest.fixture
    def encoder(self) -> DeferredImageEncoder:
        return DeferredImageEncoder(FakeEncoder, FakeEncoder().space, "image")


def test_a_deferred_encoder_is_loaded_at_its_first_use_and_checked() -> None:
    calls: list[int] = []

    def load() -> BundledEncoder:
        calls.append(1)
        return BundledEncoder()

    space = FakeEncoder().space
    deferred = DeferredImageEncoder(load, space, "image")
    assert deferred.space == space
    assert calls == []
    with pytest.raises(SpaceMismatch, match="the index's image vectors were made by"):
        deferred.encode_texts(["a"], "query")
    assert calls == [1]
