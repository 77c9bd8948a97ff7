"""Works that do not end by themselves. Each says that it runs."""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable

from tests.support.works import say

LONG = 60
"""Seconds: longer than any test waits."""


def busy(signals: str) -> None:
    say(signals, "running")
    while True:
        pass


def asleep(signals: str) -> None:
    try:
        say(signals, "running")
        time.sleep(LONG)
    finally:
        say(signals, "cleaned up")


def reading(signals: str) -> None:
    ends = os.pipe()
    try:
        say(signals, "running")
        os.read(ends[0], 1)
    finally:
        for end in ends:
            os.close(end)


def keeps_the_lock(signals: str) -> None:
    say(signals, "running")
    ctypes.PyDLL(None).sleep(LONG)


def ignores(signals: str) -> None:
    say(signals, "running")
    while True:
        try:
            while True:
                time.sleep(LONG)
        except BaseException:  # noqa: BLE001
            continue


def waits_for_a_program(signals: str) -> None:
    say(signals, "running")
    subprocess.run(["sleep", str(LONG)], check=False)


SLOW_MODULE = """
import signal, time
from aplex._worker.signals import free_signal

came = []
handler = signal.getsignal(free_signal())
def note(*args):
    came.append(args)
    handler(*args)
signal.signal(free_signal(), note)
while not came:
    time.sleep(0.001)
"""
"""Its import ends when it was interrupted."""


def imports(signals: str, folder: str) -> None:
    sys.path.append(folder)
    importlib.import_module("slow_module")
    say(signals, "imported")
    time.sleep(LONG)


def in_a_finalizer(signals: str) -> None:
    """What is raised there is swallowed."""

    class Slow:
        def __del__(self) -> None:
            say(signals, "running")
            time.sleep(0.5)

    Slow()
    time.sleep(LONG)


def swallows(signals: str) -> str:
    try:
        say(signals, "running")
        time.sleep(LONG)
    except KeyboardInterrupt as interrupt:
        return type(interrupt).__name__
    return "never"


async def coroutine(signals: str) -> None:
    say(signals, "running")
    await asyncio.sleep(LONG)


STOPPED: tuple[Callable[[str], object], ...] = (busy, asleep, reading, waits_for_a_program)
"""The first rung stops them."""
KILLED: tuple[Callable[[str], object], ...] = (keeps_the_lock, ignores)
"""Only the last rung stops them."""
