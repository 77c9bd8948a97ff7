"""A relay without a cluster: its calls are made in this process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from aplex._backends.remote import relay
from aplex._backends.remote.near import Near
from aplex._backends.remote.relay import DATA, WINDOW, Far, Outbox, Window
from aplex._ray.relays import RayRelays

PATIENCE = 10.0  # seconds


# -- logic --------------------------------------------------------------------------------------


def test_no_more_than_a_window_is_on_the_way() -> None:
    window = Window()
    assert window.send(WINDOW - 1)
    assert not window.send(1)
    assert not window.told(0)
    assert window.told(1)


def test_what_was_passed_on_is_told_now_and_then() -> None:
    window = Window()
    assert window.pass_on(WINDOW // 4 - 1) == 0
    assert window.pass_on(10) == WINDOW // 4 + 9
    assert window.pass_on(1) == 0


def test_a_call_carries_frames_in_order_and_not_too_many() -> None:
    outbox = Outbox()
    for number in range(10):
        outbox.put([DATA, number, b"x" * (relay.BATCH // 3)])
    assert [frame[1] for frame in outbox.take()] == [0, 1, 2, 3]
    assert [frame[1] for frame in outbox.take()] == [4, 5, 6, 7]
    outbox.put([relay.LOST, 8, None])
    outbox.drop()
    assert outbox.take() == [[relay.LOST, 8, None]]
    assert not outbox


# -- both ends ----------------------------------------------------------------------------------


class Cluster:
    """Two ends of a relay, and what listens behind the far one."""

    def __init__(self) -> None:
        self.far = Far()
        self.overs = 0
        self.calls = 0
        self.broken = False
        self.near = Near(self._call, self._over)
        self.visitors: asyncio.Queue[tuple[Any, Any]] = asyncio.Queue()
        self.writers: list[Any] = []

    def _over(self) -> None:
        self.overs += 1

    async def _call(self, what: str, *frames: Any) -> Any:
        self.calls += 1
        if self.broken:
            raise OSError("the cluster is gone")
        call: Callable[..., Awaitable[Any]] = getattr(self.far, what)
        return await call("name", *frames)

    async def open(self) -> None:
        self._server = await asyncio.start_server(
            lambda reader, writer: self.visitors.put_nowait((reader, writer)), "127.0.0.1", 0
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def connect(self, key: str = "key") -> tuple[Any, Any, Any, Any]:
        """Return both ends of a connection: reader and writer here, and there."""
        ours, theirs = socket.socketpair()
        await self.near.attach(theirs, key, "127.0.0.1", self.port)
        here = await asyncio.open_connection(sock=ours)
        there = await asyncio.wait_for(self.visitors.get(), PATIENCE)
        self.writers += [here[1], there[1]]
        return *here, *there

    async def close(self) -> None:
        self._server.close()
        self.near.exchange.end()
        for exchange in list(self.far.exchanges.values()):
            exchange.end()
        if self.near.task is not None:
            await asyncio.wait_for(self.near.task, PATIENCE)
        for writer in self.writers:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def a_cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    await cluster.open()
    try:
        yield cluster
    finally:
        await cluster.close()


async def ended(reader: Any) -> bytes:
    """Read to the end, however that comes."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), PATIENCE)
    return b""


def test_bytes_go_both_ways_and_halves_end_by_themselves() -> None:
    async def run() -> None:
        async with a_cluster() as cluster:
            reader, writer, far_reader, far_writer = await cluster.connect()
            data = bytes(range(256)) * 40_000  # 10 MB
            writer.write(data)
            writer.write_eof()
            assert await ended(far_reader) == data
            far_writer.write(data[::-1])
            far_writer.write_eof()
            assert await ended(reader) == data[::-1]
            writer.close()
            far_writer.close()
            await asyncio.wait_for(asyncio.shield(cluster.near.task), PATIENCE)
            assert cluster.overs
            assert not cluster.far.exchanges  # it takes nothing along

    asyncio.run(run())


