"""Runs cases, each as a program of its own that may hang or die; never hangs itself."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.programs import Program, command

from reliability.meeting.cases import Case
from reliability.meeting.timeline import timeline
from reliability.meeting.verdict import Story, judged

ROOT: Final = Path(__file__).resolve().parent.parent.parent
LIMIT: Final = 45.0
"""Seconds that a case may take."""
OF_APLEX: Final = re.compile(r"aplex: cancelled \d+ coroutine works? still unfinished .*\n")


@dataclass(frozen=True)
class Result:
    """What came of a case."""

    case: Case
    complaints: list[str]
    seconds: float
    timeline: list[str]  # of one that failed


def run(case: Case) -> Result:
    """Run a case, and judge it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        complaints, moments = _played(case, folder), []
        if Path(folder, "ledger").exists():
            story = Story.read(case, Path(folder))
            complaints += judged(story)
            moments = timeline(story) if complaints else []
    return Result(case, complaints, time.monotonic() - began, moments)


def _played(case: Case, folder: str) -> list[str]:
    """Run its program; return what is wrong with its end."""
    arguments = ("-m", "reliability.meeting.host", folder, str(case))
    with command(arguments, engine=case.engine, cwd=ROOT) as program:
        hung = end_if_hung(program, LIMIT)
        try:
            outcome = program.finish()
        except AssertionError as error:  # it has left a process
            return [str(error)]
    wrong = {
        f"hung for {LIMIT:g} s": hung,
        f"exit code {outcome.code}": outcome.code != 0,
        f"left {outcome.temporary}": bool(outcome.temporary),
        f"said\n{outcome.err}": OF_APLEX.sub("", outcome.err) != "",
    }
    return [what for what, is_so in wrong.items() if is_so]


def end_if_hung(program: Program, limit: float) -> bool:
    """Have the program and all its workers show where they stand, if it takes too long."""
    try:
        program.process.wait(limit)
    except subprocess.TimeoutExpired:
        for pid in sorted(program.descendants(), reverse=True):  # the program itself last
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGABRT)  # faulthandler shows the stacks of all threads
        return True
    return False
