"""What the libraries raise over a model that cannot be had, and what becomes of it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

hub_package = pytest.importorskip("huggingface_hub")

from huggingface_hub import constants, hf_hub_download  # noqa: E402
from huggingface_hub import errors as hub_errors  # noqa: E402

from mmrag.encoders import hub  # noqa: E402
from mmrag.errors import InputError, ModelUnavailable  # noqa: E402

NAME = "someone/something"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is in the cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def answer(kind: type[Any], status: int) -> Any:
    """The hub's error as it is made of its answer."""
    import importlib

    # Which of the two the hub's package is built on depends on its version.
    package = importlib.import_module(hub_errors.HfHubHTTPError.__mro__[1].__module__.split(".")[0])
    if package.__name__ == "requests":
        response = package.Response()
        response.status_code = status
    else:
        request = package.Request("HEAD", "https://huggingface.co/someone/something")
        response = package.Response(status, request=request)
    return kind(f"{status} Client Error.\n\nand more", response=response)


def unreachable() -> Exception:
    """As transformers and sentence-transformers raise it."""
    error = OSError("We couldn't connect to 'https://huggingface.co' to load the files, and ...")
    error.__cause__ = hub_errors.LocalEntryNotFoundError("cannot find the requested files")
    return error


def wrapped() -> Exception:
    """As open_clip raises it."""
    error = RuntimeError("Failed to download weights for tag 'openai'")
    error.__cause__ = FileNotFoundError("Failed to download file")
    error.__cause__.__context__ = hub_errors.LocalEntryNotFoundError("please check your connection")
    return error


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (unreachable, "the model hub (https://huggingface.co) could not be reached"),
        (wrapped, "could not be reached"),
        (lambda: hub_errors.LocalEntryNotFoundError("not in the cache"), "could not be reached"),
        (lambda: hub_errors.OfflineModeIsEnabled("offline mode"), "could not be reached"),
        (lambda: ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "could not be reached"),
        (lambda: TimeoutError("timed out"), "could not be reached"),
        (lambda: answer(hub_errors.RepositoryNotFoundError, 401), "the hub knows no such model"),
        (lambda: answer(hub_errors.GatedRepoError, 403), "licence has to be accepted"),
        (lambda: answer(hub_errors.HfHubHTTPError, 503), "has answered: 503 Client Error"),
        (
            lambda: OSError("someone/something does not appear to have a file named x.\nCheckout"),
            "could not be downloaded: someone/something does not appear to have a file named x.",
        ),
    ],
)
def test_it_says_which_model_why_where_the_cache_is_and_what_to_do(
    made: Callable[[], Exception], reason: str, tmp_path: Path
) -> None:
    error = made()
    with pytest.raises(ModelUnavailable) as caught, hub.loading(NAME):
        raise error
    said = str(caught.value)
    assert reason in said
    assert NAME in said
    assert str(tmp_path / "cache") in said
    assert "path of a local copy" in said
    assert "'bundled'" in said
    assert "\n" not in said
    assert ".." not in said
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("size mismatch for weight"),
        OSError(errno.ENOSPC, "No space left on device"),
        PermissionError(errno.EACCES, "Permission denied"),
        ValueError("a bad value"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, hub.loading(NAME):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    "own",
    [OSError(errno.ENOSPC, "No space left on device"), PermissionError(errno.EACCES, "No", "/x")],
)
def test_a_disk_that_is_full_or_refuses_keeps_its_own_reason(own: OSError) -> None:
    """open_clip makes two errors of it, the first of which is one of a missing file."""
    error = RuntimeError("Failed to download weights for tag 'openai'")
    error.__context__ = FileNotFoundError("Failed to download file")
    error.__context__.__context__ = own
    with pytest.raises(OSError) as caught, hub.loading(NAME):
        raise error
    assert caught.value is own


def test_a_connection_that_is_refused_is_no_matter_of_the_disk() -> None:
    error = hub_errors.LocalEntryNotFoundError("not in the cache")
    error.__context__ = PermissionError(errno.EPERM, "Operation not permitted")
    with pytest.raises(ModelUnavailable, match="could not be reached"), hub.loading(NAME):
        raise error


@pytest.mark.parametrize("error", [OSError("no file named model.safetensors."), KeyError("x")])
def test_what_a_folder_lacks_is_said_of_the_folder(error: Exception, tmp_path: Path) -> None:
    message = "holds no model that can be loaded"
    with pytest.raises(InputError, match=message) as caught, hub.loading(str(tmp_path)):
        raise error
    assert str(tmp_path) in str(caught.value)


def test_a_package_that_is_missing_is_no_matter_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ImportError), hub.loading(str(tmp_path)):
        raise ImportError("sentencepiece")


def test_what_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.is_path(str(tmp_path))
    assert not hub.is_path("BAAI/bge-m3")
    assert not hub.is_path("all-MiniLM-L6-v2")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "BAAI").mkdir()
    (tmp_path / "BAAI" / "bge-m3").mkdir()
    assert hub.is_path("BAAI/bge-m3")


@pytest.mark.parametrize("path", ["./model", "../model", "/a/b", "a/b/c", "~/model", r"C:\model"])
def test_a_path_to_nothing_is_not_looked_for_on_the_hub(path: str) -> None:
    with pytest.raises(InputError, match="there is no file or folder"):
        hub.is_path(path)


@pytest.mark.parametrize("name", ["", "  "])
def test_no_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="the name of one on the hub, or a path"):
        hub.is_path(name)


def test_our_own_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^mine$"), hub.loading(str(tmp_path)):
        raise InputError("mine")


def test_a_hub_out_of_reach_is_known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client, whose every connection the tests refuse; it would retry for a minute."""
    asked = []
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *to, **how: asked.append(to) or look_up(*to, **how)
    )
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hub.cached_only()
    assert len(asked) == 1
    message = r"127\.0\.0\.1:9\) could not be reached"
    with pytest.raises(ModelUnavailable, match=message), hub.loading(NAME):
        hf_hub_download(NAME, "config.json", local_files_only=hub.cached_only())
    assert len(asked) <= 3  # some versions ask for what is part of their user agent, once


def test_a_hub_that_is_switched_off_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub_package, "get_session", None)
    assert hub.cached_only()
    with pytest.raises(ModelUnavailable, match="HF_HUB_OFFLINE is set"), hub.loading(NAME):
        hf_hub_download(NAME, "config.json", local_files_only=True)
