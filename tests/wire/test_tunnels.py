"""Tunnels: what goes in at one end comes out at the other one, whoever closes what."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aplex._wire import tunnel as tunnel_module
from aplex._wire.credentials import Credentials
from aplex._wire.tls import certificate_of, context_of
from aplex._wire.tunnel import Tunnel
from aplex._wire.tunnels import Tunnels
from tests.support.certificates import Authority
from tests.support.leaks import nothing_left_alive

PATIENCE = 20.0  # seconds
MUCH = 8 * 2**20  # bytes, more than waits on the way


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    tls = Authority(tmp_path_factory.mktemp("certificates"), "authority").tls("both")
    return Credentials(*map(os.fspath, (tls.certificate, tls.key, tls.ca)))


Pair = tuple[Tunnel, Tunnel]


@pytest.fixture
def both(credentials: Credentials) -> Iterator[tuple[Tunnels, Tunnels]]:
    """The tunnels of the two sides, each with a thread."""
    with nothing_left_alive():
        sides = [
            Tunnels(context_of(credentials, is_pool=is_pool), is_pool=is_pool)
            for is_pool in (True, False)
        ]
        yield sides[0], sides[1]
        for side in sides:
            side.finish(PATIENCE)


@pytest.fixture
def pair(both: tuple[Tunnels, Tunnels]) -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        dialled = socket.create_connection(server.getsockname())
        taken, _ = server.accept()
    made = both[0].open(taken), both[1].open(dialled)
    for tunnel in made:
        tunnel.end.settimeout(PATIENCE)
    yield made
    for tunnel in made:
        tunnel.end.close()


def read_out(end: socket.socket) -> bytes:
    parts = []
    while part := end.recv(2**20):
        parts.append(part)
    return b"".join(parts)


def test_much_goes_both_ways_at_once(pair: Pair, credentials: Credentials) -> None:
    sent = [os.urandom(MUCH) for _ in pair]
    got: dict[int, bytes] = {}

    def write(number: int) -> None:
        pair[number].end.sendall(sent[number])
        pair[number].end.shutdown(socket.SHUT_WR)

    def read(number: int) -> None:
        got[number] = read_out(pair[number].end)

    threads = [threading.Thread(target=what, args=(n,)) for what in (write, read) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert got == {0: sent[1], 1: sent[0]}
    assert pair[1].certificate == certificate_of(credentials)


def test_one_direction_may_end_before_the_other_one(pair: Pair) -> None:
    one, other = pair
    one.end.sendall(b"the last word")
    one.end.shutdown(socket.SHUT_WR)
    assert read_out(other.end) == b"the last word"
    other.end.sendall(b"not yet")
    assert one.end.recv(100) == b"not yet"


@pytest.mark.parametrize("size", [0, 10, 2**20])
def test_what_was_written_before_an_end_was_closed_arrives(pair: Pair, size: int) -> None:
    """Though who reads begins late."""
    one, other = pair
    other.end.sendall(b"x")
    assert one.end.recv(1) == b"x"
    data = os.urandom(size)
    one.end.sendall(data)
    one.end.close()
    time.sleep(0.1)  # it is not read meanwhile
    assert read_out(other.end) == data


def test_a_connection_that_is_cut_is_an_end(pair: Pair) -> None:
    one, other = pair
    one.end.sendall(b"x")
    assert other.end.recv(1) == b"x"
    one.wire.shutdown(socket.SHUT_RDWR)  # without a word of TLS
    assert read_out(other.end) == b""
    assert read_out(one.end) == b""


def test_who_never_reads_keeps_nothing_for_ever(
    pair: Pair, both: tuple[Tunnels, Tunnels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel_module, "LINGER", 0.2)
    one, _ = pair
    one.end.setblocking(False)
    with pytest.raises(BlockingIOError):
        for _ in range(1000):
            one.end.send(bytes(2**16))
            if _ % 100 == 99:
                time.sleep(0.05)  # until the network is full, and the tunnels with it
    one.end.close()
    deadline = time.monotonic() + PATIENCE
    while both[0]._tunnels:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_they_can_be_paused_and_go_on(pair: Pair, both: tuple[Tunnels, Tunnels]) -> None:
    one, other = pair
    both[0].pause()
    both[1].pause()
    assert not any(thread.name == "aplex-tls" for thread in threading.enumerate())
    one.end.sendall(b"meanwhile")
    both[0].start()
    both[1].start()
    assert other.end.recv(100) == b"meanwhile"


def test_a_key_that_needs_a_password_is_refused_at_once(
    credentials: Credentials, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(Path(credentials.key).read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    with pytest.raises(ValueError, match="needs a password"):
        context_of(credentials._replace(key=str(locked)), is_pool=True)
