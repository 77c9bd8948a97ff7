"""How remote workers end, and what becomes of works: whoever is killed, and whenever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from aplex import RemoteAsyncPoolExecutor, WorkerLostError
from aplex.exceptions import BrokenPoolError
from tests.support import works
from tests.support.half_worker import STEPS
from tests.support.processes import is_alive
from tests.support.remote_workers import COMMAND, agent_of
from tests.support.signals import Gate, Signals
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("nothing_left")
PATIENCE = 15.0  # seconds
PROMPT = 1.0  # seconds in which a death is told, on a busy machine


def test_a_killed_worker_is_told_at_once_and_what_it_had_not_started_runs_elsewhere(
    tmp_path: Path, signals: Signals
) -> None:
    gate = Gate(tmp_path / "gate")
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        pid = pool.submit(os.getpid).result(PATIENCE)
        running = pool.submit(works.held, signals.path, gate.path, 7)
        others = [pool.submit(works.add, n, 1) for n in range(20)]
        signals.expect("started 7")
        before = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        error = running.exception(PATIENCE)
        took = time.monotonic() - before
        assert isinstance(error, WorkerLostError)
        assert (error.pid, error.exitcode, error.signal_name) == (pid, -9, "SIGKILL")
        assert error.node == os.uname().nodename
        assert f"worker process {pid} on {error.node} was killed by SIGKILL" in str(error)
        assert took < PROMPT
        assert [other.result(PATIENCE) for other in others] == [n + 1 for n in range(20)]
        assert pool.submit(os.getpid).result(PATIENCE) != pid
    gate.close()


def test_the_end_of_an_agent_ends_its_worker(signals: Signals, tmp_path: Path) -> None:
    """What was aboard may have started: nobody certifies that it has not."""
    gate = Gate(tmp_path / "gate")
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        pid = pool.submit(os.getpid).result(PATIENCE)
        future = pool.submit(works.held, signals.path, gate.path, 7)
        signals.expect("started 7")
        os.kill(agent_of(pid), signal.SIGKILL)
        error = future.exception(PATIENCE)
        assert isinstance(error, WorkerLostError)
        assert error.exitcode is None
        assert error.lost_by is not None
        assert "is lost (" in str(error)
        assert pool.submit(works.add, 1, 2).result(PATIENCE) == 3
        gate.open()
        eventually(lambda: not is_alive(pid))
    gate.close()


def test_a_worker_that_is_stopped_is_ended_all_the_same() -> None:
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        pid = pool.submit(os.getpid).result(PATIENCE)
        os.kill(pid, signal.SIGSTOP)
        future = pool.submit(works.add, 1, 2)
        pool.kill_workers()
        with pytest.raises(CancelledError):  # its agent has certified that it never started
            future.result(PATIENCE)
    eventually(lambda: not is_alive(pid))


def test_an_agent_that_is_stopped_is_given_up() -> None:
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        pid = pool.submit(os.getpid).result(PATIENCE)
        os.kill(agent_of(pid), signal.SIGSTOP)
        pool.kill_workers()
    eventually(lambda: not is_alive(pid))


@pytest.mark.parametrize("step", STEPS)
def test_who_dies_on_its_way_to_the_pool_is_a_failed_start(step: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.half_worker", step, str(tmp_path / "mark")]
    with RemoteAsyncPoolExecutor(command, 1) as pool:
        assert pool.submit(works.add, 1, 2).result(PATIENCE) == 3
    assert (tmp_path / "mark").read_text(encoding="utf-8") == step


def test_a_command_that_fails_breaks_the_pool_and_is_the_reason() -> None:
    with RemoteAsyncPoolExecutor([sys.executable, "-c", "raise SystemExit(5)"], 1) as pool:
        error = pool.submit(works.add, 1, 2).exception(PATIENCE)
    assert isinstance(error, BrokenPoolError)
    assert "what was to start a worker exited with code 5 before it has dialled in" in str(error)
    with RemoteAsyncPoolExecutor(["/no/such/program"], 1) as pool:
        error = pool.submit(works.add, 1, 2).exception(PATIENCE)
    assert isinstance(error, BrokenPoolError)
    assert "a worker could not be launched" in str(error)
    assert "/no/such/program" in str(error)


def test_a_worker_that_never_dials_in_is_given_up() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with RemoteAsyncPoolExecutor(command, 1, start_timeout=0.3, max_restarts=0) as pool:
        error = pool.submit(works.add, 1, 2).exception(PATIENCE)
    assert isinstance(error, BrokenPoolError)
    assert "did not become ready within 0.3 s" in str(error)


CALLER = """
import os, sys, time
from aplex import RemoteAsyncPoolExecutor

def run():
    print(os.getpid(), os.getppid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    with RemoteAsyncPoolExecutor([sys.executable, "-m", "aplex.worker"], 2) as pool:
        pool.start()
        pool.submit(run).result()
"""


def test_a_caller_that_is_killed_takes_all_along(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(CALLER, encoding="utf-8")
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        pids = [int(pid) for pid in caller.stdout.readline().split()]
        caller.kill()
    assert len(pids) == 2
    eventually(lambda: not any(map(is_alive, pids)))


def test_a_machine_that_wants_a_worker_to_go_has_it_replaced() -> None:
    """It tells by SIGTERM, as batch systems and containers do; what runs is finished."""
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        pid = pool.submit(os.getpid).result(PATIENCE)
        future = pool.submit(works.sleep_and_pid, 0.5)
        os.kill(agent_of(pid), signal.SIGTERM)
        assert future.result(PATIENCE) == pid
        eventually(lambda: not is_alive(pid))
        assert pool.submit(os.getpid).result(PATIENCE) != pid


def test_a_fork_of_the_program_leaves_the_pool_alone() -> None:
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        assert pool.submit(works.add, 1, 2).result(PATIENCE) == 3
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        assert pool.submit(works.add, 1, 2).result(PATIENCE) == 3


@pytest.mark.parametrize("count", [8])
def test_many_workers_come_by_one_door(count: int) -> None:
    with RemoteAsyncPoolExecutor(COMMAND, count) as pool:
        pool.start()
        pids = set(pool.map(works.sleep_and_pid, [0.05] * 4 * count, chunksize=1))
        assert len(pids) == count
        stats: Any = pool.stats()
        assert {worker.node for worker in stats.workers} == {os.uname().nodename}
