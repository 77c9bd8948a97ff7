"""The process back end: what it does when a part of the system fails, tried without processes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from multiprocessing import get_context
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from aplex._backends.contract import Setup
from aplex._backends.process import backend as process
from aplex._backends.process.backend import ProcessBackend, _why
from aplex._backends.process.postmortem import show_crash
from aplex._common.messages import PLAIN
from aplex._pool.pool import Pool
from aplex._pool.state import PoolWorker
from aplex._wire.counters import Progress
from aplex.load_balancers import RoundRobin


class Listener:
    """Makes each call at once, and notes what is watched."""

    def __init__(self) -> None:
        self.watched: set[Any] = set()

    def call_soon(self, call: Callable[[], object]) -> None:
        call()

    def watch(self, end: Any, _callback: Callable[[], None]) -> None:
        self.watched.add(end)

    def unwatch(self, end: Any) -> None:
        self.watched.discard(end)


def made() -> tuple[ProcessBackend, list[Any]]:
    """A back end, and the deaths that it reports."""
    deaths: list[Any] = []
    backend = ProcessBackend(get_context("spawn"), (), Setup("test", None, None, ()))
    events: Any = SimpleNamespace(lost=lambda _worker, examine: deaths.append(examine()))
    listener: Any = Listener()
    backend.bind(events, listener)
    return backend, deaths


def worker() -> PoolWorker:
    pool = Pool(1, 1, RoundRobin)
    pool.open()
    return pool.workers[0]


def test_a_worker_without_channels_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_channels(*_: Any) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    backend, deaths = made()
    monkeypatch.setattr(process, "ProcessLink", no_channels)
    backend.start(worker())
    assert "no channels" in str(deaths[0].reason)
    assert "Too many open files" in str(deaths[0].reason)
    backend.close()


def test_what_was_never_used_shares_nothing_after_a_fork() -> None:
    backend, _ = made()
    assert backend.encode(len, (bytes(100_000),), {}) is not None
    before = backend._arena
    assert before is not None
    backend.renew_after_fork()
    assert backend._arena is None
    assert before.end.fileno() < 0
    backend.close()


class Ended:
    """A link to a worker whose channels have a fault."""

    def __init__(self, fault: BaseException) -> None:
        self.readers = [SimpleNamespace(frames=[])] * 2
        self.process = SimpleNamespace(pid=7)
        self.described = "worker process 7"
        self.asked: list[str] = []
        self.closed = self.started = self.unwanted = False
        self._fault = fault

    def read(self, _lane: int) -> NoReturn:
        raise self._fault

    def kill(self) -> None:
        self.asked.append("kill")


@pytest.mark.parametrize(
    ("fault", "asked", "told"),
    [
        (BlockingIOError(), [], ""),
        (EOFError(), ["gone"], ""),
        (OSError(errno.EBADF, "Bad file descriptor"), ["gone"], ""),
        (MemoryError(), ["gone", "kill"], "no memory"),
        (ValueError("bad marshal data"), ["gone", "kill"], "undecodable"),
    ],
)
def test_what_cannot_be_read_ends_its_worker(
    fault: BaseException, asked: list[str], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend, _ = made()
    link: Any = Ended(fault)
    frames: Any = backend._read(link, PLAIN, lambda: link.asked.append("gone"))
    assert frames == []
    assert link.asked == asked
    assert link.unwanted is isinstance(fault, (EOFError, OSError)) & ("gone" in asked)
    assert told in caplog.text
    backend.close()


def test_a_start_that_fails_names_the_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory")
    assert "fork server has ended" in _why(ConnectionResetError("reset"))
    assert _why(missing) == str(missing)
    assert _why(ValueError("another")) == "another"

    def deleted() -> NoReturn:
        raise missing

    monkeypatch.setattr(os, "getcwd", deleted)
    assert "os.chdir" in _why(missing)


def test_a_worker_that_is_gone_is_asked_for_nothing() -> None:
    backend, _ = made()
    lost = worker()
    backend.send(lost)
    backend.send_alone(lost, SimpleNamespace())  # type: ignore[arg-type]
    backend.interrupt(lost, 1)
    backend.stop(lost)
    backend.kill(lost)
    backend.terminate(lost)
    assert backend.running(lost) == (0, 0.0)
    assert not backend.kill_at(lost, 1)
    assert not backend.has_started(lost, 1)
    backend.close()


def test_the_stack_of_a_crash_is_shown_where_it_was_to_go(
    capfd: pytest.CaptureFixture[str],
) -> None:
    progress = Progress()
    assert progress.file is not None
    os.write(progress.file.fileno(), b"Fatal Python error: Segmentation fault\n\nCurrent thread")
    show_crash(progress)
    assert capfd.readouterr().err == ""
    progress.mark_for_stderr()
    show_crash(progress)
    assert capfd.readouterr().err.startswith("Fatal Python error: Segmentation fault\n")
    progress.close()
