"""Fault tests: the program is killed. No worker outlives it, whatever the works are doing."""

from __future__ import annotations

import signal

import pytest
from tests.support.programs import START_METHODS, on, one_in, started

processes = on("template", "fork", of=START_METHODS)
DEATHS = [signal.SIGTERM, signal.SIGKILL]

SITUATIONS = {
    "idle": "assert pool.submit(square, 2).result() == 4; say('running')",
    "time.sleep": "pool.submit(sleep, 60)",
    "a CPU loop, on both lanes": "pool.submit(stubborn); pool.submit(burn, 60)",
    "a coroutine that blocks its loop": "pool.submit(blocking, 60)",
    "a coroutine that computes": "pool.submit(computing)",
    "a coroutine that suppresses its cancel": "pool.submit(stubborn)",
    "results that nobody reads": "pool.submit(flood)",
    "a shared object": "pool.submit(holding, pool.share([bytes(10_000_000)]))",
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

    def holding(shared):
        say("running")
        time.sleep(60)

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
    with started(text, tmp_path, engine="template") as program:
        program.wait_for("running")
        program.signal(signal.SIGKILL)
        outcome = program.finish()
    assert outcome.code == -signal.SIGKILL
    assert "Exception ignored" not in outcome.err


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
