"""Exit tests: programs that end while works run, and never called ``shutdown``."""

from __future__ import annotations

import sys

import pytest
from tests.support.programs import NOISE, on, started

some = on("thread", "template")
every = on("thread", "template", "forkserver", "fork")
if sys.version_info[:3] in {(3, 12, 0), (3, 12, 1)}:
    # They refuse to fork at exit, even in exit hooks: https://github.com/python/cpython/issues/113964
    starting_at_exit = on("thread", "template", "forkserver", of=["thread", "spawn", "forkserver"])
else:
    starting_at_exit = every
IN_ONE_LINE = "aplex: cancelled {} still unfinished {} s after the end of the program"
CURE = "use `with` or call shutdown()"


def assert_told(err: str, works: str, grace: str) -> None:
    """One line on stderr says how many, and names the cure."""
    assert err.count("\n") == 1, err
    assert err.startswith(IN_ONE_LINE.format(works, grace)), err
    assert CURE in err, err


@on("template")
def test_a_program_that_only_makes_an_executor_ends(engine, tmp_path) -> None:
    with started("def main(): global pool; pool = make()", tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@pytest.mark.smoke
@every
def test_idle_workers_end_with_the_program(engine, tmp_path) -> None:
    text = """
    def main():
        global pool
        pool = make(pool_size=2)
        assert pool.submit(square, 3).result() == 9
        assert pool.submit(asquare, 3).result() == 9
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@some
def test_a_map_that_nobody_iterates_is_finished(engine, tmp_path) -> None:
    """Also what did not fit into its window."""
    text = """
    def say(number):
        print(number, flush=True)

    def main():
        global pool
        pool = make(pool_size=1, max_works_per_worker=2)
        pool.map(say, range(9))
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
        outcome.assert_clean()
        assert [line.strip() for line in outcome.out] == [str(number) for number in range(9)]


@pytest.mark.smoke
@starting_at_exit
def test_plain_functions_are_finished(engine, tmp_path) -> None:
    """Those that run, those that wait for a worker, and without a result being asked for."""
    text = """
    def main():
        global pool
        pool = make(exit_grace=0.1)
        pool.submit(sleep, 0.5)
        pool.submit(sleep, 0)
        pool.submit(sleep, 0)
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out.count("finished") == 3


@on("template")
def test_coroutines_may_finish_within_the_grace(engine, tmp_path) -> None:
    text = """
    async def short():
        await asyncio.sleep(0.3)
        say("finished")

    def main():
        global pool
        pool = make()
        for _ in range(3):
            pool.submit(short)
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["finished"] * 3


@every
def test_after_the_grace_coroutines_are_cancelled_and_one_line_says_so(engine, tmp_path) -> None:
    text = """
    def main():
        global pool
        pool = make(exit_grace=0.3)
        for _ in range(3):
            pool.submit(endless)
        pool.submit(asquare, 2).result()  # behind the others on the same loop
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running", 3)
        outcome = program.finish()
    assert_told(outcome.err, "3 coroutine works", "0.3")
    assert outcome.out.count("cleaned up") == 3
    assert outcome.code == 0


@on("template")
@pytest.mark.parametrize("stream", ["None", "open('/dev/full', 'w', buffering=1)"])
def test_works_are_finished_where_nothing_can_be_told(engine, stream, tmp_path) -> None:
    text = f"""
    import sys

    def main():
        global pool
        pool = make(pool_size=1, exit_grace=0.2)
        pool.submit(endless)
        pool.submit(asquare, 2).result()
        pool.submit(sleep, 0.5)
        sys.stderr = {stream}
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert "finished" in outcome.out
    assert not [line for line in outcome.out if line.startswith("aplex:")]


@on("template")
def test_one_work_is_one_work(engine, tmp_path) -> None:
    text = """
    def main():
        global pool
        pool = make(exit_grace=0.2)
        pool.submit(endless)
        pool.submit(asquare, 2).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert_told(outcome.err, "1 coroutine work", "0.2")
    assert outcome.code == 0


@some
def test_a_coroutine_that_suppresses_its_cancel_cannot_hold_the_program(engine, tmp_path) -> None:
    text = """
    def main():
        global pool
        pool = make(exit_grace=0.3)
        pool.submit(stubborn)
        pool.submit(endless)
        pool.submit(asquare, 2).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running", 2)
        outcome = program.finish()
    assert_told(outcome.err, "2 coroutine works", "0.3")
    assert outcome.out.count("cleaned up") == 1
    assert outcome.code == 0
    assert outcome.seconds < 3 + NOISE


@on("fork")
def test_a_cleanup_that_never_ends_cannot_hold_the_program(engine, tmp_path) -> None:
    text = """
    async def tidy():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()

    def main():
        global pool
        pool = make(exit_grace=0.3)
        pool.submit(tidy)
        pool.submit(asquare, 2).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert_told(outcome.err, "1 coroutine work", "0.3")
    assert outcome.code == 0
    assert outcome.seconds < 3 + NOISE


@on("fork")
def test_plain_functions_are_finished_beside_endless_coroutines(engine, tmp_path) -> None:
    text = """
    def main():
        global pool
        pool = make(exit_grace=0.2)
        pool.submit(stubborn)
        pool.submit(sleep, 1)
        pool.submit(sleep, 0)
        pool.submit(sleep, 0)
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert_told(outcome.err, "1 coroutine work", "0.2")
    assert outcome.out.count("finished") == 3
    assert outcome.code == 0


@on("template")
def test_the_exit_code_stays(engine, tmp_path) -> None:
    text = """
    def main():
        global pool
        pool = make(exit_grace=0.2)
        pool.submit(endless)
        pool.submit(asquare, 2).result()
        sys.exit(7)
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert_told(outcome.err, "1 coroutine work", "0.2")
    assert outcome.code == 7


@on("template")
def test_an_uncaught_exception_stays_the_only_traceback(engine, tmp_path) -> None:
    text = """
    def main():
        global pool
        pool = make(exit_grace=0.2)
        pool.submit(sleep, 0.1)
        raise LookupError("a bug of the program")
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert outcome.err.count("Traceback") == 1
    assert outcome.err.endswith("\nLookupError: a bug of the program\n")
    assert "finished" in outcome.out
    assert outcome.code == 1


@on("fork")
def test_several_pools_share_one_grace(engine, tmp_path) -> None:
    """Each says its own line."""
    text = """
    def main():
        global pools
        pools = [make(exit_grace=0.8) for _ in range(3)]
        for pool in pools:
            pool.submit(endless)
        for pool in pools:
            pool.submit(asquare, 2).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running", 3)
        outcome = program.finish()
    assert outcome.err.count("aplex: cancelled 1 coroutine work ") == 3
    assert outcome.err.count("\n") == 3
    assert outcome.out.count("cleaned up") == 3
    assert outcome.seconds < 3 * 0.8 + NOISE


@on("template")
def test_a_map_left_in_the_middle_does_not_hold_the_program(engine, tmp_path) -> None:
    text = """
    import itertools

    def main():
        global pool, results
        pool = make()
        results = pool.map(asquare, itertools.count())
        assert next(results) == 0
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@some
def test_an_awaitable_pool_left_open_by_asyncio_run_ends(engine, tmp_path) -> None:
    text = """
    async def amain():
        global pool
        pool = make(awaitable=True, exit_grace=0.2)
        assert await pool.submit(square, 3) == 9
        pool.submit(endless)
        assert await pool.submit(asquare, 3) == 9

    def main():
        asyncio.run(amain())
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running")
        outcome = program.finish()
    assert_told(outcome.err, "1 coroutine work", "0.2")
    assert outcome.out.count("cleaned up") == 1
    assert outcome.code == 0
