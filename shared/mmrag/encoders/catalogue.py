"""The encoders that mmrag knows by name, with what is published about them."""

from __future__ import annotations

from mmrag.encoders.entry import CatalogueEntry, Figure

__all__ = ["CATALOGUE"]

Recalls = tuple[float, float]  # in percent, at 1 and at 5
Both = tuple[Recalls, Recalls]  # from text to image, from image to text

_RESULTS = "github.com/mlfoundations/open_clip docs/openclip_retrieval_results.csv"
_MOBILE = "github.com/apple/ml-mobileclip results/{}.jsonl"
_CHINESE = "github.com/OFA-Sys/Chinese-CLIP Results.md (zero-shot)"
_SIGLIP2 = "huggingface.co/google/siglip2-base-patch16-256"
_EN, _ZH, _MANY = ("en",), ("zh",), ("multilingual",)


def _english(flickr: Both, coco: Both, source: str = _RESULTS) -> tuple[Figure, ...]:
    return (
        Figure("Flickr30k", "text->image", *flickr[0], source),
        Figure("Flickr30k", "image->text", *flickr[1], source),
        Figure("COCO", "text->image", *coco[0], source),
        Figure("COCO", "image->text", *coco[1], source),
    )


def _chinese(muge: Recalls, flickr: Both) -> tuple[Figure, ...]:
    return (
        Figure("MUGE", "text->image", *muge, _CHINESE),
        Figure("Flickr30k-CN", "text->image", *flickr[0], _CHINESE),
        Figure("Flickr30k-CN", "image->text", *flickr[1], _CHINESE),
    )


def _open_clip(
    names: str,
    weights: str,
    numbers: tuple[int, int, int],
    terms: tuple[tuple[str, ...], str],
    figures: tuple[Figure, ...] = (),
    *,
    transformers: bool = False,
) -> CatalogueEntry:
    """``numbers`` are dimension, tokens and pixels; ``terms`` are languages and licence."""
    name, *aliases = names.split()
    model, _, pretrained = weights.partition("/")
    known_as = tuple(aliases)
    return CatalogueEntry(
        name, "open_clip", model, *numbers, *terms, pretrained, known_as, figures, transformers
    )


def _chinese_clip(size: str, model: str, dim: int, figures: tuple[Figure, ...]) -> CatalogueEntry:
    return CatalogueEntry(
        name=f"chinese-clip-vit-{size}",
        family="chinese-clip",
        model=f"OFA-Sys/{model}",
        dimension=dim,
        text_limit=52,
        image_size=224,
        languages=_ZH,
        licence="MIT",
        aliases=(model,),
        figures=figures,
    )


