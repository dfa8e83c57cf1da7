"""Tiny open_clip models with random weights, one of each family, as folders for ``local-dir:``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import open_clip
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

WORDS = """A red bicycle leans against the old wall. Two Dogs play on the beach, at sunset!
Wie setze ich das Passwort zurück? 如何重置路由器密码 红色的消防车停在街上
naïve café zebra volcano"""
PHOTOGRAPHS = Path(str(files("mmrag") / "sample" / "pictures"))
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
VISION = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
SIGLIP_TEXT = {
    **TEXT,
    "context_length": 64,
    "vocab_size": 400,
    "hf_tokenizer_name": "in this folder",
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
}
TIMM = {"timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear", "image_size": 160}


def clip(folder: Path, **more: Any) -> str:
    return made(folder, {"vision_cfg": VISION, "text_cfg": TEXT, **more})


def siglip(folder: Path, tokenizer_kwargs: Mapping[str, Any]) -> str:
    """A timm tower of pictures, a tower of text that sees all of its 64 tokens, and a tokenizer
    whose padding is its end of text, as in SigLIP."""
    save_tokenizer(folder, "$A </s>", pad="</s>")
    text = {**SIGLIP_TEXT, "tokenizer_kwargs": dict(tokenizer_kwargs)}
    return made(
        folder,
        {"vision_cfg": TIMM, "text_cfg": text, "custom_text": True, "init_logit_bias": -10},
        HALF,
    )


def multilingual(folder: Path, config: Any) -> str:
    """A transformer of transformers as the tower of text: XLM-R and NLLB are such."""
    save_tokenizer(folder, "<s> $A </s>", pad="<pad>")
    config.save_pretrained(folder / "text")
    text = {
        "hf_model_name": str(folder / "text"),
        "hf_tokenizer_name": "in this folder",
        "hf_proj_type": "linear",
        "hf_pooler_type": "mean_pooler",
    }
    return made(folder, {"vision_cfg": VISION, "text_cfg": text})


def xlm_roberta(folder: Path) -> str:
    config = transformers.XLMRobertaConfig(
        vocab_size=400,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=90,
    )
    return multilingual(folder, config)


def nllb(folder: Path) -> str:
    config = transformers.M2M100Config(
        vocab_size=400,
        d_model=32,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=90,
    )
    return multilingual(folder, config)


def save_tokenizer(folder: Path, template: str, pad: str) -> None:
    """A byte-level BPE of 400 tokens, which knows every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(WORDS.splitlines() * 5, trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(template, special_tokens=ids)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token=pad,
    ).save_pretrained(folder)


def made(folder: Path, config: dict[str, Any], preprocessing: dict[str, Any] | None = None) -> str:
    """Write configuration and random weights; what ``local-dir:`` is given."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {"model_cfg": {"embed_dim": 32, **config}, "preprocess_cfg": preprocessing or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(said), "utf-8")
    torch.manual_seed(5)
    model = open_clip.create_model(f"local-dir:{folder}", pretrained_text=False)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"
