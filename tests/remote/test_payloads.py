"""Big payloads of remote workers: by memory on the pool's machine, by a connection elsewhere.

What is elsewhere is here, but the pool does not know.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError, Future
from typing import Any

import numpy as np
import pytest

from aplex import RemoteAsyncPoolExecutor, WorkerLostError
from aplex._backends.remote import backend
from aplex._backends.remote.bulk import Bulk
from aplex._backends.remote.link import RemoteLink
from aplex._backends.remote.nodes import Node
from aplex._wire import parcels
from tests.support import works
from tests.support.remote_workers import COMMAND
from tests.support.signals import Signals
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("nothing_left")
PATIENCE = 20.0  # seconds
BIG = 64 * 2**20
LESS = 4 * 2**20


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool takes all workers for those of another machine."""
    monkeypatch.setattr(backend.orders, "boot_of_this_machine", lambda: "another one")


@pytest.fixture(params=["here", "elsewhere"])
def place(request: pytest.FixtureRequest) -> str:
    if request.param == "elsewhere":
        request.getfixturevalue("elsewhere")
    where: str = request.param
    return where


class Jam:
    """Nothing more of the big payloads gets to workers, from some bytes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real, self._patch = Bulk._write, monkeypatch
        self._held: list[Bulk] = []
        self.holds = threading.Event()
        monkeypatch.setattr(Bulk, "_write", lambda bulk: self._hold(bulk))

    def _hold(self, bulk: Bulk) -> None:
        if bulk._waiting and bulk not in self._held:
            parts, _ = bulk._waiting[0]
            bulk.end.write([parts[0], memoryview(parts[1])[: LESS // 4]])  # type: ignore[list-item]
            self._held.append(bulk)
        self.holds.set()

    def clear(self) -> None:
        """Let what comes from now on through; what was held is not sent any more."""
        self._patch.setattr(Bulk, "_write", self._real)


@pytest.fixture
def jam(monkeypatch: pytest.MonkeyPatch, elsewhere: None) -> Jam:
    return Jam(monkeypatch)


def first(*arguments: Any) -> Any:
    return arguments[0]


async def afirst(*arguments: Any) -> Any:
    return arguments[0]


async def change(array: Any) -> Any:
    array += 1
    return array


def total(array: Any, seconds: float = 0.0) -> tuple[int, float]:
    time.sleep(seconds)  # the other worker has its turn
    return os.getpid(), float(array.sum())


async def atotal(array: Any) -> tuple[int, float]:
    return os.getpid(), float(array.sum())


@pytest.mark.parametrize("work", [first, afirst], ids=["function", "coroutine"])
def test_what_is_big_comes_back_as_it_went(place: str, work: Callable[..., Any]) -> None:
    data, array = os.urandom(BIG), np.arange(BIG // 8)
    with RemoteAsyncPoolExecutor(COMMAND, 2) as pool:
        assert pool.submit(work, data).result(PATIENCE) == data
        assert (pool.submit(work, array).result(PATIENCE) == array).all()
        many = [pool.submit(work, np.full(2**18, x), x) for x in range(20)]
        assert [int(one.result(PATIENCE)[-1]) for one in many] == list(range(20))


def test_arrays_can_be_written_to_by_those_who_get_them_and_by_nobody_else(place: str) -> None:
    array = np.zeros(LESS // 8)
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        future = pool.submit(change, array)
        array += 5  # it was taken as it was
        result = future.result(PATIENCE)
        result += 1
    assert (result == 2).all()


async def arrays(count: int) -> AsyncIterator[Any]:
    for number in range(count):
        yield np.full(LESS // 8, number)


def test_big_items_of_a_stream_come_in_order(place: str) -> None:
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        found = [int(array[-1]) for array in pool.stream(arrays, 5)]
    assert found == list(range(5))


def test_a_cancel_and_small_works_overtake_what_is_big(jam: Jam, signals: Signals) -> None:
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        running = pool.submit(works.endless, signals.path)
        signals.expect("started work")
        big = [pool.submit(afirst, bytes(BIG)), pool.submit(afirst, bytes(BIG))]
        assert jam.holds.wait(PATIENCE)
        assert pool.submit(works.aadd, 1, 2).result(PATIENCE) == 3
        for future in (running, *big):
            future.cancel()
            with pytest.raises(CancelledError):
                future.result(PATIENCE)
        assert pool.submit(works.aadd, 1, 2).result(PATIENCE) == 3


def test_a_death_in_the_middle_of_big_arguments(jam: Jam) -> None:
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        pid = pool.submit(os.getpid).result(PATIENCE)
        lost = pool.submit(afirst, bytes(BIG))
        again = pool.options(retries=1).submit(afirst, bytes(BIG))
        assert jam.holds.wait(PATIENCE)
        assert pool.submit(works.aadd, 1, 2).result(PATIENCE) == 3  # they are aboard
        jam.clear()
        os.kill(pid, signal.SIGKILL)
        assert isinstance(lost.exception(PATIENCE), WorkerLostError)
        assert again.result(PATIENCE) == bytes(BIG)
        arena = pool._manager._backend._arena  # type: ignore[attr-defined]
        del again
        eventually(lambda: not any(arena._kept))


def test_a_death_in_the_middle_of_a_big_result(elsewhere: None) -> None:
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        pid = pool.submit(os.getpid).result(PATIENCE)
        with pool._manager._lock:  # who reads stops at the first one: the connection fills
            futures = [pool.submit(works.zeros, BIG) for _ in range(2)]
            pool._manager._flush()
            time.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
        assert isinstance(futures[1].exception(PATIENCE), WorkerLostError)
        assert pool.submit(works.add, 1, 2).result(PATIENCE) == 3


def test_functions_that_were_cancelled_before_they_began_leave_nothing(
    elsewhere: None, signals: Signals
) -> None:
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        before = pool.submit(works.resident).result(PATIENCE)
        for _ in range(10):
            first_one = pool.submit(time.sleep, 0.05)
            behind = [pool.submit(first, bytes(LESS)) for _ in range(5)]
            for future in behind:
                future.cancel()
            first_one.result(PATIENCE)
        after = pool.submit(works.resident).result(PATIENCE)
    assert after - before < 10 * LESS


def test_memory_is_flat(place: str) -> None:
    def run(count: int) -> None:
        pending: list[Future[Any]] = []
        for _ in range(count):
            pending.append(pool.submit(afirst, np.ones(LESS // 8)))  # type: ignore[arg-type]
            if len(pending) > 4:
                pending.pop(0).result(PATIENCE)
        for future in pending:
            future.result(PATIENCE)

    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        run(50)
        before = pool.submit(works.resident).result(PATIENCE), works.resident()
        run(150)
        after = pool.submit(works.resident).result(PATIENCE), works.resident()
    assert all(late - early < 10 * LESS for early, late in zip(before, after, strict=True))


# -- once to each machine ------------------------------------------------------------------


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch, elsewhere: None) -> list[int]:
    """Note which shared objects are sent."""
    numbers: list[int] = []
    real = RemoteLink.carry

    def carry(self: RemoteLink, number: int, *rest: Any) -> None:
        numbers.append(number)
        real(self, number, *rest)

    monkeypatch.setattr(RemoteLink, "carry", carry)
    return numbers


def test_a_shared_object_comes_to_a_machine_once(carried: list[int]) -> None:
    array = np.arange(LESS // 8, dtype=float)
    with RemoteAsyncPoolExecutor(COMMAND, 2) as pool:
        pool.start()
        with pool.share(array) as handle:
            futures = [pool.submit(total, handle, 0.1) for _ in range(4)]
            futures += [pool.submit(atotal, handle) for _ in range(8)]
            found = [future.result(PATIENCE) for future in futures]
        assert len({pid for pid, _ in found}) == 2
        assert {value for _, value in found} == {float(array.sum())}
        assert carried == [1]
        with pool.share(array + 1) as handle:  # lies elsewhere in the file
            assert pool.submit(total, handle).result(PATIENCE)[1] == float((array + 1).sum())
        assert carried == [1, 2]


def test_if_who_brings_a_shared_object_dies_another_one_brings_it(
    jam: Jam, carried: list[int]
) -> None:
    array = np.ones(LESS // 8)
    with RemoteAsyncPoolExecutor(COMMAND, 2, max_works_per_worker=2) as pool:
        pool.start()
        with pool.share(array) as handle:
            futures = [pool.options(retries=2).submit(atotal, handle) for _ in range(4)]
            assert jam.holds.wait(PATIENCE)
            jam.clear()
            links = pool._manager._backend._links  # type: ignore[attr-defined]
            carriers = [link for link in list(links.values()) if link.bulk in jam._held]
            carriers[0].kill()
            assert {future.result(PATIENCE)[1] for future in futures} == {float(array.sum())}
    assert carried == [1, 1]


@pytest.fixture
def welcomes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Note how agents are told to begin."""
    said: list[dict[str, Any]] = []

    def welcome(**what: Any) -> dict[str, Any]:
        said.append(what.copy())
        return what

    monkeypatch.setattr("aplex._backends.remote.welcomes.Welcome", welcome)
    return said


