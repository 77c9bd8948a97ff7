"""Small programs in processes of their own, with deadlines, and nothing left behind.

A program is a text. It runs in a session (and process group) of its own, as a program
started from a shell does, and carries a mark in its environment that all its descendants
inherit: so they are found even when they were orphaned. What it, or one of its workers,
wants to tell it prints as a line to standard output.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

PROMPT = 2.0
"""Seconds that the contract gives: to the end after Ctrl-C, to workers whose parent died."""
NOISE = 1.5
"""Seconds that a busy machine may add."""
DEADLINE = 30.0
"""Seconds after which a program is hung."""
TRACEBACK = "Traceback (most recent call last):\n"
MARK = "APLEX_TEST_PROGRAM"
ENGINES = ("thread", "template", "spawn", "forkserver", "fork")
START_METHODS = ENGINES[1:]
ALL = "APLEX_TEST_ALL"
"""Environment variable: run every program on every engine; else each runs on some, all on each.

Set by ``--full-matrix``.
"""

PRELUDE = """\
import asyncio, os, signal, sys, threading, time
from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor

def make(**options):
    options.setdefault("pool_size", 1)
    if os.environ["ENGINE"] == "thread":
        return ThreadAsyncPoolExecutor(**options)
    return ProcessAsyncPoolExecutor(mp_context=os.environ["ENGINE"], **options)

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def square(x):
    return x * x

async def asquare(x):
    await asyncio.sleep(0)
    return x * x

async def endless():
    say("running")
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        say("cleaned up")

async def stubborn():
    say("running")
    while True:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            pass

async def blocking(seconds):
    say("running")
    time.sleep(seconds)

def sleep(seconds):
    say("running")
    time.sleep(seconds)
    say("finished")

def burn(seconds):
    say("running")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    say("finished")

"""
ENDING = """

if __name__ == "__main__":
    main()
