"""Plays a case in a program of its own, with a time limit, and says what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.signals import Signals

from reliability.board.cases import CASES, Case
from reliability.board.verdict import Verdict, judge

ROOT = Path(__file__).resolve().parents[2]
LIMIT: float = 50.0
"""Seconds after which a program is hung. Each wait in it has a limit of its own."""
PROMPT: float = 5.0
"""Seconds for the end of a program after Ctrl-C, and of workers after that of their parent."""
MARK = "APLEX_SCOREBOARD"


class Trial:
    """A program that plays a case, and all that comes from it."""

    def __init__(self, command: list[str], environ: Mapping[str, str], folder: Path) -> None:
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        self.report = Signals(folder / "report")
        self.facts: list[dict[str, Any]] = []
        self._errors = (folder / "errors").open("w+b")
        name, value = self._mark.split("=")
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environ, name: value, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            start_new_session=True,  # so that Ctrl-C is for this program, and its workers
        )

    def wait_until(self, kind: str, seconds: float) -> bool:
        """Wait until it has told this; return False at its end, or after that time."""
        deadline = time.monotonic() + seconds
        while not any(fact["kind"] == kind for fact in self.facts):
            ended = self.process.poll() is not None
            self._read(0.0 if ended else 0.2)
            if ended or time.monotonic() > deadline:
                return any(fact["kind"] == kind for fact in self.facts)
        return True

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the program; return whether it has come."""
        deadline = time.monotonic() + seconds
        fd = os.pidfd_open(self.process.pid)
        with contextlib.closing(os.fdopen(fd)):
            while not select.select([fd], [], [], 0.2)[0]:
                self._read(0)  # or a pipe that is full would hold it up
                if time.monotonic() > deadline:
                    return False
        self.process.wait()
        self._read(0)
        return True

    def family(self) -> list[int]:
        """Return the processes that come from this program, itself too."""
        return [pid for pid in _pids() if self._mark.encode() in _environment(pid)]

    def orphans(self, seconds: float) -> int:
        """Return how many processes outlive the program by that time."""
        deadline = time.monotonic() + seconds
        while (left := self.family()) and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                fd = os.pidfd_open(left[0])
                select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
                os.close(fd)
        return len(left)

    def errors(self) -> str:
        """Return what it has printed."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def close(self) -> None:
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.report.close()
        self._errors.close()

    def _read(self, seconds: float) -> None:
        self.report.wait(seconds)
        for line in self.report.said():
            self.report.expect(line)
            self.facts.append(json.loads(line))


def play(peer: str, case: str, python: str, environ: Mapping[str, str], method: str) -> Verdict:
    """Play a case with a library."""
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-m", "reliability.board.scene", peer, case, method, folder]
        with contextlib.closing(Trial(command, environ, Path(folder))) as trial:
            began = time.monotonic()
            ended = _end(trial, CASES[case])
            seconds = time.monotonic() - began
            return judge(
                CASES[case],
                trial.facts,
                trial.errors(),
                ended=ended,
                seconds=seconds,
                orphans=trial.orphans(PROMPT) if ended else 0,
            )


def _end(trial: Trial, case: Case) -> bool:
    """Let a program come to its end; return whether it did in time."""
    if case.ends == "by itself":
        return trial.wait(LIMIT)
    trial.wait_until("ready", LIMIT)
    if case.ends == "by Ctrl-C":
        os.killpg(trial.process.pid, signal.SIGINT)
    else:
        trial.process.kill()
    return trial.wait(PROMPT)


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which the program finds what it imports."""
    known = [path for path in (base.get("PYTHONPATH"),) if path]
    kept = {name: value for name, value in base.items() if not name.startswith("COVERAGE")}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), *known])}


def hear_interrupts() -> None:
    """Let programs hear Ctrl-C: what a shell runs in its background is deaf, and hands it on."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _pids() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _environment(pid: int) -> list[bytes]:
    try:  # empty for a zombie
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
