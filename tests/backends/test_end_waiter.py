"""An EndWaiter tells of the ends of processes, where a selector cannot wait for them."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from aplex._backends.process.end_waiter import MOST, EndWaiter
from tests.support.leaks import nothing_left_alive

DEADLINE = 10.0


class Processes:
    """What looks like processes: each sentinel is a pipe, which ends."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], object]] = queue.Queue()  # to be made by a listener
        self.ended: list[int] = []
        self._pipes: dict[int, tuple[int, int]] = {}
        self.waiter = EndWaiter(SimpleNamespace(call_soon=self.calls.put))  # type: ignore[arg-type]

    def start(self, number: int) -> None:
        self._pipes[number] = os.pipe()
        process: Any = SimpleNamespace(sentinel=self._pipes[number][0])
        self.waiter.watch(process, lambda: self.ended.append(number))

    def end(self, number: int) -> None:
        os.close(self._pipes[number][1])

    def hear(self) -> list[int]:
        """Make the next call of the listener; return who has ended until now."""
        self.calls.get(timeout=DEADLINE)()
        return self.ended

    def close(self) -> None:
        self.waiter.close()
        for number, (reading, writing) in self._pipes.items():
            os.close(reading)
            if number not in self.ended:
                os.close(writing)


@pytest.fixture
def processes() -> Iterator[Processes]:
    with nothing_left_alive():
        processes = Processes()
        yield processes
        processes.close()


def test_each_end_is_told_once(processes: Processes) -> None:
    for number in range(3):
        processes.start(number)
    processes.end(1)
    assert processes.hear() == [1]
    processes.start(3)  # while the thread waits
    processes.end(3)
    processes.end(0)
    processes.hear()
    assert sorted(processes.hear()) == [0, 1, 3]
    assert processes.calls.empty()


def test_there_are_as_many_threads_as_the_system_wants(processes: Processes) -> None:
    for number in range(2 * MOST + 1):
        processes.start(number)
    assert len(processes.waiter._groups) == 3
    for number in range(2 * MOST + 1):
        processes.end(number)
    for _ in range(2 * MOST + 1):
        processes.hear()
    assert sorted(processes.ended) == list(range(2 * MOST + 1))
    processes.start(-1)
    assert len(processes.waiter._groups) == 3


def test_a_bug_in_the_thread_is_the_listeners(processes: Processes) -> None:
    class Broken:
        sentinel = "no descriptor"

    processes.waiter.watch(Broken(), list)
    with pytest.raises(Exception, match=r"no descriptor|Invalid|int"):
        processes.hear()
