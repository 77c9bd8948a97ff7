"""Signal tests: SIGTERM, which reaches the whole process group.

What the program makes of it happens, and the workers make nothing of it.
"""

from __future__ import annotations

import signal

import pytest
from tests.support.programs import ENGINES, NOISE, PROMPT, START_METHODS, on, started

processes = on("template", "fork", of=START_METHODS)
QUIET_FORKS = ["-W", "ignore::DeprecationWarning"]  # of processes that have threads


GRACEFUL = """
    from multiprocessing import parent_process

    stop = threading.Event()

    async def anap(seconds):
        say("arunning")
        await asyncio.sleep(seconds)
        return "awake"

    def terminated(number, frame):
        say("asked to end" if parent_process() is None else "a worker hears")
        stop.set()

    signal.signal(signal.SIGTERM, terminated)
"""
"""A program that finishes what it has begun. Spawned workers import it: theirs are replaced.

(That of a fork server is not, which imports it too from CPython 3.14 on.)
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_sigterm_to_all_processes_loses_no_works(engine, tmp_path) -> None:
    """Works that run, works that wait, and works that are submitted later."""
    text = f"""{GRACEFUL}
    def main():
        with make() as pool:
            running = [pool.submit(sleep, 0.3), pool.submit(anap, 0.3)]
            waiting = [pool.submit(square, n) for n in range(5)]
            stop.wait()
            assert [future.result() for future in running] == [None, "awake"]
            assert [future.result() for future in waiting] == [0, 1, 4, 9, 16]
            assert pool.submit(asquare, 3).result() == 9
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running")
        program.wait_for("arunning")
        program.terminate_all()
        outcome = program.finish()
    outcome.assert_clean()
    assert sorted(set(outcome.out)) == ["arunning", "asked to end", "finished", "running"]


@pytest.mark.parametrize("engine", START_METHODS)
def test_sigterm_at_any_moment_of_a_workers_start_loses_no_works(engine, tmp_path) -> None:
    text = f"""{GRACEFUL}
    def main():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        for _ in range(5):
            with make(pool_size=2) as pool:
                futures = [pool.submit(work, n) for n in range(5) for work in (square, asquare)]
                say("submitted")
                assert [future.result() for future in futures][::2] == [0, 1, 4, 9, 16]
        signal.sigwait([signal.SIGUSR1])  # Python's end gives signals their default actions back
    """
    with started(text, tmp_path, engine=engine) as program:
        for count in range(1, 6):
            program.wait_for("submitted", count)
            for _ in range(1 if engine == "forkserver" else 10):  # it ends the server each time
                program.terminate_all()
        program.signal(signal.SIGUSR1)
        program.finish().assert_clean()


@processes
def test_coroutines_clean_up_when_sigterm_ends_all(engine, tmp_path) -> None:
    """A program without a handler ends at once."""
    text = """
    def main():
        global pool
        pool = make()
        pool.submit(endless)
        time.sleep(60)
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running")
        program.terminate_all()
        outcome = program.finish()
    outcome.assert_clean(code=-signal.SIGTERM)
    assert outcome.out == ["running", "cleaned up"]
    assert outcome.seconds < PROMPT + NOISE


@processes
def test_what_works_start_heeds_sigterm(engine, tmp_path) -> None:
    """A program, a process that is forked, and one that a coroutine forks."""
    text = """
    import multiprocessing, subprocess

    def fork():
        process = multiprocessing.get_context("fork").Process(target=sleep, args=(60,))
        process.start()
        process.terminate()
        process.join()
        return process.exitcode

    async def afork():
        return fork()

    def execute():
        process = subprocess.Popen(["sleep", "60"])
        process.terminate()
        return process.wait()

    def main():
        with make() as pool:
            say(*[pool.submit(work).result() for work in (fork, afork, execute)])
    """
    with started(text, tmp_path, engine=engine, flags=QUIET_FORKS) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out[-1] == "-15 -15 -15"


@on("template")
def test_a_handler_that_a_work_sets_hears_terminate_workers(engine, tmp_path) -> None:
    text = """
    def prepare():
        signal.signal(signal.SIGTERM, clean_up)

    def clean_up(number, frame):
        say("cleaned up")
        os._exit(3)

    def main():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        pool = make(initializer=prepare)
        pool.submit(sleep, 60)
        signal.sigwait([signal.SIGUSR1])
        pool.terminate_workers()
        pool.shutdown()
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running")
        program.signal(signal.SIGUSR1)
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["running", "cleaned up"]


@processes
def test_what_the_program_ignores_works_and_their_programs_ignore_too(engine, tmp_path) -> None:
    """As one that a shell has started in the background, or ``nohup``."""
    text = """
    import subprocess

    CODE = "import signal as s; print(s.getsignal(s.SIGINT) is s.getsignal(s.SIGTERM) is s.SIG_IGN)"

    def execute():
        return subprocess.check_output([sys.executable, "-c", CODE], text=True).strip()

    def main():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        with make() as pool:
            pool.submit(sleep, 0.5)
            say(pool.submit(execute).result())
            pool.submit(sleep, 60)
            pool.terminate_workers()
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running")
        program.interrupt()
        program.terminate_all()
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out[:3] == ["running", "finished", "True"]
