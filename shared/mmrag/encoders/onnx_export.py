"""``mmrag export``: the towers of an open_clip model as a folder that runs without torch."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mmrag.errors import InputError, MissingExtra

try:
    for package in ("onnx", "onnxscript", "open_clip", "torch"):
        import_module(package)
except ModuleNotFoundError as error:
    raise MissingExtra("exporting a model", "export") from error

import torch
from PIL import Image

from mmrag.encoders.exporting import Exported, checked
from mmrag.encoders.onnx_clip import OnnxClipEncoder
from mmrag.encoders.onnx_config import ExportConfig, ExportPrecision, digest_of
from mmrag.encoders.onnx_convert import scaling_of, steps_of, text_of
from mmrag.encoders.open_clip import OpenClipEncoder

__all__ = ["export_clip"]

_SAMPLE = Path(__file__).parent.parent / "sample"
_FAITHFUL = 0.9999  # the least cosine of an fp32 export to the model itself
_ONE_FILE = 1_500_000_000  # bytes of weights; a file of ONNX holds 2 GB
_QUANTISED = ("MatMul", "Gather", "Gemm")  # not Conv, which has no int8 kernel everywhere


def export_clip(
    model: Any,
    preprocess: Any,
    tokenizer: Any,
    folder: str | Path,
    *,
    name: str = "a ready model",
    precision: ExportPrecision = "fp32",
) -> Exported:
    """Write a model of open_clip as ONNX, for :class:`mmrag.encoders.onnx_clip.OnnxClipEncoder`.

    The folder appears only when all of it is written and was compared with the model. ``int8``
    keeps weights in a quarter of the room and is quicker on most CPUs; its vectors are near those
    of the model, and the report says how near.

    Args:
        model: what ``open_clip.create_model_from_pretrained`` gives; its second value is
            ``preprocess``.
        preprocess: its transform for inference.
        tokenizer: what ``open_clip.get_tokenizer`` gives.
        folder: where to write; not there yet, or empty.
        name: what the export calls the model.
        precision: ``fp32`` or ``int8``.

    Raises:
        InputError: the folder is not empty; the transform or tokenizer is none of open_clip's; the
            fp32 graph does not give the model's vectors.
        MissingExtra: torch, open_clip, onnx or onnxscript is not installed.

    Example:
        >>> model, preprocess = open_clip.create_model_from_pretrained("ViT-B-32", "openai")
        >>> tokenizer = open_clip.get_tokenizer("ViT-B-32")
        >>> export_clip(model, preprocess, tokenizer, "clip-b32", precision="int8")
    """
    out = checked(precision, folder)
    steps, (vocabulary, text) = steps_of(preprocess), text_of(tokenizer)
    out.parent.mkdir(parents=True, exist_ok=True)
    model = model.eval().float().cpu()
    with tempfile.TemporaryDirectory(prefix=".mmrag-export-", dir=out.parent) as scratch, _quiet():
        built = Path(scratch) / "export"
        built.mkdir()
        side = steps[-1].size
        pixels = torch.zeros((2, *side, 3), dtype=torch.uint8)
        tokens = torch.full((2, text.context), text.pad, dtype=torch.int64)
        image_tower = _ImageTower(model, *scaling_of(preprocess))
        _write(image_tower, ("pixels", pixels), built / "image.onnx", precision)
        dim = _write(_TextTower(model), ("tokens", tokens), built / "text.onnx", precision)
        vocabulary.save(str(built / "tokenizer.json"))
        files = {path.name: digest_of(path) for path in sorted(built.iterdir())}
        for file in files:
            (built / file).chmod(0o644)  # the quantiser keeps its own to itself
        config = ExportConfig(
            model=name, precision=precision, dim=dim, picture=steps, text=text, files=files
        )
        (built / "config.json").write_text(config.model_dump_json(indent=2), "utf-8")
        itself = OpenClipEncoder.of(model, preprocess, tokenizer, device="cpu", precision="fp32")
        image_cosine, text_cosine = _compare(itself, OnnxClipEncoder(built))
        if precision == "fp32" and min(image_cosine, text_cosine) < _FAITHFUL:
            raise InputError(
                f"{name} was not exported: the graph's vectors are not the model's (cosine "
                f"{image_cosine:.4f} for pictures, {text_cosine:.4f} for texts)"
            )
        size = sum(path.stat().st_size for path in built.iterdir())
        built.replace(out)
    return Exported(str(out), precision, size, image_cosine, text_cosine)


class _ImageTower(torch.nn.Module):
    """From bytes ``[n, height, width, 3]`` to unit vectors."""

    def __init__(self, model: Any, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, pixels: Any) -> Any:
        scaled = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255
        return self.model.encode_image((scaled - self.mean) / self.std, normalize=True)


class _TextTower(torch.nn.Module):
    """From tokens ``[n, context]`` to unit vectors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Any) -> Any:
        return self.model.encode_text(tokens, normalize=True)


def _write(tower: Any, given: tuple[str, Any], path: Path, precision: ExportPrecision) -> int:
    """Write one tower; returns the length of its vectors."""
    name, example = given
    with torch.inference_mode():
        dim = int(tower(example).shape[1])
    large = sum(p.numel() * 4 for p in tower.parameters()) > _ONE_FILE
    plain = path if precision == "fp32" else path.parent.parent / path.name
    program = torch.onnx.export(
        tower,
        (example,),
        input_names=[name],
        output_names=["vectors"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # noqa: S101  # it is, with dynamo
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # where in this machine's sources it came from
    program.save(str(plain), external_data=large)
    if precision == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            str(plain),
            str(path),
            op_types_to_quantize=list(_QUANTISED),
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=large,
        )
    return dim


def _compare(itself: OpenClipEncoder, exported: OnnxClipEncoder) -> tuple[float, float]:
    """The lowest cosine between the two, for pictures and for texts, each on its whole path."""
    pictures = []
    for path in sorted((_SAMPLE / "pictures").iterdir())[::8]:
        with Image.open(path) as opened:
            pictures.append(opened.convert("RGB"))
    texts = [path.read_text("utf-8") for path in sorted((_SAMPLE / "texts").iterdir())[::4]]
    texts += [text.strip().splitlines()[0] for text in texts]
    images = (e.encode_pixels([e.preprocess(p) for p in pictures]) for e in (itself, exported))
    words = (e.encode_texts(texts, "passage") for e in (itself, exported))
    image_cosine, text_cosine = (float(np.sum(a * b, axis=1).min()) for a, b in (images, words))
    return image_cosine, text_cosine


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter and the quantiser say to their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
