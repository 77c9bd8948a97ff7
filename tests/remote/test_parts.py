"""The parts of the back end of remote workers, each by itself, and where they meet."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from aplex import RemoteAsyncPoolExecutor
from aplex._backends.listener import Timer
from aplex._backends.remote import backend, door, ends, supply, welcomes
from aplex._backends.remote.ends import Ends
from aplex._backends.remote.launch import Launch
from aplex._backends.remote.launches import Launches
from aplex._backends.remote.link import RemoteLink
from aplex._backends.remote.nodes import Nodes
from aplex._backends.remote.ray_envoy import RayEnvoy
from aplex._backends.remote.recent import Recent
from aplex._pool.state import PoolWorker
from aplex._wire import handshake
from aplex._wire.frames import PipeEnd
from aplex._wire.orders import Arrival
from tests.support import works
from tests.support.leaks import Census, nothing_left_alive

COMMAND = [sys.executable, "-m", "aplex.worker"]
PATIENCE = 15.0  # seconds


@pytest.fixture(autouse=True)
def leaks() -> Iterator[None]:
    """No command, no agent and no worker is left."""
    with nothing_left_alive():
        yield


# -- machines -----------------------------------------------------------------------------------


def test_a_machine_is_known_while_there_are_workers() -> None:
    nodes: Nodes[str] = Nodes()
    node = nodes.at("one run of a machine")
    assert node.comes("first", "modules", far=True)
    assert not node.comes("second", "modules", far=True)
    assert not node.comes("third", "modules", far=True)
    assert nodes.leave(node, "first") == ["second", "third"]
    assert nodes.at("one run of a machine") is node
    for name in ("second", "third"):
        nodes.leave(node, name)
    assert len(nodes) == 0
    assert nodes.at("one run of a machine") is not node


def test_of_a_machine_of_which_nothing_is_known_nothing_is_kept() -> None:
    nodes: Nodes[str] = Nodes()
    assert nodes.at("") is not nodes.at("")
    assert len(nodes) == 0


def test_a_pool_forgets_the_machines_of_workers_that_are_over() -> None:
    with RemoteAsyncPoolExecutor(COMMAND, 2) as pool:
        pool.start()
        found: Any = pool._gateway._backend
        nodes = found._welcomes.nodes
        assert len(nodes) == 1
    assert len(nodes) == 0


def test_what_is_noted_last_is_kept() -> None:
    noted: Recent[str, int] = Recent(2)
    for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        noted.note(key, value)
    assert noted == {"a": 3, "c": 4}


# -- Ctrl-C in the middle of a start --------------------------------------------------------------


def once(real: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
    """Return what is interrupted when it is called first."""
    calls: list[object] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if before and len(calls) == 1:
            raise KeyboardInterrupt
        made = real(*args, **kwargs)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return made

    return call


STEPS = {
    "the door is open": (door.Door, "open", False),
    "the worker is expected": (backend, "Launch", False),
    "the order is written": (backend, "Order", True),
    "the order is given": (supply.Supply, "order", False),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_start_into_which_control_c_breaks_is_begun_again(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, name, before = STEPS[step]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(place, name, once(getattr(place, name), before=before))
    with RemoteAsyncPoolExecutor(COMMAND, 1, port=port) as pool:
        with pytest.raises(KeyboardInterrupt):
            pool.submit(works.add, 1, 2)
        assert pool.submit(works.add, 1, 2).result(PATIENCE) == 3
        assert [worker.id for worker in pool.stats().workers] == [1]


# -- what is gone ---------------------------------------------------------------------------------


def test_a_worker_that_is_gone_before_its_link_is_made_breaks_nothing() -> None:
    """The link is made; that it has ended is read there."""
    pairs = [socket.socketpair() for _ in range(4)]
    control, *lanes = (PipeEnd(ours.detach()) for ours, _ in pairs)
    for _, theirs in pairs:
        theirs.close()
    launch = Launch(PoolWorker(Mock(), 1))
    launch.take_control(control, logs=True)
    launch.arrival = Arrival("there", 1, "", 0)
    channels = (handshake.COROUTINES, handshake.PLAIN, handshake.LOGS)
    launch.channels = dict(zip(channels, lanes, strict=True))
    launch.set_up(mapped=True)
    assert launch.is_complete
    link = launch.make_link(None, Mock(), near=True)
    assert launch.link is link
    assert link.logs is not None
    link.logs.end.close()
    link.close()


def test_where_modules_are_is_told_where_the_working_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), str(tmp_path / "nothing")])
    gone.rmdir()
    assert welcomes._search_path() == [str(tmp_path)]


def test_an_envoy_that_cannot_be_started_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/program")
    before = Census.taken()
    with pytest.raises(FileNotFoundError):
        RayEnvoy(quiet=True)
    assert not Census.taken() - before  # without the help of a collector


def test_a_cluster_that_does_not_hear_of_an_end_breaks_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    launcher, events, listener = Mock(), Mock(), Mock()
    launcher.over.side_effect = RuntimeError("the client is closed")
    one = supply.Supply("pool", launcher, Launches(), Mock())
    one.bind(events, listener, Mock(), Mock())
    one.over(Launch(PoolWorker(Mock(), 1)))
    one.close()
    assert events.failed.mock_calls == []
    assert launcher.close.mock_calls
    assert "could not be told that a worker has ended" in caplog.text


class Stuck:
    """What takes nothing, as a connection to an agent that is stopped."""

    full = True

    def write(self, parts: list[bytes]) -> int:
        if self.full:
            raise BlockingIOError
        return len(parts[0])


def test_a_question_that_did_not_go_out_is_not_waited_for() -> None:
    """And the next ones are asked."""
    link: Any = RemoteLink.__new__(RemoteLink)
    link.closed, link.certificate, link.lifeline = False, None, Stuck()
    link._asked = link._answered = 0
    link._again = False
    assert link.has_told(link.ask())
    link.lifeline.full = False
    number = link.ask()
    assert not link.has_told(number)
    link.answered()
    assert link.has_told(number)


# -- whoever is killed ----------------------------------------------------------------------------


class Timers:
    """What an `Ends` uses of a listener, and of `Events`."""

    def __init__(self) -> None:
        self.all: list[Timer] = []

    def call_soon(self, call: Callable[[], object]) -> None:
        call()

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        self.all.append(Timer(when, call))
        return self.all[-1]

    def watch(self, _end: object, _call: object) -> None:
        pass

    locked = call_soon


class Ending:
    """What an `Ends` uses of a link."""

    certificate: object = None
    unwanted = False
    readers = (Mock(), Mock())

    def certify(self, certificate: object) -> None:
        self.certificate = certificate

    def kill(self) -> None:
        pass


@pytest.mark.parametrize("steps", ["kill certified", "certified kill"])
def test_what_a_killed_worker_had_written_is_waited_for(steps: str) -> None:
    """Once its agent has certified its end, it is not given up for saying nothing."""
    timers: Any = Timers()
    watched = Ends(Launches(), Mock(), Mock(), Mock())
    watched.bind(timers, timers)
    launch: Any = Launch(PoolWorker(Mock(), 1))
    launch.link = Ending()
    for step in steps.split():
        if step == "kill":
            watched.kill(launch)
        else:
            watched.certified(launch, Mock())
    (left,) = [timer for timer in timers.all if timer.callback is not None]
    assert left is launch.timer
    assert left.when - time.monotonic() > ends.STUCK
