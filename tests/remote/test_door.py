"""The door: who dials a pool without belonging to it is refused, and harms nobody."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from aplex import RemoteAsyncPoolExecutor
from aplex._backends.remote import door
from aplex._wire import handshake
from tests.support import works
from tests.support.leaks import nothing_left_alive
from tests.support.remote_workers import COMMAND, address_of, backend_of

PATIENCE = 10.0  # seconds


@pytest.fixture
def pool() -> Iterator[RemoteAsyncPoolExecutor[Any]]:
    """One with a worker that serves, and goes on serving."""
    with nothing_left_alive(), RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        assert pool.submit(works.add, 1, 2).result(PATIENCE) == 3
        yield pool
        assert pool.submit(works.add, 3, 4).result(PATIENCE) == 7


def dialled(pool: RemoteAsyncPoolExecutor[Any]) -> tuple[socket.socket, bytes]:
    """A connection to the pool, and the nonce by which it was greeted."""
    connection = socket.create_connection(address_of(pool), PATIENCE)
    greeting = b""
    while len(greeting) < handshake.GREETING_SIZE:
        greeting += connection.recv(handshake.GREETING_SIZE - len(greeting))
    return connection, handshake.nonce_of(greeting)


def told(connection: socket.socket) -> str:
    """What is said before the connection ends; whether it is reset does not matter."""
    data = b""
    with connection:
        try:
            while part := connection.recv(4096):
                data += part
        except ConnectionResetError:
            pass
    assert data[:1] in (handshake.NO, b"")
    return data[3:].decode()


def run_worker(
    address: tuple[str, int], token: str, secret: str
) -> subprocess.CompletedProcess[str]:
    """Start a worker by hand, and wait for its end."""
    return subprocess.run(
        [*COMMAND, "--connect", f"{address[0]}:{address[1]}", "--token", token],
        env={**os.environ, "APLEX_SECRET": secret},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x80\x05cos\nsystem\n", b"\0" * 10_000_000]
)
def test_a_stranger_is_refused_whatever_it_sends(
    pool: RemoteAsyncPoolExecutor[Any], garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Also 10 MB: they are not read."""
    connection, _ = dialled(pool)
    try:
        connection.sendall(garbage)
    except OSError:
        pass  # it was hung up
    assert told(connection) in ("this is no aplex worker", "")
    lines = [record.getMessage() for record in caplog.records if record.name == "aplex"]
    assert len(lines) == 1
    assert "refused a connection from 127.0.0.1:" in lines[0]
    assert "this is no aplex worker" in lines[0]


def test_a_worker_with_another_secret_is_refused_in_one_line_at_both_ends(
    pool: RemoteAsyncPoolExecutor[Any], caplog: pytest.LogCaptureFixture
) -> None:
    ran = run_worker(address_of(pool), f"1-{bytes(16).hex()}", "not the secret of that pool")
    host, port = address_of(pool)
    assert ran.stderr == f"aplex.worker: refused by {host}:{port}: the secret is wrong\n"
    assert ran.returncode == 3
    assert [r.getMessage().rpartition(": ")[2] for r in caplog.records] == ["the secret is wrong"]


