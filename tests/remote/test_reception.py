"""Where a worker waits for a pool that dials it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from aplex._agent import reception as module
from aplex._agent.dialing import Place
from aplex._agent.reception import Reception
from aplex._wire import handshake

SECRET, TOKEN = b"a secret of the pool", b"t" * handshake.TOKEN


@pytest.fixture
def place() -> Iterator[Place]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        yield Place(*door.getsockname(), 1, TOKEN, SECRET, listener=os.dup(door.fileno()))


def dialled(place: Place, said: bytes) -> socket.socket:
    connection = socket.create_connection((place.host, place.port), 10)
    connection.sendall(said)
    return connection


def is_dismissed(connection: socket.socket) -> bool:
    with connection, contextlib.suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


@pytest.mark.parametrize(
    "said",
    [
        handshake.knock(b"another secret", TOKEN),
        handshake.knock(SECRET, b"u" * handshake.TOKEN),
        handshake.greeting(b"n" * handshake.NONCE),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["secret", "token", "greeting", "HTTP"],  # which are the same in all processes
)
def test_who_does_not_know_the_secret_is_told_nothing(place: Place, said: bytes) -> None:
    with Reception(place) as reception:
        stranger = dialled(place, said)
        slow = dialled(place, b"")
        pool = dialled(place, handshake.knock(SECRET, TOKEN) + b"more")
        with reception.reach(place) as connection:
            assert connection.recv(10) == b"more"
        assert is_dismissed(stranger)
    assert is_dismissed(slow)
    pool.close()


def test_there_are_not_too_many_visitors(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    with Reception(place) as reception:
        visitors = [dialled(place, b"") for _ in range(3)]
        pool = dialled(place, handshake.knock(SECRET, TOKEN))
        reception.reach(place).close()
        assert is_dismissed(visitors[0])
    for visitor in (*visitors, pool):
        visitor.close()


def test_connections_that_come_at_once_are_kept_for_later(place: Place) -> None:
    pools = [dialled(place, handshake.knock(SECRET, TOKEN)) for _ in range(3)]
    with Reception(place) as reception:
        for _ in pools:
            reception.reach(place).close()
    for pool in pools:
        pool.close()


def test_a_pool_that_does_not_come_is_not_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT", 0.05)
    with Reception(place) as reception, pytest.raises(OSError, match="nobody has dialled"):
        reception.reach(place)
