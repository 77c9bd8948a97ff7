"""A ChannelWatch waits for channels where the loop cannot."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from aplex._worker.channel_watch import ChannelWatch, can_watch, watch_of

DEADLINE = 10.0


class Unable(asyncio.SelectorEventLoop):
    """A loop that watches nothing for others, as the proactor loop of Windows."""

    add_reader = asyncio.AbstractEventLoop.add_reader


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def test_a_loop_that_can_watches_itself() -> None:
    able, unable = asyncio.new_event_loop(), Unable()
    assert can_watch(able)
    assert watch_of(able) is able
    assert not can_watch(unable)
    able.close()
    unable.close()


def run(main) -> None:
    with asyncio.Runner(loop_factory=Unable) as runner:
        runner.run(asyncio.wait_for(main(), DEADLINE))


def test_the_loop_reads_each_time_something_comes(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair

    async def main() -> None:
        watch = ChannelWatch(asyncio.get_running_loop())
        came: asyncio.Queue[bytes] = asyncio.Queue()
        watch.add_reader(ours.fileno(), lambda: came.put_nowait(ours.recv(1)))
        for byte in b"a", b"b", b"c":
            theirs.send(byte)
            assert await came.get() == byte
        theirs.send(b"de")  # one call takes one byte: it is called again for the other
        assert [await came.get(), await came.get()] == [b"d", b"e"]
        watch.remove_reader(ours.fileno())
        theirs.send(b"f")
        watch.close()
        assert came.empty()

    run(main)


def test_the_loop_writes_on_when_there_is_room(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair

    async def main() -> None:
        watch = ChannelWatch(asyncio.get_running_loop())
        with pytest.raises(BlockingIOError):
            while True:
                ours.send(bytes(65536))
        room = asyncio.Event()
        watch.add_writer(ours.fileno(), room.set)
        await asyncio.sleep(0)
        assert not room.is_set()
        theirs.setblocking(False)
        while not room.is_set():
            try:
                theirs.recv(2**20)
            except BlockingIOError:
                await asyncio.sleep(0.001)
        watch.remove_writer(ours.fileno())
        watch.close()

    run(main)
