"""One fault, one library: the program that the referee starts, and judges by what it tells.

    python -m reliability.board.scene PEER CASE METHOD FOLDER

It tells facts as lines of JSON through a named pipe, so that whatever it hangs at or dies of,
what it had told before counts.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.support.signals import Gate, Signals
from tests.support.works import say

from reliability.board import works
from reliability.board.peers import PEERS, Peer

PATIENCE: float = 8.0
"""Seconds in which works that can end must have ended."""
WAITING: int = 20
"""Works that wait while the fault happens."""
GROUPS = {"others": "not hit", "later": "submitted later", "asked": "that use a pool"}
"""What is said of works that must return."""


class Scene:
    """What a case has at hand: a pool, pipes to its works, and words for what happened."""

    def __init__(self, peer: Peer, folder: Path) -> None:
        self.peer = peer
        self.folder = folder
        self.signals = Signals(folder / "signals")
        self.gate = Gate(folder / "gate")
        self._numbers = iter(range(1, sys.maxsize))

    # -- before and during the fault --------------------------------------------

    def start(self, work: Callable[..., Any] = works.hold) -> tuple[Any, int]:
        """Submit a work that holds its worker; return its handle and its number when it runs."""
        number = next(self._numbers)
        self.doing("a work that starts")
        handle = self.peer.submit(work, str(self.folder), number)
        self.peer.wait_for(self.signals, f"started {number}")
        return handle, number

    def submit_waiting(self) -> list[tuple[Any, Any]]:
        """Submit short works; return their handles and what they are to return."""
        self.doing("submit")
        return [(self.peer.submit(works.square, n), n * n) for n in range(WAITING)]

    def pid(self, number: int) -> int:
        """Return the process in which a work, or the start of a worker, has said it runs."""
        return int((self.folder / f"{number}.pid").read_text())

    def by_process(
        self, number: int, pairs: list[tuple[Any, int]]
    ) -> tuple[list[Any], list[tuple[Any, int]]]:
        """Return the handles of works that run in the process of that one, and the other pairs.

        Coroutines do, now and then: they are hit together.
        """
        there = [handle for handle, other in pairs if self.pid(other) == self.pid(number)]
        return there, [pair for pair in pairs if pair[0] not in there]

    def kill(self, number: int, how: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pid(number), how)

    # -- what came of it --------------------------------------------------------

    def must_end(self, *handles: Any) -> None:
        """These works were hit: any end will do, but an end."""
        self.doing("the end of the work that was hit")
        deadline = time.monotonic() + PATIENCE
        for handle in handles:
            kind, what = self.outcome(handle, deadline)
            told = what if kind == "error" else "it returned" if kind == "value" else ""
            self.tell("hit", ended=kind != "never", seen=told)

    def must_return(
        self, pairs: Iterable[tuple[Any, Any]], *, about: str = "others", patience: float = PATIENCE
    ) -> None:
        """These works (of `GROUPS`) must return what they always do."""
        self.doing(f"works {GROUPS[about]}")
        deadline = time.monotonic() + patience
        counts = {"right": 0, "wrong": 0, "failed": 0, "never": 0}
        seen = ""
        for handle, expected in pairs:
            kind, what = self.outcome(handle, deadline)
            if kind == "value":
                kind = "right" if what == expected else "wrong"
            else:
                kind, seen = ("failed", seen or what) if kind == "error" else ("never", seen)
            counts[kind] += 1
        self.tell(about, **counts, seen=seen)

    def are_done(self, pairs: Iterable[tuple[Any, Any]]) -> bool:
        """Wait for works; return whether all are done."""
        deadline = time.monotonic() + PATIENCE
        return all(self.outcome(handle, deadline)[0] != "never" for handle, _ in pairs)

    def must_serve(self, about: str = "later") -> None:
        """The pool must still be of use."""
        try:
            new = self.submit_waiting()
        except Exception as error:
            self.tell(about, right=0, wrong=0, failed=WAITING, never=0, seen=described(error))
        else:
            self.must_return(new, about=about)

    def outcome(self, handle: Any, deadline: float) -> tuple[str, Any]:
        """Return how a work ended: ``value``, ``error`` or ``never``, and with what."""
        try:
            return "value", self.peer.result(handle, max(0.05, deadline - time.monotonic()))
        except self.peer.Late:
            return "never", ""
        except (Exception, SystemExit) as error:
            return "error", described(error)

    # -- telling ----------------------------------------------------------------

    def doing(self, what: str) -> None:
        self.tell("doing", what=what)

    def tell(self, kind: str, **facts: Any) -> None:
        say(str(self.folder / "report"), json.dumps({"kind": kind, **facts}))


def described(error: BaseException) -> str:
    """Return type and message of an exception, and of what it comes from, in short."""
    told = f"{type(error).__name__}: {error}".strip().partition("\n")[0][:300]
    cause = error.__cause__
    if cause is not None and "Traceback" not in type(cause).__name__:
        told += f" (from {described(cause)})"
    return told


def main(name: str, case_name: str, method: str, folder: str) -> None:
    """Play a case."""
    from reliability.board.cases import CASES

    case = CASES[case_name]
    initargs = (folder,) if case.initializer is works.start_held else ()
    peer = PEERS[name](2, method, case.initializer, initargs)
    scene = Scene(peer, Path(folder))
    with peer:
        case.play(scene)
        if case.serves:
            scene.must_serve()
        scene.doing("the end of the pool")
    scene.tell("end")


if __name__ == "__main__":
    main(*sys.argv[1:])
