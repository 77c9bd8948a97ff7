"""The program of one case: plays it, writes down what it sees, and ends.

    python3 -m reliability.meeting.host FOLDER CASE

It judges nothing: it may hang or die.
"""

from __future__ import annotations

import asyncio
import faulthandler
import multiprocessing
import sys
import time
from typing import Final

from reliability.killing.verdict import Census
from reliability.meeting import awaiting, blocking, works
from reliability.meeting.cases import Case
from reliability.meeting.ears import Ears
from reliability.meeting.ledger import Ledger
from reliability.meeting.scene import Scene

OTHERS: Final = "left behind, names in /dev/shm"
"""Programs of others leave names there, too: `reliability.leaks` looks after ours."""
ALONE: Final = 90.0
"""Seconds after which it ends itself, if nobody is there any more who would do it."""
SETTLING: Final = 5.0
"""Seconds in which the rest must be gone."""


def main() -> None:
    """Play the case."""
    faulthandler.dump_traceback_later(ALONE, exit=True)
    folder, case = sys.argv[1], Case.parsed(sys.argv[2])
    ears, ledger = Ears(folder), Ledger(folder)
    if case.engine == "thread":
        works.prepare(folder)
    else:
        _start_helpers(case.engine)
    if case.face == "uvloop":
        _warm_uvloop()
    before = Census.taken()
    scene = Scene(case, folder, ears, ledger)
    (awaiting if case.awaitable else blocking).play(scene)
    del scene
    if case.end != "exit":
        ears.hooks.clear()
        for left in _left_since(before):
            ledger.write("wrong", what=left)
    ledger.write("over")


def _left_since(before: Census) -> list[str]:
    """Say what is still there after a while; children and threads take moments to go."""
    deadline = time.monotonic() + SETTLING
    while True:
        lines = Census.taken().more_than(before)
        left = [line for line in lines if not line.startswith(OTHERS)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.01)  # nobody tells


def _start_helpers(method: str) -> None:
    """Start what a start method keeps for good: a server, a tracker."""
    process = multiprocessing.get_context(method).Process(target=int)
    process.start()
    process.join()
    process.close()


def _warm_uvloop() -> None:
    """Have it open what it keeps for good: a pipe for signals."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


if __name__ == "__main__":
    main()
