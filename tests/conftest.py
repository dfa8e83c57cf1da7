"""No test uses the network. The fixture ``loopback`` allows this machine alone.

No property has to hold in a certain time: on a busy machine any example may be slow.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("mmrag", deadline=None)
settings.load_profile("mmrag")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in the background of a shell; what tests start, and interrupt, would ignore it as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)

LOCAL = ("127.0.0.1", "::1", "localhost")


class Network:
    """What tests may reach; the real functions are kept here."""

    loopback = False
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    getaddrinfo = staticmethod(socket.getaddrinfo)

    @classmethod
    def check(cls, host: Any) -> None:
        if not (cls.loopback and host in LOCAL):
            raise RuntimeError(f"tests do not use the network, not even {host!r}")


def checked(sock: socket.socket, address: Any) -> Any:
    if sock.family != socket.AF_UNIX:
        Network.check(address[0])
    return address


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    def connect(self: socket.socket, address: Any) -> None:
        Network.connect(self, checked(self, address))

    def connect_ex(self: socket.socket, address: Any) -> int:
        return Network.connect_ex(self, checked(self, address))

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        Network.check(host)
        return Network.getaddrinfo(host, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(socket.socket, "connect_ex", connect_ex)
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


@pytest.fixture
def loopback() -> Iterator[None]:
    """Servers on this machine may be reached."""
    Network.loopback = True
    yield
    Network.loopback = False
