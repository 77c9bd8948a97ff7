"""Workers in processes that a cluster has started, with an agent beside them, as on Ray.

The cluster is a shell here. Whoever dies, at whatever step, leaves nobody behind; no work hangs.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aplex import RemoteAsyncPoolExecutor, WorkerLostError
from tests.support import works
from tests.support.hosted_worker import STEPS
from tests.support.leaks import nothing_left_alive
from tests.support.processes import parent_of
from tests.support.signals import Gate, Signals

PATIENCE = 20.0  # seconds
MARK = "APLEX_TEST_MARK"


def marked(mark: str) -> set[int]:
    """Return the processes, whosever child, that have a variable of this test."""
    word, found = f"{MARK}={mark}".encode(), set[int]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if word in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
            except OSError:  # it has ended just now
                continue
    return found


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What all processes of the test have in their environment; in the end there are none."""
    mark = str(tmp_path)
    monkeypatch.setenv(MARK, mark)
    with nothing_left_alive():
        yield mark
    end = time.monotonic() + PATIENCE
    while left := marked(mark):
        assert time.monotonic() < end, f"left alive: {left}"
        time.sleep(0.02)  # of the end of somebody else's children nobody tells


def command(step: str, file: Path) -> list[str]:
    hosted = [sys.executable, "-m", "tests.support.hosted_worker", step, str(file)]
    return ["sh", "-c", '"$@" & wait $!', "sh", *hosted]


@pytest.mark.parametrize("step", STEPS)
def test_who_dies_on_the_way_is_a_failed_start(step: str, mark: str, tmp_path: Path) -> None:
    with RemoteAsyncPoolExecutor(command(step, tmp_path / "file"), 1) as pool:
        assert pool.submit(works.add, 1, 2).result(PATIENCE) == 3
    assert (tmp_path / "file").exists()


@pytest.mark.parametrize("who", ["worker", "agent", "cluster"])
def test_who_dies_while_works_run_is_told_soon(who: str, mark: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    signals, gate = Signals(tmp_path / "signals"), Gate(tmp_path / "gate")
    with RemoteAsyncPoolExecutor(command("-", tmp_path / "file"), 1) as pool:
        pid = pool.submit(os.getpid).result(PATIENCE)
        shell = parent_of(pid)
        (agent,) = marked(mark) - {pid, shell}
        running = pool.submit(works.held, signals.path, gate.path, 7)
        others = [pool.submit(works.add, n, 1) for n in range(10)]
        signals.expect("started 7")
        before = time.monotonic()
        os.kill({"worker": pid, "agent": agent, "cluster": shell}[who], signal.SIGKILL)
        error = running.exception(PATIENCE)
        assert time.monotonic() - before < 2
        assert isinstance(error, WorkerLostError)
        if who == "agent":  # nobody certifies what had started: of those at hand, all
            ended = [other.exception(PATIENCE) for other in others]
            assert all(error is None or isinstance(error, WorkerLostError) for error in ended)
        else:
            assert [other.result(PATIENCE) for other in others] == [n + 1 for n in range(10)]
            assert error.exitcode in (-signal.SIGKILL, None)  # before Linux 6.15 nobody tells
        gate.open()
        assert pool.submit(os.getpid).result(PATIENCE) != pid
    signals.close()
    gate.close()


def test_an_agent_whose_process_ends_before_it_is_a_worker_says_nothing(mark: str) -> None:
    """As on Ray, where an actor that is not wanted any more is ended: its log is shown there."""
    here, there = socket.socketpair()
    here.close()
    with there:
        program = f"from aplex._agent.hosted import attend; attend({there.fileno()}, 1, -1)"
        ran = subprocess.run(
            [sys.executable, "-c", program],
            pass_fds=[there.fileno()],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
