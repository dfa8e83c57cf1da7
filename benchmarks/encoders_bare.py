"""ViT-B-32 by hand, and as LangChain and LlamaIndex run it: what ``encoders`` compares with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import open_clip
import torch
from PIL import Image

from mmrag.encoders.open_clip import OpenClipEncoder

Batch = TypeVar("Batch")

SMALL = {
    "vision_cfg": {"image_size": 224, "layers": 1, "width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}


class Bare:
    """The model by hand."""

    def __init__(self, other: Mapping[str, Any] | None = None) -> None:
        torch.manual_seed(1)
        with _quietly():
            self.model, _, self.preprocess = open_clip.create_model_and_transforms(
                "ViT-B-32", **(other or {})
            )
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer("ViT-B-32")

    def encoder(self, precision: Any) -> OpenClipEncoder:
        return OpenClipEncoder.of(self.model, self.preprocess, self.tokenizer, precision=precision)

    def pixels(self, batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return self.model.encode_image(batch, normalize=True)

    def pictures(self, batch: Sequence[Image.Image]) -> torch.Tensor:
        return self.pixels(torch.stack([self.preprocess(picture) for picture in batch]))

    def texts(self, texts: list[str]) -> None:
        with torch.inference_mode():
            self.model.encode_text(self.tokenizer(texts), normalize=True).numpy()

    def langchain(self, uris: Sequence[Path]) -> list[list[float]]:
        """``OpenCLIPEmbeddings.embed_image``."""
        pil_images = [Image.open(uri) for uri in uris]
        image_features = []
        for pil_image in pil_images:
            preprocessed_image = self.preprocess(pil_image).unsqueeze(0)
            embeddings_tensor = self.model.encode_image(preprocessed_image)
            norm = embeddings_tensor.norm(p=2, dim=1, keepdim=True)
            normalized_embeddings_tensor = embeddings_tensor.div(norm)
            image_features.append(normalized_embeddings_tensor.squeeze(0).tolist())
        return image_features

    def llama_index(self, paths: Sequence[Path]) -> list[list[float]]:
        """``ClipEmbedding.get_image_embedding`` of each."""
        found = []
        for path in paths:
            with torch.no_grad():
                image = self.preprocess(Image.open(path)).unsqueeze(0)
                found.append(self.model.encode_image(image).tolist()[0])
        return found


def one_by_one(work: Callable[[Batch], torch.Tensor], batches: Iterable[Batch]) -> torch.Tensor:
    """Each batch on all cores."""
    return torch.cat([work(batch) for batch in batches])


def side_by_side(work: Callable[[Batch], torch.Tensor], batches: Iterable[Batch]) -> torch.Tensor:
    """As many batches at once as there are cores, each on one."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cores) as pool:
            return torch.cat(list(pool.map(work, batches)))
    finally:
        torch.set_num_threads(cores)


@contextmanager
def _quietly() -> Iterator[None]:
    """open_clip tells that the weights are random."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
