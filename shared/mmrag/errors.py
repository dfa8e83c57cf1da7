"""Every error that mmrag raises on purpose.

::

    MmragError
    ├── InputError (ValueError)        an argument that cannot be used
    │   ├── UnknownName                a route, fusion, field or reader that does not exist
    │   └── VectorError                a vector that is NaN, infinite, zero or of the wrong length
    ├── SourceError                    one file that cannot be indexed; never stops the others
    │   ├── EmptySource                nothing in it
    │   ├── UnsupportedSource          no reader takes it
    │   ├── DamagedSource              broken, truncated or not what its name says
    │   ├── EncryptedSource            needs a password
    │   ├── TooLarge                   over the pixel or byte limit
    │   └── UnreadableSource           the operating system refuses it
    ├── StoreError                     the index on disk or the engine
    │   ├── StoreLocked                another process has it open
    │   ├── NotAnIndex                 the folder is something else
    │   └── DiskFull                   no room left to write
    ├── SpaceMismatch                  the index was made by another encoder
    ├── ModelUnavailable               a model whose files cannot be had
    ├── ServiceError                   a model behind an API that cannot be reached or refuses
    ├── AnswerError                    a model's answer that cannot be used
    └── MissingExtra (ImportError)     an optional package is not installed
"""

from __future__ import annotations

__all__ = [
    "AnswerError",
    "DamagedSource",
    "DiskFull",
    "EmptySource",
    "EncryptedSource",
    "InputError",
    "MissingExtra",
    "MmragError",
    "ModelUnavailable",
    "NotAnIndex",
    "ServiceError",
    "SourceError",
    "SpaceMismatch",
    "StoreError",
    "StoreLocked",
    "TooLarge",
    "UnknownName",
    "UnreadableSource",
    "UnsupportedSource",
    "VectorError",
]


class MmragError(Exception):
    """The root: ``except MmragError`` catches all that mmrag raises on purpose."""


class InputError(MmragError, ValueError):
    """An argument that cannot be used: an empty query, a limit of 0, a malformed filter."""


class UnknownName(InputError):
    """A name that is not among the known ones, which are listed if there is no better ``hint``."""

    def __init__(self, kind: str, name: object, known: object, hint: str = "") -> None:
        names = ", ".join(sorted(map(str, known)))  # type: ignore[call-overload]
        super().__init__(f"unknown {kind} {name!r}; {hint or f'known: {names}'}")
        self.kind, self.name = kind, name


class VectorError(InputError):
    """A vector that is NaN, infinite, zero or of the wrong length."""


class SourceError(MmragError):
    """One file that cannot be indexed. Ingestion reports it and goes on."""


class EmptySource(SourceError):
    """The file has no bytes, or no text and no picture in it."""


class UnsupportedSource(SourceError):
    """No reader takes this kind of file."""


class DamagedSource(SourceError):
    """The file is broken, truncated, or not what its name says."""


class EncryptedSource(SourceError):
    """The file needs a password."""


class TooLarge(SourceError):
    """The file is over the limit of pixels or bytes."""


class UnreadableSource(SourceError):
    """The operating system refuses the file: permission, a broken link, a vanished path."""


class StoreError(MmragError):
    """The index on disk, or its engine, cannot do what was asked."""


class StoreLocked(StoreError):
    """Another process has the index open."""


class NotAnIndex(StoreError):
    """The folder holds something else than an mmrag index, or a part of it is missing."""


class DiskFull(StoreError):
    """There is no room left on the index's disk."""


class SpaceMismatch(MmragError):
    """The index was made by another encoder than the one it is opened with."""

    def __init__(self, field: str, saved: str, given: str) -> None:
        super().__init__(
            f"the index's {field} vectors were made by {saved}, not by {given}: vectors of two "
            "encoders do not compare. Open it with the encoder that made it, or index anew."
        )
        self.field, self.saved, self.given = field, saved, given


class ModelUnavailable(MmragError):
    """A model's files are neither on this machine nor to be had. ``local`` says how a copy on this
    machine is given instead."""

    def __init__(
        self, model: str, cache: str, reason: str, local: str = "the path of a local copy"
    ) -> None:
        super().__init__(
            f"the model {model!r} is not in the cache ({cache}) and could not be downloaded: "
            f"{reason}. Connect and try again, or give {local}. Of encoders, 'bundled' works "
            "offline."
        )
        self.model, self.cache = model, cache


class ServiceError(MmragError):
    """A model behind an API cannot be reached, or refuses; the message says what it said."""


class AnswerError(MmragError):
    """A model has answered, and not with what it was asked for: cut short, or not in the form."""


class MissingExtra(MmragError, ImportError):
    """An optional package is not installed; the message says the command that installs it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra: pip install 'mmrag[{extra}]'")
        self.extra = extra
