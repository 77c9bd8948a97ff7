"""Who makes the connections of workers on a cluster: they, the pool, or nobody."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aplex import DaskAsyncPoolExecutor, WorkerLostError
from aplex._backends.remote.dask.relays import DaskRelays
from aplex._backends.remote.door import Door
from aplex._backends.remote.meetings import Meetings
from tests.support import works
from tests.support.callers import Pool, make_pool
from tests.support.dask_cluster import LocalDask
from tests.support.processes import parent_of
from tests.support.signals import Gate
from tests.support.waiting import eventually

DEADLINE = 30.0


def ways(pool: Pool) -> set[str | None]:
    return {worker.connect for worker in pool.stats().workers if worker.state == "serving"}


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


def keeps_its_promises(pool: Pool, gate: Gate) -> None:
    """The promises that connections have a part in."""
    assert pool.submit(works.add, 2, 2).result(DEADLINE) == 4
    assert list(pool.map(works.add, range(500))) == list(range(500))
    assert list(pool.stream(numbers, 300)) == list(range(300))
    data = os.urandom(10_000_000)
    assert pool.submit(works.echo, data).result(DEADLINE) == ((data,), {})
    sleeping = pool.submit(asyncio.sleep, 60)
    eventually(lambda: any(worker.in_flight for worker in pool.stats().workers))
    assert sleeping.cancel()
    running = pool.submit(works.pass_gate, gate.path)
    eventually(lambda: any(worker.running for worker in pool.stats().workers))
    victim = next(worker.pid for worker in pool.stats().workers if worker.running)
    assert victim is not None
    start = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    error = running.exception(DEADLINE)
    assert time.monotonic() - start < 2
    assert isinstance(error, WorkerLostError)
    assert error.pid == victim
    assert error.exitcode in (-signal.SIGKILL, None)  # on Ray, before Linux 6.15
    assert pool.submit(os.getpid).result(DEADLINE) != victim


@pytest.mark.parametrize("way", ["caller", "relay"])
def test_a_pool_keeps_its_promises_whoever_connects(engine: str, way: str, gate: Gate) -> None:
    with make_pool(engine, connect=way) as pool:
        keeps_its_promises(pool, gate)
        assert ways(pool) == {way}
        door = pool._gateway._backend._door  # type: ignore[attr-defined]
        assert door._socket is None  # nothing listens here


def close_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have workers told a port at which nothing listens."""
    open_it = Door.open

    def open_elsewhere(door: Door) -> None:
        open_it(door)
        door.address = door.address[0], 9

    monkeypatch.setattr(Door, "open", open_elsewhere)


