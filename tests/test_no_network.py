"""The tests' own guard against the network."""

from __future__ import annotations

import re
import socket
import urllib.request

import pytest


def listening() -> socket.socket:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    return server


def test_nothing_outside_is_reached_nor_looked_up() -> None:
    with socket.socket() as client, pytest.raises(RuntimeError, match=re.escape("192.0.2.1")):
        client.connect(("192.0.2.1", 80))
    with pytest.raises(RuntimeError, match=re.escape("example.org")):
        urllib.request.urlopen("http://example.org")


def test_this_machine_neither_unless_asked_for() -> None:
    with listening() as server, socket.socket() as client:
        with pytest.raises(RuntimeError, match=re.escape("127.0.0.1")):
            client.connect(server.getsockname())
        with pytest.raises(RuntimeError, match=re.escape("127.0.0.1")):
            client.connect_ex(server.getsockname())


@pytest.mark.usefixtures("loopback")
def test_this_machine_if_asked_for() -> None:
    with listening() as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"hello")
        accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(5) == b"hello"
        with socket.socket() as other, pytest.raises(RuntimeError):
            other.connect(("192.0.2.1", 80))


def test_sockets_within_a_process_are_no_network() -> None:
    one, two = socket.socketpair()
    with one, two:
        one.sendall(b"x")
        assert two.recv(1) == b"x"