_IMAGES: tuple[CatalogueEntry, ...] = (
    CatalogueEntry("bundled", "bundled", "bundled", 384, 512, 260, ("en", "zh"), "MIT, Apache-2.0"),
    _open_clip(
        "openai/clip-vit-base-patch32 clip-vit-base-patch32",
        "ViT-B-32-quickgelu/openai",
        (512, 77, 224),
        (_EN, "MIT"),
        _english(((58.8, 83.6), (78.9, 94.9)), ((30.4, 55.9), (50.1, 75.0))),
    ),
    _open_clip(
        "openai/clip-vit-large-patch14 clip-vit-large-patch14",
        "ViT-L-14-quickgelu/openai",
        (768, 77, 224),
        (_EN, "MIT"),
        _english(((65.0, 87.2), (85.2, 97.4)), ((36.5, 61.1), (56.3, 79.4))),
    ),
    _open_clip(
        "openclip-vit-b-32 laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        "ViT-B-32/laion2b_s34b_b79k",
        (512, 77, 224),
        (_EN, "MIT"),
        _english(((66.8, 88.4), (84.1, 96.2)), ((39.3, 65.4), (56.3, 79.8))),
    ),
    _open_clip(
        "openclip-vit-l-14 laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
        "ViT-L-14/laion2b_s32b_b82k",
        (768, 77, 224),
        (_EN, "MIT"),
        _english(((75.5, 92.9), (89.5, 98.7)), ((46.5, 71.1), (63.4, 84.0))),
    ),
    _open_clip(
        "openclip-multilingual xlm-roberta-base-ViT-B-32"
        " laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k",
        "xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k",
        (512, 77, 224),
        (_MANY, "MIT"),
        _english(((64.5, 86.3), (82.7, 96.4)), ((37.8, 63.4), (53.5, 78.0))),
        transformers=True,
    ),
    _open_clip(
        "siglip-base google/siglip-base-patch16-256",
        "ViT-B-16-SigLIP-256/webli",
        (768, 64, 256),
        (_EN, "Apache-2.0"),
        _english(((75.0, 92.4), (90.4, 98.3)), ((48.3, 72.5), (66.1, 86.3))),
        transformers=True,
    ),
    _open_clip(
        "siglip-so400m google/siglip-so400m-patch14-384",
        "ViT-SO400M-14-SigLIP-384/webli",
        (1152, 64, 384),
        (_EN, "Apache-2.0"),
        _english(((83.0, 96.1), (94.3, 99.7)), ((54.2, 76.8), (72.4, 90.0))),
        transformers=True,
    ),
    _open_clip(
        "siglip2-base google/siglip2-base-patch16-256",
        "ViT-B-16-SigLIP2-256/webli",
        (768, 64, 256),
        (_MANY, "Apache-2.0"),
        (
            Figure("COCO", "text->image", 53.2, None, _SIGLIP2),
            Figure("COCO", "image->text", 69.7, None, _SIGLIP2),
        ),
        transformers=True,
    ),
    _open_clip(
        "siglip2-so400m google/siglip2-so400m-patch16-384",
        "ViT-SO400M-16-SigLIP2-384/webli",
        (1152, 64, 384),
        (_MANY, "Apache-2.0"),
        transformers=True,
    ),
    _open_clip(
        "mobileclip-s2 apple/MobileCLIP-S2-OpenCLIP",
        "MobileCLIP-S2/datacompdr",
        (512, 77, 256),
        (_EN, "Apple's own"),
        _english(
            ((73.4, 92.3), (90.3, 98.9)),
            ((45.4, 70.1), (63.4, 85.1)),
            _MOBILE.format("mobileclip_s2"),
        ),
    ),
    _open_clip(
        "mobileclip2-s2 apple/MobileCLIP2-S2",
        "MobileCLIP2-S2/dfndr2b",
        (512, 77, 256),
        (_EN, "Apple's, research only"),
        _english(
            ((74.8, 92.9), (90.4, 98.2)),
            ((48.8, 73.8), (66.7, 86.8)),
            _MOBILE.format("mobileclip2_s2"),
        ),
    ),
    _chinese_clip(
        "base",
        "chinese-clip-vit-base-patch16",
        512,
        _chinese((52.1, 76.7), ((62.7, 86.9), (74.6, 93.5))),
    ),
    _chinese_clip(
        "large",
        "chinese-clip-vit-large-patch14",
        768,
        _chinese((56.3, 79.8), ((68.0, 89.7), (80.2, 96.6))),
    ),
    _chinese_clip(
        "huge",
        "chinese-clip-vit-huge-patch14",
        1024,
        _chinese((63.0, 84.1), ((71.2, 91.4), (81.6, 97.5))),
    ),
)

_TEXTS: tuple[CatalogueEntry, ...] = tuple(
    CatalogueEntry(
        model.rpartition("/")[2].removesuffix("-v1.5"),
        "sentence-transformers",
        model,
        dim,
        limit,
        None,
        languages,
        "MIT",
        aliases=(model,),
    )
    for model, dim, limit, languages in (
        ("BAAI/bge-small-zh-v1.5", 512, 512, _ZH),
        ("BAAI/bge-small-en-v1.5", 384, 512, _EN),
        ("BAAI/bge-m3", 1024, 8192, _MANY),
        ("intfloat/multilingual-e5-small", 384, 512, _MANY),
        ("intfloat/multilingual-e5-base", 768, 512, _MANY),
    )
) + tuple(
    CatalogueEntry(name, "openai", name, dim, 8191, None, _MANY, "OpenAI's terms")
    for name, dim in (("text-embedding-3-small", 1536), ("text-embedding-3-large", 3072))
)

CATALOGUE: tuple[CatalogueEntry, ...] = _IMAGES + _TEXTS
"""Image encoders first. Figures are those of the models' own repositories or pages, read there and
rounded to a tenth of a percent; they are not measured here."""
