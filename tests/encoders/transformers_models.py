"""Tiny models of transformers with random weights, saved as folders."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

CHINESE = "如何重置路由器密码红色自行车的消防停在街上" + "一二三四五六七八九十"
SENTENCE = "the wheel turns and chain follows a red bicycle history of rome zebra volcano"
WORDS = SENTENCE.replace(" a ", " ").split(" ")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHAT = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}[SEP]{% endfor %}"
)
TOWER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
VISION = {**TOWER, "image_size": 32, "patch_size": 8}
# As in the files of OFA-Sys/chinese-clip-vit-base-patch16, at another size.
PREPROCESSOR = {
    "feature_extractor_type": "ChineseCLIPFeatureExtractor",
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "resample": 3,
    "do_center_crop": False,
    "crop_size": {"height": 32, "width": 32},
    "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def vocabulary() -> list[str]:
    """Of WordPiece: every ASCII character at the beginning of a word and inside, some words."""
    characters = string.ascii_lowercase + string.digits
    inside = [f"##{character}" for character in characters]
    return [*SPECIAL, *characters, *string.punctuation, *inside, *dict.fromkeys(CHINESE), *WORDS]


def chinese_clip(folder: Path, seed: int = 0, **preprocessor: Any) -> Path:
    """Laid out as the models of OFA-Sys are: ``vocab.txt`` and ``preprocessor_config.json``."""
    torch.manual_seed(seed)
    words = vocabulary()
    text = {**TOWER, "vocab_size": len(words), "max_position_embeddings": 64}
    config = transformers.ChineseCLIPConfig(
        text_config=text, vision_config=VISION, projection_dim=16
    )
    spread(transformers.ChineseCLIPModel(config)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words), "utf-8")
    said = json.dumps({**PREPROCESSOR, **preprocessor})
    (folder / "preprocessor_config.json").write_text(said, "utf-8")
    return folder


def bert(folder: Path, *, positions: int = 64, pooling: str = "cls", seed: int = 0) -> Path:
    """Laid out as BGE and E5 are: BERT, pooling and normalisation, by sentence-transformers."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    torch.manual_seed(seed)
    words = vocabulary()
    inner = folder / "inner"
    config = transformers.BertConfig(
        **TOWER, vocab_size=len(words), max_position_embeddings=positions
    )
    spread(transformers.BertModel(config)).save_pretrained(inner)
    fast_bert_tokenizer().save_pretrained(inner)
    modules = [Transformer(str(inner)), Pooling(32, pooling), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return folder


def clip(folder: Path, seed: int = 0) -> Path:
    """CLIP, as transformers saves it; sentence-transformers loads it as it is."""
    torch.manual_seed(seed)
    words = vocabulary()
    text = {**TOWER, "vocab_size": len(words), "max_position_embeddings": 32}
    text |= {"eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)
    spread(transformers.CLIPModel(config)).save_pretrained(folder)
    pictures = transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    transformers.CLIPProcessor(pictures, fast_bert_tokenizer(32)).save_pretrained(folder)
    return folder


def qwen_vl(folder: Path) -> Path:
    """Qwen2-VL with a pooling: pictures in their own shapes, in chat messages."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    torch.manual_seed(0)
    tokenizer = fast_bert_tokenizer(256)
    marks = [f"<|{name}|>" for name in ("vision_start", "vision_end", "image_pad", "video_pad")]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.padding_side = "left"
    start, end, image, video = tokenizer.convert_tokens_to_ids(marks)
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    text = {**TOWER, "num_key_value_heads": 2, "vocab_size": len(tokenizer)}
    text |= {"rope_parameters": rope, "max_position_embeddings": 256}
    config = transformers.Qwen2VLConfig(
        text_config={**text, "bos_token_id": 2, "eos_token_id": 3},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2},
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    inner = folder / "inner"
    spread(transformers.Qwen2VLModel(config)).save_pretrained(inner)
    transformers.Qwen2VLProcessor(
        transformers.Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=112 * 112),
        tokenizer,
        transformers.Qwen2VLVideoProcessor(),
        chat_template=CHAT,
    ).save_pretrained(inner)
    modules = [Transformer(str(inner)), Pooling(32, "lasttoken")]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return folder


def fast_bert_tokenizer(limit: int = 64) -> Any:
    ids = {word: place for place, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        eos_token="[SEP]",
        model_max_length=limit,
    )


def spread(model: Any) -> Any:
    """With larger random weights: by transformers' own, all texts are nearly the same vector."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "scale" not in name:
                weight.normal_(std=0.2)
    return model.eval()
