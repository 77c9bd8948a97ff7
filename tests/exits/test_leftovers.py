"""Exit tests: what works leave behind in their worker must go with it, cleaned up."""

from __future__ import annotations

import pytest
from tests.support.programs import NOISE, START_METHODS, on, started

engines = on("thread", "template")
processes = on("template", "fork", of=START_METHODS)

WORKS = """
    import signal, socket, subprocess

    def thread():
        threading.Thread(target=time.sleep, args=(0.3,)).start()

    def daemon_thread():
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()

    async def idle_executor():
        await asyncio.to_thread(square, 3)

    async def busy_executor():
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.3)

    async def timer():
        asyncio.get_running_loop().call_later(60, say, "too late")

    async def task():
        global kept
        kept = asyncio.create_task(endless())
        await asyncio.sleep(0)

    async def stubborn_task():
        global kept
        kept = asyncio.create_task(stubborn())
        await asyncio.sleep(0)

    async def failing_task():
        async def fail():
            try:
                await asyncio.Event().wait()
            finally:
                say("failing")
                raise LookupError("in the cleanup")
        global kept
        kept = asyncio.create_task(fail())
        await asyncio.sleep(0)

    async def generator():
        async def count():
            try:
                while True:
                    yield 1
            finally:
                await asyncio.sleep(0)
                say("generator closed")
        global kept
        kept = count()
        await anext(kept)

    def pid_of_program():
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        process.returncode = 0  # it is not ours any more: no ResourceWarning
        return process.pid
"""


@on("thread", "fork")
@pytest.mark.parametrize(
    "work", ["thread", "daemon_thread", "idle_executor", "busy_executor", "timer"]
)
def test_threads_and_timers_do_not_hold_the_pool(engine, work, tmp_path) -> None:
    text = f"""{WORKS}
    def main():
        with make() as pool:
            pool.submit({work}).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == []
    assert outcome.seconds < 5


@engines
def test_tasks_left_behind_are_cancelled(engine, tmp_path) -> None:
    """As ``asyncio.run`` does; their ``finally`` runs."""
    text = f"""{WORKS}
    def main():
        with make() as pool:
            pool.submit(task).result()
            say("leaving")
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["running", "leaving", "cleaned up"]


@engines
def test_generators_left_behind_are_closed(engine, tmp_path) -> None:
    text = f"""{WORKS}
    def main():
        with make() as pool:
            pool.submit(generator).result()
            say("leaving")
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["leaving", "generator closed"]


@processes
def test_a_task_that_suppresses_its_cancel_is_killed_after_the_grace(engine, tmp_path) -> None:
    text = f"""{WORKS}
    def main():
        with make(exit_grace=0.5) as pool:
            pool.submit(stubborn_task).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.seconds < 2 + NOISE


@engines
def test_a_cleanup_that_fails_is_told_and_holds_nothing(engine, tmp_path) -> None:
    """As in ``asyncio.run``, the loop's exception handler tells it."""
    text = f"""{WORKS}
    def main():
        with make() as pool:
            pool.submit(failing_task).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert outcome.code == 0
    assert outcome.out == ["failing"]
    assert outcome.err.count("LookupError: in the cleanup") == 1


@processes
def test_a_program_that_a_work_started_does_not_hold_the_pool(engine, tmp_path) -> None:
    """It is the work's business: it lives on, and the pool goes."""
    text = f"""{WORKS}
    def main():
        with make() as pool:
            pid = pool.submit(pid_of_program).result()
        os.kill(pid, 0)
        say("alive")
        os.kill(pid, signal.SIGKILL)
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["alive"]


@engines
@pytest.mark.parametrize("how", ["sys.exit(3)", "sys.exit()", "exit_of_coroutine"])
def test_sys_exit_in_a_work_ends_the_work_not_the_worker(engine, how, tmp_path) -> None:
    text = f"""
    def leave():
        {how if how != "exit_of_coroutine" else "raise AssertionError"}

    async def aleave():
        await asyncio.sleep(0)
        sys.exit(3)

    def main():
        work = aleave if {how!r} == "exit_of_coroutine" else leave
        with make() as pool:
            pid = pool.submit(os.getpid).result()
            for _ in range(3):
                error = pool.submit(work).exception()
                assert isinstance(error, SystemExit), error
            assert pool.submit(os.getpid).result() == pid
            assert pool.submit(asquare, 2).result() == 4
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@processes
def test_os_exit_in_a_work_costs_a_worker_not_the_program(engine, tmp_path) -> None:
    text = """
    from aplex import AplexWorkerError

    def main():
        with make() as pool:
            try:
                pool.submit(os._exit, 3).result()
            except AplexWorkerError as error:
                assert "code 3" in str(error), error
            assert pool.submit(square, 2).result() == 4
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@processes
def test_exit_hooks_of_a_worker_run(engine, tmp_path) -> None:
    """A worker ends as a process does: what its initializer registered is called.

    They are those of ``multiprocessing``, which has its children run no others.
    """
    text = """
    from multiprocessing import util

    def register():
        util.Finalize(None, say, ("finalized",), exitpriority=1)

    def main():
        with make(initializer=register) as pool:
            pool.submit(square, 2).result()
            say("leaving")
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["leaving", "finalized"]