@pytest.mark.parametrize("found", [True, False], ids=["found", "not found"])
def test_modules_come_to_a_machine_once(
    welcomes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, *, found: bool
) -> None:
    if not found:  # as where each worker is in a container of its own
        real = Node.some
        lost = [(2**22, 0, 0, 0)]
        monkeypatch.setattr(Node, "some", staticmethod(lambda places: real(places) and lost))
    with RemoteAsyncPoolExecutor(COMMAND, 3, ship=["tests"]) as pool:
        pool.start()
        wheres = {pool.submit(module_file).result(PATIENCE) for _ in range(3)}
    assert [welcome["modules"] is not None for welcome in welcomes] == [True, False, False]
    assert all("/fd/" in where for where in wheres)


def module_file() -> str:
    import tests.support.works

    return str(tests.support.works.__file__)


def test_a_file_is_opened_only_if_it_is_the_one_that_was_told() -> None:
    from aplex._wire import lent_files
    from aplex._wire.shared_memory import make_shared_memory_file

    end, other = make_shared_memory_file(), make_shared_memory_file()
    assert end is not None
    assert other is not None
    where = lent_files.told(end.fileno())
    found = lent_files.opened(where)
    assert found is not None
    assert os.fstat(found.fileno()).st_ino == where[3]
    found.close()
    assert lent_files.opened((where[0], other.fileno(), *where[2:])) is None
    assert lent_files.opened((2**22, *where[1:])) is None
    for one in (end, other):
        one.close()


def test_parcels_go_and_come_in_parts() -> None:
    reader, writer = os.pipe()
    parts = [b"", bytes(range(256)), bytearray(b"abc"), memoryview(b"")]
    data = b"".join(parcels.packed(7, parcels.RESULT, parts, [0, 1]))
    taker = parcels.ParcelReader(backend.PipeEnd(reader))
    for place in range(len(data)):
        os.write(writer, data[place : place + 1])
        parcel = taker.read()
        assert (parcel is None) == (place + 1 < len(data))
    os.close(writer)
    assert parcel is not None
    assert parcel[:2] == (7, parcels.RESULT)
    assert [bytes(part) for part in parcel.parts] == [bytes(part) for part in parts]
    assert [type(part) for part in parcel.parts[1:3]] == [bytes, bytearray]
    with pytest.raises(EOFError):
        taker.read()
    os.close(reader)
