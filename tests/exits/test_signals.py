"""Signal tests: Ctrl-C, which reaches the whole process group, in every situation.

The promise: one traceback (``KeyboardInterrupt``, in the program), the end within 2 s, no
worker left, and the cleanup of coroutines is run.
"""

from __future__ import annotations

import signal

import pytest
from tests.support.programs import ENGINES, NOISE, PROMPT, START_METHODS, on, one_in, started

some = on("thread", "template")
processes = on("template", "fork", of=START_METHODS)
QUIET_FORKS = ["-W", "ignore::DeprecationWarning"]  # of processes that have threads

COROUTINES = {
    "in result()": """
    def main():
        global pool
        pool = make()
        pool.submit(endless).result()
    """,
    "in result(), inside with": """
    def main():
        with make() as pool:
            pool.submit(endless).result()
    """,
    "at the end of with": """
    def main():
        with make() as pool:
            pool.submit(endless)
    """,
    "in shutdown": """
    def main():
        pool = make(exit_grace=0.2)
        pool.submit(endless)
        pool.shutdown()
    """,
    "in a computation of the program": """
    def main():
        with make() as pool:
            pool.submit(endless)
            while True:
                pass
    """,
    "in wait()": """
    from concurrent.futures import wait
    def main():
        with make() as pool:
            wait([pool.submit(endless)])
    """,
    "in asyncio.run": """
    async def amain():
        async with make(awaitable=True) as pool:
            await pool.submit(endless)
    def main():
        asyncio.run(amain())
    """,
    "in asyncio.run, without with": """
    async def amain():
        global pool
        pool = make(awaitable=True)
        await pool.submit(endless)
    def main():
        asyncio.run(amain())
    """,
    "at the end of async with": """
    async def amain():
        async with make(awaitable=True) as pool:
            pool.submit(endless)
    def main():
        asyncio.run(amain())
    """,
    "in a task group": """
    async def get(pool):
        return await pool.submit(endless)
    async def amain():
        async with make(awaitable=True) as pool, asyncio.TaskGroup() as group:
            group.create_task(get(pool))
    def main():
        asyncio.run(amain())
    """,
}


@one_in(2, engine=ENGINES, situation=list(COROUTINES))
def test_ctrl_c_cancels_coroutines(engine, situation, tmp_path) -> None:
    with started(COROUTINES[situation], tmp_path, engine=engine) as program:
        program.wait_for("running")
        program.interrupt()
        outcome = program.finish()
    outcome.assert_one_interrupt()
    assert outcome.out.count("cleaned up") == 1


@pytest.mark.smoke
@on("template")
def test_ctrl_c_ends_a_map(engine, tmp_path) -> None:
    text = """
    import itertools

    async def slow(x):
        await asyncio.sleep(0.01)
        return x

    def main():
        with make() as pool:
            for x in pool.map(slow, itertools.count()):
                say("got", x)
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("got 1")
        program.interrupt()
        program.finish().assert_one_interrupt()


@some
def test_ctrl_c_ends_an_asynchronous_map(engine, tmp_path) -> None:
    text = """
    import itertools

    async def slow(x):
        await asyncio.sleep(0.01)
        return x

    async def amain():
        async with make(awaitable=True) as pool:
            async for x in pool.map(slow, itertools.count()):
                say("got", x)

    def main():
        asyncio.run(amain())
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("got 1")
        program.interrupt()
        program.finish().assert_one_interrupt()


@one_in(
    3,
    engine=["thread", "spawn", "fork"],
    work=["sleep", "burn", "blocking"],
    where=["with", "result", "async with"],
)
def test_ctrl_c_does_not_wait_for_what_cannot_be_cancelled(engine, work, where, tmp_path) -> None:
    """A plain function that sleeps, one that computes, a coroutine that blocks its loop."""
    text = f"""
    async def amain():
        async with make(awaitable=True, slow_callback=None) as pool:
            await pool.submit({work}, 60)

    def main():
        if {where!r} == "async with":
            asyncio.run(amain())
        elif {where!r} == "with":
            with make(slow_callback=None) as pool:
                pool.submit({work}, 60).result()
        else:
            global pool2
            pool2 = make(slow_callback=None)
            pool2.submit({work}, 60).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running")
        program.interrupt()
        outcome = program.finish()
    outcome.assert_one_interrupt()
    assert "finished" not in outcome.out


@one_in(2, engine=START_METHODS, where=["with", "result"])
def test_ctrl_c_while_a_worker_starts(engine, where, tmp_path) -> None:
    text = f"""
    def slow_start():
        say("starting")
        time.sleep(60)

    def main():
        if {where!r} == "with":
            with make(initializer=slow_start) as pool:
                pool.submit(square, 1).result()
        else:
            global pool2
            pool2 = make(initializer=slow_start)
            pool2.submit(square, 1).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("starting")
        program.interrupt()
        program.finish().assert_one_interrupt()


