"""What tests of shared objects share: an object with a big buffer, and works that are given it."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from tests.support.callers import make_pool
from tests.support.works import PATIENCE

BIG = 300_000  # bytes: in shared memory, where there is such
SMALL = 1_000  # bytes: by the channel


class Table:
    """Has a buffer, as an array has; and notes, per process, how often it was unpickled."""

    unpickled = 0

    def __init__(self, data: Any) -> None:
        self.data = memoryview(data)

    def __reduce__(self) -> tuple[Any, ...]:
        return remade, (pickle.PickleBuffer(self.data),)

    @property
    def total(self) -> int:
        return sum(self.data[:: max(1, len(self.data) // 100)])


def remade(data: Any) -> Table:
    Table.unpickled += 1
    return Table(data)


def table(byte: int = 1, size: int = BIG) -> Table:
    return Table(bytearray([byte]) * size)


class Pair(NamedTuple):
    left: Any
    right: Any


class Crumbling:
    """Cannot be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return crumble, ()


def crumble() -> None:
    raise LookupError("crumbled")


# -- works --------------------------------------------------------------------


def first_byte(table: Table) -> int:
    return table.data[0]


async def afirst_byte(table: Table) -> int:
    await asyncio.sleep(0)
    return table.data[0]


def second(number: int, table: Table) -> tuple[int, int]:
    return number, table.data[0]


def either(*, table: Table, other: Table | None = None) -> tuple[int, int | None]:
    return table.data[0], None if other is None else other.data[0]


def both(table: Table, other: Table) -> tuple[int, int]:
    return table.data[0], other.data[0]


def inside(holder: Any) -> list[str]:
    """Return the types of what is inside."""
    values = holder.values() if isinstance(holder, dict) else holder
    return [type(value).__name__ for value in values]


def deep(holder: dict[str, list[tuple[Table, int]]]) -> list[int]:
    return [table.data[0] + more for table, more in holder["here"]]


def identity(obj: Any) -> tuple[int, int]:
    """Return the process and the object; the same ones, if it came once."""
    return os.getpid(), id(obj)


async def aidentity(obj: Any) -> tuple[int, int]:
    return os.getpid(), id(obj)


def times_unpickled(_table: Table) -> tuple[int, int]:
    time.sleep(0.02)  # so that each worker gets some of them
    return os.getpid(), Table.unpickled


def is_read_only(table: Table) -> bool:
    return table.data.readonly


def permissions(table: Table) -> str:
    """Return those of the mapping in which the data are, nothing if they are on the heap."""
    address = address_of(table.data)
    with open("/proc/self/maps") as maps:
        for line in maps:
            where, mode, *rest = line.split()
            start, end = (int(part, 16) for part in where.split("-"))
            if start <= address < end and "memfd:aplex" in rest[-2]:
                return mode
    return ""


def address_of(view: memoryview) -> int:
    import ctypes

    class Buffer(ctypes.Structure):
        _fields_ = (
            ("buf", ctypes.c_void_p),
            ("rest", ctypes.c_byte * 200),  # more than there is
        )

    get = ctypes.pythonapi.PyObject_GetBuffer
    get.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int]
    found = Buffer()
    get(view, ctypes.byref(found), 0)
    address = found.buf
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(found))
    assert address is not None
    return address


def rows(table: Table, count: int) -> Iterator[int]:
    for number in range(count):
        yield table.data[number]


async def arows(table: Table, count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield table.data[number]


def after(path: str, table: Table) -> int:
    """Wait at a gate, then look."""
    import select

    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        select.select([fd], [], [], PATIENCE)
    finally:
        os.close(fd)
    return table.data[0]


def die_once(path: str, table: Table) -> int:
    """End the worker the first time, and look the second time."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return table.data[0]
    assert table.data[0]
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


kept: list[Any] = []


def keep(table: Table) -> int:
    """Keep a view of the data for longer than the work lives."""
    kept.append(table.data[:100])
    return os.getpid()


def kept_total() -> int:
    return sum(kept[0])


def let_go() -> None:
    kept.clear()


def in_a_child(path: str, done: str, table: Table) -> int:
    """Fork a child that waits at a gate, then says what it sees; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    seen = after(path, table)
    with open(done, "w") as file:
        file.write(str(seen))
    os._exit(0)


def shared_on(engine: str, table: Table) -> list[int]:
    """Share what was shared, with the workers of a pool of the worker's own."""
    with make_pool(engine) as inner, inner.share(table) as handle:
        return [inner.submit(first_byte, handle).result(), table.data[0]]


def descriptors_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def thread_name(_table: Table) -> str:
    return threading.current_thread().name


class Remembered:
    """Is remembered, weakly, by the process that has unpickled it."""


remembered: list[weakref.ref[Any]] = []


def remember(obj: Any) -> None:
    remembered.append(weakref.ref(obj))


def is_remembered() -> bool:
    return any(found() is not None for found in remembered)
