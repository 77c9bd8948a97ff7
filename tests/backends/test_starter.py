"""Logic: in which order, and when, processes are started. None is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from aplex._backends.listener import Listener
from aplex._backends.process import starter
from aplex._backends.process.starter import Starter
from aplex._wire.packed_setup import PackedSetup

DEADLINE = 10  # seconds


class Process:
    """A process that is not there."""

    def __init__(self, desk: Desk, **options: Any) -> None:
        self.desk, self.name = desk, options["name"]

    def start(self) -> None:
        assert self.desk.may_start.wait(DEADLINE)
        if self.name in self.desk.broken:
            raise OSError("no process")
        self.desk.threads.add(threading.get_ident())


class Desk:
    """A Starter, the lock and the listener it needs, and what it reports."""

    def __init__(self, method: str) -> None:
        self.reported: list[tuple[str, str]] = []
        self.changed = threading.Condition()
        self.threads: set[int] = set()
        self.broken: set[str] = set()
        self.may_start = threading.Event()
        self.may_start.set()
        self.lock = threading.RLock()
        self.failures: list[BaseException] = []
        self.listener = Listener("listener", self.failures.append)
        self.listener.start()
        context = SimpleNamespace(
            get_start_method=lambda: method,
            Process=lambda **options: Process(self, **options),
        )
        main: Any = SimpleNamespace(path=None)
        self.starter = Starter(context, PackedSetup([], []), "pool", main, self.started)
        self.starter.bind(self, self.listener)  # type: ignore[arg-type] # all it needs of one

    def locked(self, call: Callable[[], None]) -> None:
        with self.lock:
            call()

    def add(self, count: int) -> None:
        with self.lock:  # a step
            for number in range(1, count + 1):
                link = SimpleNamespace(
                    process=None,
                    unwanted=False,
                    stopped=False,
                    child_ends=SimpleNamespace(close=bool),
                    progress=SimpleNamespace(
                        file=SimpleNamespace(fileno=lambda: 0),
                        page=SimpleNamespace(close_file=bool),
                    ),
                )
                self.starter.add(SimpleNamespace(id=number, index=number - 1), link)  # type: ignore[arg-type]

    def started(self, _worker: Any, link: Any, failure: BaseException | None) -> None:
        with self.changed:
            self.reported.append((link.process.name, str(failure or "")))
            self.changed.notify_all()

    def wait_for(self, count: int) -> list[tuple[str, str]]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.reported) >= count, DEADLINE)
            return self.reported

    def settle(self) -> None:
        """Wait until the listener has made all calls, and the thread has ended."""
        for _ in range(2):
            called = threading.Event()
            self.listener.call_soon(called.set)
            assert called.wait(DEADLINE)
            thread = self.starter._thread
            if thread is not None:
                thread.join(DEADLINE)

    def close(self) -> None:
        self.listener.call_soon(self.listener.stop)
        self.listener.join()


@pytest.fixture
def desks() -> Iterator[Callable[[str], Desk]]:
    made: list[Desk] = []

    def make(method: str) -> Desk:
        made.append(Desk(method))
        return made[-1]

    yield make
    for desk in made:
        desk.close()


def test_one_thread_starts_all_in_order(desks: Callable[[str], Desk]) -> None:
    desk = desks("spawn")
    desk.add(3)
    assert desk.wait_for(3) == [("pool-1", ""), ("pool-2", ""), ("pool-3", "")]
    assert len(desk.threads) == 1
    desk.settle()
    assert desk.starter._thread is None


def test_who_comes_while_the_thread_is_busy_is_started_too(desks: Callable[[str], Desk]) -> None:
    desk = desks("spawn")
    desk.may_start.clear()
    desk.add(1)
    desk.add(2)
    desk.may_start.set()
    assert len(desk.wait_for(3)) == 3


def test_nothing_is_forked_before_the_step_is_over(desks: Callable[[str], Desk]) -> None:
    desk = desks("spawn")
    with desk.lock:
        desk.add(1)
        called = threading.Event()
        desk.listener.call_soon(called.set)
        assert not called.wait(0.1)  # the listener waits for the lock
        assert desk.starter._thread is None
    assert len(desk.wait_for(1)) == 1


def test_a_first_fork_is_alone_until_a_work_is_done(
    desks: Callable[[str], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "LONGEST_HOLD", 3600.0)
    desk = desks("fork")
    desk.add(3)
    desk.wait_for(1)
    desk.settle()
    assert desk.reported == [("pool-1", "")]
    desk.starter.go_on()
    assert len(desk.wait_for(3)) == 3
    desk.add(2)  # later ones wait for nobody
    assert len(desk.wait_for(5)) == 5


def test_the_others_do_not_wait_for_ever(desks: Callable[[str], Desk]) -> None:
    desk = desks("fork")
    desk.add(3)
    assert len(desk.wait_for(3)) == 3


def test_nobody_waits_for_a_first_fork_that_failed(
    desks: Callable[[str], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "LONGEST_HOLD", 3600.0)
    desk = desks("fork")
    desk.broken.add("pool-1")
    desk.add(3)
    assert desk.wait_for(2)[:2] == [("pool-1", "no process"), ("pool-2", "")]
    desk.starter.go_on()
    assert len(desk.wait_for(3)) == 3


def test_without_new_threads_the_listener_starts_them(
    desks: Callable[[str], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desks("spawn")

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    desk.add(2)
    assert len(desk.wait_for(2)) == 2
    assert desk.threads == {desk.listener._thread.ident}
