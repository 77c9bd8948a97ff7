"""Whoever is killed at whatever step: no future hangs, nothing is lost, doubled, or left behind.

Of those that die on the way to their pool, and in the commonest ways later, tells `test_ends`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aplex import RemoteAsyncPoolExecutor, WorkerLostError
from aplex._wire import orders
from tests.support import works
from tests.support.at_port import free_port, wait_until_gone
from tests.support.remote_workers import COMMAND, agent_of
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.usefixtures("nothing_left")
BEHIND_A_SHELL = ["sh", "-c", '"$@" & wait', "sh", *COMMAND]
"""As ``ssh`` or ``srun``: what is started is not the worker's agent."""
PATIENCE = 15.0  # seconds
BIG = 48 * 2**20


# -- in the middle of a frame -----------------------------------------------------------------


@pytest.mark.parametrize("who", ["worker", "agent"])
def test_a_death_in_the_middle_of_an_argument(who: str) -> None:
    """The worker has not started it, which its agent certifies; without one it may have."""
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        pid = pool.submit(os.getpid).result(PATIENCE)
        os.kill(pid, signal.SIGSTOP)  # so that the connection fills
        agent = agent_of(pid)
        future = pool.submit(len, bytes(BIG))
        after = pool.submit(works.add, 1, 2)
        time.sleep(0.2)  # the frame is on its way; where it stops, nobody tells
        os.kill(pid if who == "worker" else agent, signal.SIGKILL)
        if who == "worker":
            assert future.result(PATIENCE) == BIG
            assert after.result(PATIENCE) == 3
        else:
            assert isinstance(future.exception(PATIENCE), WorkerLostError)
            assert isinstance(after.exception(PATIENCE), WorkerLostError)
            os.kill(pid, signal.SIGCONT)  # now it sees that all is over
        assert pool.submit(os.getpid).result(PATIENCE) != pid


def test_the_end_of_an_agent_in_the_middle_of_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine: on this one there is no such moment, for big results are in memory."""
    monkeypatch.setattr(orders, "boot_of_this_machine", lambda: "another one")
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        pid = pool.submit(os.getpid).result(PATIENCE)
        with pool._manager._lock:  # nobody takes it in meanwhile
            future = pool.submit(works.zeros, BIG)
            pool._manager._flush()
            time.sleep(0.2)
            os.kill(agent_of(pid), signal.SIGKILL)
        error = future.exception(PATIENCE)
        assert error is None or isinstance(error, WorkerLostError)  # all of it may have come
        # It may be sent there, as the end of the worker was not noticed yet.
        assert pool.options(retries=1).submit(works.add, 1, 2).result(PATIENCE) == 3


# -- the command ------------------------------------------------------------------------------


def test_the_end_of_a_command_whose_worker_lives_on_is_no_death(
    signals: Signals, tmp_path: Path
) -> None:
    """As that of an ``ssh`` whose terminal is closed: the worker has a connection of its own."""
    gate = Gate(tmp_path / "gate")
    with RemoteAsyncPoolExecutor(BEHIND_A_SHELL, 1) as pool:
        pid = pool.submit(os.getpid).result(PATIENCE)
        future = pool.submit(works.held, signals.path, gate.path, 7)
        signals.expect("started 7")
        shell = agent_of(agent_of(pid))
        os.kill(shell, signal.SIGKILL)
        gate.open()
        future.result(PATIENCE)
        assert pool.submit(os.getpid).result(PATIENCE) == pid
        os.kill(pid, signal.SIGKILL)
        assert pool.submit(os.getpid).result(PATIENCE) != pid
    gate.close()


def test_a_command_that_is_killed_before_its_worker_has_dialled_in_is_a_failed_start(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "mark"
    script = f'if [ ! -e {mark} ]; then touch {mark}; kill -9 $$; fi; exec "$@"'
    with RemoteAsyncPoolExecutor(["sh", "-c", script, "sh", *COMMAND], 1) as pool:
        assert pool.submit(works.add, 1, 2).result(PATIENCE) == 3
    assert mark.exists()


# -- the caller -------------------------------------------------------------------------------

CALLER = """
import os, signal, sys
from aplex import RemoteAsyncPoolExecutor
from aplex._backends.remote import backend, command, launches, welcomes
from aplex._wire import frames

def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def write_half(fd, parts):
    data = b"".join(parts)
    if bytes(20_000) not in data:
        return real(fd, parts)
    os.write(fd, data[:10_000])
    killed()

STEPS = {
    "launched": (command.CommandLauncher, "_watch"),
    "a worker knocks": (launches.Launches, "admit"),
    "it has come in": (backend.RemoteBackend, "_arrived"),
    "it is welcomed": (welcomes.Welcomes, "_write"),
    "it is settled": (backend.RemoteBackend, "_take"),
    "all lanes are there": (backend.RemoteBackend, "_link_up"),
}
if __name__ == "__main__":
    step, port = sys.argv[1], int(sys.argv[2])
    if step in STEPS:
        setattr(*STEPS[step], killed)
    with RemoteAsyncPoolExecutor([sys.executable, "-m", "aplex.worker"], 2, port=port) as pool:
        assert pool.submit(abs, -1).result(20) == 1
        if step == "half a frame":
            real, os.writev = os.writev, write_half
            pool.resize(3)  # the new one has a writer that writes so
            pool.start(at_least=3)
            for _ in range(3):
                pool.submit(len, bytes(30_000))  # too small to travel apart
        elif step == "works run":
            import time
            for _ in range(2):
                pool.submit(time.sleep, 60)
            pool.submit(abs, -1)
            killed()
"""
STEPS = (
    "launched",
    "a worker knocks",
    "it has come in",
    "it is welcomed",
    "it is settled",
    "all lanes are there",
    "half a frame",
    "works run",
)


@pytest.mark.parametrize("step", STEPS)
def test_a_caller_that_is_killed_leaves_nothing(step: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(CALLER, encoding="utf-8")
    port = free_port()
    with contextlib.ExitStack() as stack:
        caller = stack.enter_context(
            subprocess.Popen([sys.executable, program, step, str(port)], stderr=subprocess.DEVNULL)
        )
        assert caller.wait(30) == -signal.SIGKILL
    wait_until_gone(port)


# -- silence ----------------------------------------------------------------------------------


def test_who_is_stopped_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel of its machine answers: with much shorter patience than ours it is no loss."""
    from aplex._wire import tcp

    for name, value in (("IDLE", 1), ("INTERVAL", 1), ("PROBES", 1), ("GIVE_UP", 1500)):
        monkeypatch.setattr(tcp, name, value)
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        pid = pool.submit(os.getpid).result(PATIENCE)
        agent = agent_of(pid)
        for one in (pid, agent):
            os.kill(one, signal.SIGSTOP)
        future = pool.submit(os.getpid)
        time.sleep(4)  # that nothing happens, nothing tells
        assert not future.done()
        for one in (agent, pid):
            os.kill(one, signal.SIGCONT)
        assert future.result(PATIENCE) == pid
