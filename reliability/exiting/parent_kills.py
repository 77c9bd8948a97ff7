"""Programs that are killed at any moment, with their workers starting or working."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import select
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.programs import NOISE, PROMPT, START_METHODS, Program, started

from reliability.report.figures import Report

PATIENCE: Final = 15.0
"""Seconds after which one that lives on is left to be killed."""
EVENTS: Final = ("submitted", "running", "")
"""What a moment is counted from: workers start; or run works; or the program itself begins."""
TEXT: Final = """
    if __name__ != "__main__":
        say("starting")

    def main():
        global pool
        pool = make(pool_size=3)
        for work in (burn, sleep, blocking):
            pool.submit(work, 60)
        pool.submit(endless)
        pool.submit(stubborn)
        say("submitted")
        time.sleep(60)
"""


def kills(moments: int, rng: random.Random) -> Report:
    """Kill a program at so many moments, with each start method."""
    report = Report(f"The parent is killed: {moments} moments of each start method")
    for engine in START_METHODS:
        found: list[int] = []  # processes below the parent, at each moment
        longer: list[float] = []  # seconds of those that outlived what is promised
        slowest = 0.0
        for _, event in zip(range(moments), itertools.cycle(EVENTS), strict=False):
            moment = rng.uniform(0, 0.5)
            with _folder() as folder, started(TEXT, folder, engine=engine) as program:
                if event:
                    program.wait_for(event)
                time.sleep(moment)  # the moment is the point
                found.append(len(program.descendants()) - 1)
                seconds = _kill(program)
            slowest = max(slowest, seconds)
            if seconds > PROMPT:
                longer.append(seconds)
        report.tell(f"processes below the parent, {engine}", f"{min(found)} … {max(found)}")
        # What is promised, and what a busy machine may add.
        report.at_most(f"seconds until the last had ended, {engine}", slowest, PROMPT + NOISE)
        report.tell(f"… longer than {PROMPT:g} s", len(longer))
    return report


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _kill(program: Program) -> float:
    """Kill a program; return in how many seconds all that it has started was gone."""
    program.signal(signal.SIGKILL)
    began = time.monotonic()
    program.process.wait()
    while left := program.descendants():
        seconds = time.monotonic() - began
        if seconds > PATIENCE:
            break
        _wait_for_end(left[0], PATIENCE - seconds)
    return time.monotonic() - began


def _wait_for_end(pid: int, seconds: float) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([fd], [], [], seconds)
    finally:
        os.close(fd)