@pytest.mark.parametrize("side", ["here", "there"])
def test_the_end_of_one_side_ends_the_other(side: str) -> None:
    async def run() -> None:
        async with a_cluster() as cluster:
            reader, writer, far_reader, far_writer = await cluster.connect()
            _kept = await cluster.connect()
            gone, left = (writer, far_reader) if side == "here" else (far_writer, reader)
            gone.transport.abort()
            assert await ended(left) == b""
            # Who still writes is told that nobody reads.
            with pytest.raises(ConnectionError):
                while True:
                    (far_writer if side == "here" else writer).write(b"more")
                    await (far_writer if side == "here" else writer).drain()
                    await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


def test_who_reads_slowly_slows_down_who_writes() -> None:
    async def run() -> None:
        async with a_cluster() as cluster:
            _reader, writer, far_reader, _ = await cluster.connect()
            other_reader, _, _, other_writer = await cluster.connect()
            sent = 0
            with contextlib.suppress(TimeoutError):
                while True:
                    writer.write(b"x" * 100_000)
                    await asyncio.wait_for(writer.drain(), 0.5)
                    sent += 100_000
            # Buffers of the kernel, of the streams of this test, and one window.
            assert WINDOW <= sent < 16 * WINDOW
            waiting = [f[2] for f in cluster.near.exchange._outbox._frames if f[0] == DATA]
            assert sum(map(len, waiting)) < 2 * WINDOW
            other_writer.write(b"is not held up")
            assert await other_reader.read(100) == b"is not held up"
            writer.write_eof()
            assert len(await ended(far_reader)) == sent + 100_000

    asyncio.run(run())


def test_without_a_cluster_all_connections_end() -> None:
    async def run() -> None:
        async with a_cluster() as cluster:
            reader, writer, _, _ = await cluster.connect()
            other_reader, *_others = await cluster.connect()
            cluster.broken = True
            writer.write(b"x")
            assert await ended(reader) == await ended(other_reader) == b""
            assert cluster.overs

    asyncio.run(run())


def test_what_nobody_wants_any_more_ends_together() -> None:
    """The other end may be gone, and pull no more."""

    async def run() -> None:
        async with a_cluster() as cluster:
            reader, _, far_reader, _ = await cluster.connect("one")
            other_reader, _, _, other_writer = await cluster.connect("other")
            cluster.far.end_all_of("one")
            assert await ended(far_reader) == await ended(reader) == b""
            other_writer.write(b"goes on")
            assert await other_reader.read(100) == b"goes on"

    asyncio.run(run())


def test_what_cannot_be_dialled_ends() -> None:
    async def run() -> None:
        async with a_cluster() as cluster:
            kept = await cluster.connect()
            ours, theirs = socket.socketpair()
            with socket.socket() as closed:
                closed.bind(("127.0.0.1", 0))
                port = closed.getsockname()[1]
            reader, writer = await asyncio.open_connection(sock=ours)
            cluster.writers.append(writer)
            writer.write(b"early")
            await cluster.near.attach(theirs, "key", "127.0.0.1", port)
            assert await ended(reader) == b""
            assert kept

    asyncio.run(run())


def test_a_relay_with_nothing_to_do_calls_nobody() -> None:
    async def run() -> None:
        async with a_cluster() as cluster:
            _connected = await cluster.connect()
            before = cluster.calls
            await asyncio.sleep(0.2)
            assert cluster.calls - before <= 1  # the one that waits

    asyncio.run(run())


def test_a_connection_that_got_lost_on_its_way_to_the_envoy_ends_no_other_one() -> None:
    """Where there are too many open files, the number of its order comes alone."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    one, other = socket.socketpair()
    with ours, theirs, one:
        relays = RayRelays(None, theirs)
        ours.send(bytes(8))
        with other:
            socket.send_fds(ours, [bytes(8)], [other.fileno()])
        one.settimeout(10)
        assert one.recv(1) == b""  # nobody knows of that order: it was closed
        ours.shutdown(socket.SHUT_WR)
        relays.thread.join(10)
        assert not relays.thread.is_alive()