@processes
def test_ctrl_c_at_once(engine, tmp_path) -> None:
    """The process of the worker may not even exist."""
    text = """
    def main():
        with make(pool_size=2) as pool:
            future = pool.submit(endless)
            say("submitted")
            future.result()
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("submitted")
        program.interrupt()
        program.finish().assert_one_interrupt()


def test_ctrl_c_while_a_worker_imports_the_main_module(tmp_path) -> None:
    text = """
    if __name__ != "__main__":
        say("importing")
        time.sleep(60)

    def main():
        with make() as pool:
            pool.submit(square, 1).result()
    """
    with started(text, tmp_path, engine="template") as program:
        program.wait_for("importing")
        program.interrupt()
        program.finish().assert_one_interrupt()


@on("template")
def test_ctrl_c_twice(engine, tmp_path) -> None:
    """The second one, during the cleanup, does not leave a worker behind either."""
    text = """
    async def slow_to_go():
        say("running")
        try:
            await asyncio.Event().wait()
        finally:
            say("cleaning")
            await asyncio.sleep(60)

    def main():
        with make() as pool:
            pool.submit(slow_to_go).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running")
        program.interrupt()
        program.wait_for("cleaning")
        program.interrupt()
        outcome = program.finish()
    assert outcome.err.splitlines()[-1] == "KeyboardInterrupt"
    assert "Exception ignored" not in outcome.err
    assert outcome.seconds < PROMPT + NOISE


@some
def test_ctrl_c_at_the_end_of_the_program_waits_for_no_works(engine, tmp_path) -> None:
    """One line says so, and nothing shows our own frames."""
    text = """
    def main():
        global pool
        pool = make(pool_size=1, exit_grace=0.1)
        pool.submit(endless)
        pool.submit(asquare, 2).result()  # behind it on the same loop: it has begun
        pool.submit(sleep, 60)
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("cleaned up")  # so the grace is over, and the program waits for `sleep`
        program.interrupt()
        outcome = program.finish()
    assert outcome.code == 0
    assert outcome.seconds < PROMPT + NOISE
    cancelled, interrupted = outcome.err.splitlines()
    assert cancelled.startswith("aplex: cancelled 1 coroutine work")
    assert interrupted.startswith("aplex: interrupted at the end of the program")


@some
def test_a_program_that_catches_ctrl_c_keeps_its_pool(engine, tmp_path) -> None:
    """The workers are deaf to it: what they run goes on."""
    text = """
    def main():
        with make() as pool:
            future = pool.submit(sleep, 0.5)
            try:
                future.result()
            except KeyboardInterrupt:
                say("caught")
            future.result()
            assert pool.submit(asquare, 3).result() == 9
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running")
        program.interrupt()
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["running", "caught", "finished"]


@processes
def test_programs_that_works_start_can_be_interrupted(engine, tmp_path) -> None:
    """A worker's deafness is not inherited by what it executes."""
    text = """
    import subprocess

    def start():
        code = "import time; print('child runs', flush=True); time.sleep(60)"
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        say("child ended", process.wait())

    def main():
        with make() as pool:
            try:
                pool.submit(start).result()
            except KeyboardInterrupt:
                say("caught")
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("child runs")
        program.interrupt()
        outcome = program.finish()
    outcome.assert_clean()
    assert f"child ended {-signal.SIGINT}" in outcome.out


@on("template")
def test_an_exception_that_leaves_with_cancels_coroutines(engine, tmp_path) -> None:
    text = """
    def main():
        with make() as pool:
            pool.submit(endless)
            pool.submit(asquare, 2).result()  # behind the other one on the same loop
            raise LookupError("a bug of the program")
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running")
        outcome = program.finish()
    assert outcome.err.count("Traceback") == 1
    assert outcome.err.endswith("\nLookupError: a bug of the program\n")
    assert outcome.code == 1
    assert "cleaned up" in outcome.out


@some
def test_async_with_left_by_a_cancel_cancels_the_works(engine, tmp_path) -> None:
    text = """
    async def use():
        async with make(awaitable=True) as pool:
            await pool.submit(endless)

    async def amain():
        try:
            async with asyncio.timeout(1):
                await use()
        except TimeoutError:
            say("timeout")

    def main():
        asyncio.run(amain())
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["running", "cleaned up", "timeout"]
