"""Tiny random models, as files: a text cross-encoder, one that sees, and BLIP with its head."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.modules import LogitScore, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizerFast,
    BlipConfig,
    BlipForImageTextRetrieval,
    BlipImageProcessor,
    BlipProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from mmrag.types import ImageRef, Record

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "red", "blue", "sleeps"]
WORDS += ["on", "the", "sofa", ",", ".", "broken"]
LIMIT = 32
_SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
_WIDE = {"initializer_range": 0.5}  # so that scores of a random model lie apart
_MESSAGES = """{% for m in messages %}<|im_start|>{{ m.role }}
{% for c in m.content %}{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>\
{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>
{% endfor %}<|im_start|>assistant
"""


def bert(folder: Path, *, labels: int = 1, words: int = len(WORDS), head: bool = True) -> Path:
    """A cross-encoder of texts; with fewer ``words`` it raises on those that it does not have."""
    folder.mkdir()
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=words,
        num_attention_heads=4,
        max_position_embeddings=LIMIT,
        num_labels=labels,
        **_SMALL,
        **_WIDE,
    )
    (BertForSequenceClassification if head else BertModel)(config).save_pretrained(folder)
    _words(folder, LIMIT).save_pretrained(folder)
    return folder


def qwen(folder: Path) -> Path:
    """A cross-encoder of texts and pictures: a chat model, and the log-odds of yes to no."""
    special = ["<pad>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    special += ["<|image_pad|>", "<|video_pad|>"]
    merges = [("y", "e"), ("ye", "s"), ("n", "o")]
    known = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), "ye", "yes", "no"]
    ids = {token: number for number, token in enumerate(known)}
    bytewise = Tokenizer(models.BPE(vocab=ids, merges=merges))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytewise,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        additional_special_tokens=special[1:],
        model_max_length=1024,
        padding_side="left",
    )
    tokenizer.image_token, tokenizer.video_token = special[-2:]
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=4 * 28 * 28),
        tokenizer,
        Qwen2VLVideoProcessor(),
        chat_template=_MESSAGES,
    )
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    eyes = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(ids),
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": rope,
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            **_SMALL,
            **_WIDE,
        },
        vision_config={**eyes, "patch_size": 14, **_WIDE},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    torch.manual_seed(2)
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    chat = Transformer(str(folder / "model"), transformer_task="any-to-any")
    score = LogitScore(true_token_id=ids["yes"], false_token_id=ids["no"])
    CrossEncoder(modules=[chat, score]).save_pretrained(str(folder / "reranker"))
    return folder / "reranker"


def blip(folder: Path) -> Path:
    """BLIP with its head for image-text matching."""
    folder.mkdir()
    torch.manual_seed(3)
    words = {"vocab_size": len(WORDS), "encoder_hidden_size": 32, "num_attention_heads": 4}
    words |= {"bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    eyes = {"image_size": 48, "patch_size": 16, "num_attention_heads": 4}
    config = BlipConfig(
        text_config={**words, "max_position_embeddings": LIMIT, **_SMALL, **_WIDE},
        vision_config={**eyes, **_SMALL, **_WIDE},
        image_text_hidden_size=16,
    )
    BlipForImageTextRetrieval(config).save_pretrained(folder)
    images = BlipImageProcessor(size={"height": 48, "width": 48})
    BlipProcessor(images, _words(folder, LIMIT)).save_pretrained(folder)
    return folder


def painted(path: Path, colour: str, size: tuple[int, int] = (60, 40)) -> Record:
    """A picture with a diagonal, as a record of the file's name."""
    image = Image.new("RGB", size, colour)
    for at in range(min(size)):
        image.putpixel((at, at), (255, 255, 255))
    image.save(path)
    return Record(path.stem, image=ImageRef(str(path), "", "", 0, 0))


def _words(folder: Path, longest: int) -> BertTokenizerFast:
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=longest)
