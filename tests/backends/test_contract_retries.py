"""Contract (faults): works whose worker died run again if they may, and what is told of deaths."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aplex import WorkerLostError, WorkQuarantinedError
from aplex._wire.shared_memory import HUGE
from tests.support import works
from tests.support.callers import KILLED, PROCESSES, Caller

pytestmark = pytest.mark.few_engines

EVERY_PROCESS = pytest.mark.parametrize("engine", PROCESSES, indirect=True)
SPAWN = pytest.mark.parametrize("engine", ["template"], indirect=True)
BLOCKING = pytest.mark.parametrize("face", ["blocking"], indirect=True)
MEBIBYTE = 2**20


@pytest.fixture
def count(tmp_path: Path) -> Path:
    """A file in which each run of a work leaves a line."""
    return tmp_path / "count"


@SPAWN
@pytest.mark.parametrize("work", [works.die_at_first, works.adie_at_first])
def test_a_retried_work_runs_again_on_another_worker(
    new_caller: Callable[..., Caller], work: Callable[..., Any], count: Path
) -> None:
    caller = new_caller()
    pid = caller.call(works.pid)
    view = caller.through(caller.pool.options(retries=1))
    assert view.call(work, str(count)) != pid
    assert len(count.read_text().splitlines()) == 2


@pytest.mark.needs("linux")  # shared memory, and what is huge there
@SPAWN
@BLOCKING
def test_a_huge_argument_is_there_when_its_work_runs_again(
    new_caller: Callable[..., Caller], count: Path
) -> None:
    """The first worker has let go of it (it holds its own copy) before it died."""
    caller = new_caller()
    view = caller.through(caller.pool.options(retries=1))
    data = bytes(2 * HUGE) + b"there"
    assert view.call(works.die_at_first_with, str(count), data) == b"there"


@SPAWN
@BLOCKING
@pytest.mark.parametrize("how", ["function", "coroutine", "chunk", "stream"])
def test_arguments_are_as_they_were_when_a_work_runs_again(
    new_caller: Callable[..., Caller], how: str, count: Path
) -> None:
    """Whatever its first run has done to them, in memory that is shared with it."""
    caller = new_caller(retries=1)
    array = works.Array(bytearray(MEBIBYTE))
    for number in range(3):  # the third time, memory is used again
        path = f"{count}{number}"
        if how == "function":
            result = caller.call(works.die_at_first_changing, path, array)
        elif how == "coroutine":
            result = caller.call(works.adie_at_first_changing, path, array)
        elif how == "chunk":
            (result,) = caller.map(works.die_at_first_changing, [path], [array], chunksize=2)
        else:
            (result,) = caller.stream(works.die_at_first_yielding, path, array)
        assert result == 1
        assert len(Path(path).read_text().splitlines()) == 2
    assert array.data[0] == 0


@SPAWN
@BLOCKING
def test_retries_of_the_pool_hold_for_all_its_works(
    new_caller: Callable[..., Caller], count: Path
) -> None:
    caller = new_caller(retries=1)
    caller.call(works.die_at_first, str(count))
    view = caller.through(caller.pool.options(retries=0))
    assert isinstance(view.raised(works.die, "SIGKILL"), WorkerLostError)
    assert list(caller.map(works.add, [1, 2], chunksize=2)) == [1, 2]


@EVERY_PROCESS
@BLOCKING
def test_a_work_that_kills_again_and_again_is_quarantined(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller(pool_size=2, retries=100)
    others = [caller.submit(works.aadd, n) for n in range(50)]
    error = caller.raised(works.die, "SIGKILL")
    assert isinstance(error, WorkQuarantinedError)
    assert len(error.deaths) == 3
    assert len({death.pid for death in error.deaths}) == 3
    assert {death.exitcode for death in error.deaths} == {-KILLED}
    assert error.work.endswith("works.die")
    assert [caller.result(future) for future in others] == list(range(50))


# -- certificates -----------------------------------------------------------------------------


@EVERY_PROCESS
@BLOCKING
def test_a_death_certificate_says_what_was_in_flight(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller()
    caller.call(works.add, 1)
    caller.call(works.aadd, 1)
    error = caller.raised(works.die, "exit")
    assert isinstance(error, WorkerLostError)
    assert error.works == ("tests.support.works.die",)
    assert error.works_done == 2
    assert error.uptime is not None
    assert 0 < error.uptime < 30
    assert error.out_of_memory is False
    assert error.stack is None
    assert "(tests.support.works.die)" in str(error)


@SPAWN
@BLOCKING
def test_chunks_are_called_by_the_users_name(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller()
    with pytest.raises(WorkerLostError) as caught:
        list(caller.map(works.die, ["SIGKILL"] * 4, chunksize=2))
    assert caught.value.works == ("tests.support.works.die",)


@pytest.mark.parametrize("engine", ["spawn", "forkserver"], indirect=True)  # pytest has its own
@BLOCKING
def test_the_stack_of_a_crash_is_told(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller()
    error = caller.raised(works.crash)
    assert isinstance(error, WorkerLostError)
    assert error.signal_name == "SIGSEGV"
    assert error.stack is not None
    assert error.stack.startswith("Fatal Python error: Segmentation fault")
    assert "in crash" in error.stack
    assert error.stack in error.__notes__[0]
    assert caller.raised(works.die, "SIGKILL").stack is None  # type: ignore[attr-defined]


@SPAWN
@BLOCKING
def test_the_stack_of_a_program_that_a_work_forked_off_is_not_the_workers(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller()
    caller.call(works.crash_in_a_fork)
    error = caller.raised(works.die, "SIGKILL")
    assert isinstance(error, WorkerLostError)
    assert error.stack is None


@SPAWN
@BLOCKING
def test_a_faulthandler_of_the_users_stays_theirs(
    new_caller: Callable[..., Caller], tmp_path: Path
) -> None:
    dump = tmp_path / "dump"
    caller = new_caller(initializer=works.dump_crashes_to, initargs=(str(dump),))
    error = caller.raised(works.crash)
    assert isinstance(error, WorkerLostError)
    assert error.stack is None
    assert "Segmentation fault" in dump.read_text()


@SPAWN
@BLOCKING
def test_a_worker_that_used_much_memory_shows_it(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller()
    error = caller.raised(works.fill_memory_and_die, 400 * MEBIBYTE)
    assert isinstance(error, WorkerLostError)
    if error.peak_rss is not None:  # this process may have used more itself
        assert 400 * MEBIBYTE < error.peak_rss < 600 * MEBIBYTE


@pytest.mark.needs("linux")  # a counter of the kernel
@SPAWN
@BLOCKING
def test_a_kill_is_laid_on_the_kernel_if_its_counter_says_so(
    new_caller: Callable[..., Caller], tmp_path: Path
) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 0\noom_kill 3\n")
    caller = new_caller(pool_size=1)
    caller.call(works.pid)
    kills = caller.pool._manager._backend._oom_kills  # type: ignore[union-attr]
    kills.close()
    kills._fd, kills._blamed = os.open(events, os.O_RDONLY), 3
    assert caller.raised(works.die, "SIGKILL").out_of_memory is False  # type: ignore[attr-defined]
    events.write_text("low 0\noom 1\noom_kill 4\n")
    assert caller.raised(works.die, "exit").out_of_memory is False  # type: ignore[attr-defined]
    error = caller.raised(works.die, "SIGKILL")
    assert isinstance(error, WorkerLostError)
    assert error.out_of_memory is True
    assert "probably by the kernel" in str(error)
    assert caller.raised(works.die, "SIGKILL").out_of_memory is False  # type: ignore[attr-defined]
    events.write_text("")
    assert caller.raised(works.die, "SIGKILL").out_of_memory is None  # type: ignore[attr-defined]


@SPAWN
@BLOCKING
def test_someone_else_may_take_the_exit_status(new_caller: Callable[..., Caller]) -> None:
    """As ``multiprocessing.active_children()`` does for all children."""
    caller = new_caller()
    pid = caller.call(works.pid)
    process = caller.pool._manager._backend._links[caller.pool._manager.pool.workers[0]].process  # type: ignore[union-attr]
    with caller.pool._manager._lock:
        os.kill(pid, signal.SIGKILL)
        process.join()
    error = caller.call(works.pid)
    assert error != pid
