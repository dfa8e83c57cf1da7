"""What a folder that ``mmrag export`` wrote says of itself: its ``config.json``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmrag.encoders.text_cleaning import Cleaning
from mmrag.errors import InputError

__all__ = ["FILES", "ExportConfig", "ExportPrecision", "Step", "TextSettings", "digest_of"]

FILES = ("image.onnx", "text.onnx", "tokenizer.json")
"""What is always there beside ``config.json``; weights over 1.5 GB are in ``.onnx.data`` files."""

ExportPrecision = Literal["fp32", "int8"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Frozen):
    """One step from a picture to the model's input; ``size`` is height and width.

    - ``shortest``: the shortest side becomes ``size[0]``.
    - ``ratio``: the picture fills ``size`` (``longest`` 0), or fits into it (1).
    - ``squash``: to ``size``, whatever the proportions were.
    - ``crop``: the middle of ``size``; what is missing is ``fill``.
    """

    do: Literal["shortest", "ratio", "squash", "crop"]
    size: tuple[int, int] = Field(min_length=2)
    filter: Literal["bicubic", "bilinear", "nearest", "lanczos"] = "bicubic"
    longest: float = 0.0
    fill: int = 0


class TextSettings(_Frozen):
    """How a text becomes tokens: cleaned, tokenised, padded with ``pad`` to ``context``. The token
    ``strip``, if there is one, becomes 0."""

    clean: Cleaning
    context: int
    pad: int
    strip: int | None = None


class ExportConfig(_Frozen):
    """All that is not a weight or a vocabulary; ``files`` are the SHA-256 of the others."""

    format: Literal[1] = 1
    model: str
    precision: ExportPrecision
    dim: int
    picture: tuple[Step, ...]
    text: TextSettings
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """The fingerprint of weights, vocabulary and settings; the model's name is not in it."""
        settings = self.model_dump_json(exclude={"model"})
        return hashlib.sha256(settings.encode()).hexdigest()

    @classmethod
    def read(cls, folder: Path) -> ExportConfig:
        """The settings in a folder.

        Raises:
            InputError: ``mmrag export`` did not write it, or a file of it is missing.
        """
        hint = "write it anew with: mmrag export MODEL --out FOLDER"
        try:
            config = cls.model_validate_json((folder / "config.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(
                f"'{folder}' is not a folder that mmrag export wrote (no config.json): {hint}"
            ) from None
        except OSError as error:
            raise InputError(f"'{folder}' cannot be read: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise InputError(
                f"'{folder / 'config.json'}' is damaged ({place}: {first['msg']}): {hint}"
            ) from None
        missing = [n for n in (*FILES, *config.files) if not (folder / n).is_file()]
        if missing or not set(FILES) <= set(config.files):
            raise InputError(f"'{folder}' lacks {', '.join(missing) or 'checksums'}: {hint}")
        return config

    def check(self, folder: Path) -> None:
        """Compare the files with their checksums.

        Raises:
            InputError: one was changed or damaged.
        """
        for name, digest in self.files.items():
            if digest_of(folder / name) != digest:
                raise InputError(
                    f"'{folder / name}' is not the file that was exported: copy the folder again, "
                    "or write it anew with mmrag export"
                )


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()
