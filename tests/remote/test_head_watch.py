"""Integration: the head of a cluster of Ray is watched by a connection, not by asking."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator

import pytest

from aplex._ray.head import HeadWatch, knock, place_of

DEADLINE = 10.0


class Watched:
    """A watch of an address, and what it tells."""

    def __init__(self, port: int) -> None:
        self.gone = threading.Event()
        self.told: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        HeadWatch(f"127.0.0.1:{port}", self.gone, self.told.put, lambda: self.told.put(None))


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def watched(server: socket.socket) -> Iterator[Watched]:
    watch = Watched(server.getsockname()[1])
    yield watch
    watch.gone.set()


def test_the_end_of_a_head_is_told_and_its_return(server: socket.socket, watched: Watched) -> None:
    place = server.getsockname()
    visitor, _ = server.accept()
    visitor.sendall(b"what a server says first")
    server.close()
    visitor.close()
    said = watched.told.get(timeout=DEADLINE)
    assert said is not None
    assert said.startswith(f"nothing answers at 127.0.0.1:{place[1]}")
    with socket.create_server(place) as again:
        while watched.told.get(timeout=DEADLINE) is not None:
            pass  # it looks for it in intervals
        again.accept()[0].close()


def test_a_head_that_ends_what_says_nothing_is_not_gone(
    server: socket.socket, watched: Watched
) -> None:
    for _ in range(3):
        server.accept()[0].close()
    assert watched.told.empty()


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("127.0.0.1:6379", ("127.0.0.1", 6379)),
        ("ray://[::1]:10001", ("::1", 10001)),
        ("auto", ("head", 1)),
        ("local", None),
        ("", None),
    ],
)
def test_where_a_head_is(
    address: str, place: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:1")
    assert place_of(address) == place


def test_an_address_that_says_nothing_of_a_place_is_not_knocked_at() -> None:
    assert knock("local") is None