@pytest.mark.parametrize("number", [1, 2, 2**63])
def test_a_token_is_good_for_one_worker(pool: RemoteAsyncPoolExecutor[Any], number: int) -> None:
    """That of the one that serves is used; others are not known, whoever knows the secret."""
    backend = backend_of(pool)
    launch = backend._launches[1]
    ran = run_worker(address_of(pool), f"{number}-{launch.token.hex()}", backend._secret)
    assert ran.returncode == 3
    assert "its token was used before" in ran.stderr if number == 1 else "not valid" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_the_token_of_a_worker_that_is_gone_is_void(
    pool: RemoteAsyncPoolExecutor[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It is no stranger, so the log has no warning."""
    backend = backend_of(pool)
    pool.resize(2)
    pool.start()
    tokens = {number: launch.token for number, launch in backend._launches.items()}
    pool.resize(1)
    end = time.monotonic() + PATIENCE
    while len(backend._launches) > 1 and time.monotonic() < end:
        time.sleep(0.005)
    (gone,) = tokens.keys() - backend._launches.keys()
    ran = run_worker(address_of(pool), f"{gone}-{tokens[gone].hex()}", backend._secret)
    assert ran.returncode == 3
    assert "not valid" in ran.stderr
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_another_version_is_refused_and_told_what_differs(
    pool: RemoteAsyncPoolExecutor[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, nonce = dialled(pool)
    ours = handshake.software()
    with monkeypatch.context() as patch:
        patch.setattr(handshake, "software", lambda: ours.replace("aplex ", "aplex 0.0."))
        secret = backend_of(pool)._secret.encode()
        said = handshake.answer(nonce, secret, handshake.CONTROL, 1, bytes(16))
    connection.sendall(said)
    assert told(connection).startswith("the worker runs aplex 0.0.")


def test_who_says_nothing_is_sent_away_and_keeps_nobody_waiting(
    pool: RemoteAsyncPoolExecutor[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "PATIENCE", 0.3)
    silent, _ = dialled(pool)
    slow, _ = dialled(pool)
    slow.sendall(handshake.MAGIC[:3])
    assert pool.submit(works.add, 1, 2).result(PATIENCE) == 3
    before = time.monotonic()
    assert told(silent) == "it did not say who it is within 0.3 s"
    assert told(slow) == "it did not say who it is within 0.3 s"
    assert time.monotonic() - before < 5


def test_of_too_many_visitors_the_first_have_to_go(
    pool: RemoteAsyncPoolExecutor[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MOST", 4)
    visitors = [dialled(pool)[0] for _ in range(6)]
    assert told(visitors[0]) == "there are too many visitors"
    assert told(visitors[1]) == "there are too many visitors"
    pool.resize(2)
    pool.start()  # a worker gets in all the same
    for visitor in visitors[2:]:
        visitor.close()
    pool.resize(1)


def test_refusals_do_not_fill_the_log(
    pool: RemoteAsyncPoolExecutor[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(door, "TOLD", 2)
    for _ in range(4):
        connection, _ = dialled(pool)
        connection.sendall(b"x" * 100)
        told(connection)
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 2
    assert lines[1].endswith("further ones are not logged")


def test_nothing_is_unmarshalled_before_the_secret_is_known(
    pool: RemoteAsyncPoolExecutor[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be a frame, of whatever content, is no handshake."""
    connection, nonce = dialled(pool)
    said = handshake.answer(nonce, b"x" * 32, handshake.CONTROL, 1, bytes(16))
    monkeypatch.setattr("marshal.loads", lambda *_: pytest.fail("it was read"))
    connection.sendall(said + b"\x10\0\0\0\0\0\0\0\0\0\0\0" + b"[" * 16)
    assert told(connection) in ("the secret is wrong", "")


def test_it_listens_on_one_address_while_the_pool_is_there() -> None:
    pool = RemoteAsyncPoolExecutor(COMMAND, 1)
    assert backend_of(pool)._door is None
    with pool:
        pool.submit(works.add, 1, 2).result(PATIENCE)
        host, port = address_of(pool)
        assert host == "127.0.0.1"
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port), 1)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, port), 1)


def test_works_see_nothing_of_the_secret() -> None:
    with RemoteAsyncPoolExecutor(COMMAND, 1, secret="0123456789abcdef") as pool:
        found = pool.submit(os.environ.get, "APLEX_SECRET").result(PATIENCE)
        assert found is None
        assert "0123456789abcdef" not in repr(backend_of(pool)._launcher)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"listen": "0.0.0.0"}, "the address of one interface, got '0.0.0.0', which is all"),
        ({"listen": "::"}, "which is all of them"),
        ({"listen": "no such host.invalid"}, "must be an address of this machine"),
        ({"port": 70000}, "port must be from 0 to 65535"),
        ({"secret": "short"}, "at least 16 characters"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        RemoteAsyncPoolExecutor(COMMAND, 1, **options)
    assert "short" not in str(caught.value)