@pytest.mark.parametrize("way", ["worker", "caller", "relay"])
def test_the_first_way_that_works_is_taken(
    engine: str, way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if way != "worker":
        close_the_door(monkeypatch)
    if way == "relay":
        fail: Any = Meetings._fail
        monkeypatch.setattr(
            Meetings, "_connect", lambda meetings, meeting: fail(meetings, meeting, "closed")
        )
    with caplog.at_level(logging.INFO, "aplex"), make_pool(engine, connect="auto") as pool:
        assert pool.submit(works.add, 2, 2).result(DEADLINE) == 4
        assert ways(pool) == {way}
    said = [record for record in caplog.records if "are reached" in record.message]
    assert [record.levelno for record in said] == [logging.WARNING] * (way != "worker")


def test_who_can_be_reached_in_no_way_is_told(
    dask: LocalDask, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail: Any = Meetings._fail
    monkeypatch.setattr(
        Meetings, "_connect", lambda meetings, meeting: fail(meetings, meeting, "ECONNREFUSED")
    )
    with DaskAsyncPoolExecutor(dask.file, 1, connect="caller", max_restarts=0) as pool:
        error = pool.submit(works.add, 1, 1).exception(DEADLINE)
        assert "could not be dialled" in str(error)
    dask.wait_until_free()


@pytest.mark.parametrize("way", ["auto", "caller", "relay"])
def test_a_killed_caller_leaves_no_place_taken(dask: LocalDask, tmp_path: Path, way: str) -> None:
    program = tmp_path / "caller.py"
    program.write_text(
        textwrap.dedent(f"""
        import asyncio, os, signal
        from aplex import DaskAsyncPoolExecutor
        if __name__ == "__main__":
            pool = DaskAsyncPoolExecutor({str(dask.file)!r}, 2, connect={way!r})
            pool.start(at_least=2)
            pool.submit(asyncio.sleep, 60)
            os.kill(os.getpid(), signal.SIGKILL)
        """)
    )
    ended = subprocess.run([sys.executable, str(program)], timeout=50, check=False)
    assert ended.returncode == -signal.SIGKILL
    dask.wait_until_free()


def running_in(pool: DaskAsyncPoolExecutor[Any]) -> int:
    pid = pool.stats().workers[0].pid
    assert pid is not None
    return pid


def host_of(pid: int) -> int:
    """The Dask worker that has started the agent of a worker."""
    return parent_of(parent_of(pid))


def test_a_killed_dask_worker_ends_its_relay(dask: LocalDask, gate: Gate) -> None:
    dask.add_worker("doomed")
    dask.wait_for_names("doomed")
    with DaskAsyncPoolExecutor(dask.file, 1, connect="relay", workers=["doomed"]) as pool:
        running = pool.submit(works.pass_gate, gate.path)
        eventually(lambda: any(worker.running for worker in pool.stats().workers))
        start = time.monotonic()
        os.kill(host_of(running_in(pool)), signal.SIGKILL)
        assert isinstance(running.exception(DEADLINE), WorkerLostError)
        assert time.monotonic() - start < 2
        assert pool.submit(works.add, 4, 4).result(DEADLINE) == 8  # its nanny has another one
    dask.client.retire_workers(names=["doomed"])
    dask.wait_until_free()


def test_a_worker_is_killed_through_dask(dask: LocalDask, gate: Gate) -> None:
    """As one is of which the pool hears nothing any more."""
    with DaskAsyncPoolExecutor(dask.file, 1) as pool:
        running = pool.submit(works.pass_gate, gate.path)
        eventually(lambda: any(worker.running for worker in pool.stats().workers))
        backend: Any = pool._manager._backend
        backend._launcher.kill(pool.stats().workers[0].id)
        assert isinstance(running.exception(DEADLINE), WorkerLostError)
    dask.wait_until_free()


def test_a_pool_that_says_no_farewell_to_its_relay_leaves_no_place_taken(
    dask: LocalDask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client may be closed before the last call is made."""
    call = DaskRelays._call
    silent = threading.Event()

    async def late(relays: Any, address: str, relay: str, what: str, frames: Any = None) -> Any:
        if silent.is_set() and what == "push":
            await asyncio.sleep(DEADLINE)
        return await call(relays, address, relay, what, frames)

    monkeypatch.setattr(DaskRelays, "_call", late)
    dask.add_worker("single")
    dask.wait_for_names("single")
    with DaskAsyncPoolExecutor(dask.file, 1, connect="relay", workers=["single"]) as pool:
        assert pool.submit(works.add, 1, 1).result(DEADLINE) == 2
        backend: Any = pool._manager._backend
        over = backend._launcher.over
        monkeypatch.setattr(backend._launcher, "over", lambda number: (silent.set(), over(number)))
    monkeypatch.undo()
    start = time.monotonic()
    with DaskAsyncPoolExecutor(dask.file, 1, connect="relay", workers=["single"]) as pool:
        assert pool.submit(works.add, 2, 2).result(DEADLINE) == 4
    assert time.monotonic() - start < 15  # an agent waits for half a minute
    dask.client.retire_workers(names=["single"])
    dask.wait_until_free()


def test_a_call_for_a_dask_worker_that_is_forgotten_holds_nothing_up(
    dask: LocalDask, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler tries to connect to it for half a minute."""
    call = DaskRelays._call
    held = threading.Event()
    begins = threading.Event()

    async def late(relays: Any, address: str, relay: str, what: str, frames: Any = None) -> Any:
        if begins.is_set() and what == "pull":
            held.set()
            scheduler = relays._client().scheduler
            while address in (await scheduler.identity())["workers"]:
                await asyncio.sleep(0.01)  # of what Dask knows, it tells those who ask
        return await call(relays, address, relay, what, frames)

    monkeypatch.setattr(DaskRelays, "_call", late)
    dask.add_worker("gone")
    dask.wait_for_names("gone")
    with DaskAsyncPoolExecutor(dask.file, 1, connect="relay", workers=["gone"]) as pool:
        running = pool.submit(works.pass_gate, gate.path)
        eventually(lambda: any(worker.running for worker in pool.stats().workers))
        begins.set()
        pool.submit(asyncio.sleep, 0)  # of which a call that waits already tells
        assert held.wait(DEADLINE)
        monkeypatch.undo()
        start = time.monotonic()
        os.kill(host_of(running_in(pool)), signal.SIGKILL)
        assert isinstance(running.exception(DEADLINE), WorkerLostError)
        assert time.monotonic() - start < 2
    dask.client.retire_workers(names=["gone"])
    dask.wait_until_free()


@pytest.mark.parametrize("value", ["both", None, 1])
def test_ways_are_checked(value: Any) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(ValueError, match="connect must be"):
        DaskAsyncPoolExecutor("127.0.0.1:1", connect=value)
