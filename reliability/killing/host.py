"""Runs cases one after another, in a process of its own: the harness may lose it.

It reads cases from the standard input, and writes a line for each to the standard output. A case
that takes too long ends the process with the stacks of all threads on the standard error output:
`faulthandler` does that from a thread of its own, whatever the others are stuck in.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import json
import os
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Final

from aplex import ProcessAsyncPoolExecutor
from reliability.killing import faults, works
from reliability.killing.cases import METHODS, Case
from reliability.killing.hooks import install
from reliability.killing.records import Kept
from reliability.killing.scenes import CANCELLED, Player
from reliability.killing.verdict import Census, judged, leaks_since, seconds
from reliability.points import LIFE, LOGS, PARENT

_NEW_MOUNTS: Final = 0x20000  # CLONE_NEWNS, see unshare(2)
_PRIVATE: Final = 0x44000  # MS_REC and MS_PRIVATE, see mount(2)
LIMIT: Final = 40.0
"""Seconds that a case may take."""


def main() -> None:
    """Run the cases."""
    _have_own_shm()
    warm: set[str] = set()
    for line in sys.stdin:
        case = Case(**json.loads(line))
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        if case.method not in warm:  # what stays for good: the fork server, the tracker
            warm.add(case.method)
            _warm_up(case.method)
        complaints, elapsed = _run(case)
        faulthandler.cancel_dump_traceback_later()
        faults.say(complaints=complaints, seconds=elapsed)


def _have_own_shm() -> None:
    """Get a /dev/shm of our own, if the system allows it: other programs leave names there."""
    libc = ctypes.CDLL(None)
    if libc.unshare(_NEW_MOUNTS) == 0 and libc.mount(b"none", b"/", None, _PRIVATE, None) == 0:
        libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, None)


def _warm_up(method: str) -> None:
    assert method in METHODS
    faults.clear()
    for awaitable in (False, True):
        _play(Case(1, "", method, "mixed", awaitable, 1, 0, 0))


def _run(case: Case) -> tuple[list[str], float]:
    """Run a case; return what was wrong, and how long after the fault all was resolved."""
    faults.clear()
    before = Census.taken()
    faults.announce(faults.Fault(case.point, case.action, case.nth, os.getpid()))
    with _parents_hook(case):
        player, complaints = _play(case)
    struck = faults.struck()
    complaints += judged(case, player, struck)
    elapsed = seconds(case, player, struck)
    faults.clear()
    del player
    return complaints + leaks_since(before), elapsed


@contextlib.contextmanager
def _parents_hook(case: Case) -> Iterator[None]:
    if case.of.side != PARENT:
        yield
        return

    fault = faults.ParentsFault(case.action, case.nth)
    remove = install(case.of, fault.due, fault.strike)
    try:
        yield
    finally:
        remove()


def _play(case: Case) -> tuple[Player, list[str]]:
    """Play the case's scene with a pool of its own; return what went wrong with that."""
    kept = Kept()
    pool: Any = ProcessAsyncPoolExecutor(
        pool_size=2,
        mp_context=case.method,
        awaitable=case.awaitable,
        retries=case.retries,
        initializer=works.prepare,
        initargs=("prepared",),
        **_options(case),
    )
    player = Player(pool, case.lane, case.seed, awaitable=case.awaitable)

    async def play() -> None:
        async with _whole(pool, case):
            await player.play(case.of.scene)

    complaints: list[str] = []
    with kept.listening() if case.of.scene == LOGS else contextlib.nullcontext():
        try:
            (asyncio.run if case.awaitable else _run_blocking)(play())
        except Exception as error:  # a pool that refuses works
            complaints.append(f"the pool does not serve: {error!r}")
    if case.of.scene == LOGS:
        struck = faults.struck()
        stopped = {sent.number for sent in player.sent if sent.expected == CANCELLED}
        complaints += kept.judged(None if struck is None else struck.pid, stopped)
    return player, complaints


def _options(case: Case) -> dict[str, Any]:
    """Return what else the executor gets."""
    if case.of.scene == LIFE:
        return {"lifespan": works.life if case.seed % 2 else works.plain_life}
    return {"forward_logs": case.of.scene == LOGS}


@contextlib.asynccontextmanager
async def _whole(pool: Any, case: Case) -> AsyncIterator[None]:
    """Shut the pool down at the end, and wait for that."""
    if case.awaitable:
        async with pool:
            yield
    else:
        with pool:
            yield


def _run_blocking(play: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits for a loop."""
    try:
        play.send(None)
    except StopIteration:
        return
    raise AssertionError("it has waited for a loop")


if __name__ == "__main__":
    main()
