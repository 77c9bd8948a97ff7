"""Fault tests: the program is killed. No worker outlives it, whatever the works are doing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
import threading
from multiprocessing.process import BaseProcess

import pytest
from tests.support.programs import START_METHODS, on, one_in, started

from aplex import ProcessAsyncPoolExecutor
from aplex._link import Link
from aplex._messages import PLAIN

processes = on("spawn", "fork", of=START_METHODS)
DEATHS = [signal.SIGTERM, signal.SIGKILL]

SITUATIONS = {
    "idle": "assert pool.submit(square, 2).result() == 4; say('running')",
    "time.sleep": "pool.submit(sleep, 60)",
    "a CPU loop, on both lanes": "pool.submit(stubborn); pool.submit(burn, 60)",
    "a coroutine that blocks its loop": "pool.submit(blocking, 60)",
    "a coroutine that computes": "pool.submit(computing)",
    "a coroutine that suppresses its cancel": "pool.submit(stubborn)",
    "results that nobody reads": "pool.submit(flood)",
    "a worker's start": "make(initializer=sleep, initargs=(60,)).submit(square, 2)",
}


@one_in(3, engine=START_METHODS, situation=list(SITUATIONS), number=DEATHS)
def test_no_worker_outlives_the_program(engine, situation, number, tmp_path) -> None:
    text = f"""
    async def computing():
        burn(60)

    async def flood():
        say("running")
        return bytes(50_000_000)

    def main():
        global pool
        pool = make()
        {SITUATIONS[situation]}
        time.sleep(60)
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running")
        assert len(program.descendants()) >= 2
        program.signal(number)
        outcome = program.finish()
    outcome.assert_clean(code=-number)
    assert "finished" not in outcome.out


def test_no_worker_outlives_the_program_that_is_starting_it(tmp_path) -> None:
    """The worker is still running the program's main module, not yet a line of the pool's."""
    text = """
    if __name__ != "__main__":
        say("running")
        time.sleep(1)

    def main():
        with make() as pool:
            pool.submit(square, 1).result()
    """
    with started(text, tmp_path, engine="spawn") as program:
        program.wait_for("running")
        program.signal(signal.SIGKILL)
        outcome = program.finish()
    assert outcome.code == -signal.SIGKILL
    assert "Exception ignored" not in outcome.err


def test_a_forked_worker_holds_no_end_of_another_one(monkeypatch) -> None:
    """Else that one would outlive the parent as long as this one does.

    The race: a worker is forked while the ends for the next one are being made.
    """
    forked = threading.Event()
    make_link, start = Link.__init__, BaseProcess.start

    def make_slowly(link, arena):
        make_link(link, arena)
        forked.wait(0.3)  # until the worker before is forked, if that may be now

    def note_start(process):
        start(process)
        forked.set()

    monkeypatch.setattr(Link, "__init__", make_slowly)
    monkeypatch.setattr(BaseProcess, "start", note_start)
    theirs: dict[int, set[int]] = {}
    with ProcessAsyncPoolExecutor(pool_size=2, mp_context="fork") as pool:
        while len(theirs) < 2:
            futures = [pool.submit(written_pipes) for _ in range(2)]
            theirs |= dict(future.result() for future in futures)
        links = pool._manager._backend._links.values()
        lifelines = {os.fstat(link.lifeline.fileno()).st_ino for link in links}
        reports = {os.fstat(link.readers[PLAIN].end.fileno()).st_ino for link in links}
    for held in theirs.values():
        assert held & reports  # they are told apart by their numbers
        assert not held & lifelines


def written_pipes() -> tuple[int, set[int]]:
    """The process id of a worker, and the pipes into which it could write."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the list itself
            fd = int(name)
            writes = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
            status = os.fstat(fd)
            if writes and stat.S_ISFIFO(status.st_mode):
                found.add(status.st_ino)
    return os.getpid(), found


@pytest.mark.smoke
@processes
def test_coroutines_of_an_orphan_clean_up(engine, tmp_path) -> None:
    text = """
    def main():
        global pool
        pool = make()
        pool.submit(endless)
        time.sleep(60)
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running")
        program.signal(signal.SIGKILL)
        outcome = program.finish()
    outcome.assert_clean(code=-signal.SIGKILL)
    assert outcome.out == ["running", "cleaned up"]


@processes
def test_programs_killed_at_any_moment_leave_nothing(engine, tmp_path) -> None:
    """The start of their workers is under way, or not, or done."""
    text = """
    def main():
        global pool
        pool = make(pool_size=2)
        future = pool.submit(square, 2)
        say("submitted")
        future.result()
        time.sleep(60)
    """
    for _ in range(5):
        with started(text, tmp_path, engine=engine) as program:
            program.wait_for("submitted")
            program.signal(signal.SIGKILL)
            assert program.finish().code == -signal.SIGKILL
