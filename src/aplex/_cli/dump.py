"""`aplex dump PID`: every work in every worker, with its stack."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import Final

from aplex._cli.pages import Refused, descriptors_of, open_pages, text
from aplex._cli.pools import pools_in
from aplex._cli.processes import catches, look_at, own_number
from aplex._cli.shown import duration
from aplex._wire import dump_page, page
from aplex._wire.page import Memory

LONGEST: Final = 5.0
"""Seconds after which a process does not answer any more."""
PAUSE: Final = 0.02
"""Seconds between two looks for an answer: there is no way to wait for memory of another."""
NOT_ASKED: Final = (
    "process {pid} does not dump: its pools were made without dump_signal=. Give them "
    "dump_signal=signal.SIGUSR1; or, now: py-spy dump --subprocesses --pid {pid}"
)
UNHEARD: Final = (
    "process {pid} has no handler of {name} (any more): the signal would end it, so it was not "
    "sent. Something else there has set another one; or: py-spy dump --subprocesses --pid {pid}"
)
SILENT: Final = (
    "process {pid} has not answered within {seconds:g} s: it is stopped, or its main thread is in "
    "code that does not return to Python. What it runs, as its pages tell:"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The memory in which a pool writes its dump, and how many it has written before."""

    name: str
    memory: Memory
    number: int
    before: int

    @property
    def has_answered(self) -> bool:
        """Whether another dump is there."""
        return self.memory.words[dump_page.COUNT] > self.before


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("pid", type=int, metavar="PID", help="the process of the pools")


def run(options: argparse.Namespace) -> int:
    """Print the dumps; return 1 if there is none."""
    if sys.platform != "linux":
        print("aplex: pools can be seen from outside on Linux only", file=sys.stderr)
        return 1
    try:
        return _dump(options.pid)
    except Refused as refused:
        print(f"aplex: {refused}", file=sys.stderr)
        return 1


def _dump(pid: int) -> int:
    text, silent = dumped(pid)
    if text:
        print(text)
    if silent:
        print(f"aplex: {SILENT.format(pid=pid, seconds=LONGEST)}", file=sys.stderr)
        print(silent)
    return 1 if silent else 0


def dumped(pid: int) -> tuple[str, str]:
    """Ask a process for the dumps of its pools.

    Returns:
        The dumps; and what is known of the pools that have not answered, if there are any.

    Raises:
        Refused: It has no pools that dump, may not be asked, or has ended.
    """
    pools = _pools_of(pid)
    try:
        _ask(pid, pools)
        end = time.monotonic() + LONGEST
        while not all(pool.has_answered for pool in pools) and time.monotonic() < end:
            if look_at(pid) is None:
                raise Refused(f"process {pid} has ended")
            time.sleep(PAUSE)
        answered = [pool for pool in pools if pool.has_answered]
        text = "\n\n".join(_text_of(pool.memory) for pool in answered)
        silent = {pool.name for pool in pools} - {pool.name for pool in answered}
        return text, _what_is_known(pid, silent) if silent else ""
    finally:
        for pool in pools:
            pool.memory.close()


def _pools_of(pid: int) -> list[Asked]:
    """Return the pools of a process that dump.

    Raises:
        Refused: There are none, or they may not be looked at.
    """
    if look_at(pid) is None:
        raise Refused(f"there is no process {pid}")
    own = own_number(pid)
    pools: dict[str, Asked] = {}  # by their names
    for path in descriptors_of(pid):
        with contextlib.suppress(OSError, ValueError):
            if os.readlink(path).startswith(f"/memfd:{dump_page.NAME}"):  # noqa: PTH115
                pool = _opened(path)
                if pool.memory.words[page.PARENT] == own and pool.name not in pools:
                    pools[pool.name] = pool
                else:
                    pool.memory.close()
    if not pools:
        raise Refused(NOT_ASKED.format(pid=pid))
    return [pools[name] for name in sorted(pools)]


def _opened(path: str) -> Asked:
    fd = os.open(path, os.O_RDONLY)
    try:
        memory = Memory(os.fstat(fd).st_size, fd, writable=False)
    finally:
        os.close(fd)
    words = memory.words
    if (words[page.KIND], words[page.LAYOUT]) != (dump_page.DUMP, page.VERSION):
        memory.close()
        raise ValueError("not a dump of this version")
    name = text(memory, page.POOL_NAME, page.POOL_NAME_SIZE)
    return Asked(name, memory, words[dump_page.SIGNAL], words[dump_page.COUNT])


def _ask(pid: int, pools: list[Asked]) -> None:
    for number in {pool.number for pool in pools}:
        # Once more just before it is sent: without a handler most signals end a process.
        try:
            if not catches(pid, number):
                name = signal.Signals(number).name
                raise Refused(UNHEARD.format(pid=pid, name=name))
            os.kill(pid, number)
        except OSError as error:
            raise Refused(f"process {pid} cannot be asked: {error}") from None


def _text_of(memory: Memory) -> str:
    length = int.from_bytes(memory.bytes[dump_page.TEXT - 8 : dump_page.TEXT], sys.byteorder)
    data = bytes(memory.bytes[dump_page.TEXT : dump_page.TEXT + min(length, dump_page.MOST)])
    shown = data.decode(errors="replace")
    return "".join(one if one.isprintable() or one == "\n" else "?" for one in shown)


def _what_is_known(pid: int, names: set[str]) -> str:
    lines: list[str] = []
    pages = open_pages(pid)
    for pool in pools_in(pages):
        if pool.name not in names:
            continue
        lines.append(f"{pool.name}: {pool.in_flight} works aboard, {pool.waiting} waiting")
        for worker in pool.workers:
            process = "" if worker.pid is None else f", process {worker.pid}"
            runs = ""
            if worker.running:
                runs = f" runs {worker.running} for {duration(worker.seconds)}"
            lines.append(
                f"  worker {worker.id} in slot {worker.slot}{process}: {worker.state}{runs}, "
                f"{worker.in_flight} aboard, {worker.coroutines} coroutines"
            )
    pages.close()
    return "\n".join(lines)