"""


def run_all() -> bool:
    """Whether to run every program on every engine."""
    return ALL in os.environ


def on(*engines: str, of: Sequence[str] = ENGINES) -> pytest.MarkDecorator:
    """Run a test on these engines; with ``--full-matrix`` on all of them."""
    return pytest.mark.parametrize("engine", of if run_all() else engines)


def one_in(count: int, **columns: Sequence[object]) -> pytest.MarkDecorator:
    """Run a test on every so many-th combination, such that each pair of values is met."""
    rows = itertools.product(*map(enumerate, columns.values()))
    kept = [row for row in rows if run_all() or sum(index for index, _ in row) % count == 0]
    names = ["-".join(getattr(value, "name", str(value)) for _, value in row) for row in kept]
    values = [tuple(value for _, value in row) for row in kept]
    return pytest.mark.parametrize(tuple(columns), values, ids=names)


def script(text: str, ending: str = ENDING) -> str:
    """Return a whole program around ``def main()`` and what that needs."""
    return PRELUDE + textwrap.dedent(text) + ending


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    code: int
    out: list[str]
    err: str
    seconds: float  # since the program was asked to end; without that, since its start
    temporary: list[str]  # what it left in its folder for temporary files

    def assert_clean(self, *, code: int = 0) -> None:
        """It ended so, and said nothing on stderr."""
        assert self.err == "", self.err
        assert self.code == code
        assert code < 0 or self.temporary == []

    def assert_one_interrupt(self) -> None:
        """One traceback, that of ``KeyboardInterrupt`` in the program, and promptly."""
        # asyncio.run raises it from the CancelledError that it made of it: that is one report.
        chained = self.err.count("\nDuring handling of the above exception, another ")
        assert self.err.count(TRACEBACK) == 1 + chained, self.err
        assert self.err.startswith(TRACEBACK), self.err
        assert self.err.endswith("\nKeyboardInterrupt\n"), self.err
        assert "Exception ignored" not in self.err, self.err
        assert self.code in {-signal.SIGINT, 130}, self.code
        assert self.seconds < PROMPT + NOISE


class Program:
    """A running program."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        engine: str = "template",
        stdin: str | None = None,
        cwd: Path | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self._mark = f"{MARK}={uuid.uuid4().hex}".encode()
        name, value = self._mark.decode().split("=")
        self._err = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._temporary = tempfile.TemporaryDirectory()  # a short name: sockets go there
        warnings = ["-W", "error", "-W", "ignore::DeprecationWarning:multiprocessing.popen_fork"]
        self.process = subprocess.Popen(
            [sys.executable, *warnings, *flags, *command],
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._err,
            cwd=cwd,
            env={
                **_unmeasured(),
                name: value,
                "ENGINE": engine,
                "PYTHONFAULTHANDLER": "1",
                "TMPDIR": self._temporary.name,
            },
            start_new_session=True,
        )
        if stdin is not None:
            assert self.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(stdin.encode())
                self.process.stdin.close()
        self._lines: list[str] = []
        self._partial = b""
        self._asked = time.monotonic()

    # -- while it runs --------------------------------------------------------

    def wait_for(self, line: str, count: int = 1) -> None:
        """Wait until the program, or a worker of it, has said this so often."""
        deadline = time.monotonic() + DEADLINE
        while self._lines.count(line) < count:
            if not self._read(deadline):
                raise AssertionError(
                    f"never said {line!r} {count} times: {self._lines}\n{self._errors()}"
                )

    def said(self, first_word: str) -> str:
        """Wait for a line that begins so; return its second word."""
        deadline = time.monotonic() + DEADLINE
        while True:
            for line in self._lines:
                if line.startswith(first_word + " "):
                    return line.split()[1]
            if not self._read(deadline):
                raise AssertionError(f"never said {first_word!r}: {self._lines}\n{self._errors()}")

    def interrupt(self) -> None:
        """Press Ctrl-C: the terminal sends SIGINT to the whole process group."""
        self._signal_all(signal.SIGINT)

    def terminate_all(self) -> None:
        """Send SIGTERM to the whole process group, as systemd and ``kill -- -PGID`` do."""
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: int) -> None:
        self._settle()
        self._asked = time.monotonic()
        os.killpg(self.process.pid, number)

    def signal(self, number: int) -> None:
        """Send a signal to the program alone."""
        self._asked = time.monotonic()
        self.process.send_signal(number)

    def descendants(self) -> list[int]:
        """Process ids of what the program started and is still there (the program too)."""
        return [pid for pid in _pids() if self._mark in _environment(pid)]

    # -- its end --------------------------------------------------------------

    def finish(self, deadline: float = DEADLINE) -> Outcome:
        """Wait for the end of the program and of all it has started."""
        try:
            code = self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler shows where it stands
            self.process.wait()
            while self._read(time.monotonic() + 1):
                pass
            raise AssertionError(
                f"hung for {deadline} s; said {self._lines}\n{self._errors()}"
            ) from None
        seconds = time.monotonic() - self._asked
        self.assert_nothing_left()
        while self._read(time.monotonic() + 1):
            pass
        temporary = [path.name for path in Path(self._temporary.name).iterdir()]
        return Outcome(code, self._lines, self._errors(), seconds, temporary)

    def assert_nothing_left(self) -> None:
        """All descendants are gone within the promised time."""
        deadline = time.monotonic() + PROMPT + NOISE
        while left := self.descendants():
            assert time.monotonic() < deadline, [(pid, _command(pid)) for pid in left]
            _wait_for_end(left[0], deadline)

    def close(self) -> None:
        """Kill what is left; free what this object holds."""
        for pid in self.descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self._err):
            if file is not None:
                file.close()
        self._temporary.cleanup()

    def _settle(self) -> None:
        """Let the main thread go to sleep, if it is about to.

        CPython itself loses a signal that comes between its last look for one and the system
        call that the main thread then sleeps in. No event tells of it: watch its switches.
        """
        status = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/status")
        for _ in range(10):
            before = _switches(status)
            time.sleep(0.02)
            if _switches(status) == before:
                return

    def _read(self, deadline: float) -> bool:
        """Read more lines; return False at the end, or at the deadline."""
        stdout = self.process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        data = os.read(stdout.fileno(), 65536)
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._lines += [line.decode() for line in lines]
        return bool(data)

    def _errors(self) -> str:
        self._err.seek(0)
        return self._err.read().decode()


@contextlib.contextmanager
def started(
    text: str,
    folder: Path,
    *,
    engine: str = "template",
    flags: Sequence[str] = (),
) -> Iterator[Program]:
    """Start a program text as a script file."""
    path = folder / "program.py"
    path.write_text(script(text))
    with command([str(path)], engine=engine, flags=flags) as program:
        yield program


@contextlib.contextmanager
def command(
    arguments: Sequence[str],
    *,
    engine: str = "template",
    stdin: str | None = None,
    cwd: Path | None = None,
    flags: Sequence[str] = (),
) -> Iterator[Program]:
    """Start Python with these arguments."""
    program = Program(arguments, engine=engine, stdin=stdin, cwd=cwd, flags=flags)
    try:
        yield program
    finally:
        program.close()


def run(
    text: str, folder: Path, *, engine: str = "template", deadline: float = DEADLINE
) -> Outcome:
    """Run a program text as a script file to its end."""
    with started(text, folder, engine=engine) as program:
        return program.finish(deadline)


def _switches(status: Path) -> list[str]:
    return [line for line in status.read_text().splitlines() if "ctxt_switches" in line]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _unmeasured() -> dict[str, str]:
    """Return our environment without what has coverage measure programs.

    These are about moments: the end, signals, deaths. Coverage has its own ideas of those.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


def _environment(pid: int) -> list[bytes]:
    try:  # empty for a zombie
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return "(gone)"


def _wait_for_end(pid: int, deadline: float) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
    finally:
        os.close(fd)
