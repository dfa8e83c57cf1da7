"""Models from a hub: said clearly, and at once, when one cannot be had."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmrag.errors import InputError, MmragError, ModelUnavailable

__all__ = ["cached_only", "expanded", "first_line", "is_path", "loading"]

_PATIENCE = 5.0  # seconds that the hub has to give any answer at all
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE}
_DOWNLOADERS = {"huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2", "requests"}


def expanded(path: str) -> str:
    """A path with the home folder in place of its ``~``; any other name as it is."""
    return os.path.expanduser(path)  # noqa: PTH111  # pathlib's raises if there is no such user


def is_path(model: str) -> bool:
    """Whether a model's name is a path of this machine, and not the name of a model on the hub.

    A name on the hub is ``name`` or ``owner/name``; a folder in the working folder goes before a
    model of the same name, as in transformers.

    Raises:
        InputError: it is a path, and there is nothing; or it is empty.
    """
    if not model.strip():
        raise InputError("a model is the name of one on the hub, or a path")
    path = Path(model)
    if path.exists():
        return True
    if model.startswith((".", "~", "/")) or "\\" in model or model.count("/") > 1:
        raise InputError(f"there is no file or folder {model!r}")
    return False


def cached_only() -> bool:
    """Whether the hub must not be asked: it is switched off (``HF_HUB_OFFLINE``), or it is out of
    reach. Pass it on as ``local_files_only``: the libraries ask again and again, for every file,
    and would need a minute to say so.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return True
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception:  # whatever went wrong on the way to it
        return True
    return False


@contextmanager
def loading(model: str, local: str = "the path of a local copy") -> Iterator[None]:
    """Turn what the libraries raise over a model that they cannot find or fetch into our errors.
    Other errors pass. ``local`` says how a copy on this machine is given instead.

    Raises:
        ModelUnavailable: it is neither in the cache nor to be had from the hub.
        InputError: ``model`` is a path, and what is there cannot be loaded.
        OSError: the disk is full, or refuses the file; whatever the libraries made of that.

    Example:
        >>> with loading("BAAI/bge-m3"):
        ...     SentenceTransformer("BAAI/bge-m3", local_files_only=cached_only())  # doctest: +SKIP
    """
    try:
        yield
    except MmragError:
        raise
    except Exception as error:
        if Path(model).exists():
            if isinstance(error, OSError | ValueError | KeyError) or _from(error, {"safetensors"}):
                said = f"no model that can be loaded: {first_line(error)}"
                raise InputError(f"{model!r} holds {said}") from error
            raise
        if refused := next(filter(_is_of_the_disk, _causes(error)), None):
            raise refused from None
        if not any(_is_about_files(cause) for cause in _causes(error)):
            raise
        from huggingface_hub import constants

        cache = str(constants.HF_HUB_CACHE)
        raise ModelUnavailable(model, cache, _reason(error), local) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it came from."""
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or at.__context__


def _from(error: BaseException, packages: set[str]) -> bool:
    return type(error).__module__.partition(".")[0] in packages


def _is_of_the_disk(error: BaseException) -> bool:
    if isinstance(error, PermissionError):
        return error.filename is not None  # without one a firewall has refused a connection
    return isinstance(error, OSError) and error.errno in _DISK


def _is_about_files(error: BaseException) -> bool:
    """Whether it is about a file that is missing or cannot be fetched; other errors of the system
    have an errno."""
    if _from(error, _DOWNLOADERS) or isinstance(error, ConnectionError | TimeoutError):
        return True
    return isinstance(error, OSError) and error.errno is None


def _reason(error: BaseException) -> str:
    from huggingface_hub import constants, errors

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    # Before version 1 of its package, a file missing from the cache was an answer of the hub's too.
    missing = errors.LocalEntryNotFoundError
    causes = [cause for cause in _causes(error) if not isinstance(cause, missing)]
    for cause in causes:
        if isinstance(cause, errors.GatedRepoError):
            return "its licence has to be accepted on the hub first, then log in (hf auth login)"
        if isinstance(cause, errors.RepositoryNotFoundError):
            return "the hub knows no such model, or shows it only to those who are logged in"
        if isinstance(cause, errors.HfHubHTTPError):
            return f"the hub has answered: {first_line(cause)}"
    if any(_is_silence(cause) for cause in _causes(error)):
        return f"the model hub ({constants.ENDPOINT}) could not be reached"
    return first_line(error)


def _is_silence(error: BaseException) -> bool:
    """Whether the hub was not reached, or was not asked since it was out of reach before."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    if isinstance(error, LocalEntryNotFoundError | ConnectionError | TimeoutError):
        return True
    return _from(error, _DOWNLOADERS - {"huggingface_hub"}) or "couldn't connect" in str(error)


def first_line(error: BaseException) -> str:
    """What an error says, in one line; the name of its kind if it says nothing."""
    return (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")
