"""`aplex dump`: stacks of the works of another process, if that wants to be asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import started

pytestmark = [
    pytest.mark.measured,
    pytest.mark.skipif(sys.platform != "linux", reason="pages are Linux's"),
]

DUMPS = """
    def main():
        with make(pool_size=2, dump_signal=signal.SIGUSR1) as pool:
            held = [pool.submit(sleep, 60), pool.submit(endless)]
            pool.submit(square, 3).result()
            say("ready")
            {then}
            [future.cancel() for future in held]
            pool.kill_workers() if os.environ["ENGINE"] != "thread" else None
"""
COMPUTE = "[number for number in range(10**12) if number < 0]"
BLOCK = "threading.Event().wait()"


def dump(pid: int, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "aplex", "dump", str(pid)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env={k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")},
        **options,
    )


@pytest.mark.parametrize("engine", ["template", "fork", "thread"])
@pytest.mark.parametrize("then", [COMPUTE, BLOCK])
def test_the_stacks_of_all_works_are_printed(tmp_path: Path, then: str, engine: str) -> None:
    with started(DUMPS.format(then=then), tmp_path, engine=engine) as program:
        program.wait_for("ready")
        program.wait_for("running", 2)
        for _ in range(2):
            told = dump(program.process.pid)
            assert (told.returncode, told.stderr) == (0, "")
            assert told.stdout.count("Executor-1, process") == 1
            assert "function __main__.sleep runs for" in told.stdout
            assert "coroutine __main__.endless runs for" in told.stdout
            assert "in endless\n" in told.stdout
            assert "await asyncio.Event().wait()" in told.stdout
        assert program.process.poll() is None


def test_while_a_loop_of_the_program_is_blocked(tmp_path: Path) -> None:
    """It is the loop that reads what workers say."""
    text = """
        async def run():
            async with make(awaitable=True, dump_signal=signal.SIGUSR1) as pool:
                await pool.submit(square, 2)
                held = pool.submit(endless)
                await asyncio.sleep(0.2)
                say("ready")
                time.sleep(3)
                say("square", await pool.submit(square, 3))
                held.cancel()

        def main():
            asyncio.run(run())
    """
    with started(text, tmp_path) as program:
        program.wait_for("ready")
        told = dump(program.process.pid)
        assert (told.returncode, told.stderr) == (0, "")
        assert "await asyncio.Event().wait()" in told.stdout
        program.wait_for("square 9")
        program.finish().assert_clean()


def test_a_process_that_was_not_asked_to_is_not_signalled(tmp_path: Path) -> None:
    text = """
        def main():
            with make() as pool:
                pool.submit(square, 2).result()
                say("ready")
                time.sleep(60)
    """
    with started(text, tmp_path) as program:
        program.wait_for("ready")
        told = dump(program.process.pid)
        assert (told.returncode, told.stdout) == (1, "")
        assert "dump_signal=" in told.stderr
        assert "py-spy" in told.stderr
        assert program.process.poll() is None


def test_the_signal_is_not_sent_if_it_would_end_the_process(tmp_path: Path) -> None:
    then = "signal.signal(signal.SIGUSR1, signal.SIG_DFL); say('reset'); time.sleep(60)"
    with started(DUMPS.format(then=then), tmp_path) as program:
        program.wait_for("reset")
        told = dump(program.process.pid)
        assert told.returncode == 1
        assert "no handler of SIGUSR1" in told.stderr
        assert program.process.poll() is None


def test_a_process_that_is_stopped_tells_what_its_pages_know(tmp_path: Path) -> None:
    with started(DUMPS.format(then=BLOCK), tmp_path) as program:
        program.wait_for("ready")
        program.wait_for("running", 2)
        program.signal(signal.SIGSTOP)
        told = dump(program.process.pid)
        program.signal(signal.SIGCONT)
        assert told.returncode == 1
        assert "has not answered within 5 s" in told.stderr
        assert "runs __main__.sleep for" in told.stdout
        assert "1 coroutines" in told.stdout


def test_the_handler_that_was_there_is_called_too(tmp_path: Path) -> None:
    text = """
        def main():
            signal.signal(signal.SIGUSR1, lambda number, frame: say("before"))
            number = signal.SIGUSR1
            with make(dump_signal=number) as pool, make(dump_signal=number) as other:
                pool.submit(square, 2).result()
                other.submit(square, 2).result()
                say("ready")
                time.sleep(3)
            signal.raise_signal(signal.SIGUSR1)
    """
    with started(text, tmp_path) as program:
        program.wait_for("ready")
        told = dump(program.process.pid)
        assert told.returncode == 0, told.stderr
        assert told.stdout.count(f"process {program.process.pid}, ") == 2
        program.wait_for("before", 2)
        program.finish().assert_clean()
