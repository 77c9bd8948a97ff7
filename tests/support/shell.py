"""`aplex map` as a program: in a folder with a module of functions, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FUNCTIONS = """\
import asyncio, contextlib, os, sys, time

def same(x): return x
def show(x): return repr(x)
def nothing(x): return None
def length(x): return len(x)
def double(x): return x * 2
def add(a, b=0): return a + b
def inverse(x): return 1 / int(x)
def raw(x): return b"\\xff" + x.encode()
def two_lines(x): return f"{x}\\n{x}"
def nan(x): return float("nan")
def unprintable(x): return object()
def die(x): os._exit(7)
def nap(x): time.sleep(float(x)); return x
def noisy(x): print("noise"); return x
def hungry(x): return sys.stdin.read() + os.read(0, 10).decode() + x

async def upper(x):
    await asyncio.sleep(0)
    return x.upper()

async def anap(x):
    await asyncio.sleep(float(x))
    return x

async def hang(x):
    note("began")
    try:
        await asyncio.Event().wait()
    finally:
        note("cleaned up")

async def stubborn(x):
    note("began")
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            note("ignored")

def noted(x):
    note(str(len(x)))
    return x

def hup(x):
    import signal
    os.killpg(0, signal.SIGHUP)  # the program and all its processes
    return x

def note(text):
    with open("notes", "ab", buffering=0) as file:
        file.write(text.encode() + b"\\n")

def effect(x):
    note(x)
    return x

def slow_effect(x):
    time.sleep(0.002)
    note(x)
    return x

def second_time(x):
    note(x)
    with open("notes") as file:
        if file.read().split().count(x) < 2:
            raise ValueError("not yet")
    return x

class Box:
    @staticmethod
    def get(x): return x
    @classmethod
    def name(cls, x): return cls.__name__ + x

class NotPrintable(Exception):
    def __str__(self): raise RuntimeError

def bad_error(x): raise NotPrintable
def colours(x): raise ValueError("\\x1b[31mred\\nsecond line")

@contextlib.contextmanager
def surroundings():
    yield "from the lifespan"

@contextlib.contextmanager
def broken_surroundings():
    raise OSError("no such server")
    yield

def state(x):
    import aplex
    return aplex.current_worker().state
"""


@dataclass(frozen=True)
class Ran:
    """How a run ended."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        """What was printed, line by line."""
        return self.out.decode("utf-8", "surrogateescape").splitlines()

    @property
    def values(self) -> list[Any]:
        """What was printed as JSON lines."""
        return [json.loads(line) for line in self.lines]


class Shell:
    """A folder in which commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "work.py").write_text(FUNCTIONS)
        self._env = {
            **{name: value for name, value in os.environ.items() if "COVERAGE" not in name},
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start `aplex map` with pipes, in a session of its own."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(
            [sys.executable, "-m", "aplex", "map", *arguments],
            cwd=self.folder,
            env=self._env,
            start_new_session=True,
            **{**pipes, **options},
        )

    def map(self, *arguments: str, stdin: bytes | str = b"", timeout: float = 50) -> Ran:
        """Run `aplex map` to its end."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        with self.start(*arguments) as process:
            try:
                out, err = process.communicate(given, timeout)
            except BaseException:
                process.kill()
                raise
        return Ran(process.returncode, out, err.decode())

    def sh(self, script: str) -> Ran:
        """Run a script of bash, in which `aplex` is the command."""
        command = f'aplex() {{ "{sys.executable}" -m aplex "$@"; }}\n{script}'
        ran = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            capture_output=True,
            timeout=50,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr.decode())

    def notes(self) -> list[str]:
        """What functions have noted."""
        path = self.folder / "notes"
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def wait_for_note(self, text: str, seconds: float = 20) -> None:
        """Wait until a function has noted this."""
        deadline = time.monotonic() + seconds
        while text not in self.notes():
            assert time.monotonic() < deadline, self.notes()
            time.sleep(0.01)

    def journal(self, name: str = "log") -> list[dict[str, Any]]:
        """The records of a joblog, without its head."""
        lines = (self.folder / name).read_text().splitlines()
        return [json.loads(line) for line in lines[1:]]

    @contextlib.contextmanager
    def terminal(self, *arguments: str, **options: Any) -> Iterator[Terminal]:
        """Start it with a terminal as its standard error (and what else is given)."""
        ours, theirs = pty.openpty()
        process = self.start(*arguments, **{"stderr": theirs, **options})
        os.close(theirs)
        try:
            yield Terminal(process, ours)
        finally:
            process.kill()
            process.communicate()
            os.close(ours)


class Terminal:
    """A program on a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self.process = process
        self._fd = fd

    def read_all(self, seconds: float = 30) -> str:
        """Return what the terminal has got until the program has ended."""
        got = b""
        deadline = time.monotonic() + seconds
        while select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
            try:
                data = os.read(self._fd, 65536)
            except OSError:  # the other side is closed
                break
            got += data
        return got.decode()
