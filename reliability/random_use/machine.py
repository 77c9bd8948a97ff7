"""Random use of a real pool: whatever users do, in any order, and after each step a look.

What is drawn depends on nothing that a real pool does in its own time: so that hypothesis can
repeat a history.
"""

from __future__ import annotations

import contextlib
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.support.callers import FACES, Blocking, caller_of
from tests.support.leaks import Census, nothing_left_alive
from tests.support.signals import Gate, Signals

from aplex import WorkerLostError
from reliability.random_use import works
from reliability.random_use.reference import (
    CANCELLED,
    FAILURE,
    LOST,
    VALUE,
    Expected,
    Reference,
)

PATIENCE: float = 20.0
"""Seconds after which what must happen is taken for lost."""
ENGINES = ("forkserver", "thread", "spawn")
KINDS = st.fixed_dictionaries(
    {
        "coroutine": st.booleans(),
        "held": st.sampled_from([False, False, True]),
        "fails": st.sampled_from([False, False, False, True]),
    }
)
SLOTS = st.integers(0, 11)
"""Chooses among what there is, by the remainder."""
NEWCOMERS: int = 2
"""Workers of a history that are killed before they have run a work: more may break a pool."""


class RandomUse(RuleBasedStateMachine):
    """What users can do to a pool."""

    caller: Blocking | None = None

    @initialize(
        engine=st.sampled_from(ENGINES),
        face=st.sampled_from(FACES),
        size=st.integers(1, 3),
        limit=st.sampled_from([2, 300]),
    )
    def open(self, engine: str, face: str, size: int, limit: int) -> None:
        multiprocessing.resource_tracker.ensure_running()  # what stays, before anybody counts
        multiprocessing.forkserver.ensure_running()
        self.kills = engine != "thread"
        self.life = contextlib.ExitStack()
        self.life.enter_context(nothing_left_alive())
        self.folder = self.life.enter_context(tempfile.TemporaryDirectory())
        self.signals = Signals(Path(self.folder, "signals"))
        self.life.callback(self.signals.close)
        self.before = Census.taken()
        self.gates: dict[int, Gate] = {}
        self.futures: list[Any] = []
        self.newcomers = NEWCOMERS
        self.reference = Reference(size, limit)
        self.caller = caller_of(face, engine, pool_size=size, max_works_per_worker=limit)

    # -- what users do ------------------------------------------------------------

    @rule(kinds=st.lists(KINDS, min_size=1, max_size=6), retries=st.sampled_from([0, 0, 1]))
    def submit(self, kinds: list[dict[str, bool]], retries: int) -> None:
        if self.reference.closed:
            with contextlib.suppress(RuntimeError):
                self.caller.submit(works.use, "", 0, None, False)
                raise AssertionError("a pool that is shut takes a work")
            return
        view = self.caller.through(self.caller.pool.options(retries=retries))
        for kind in kinds:
            work = self.reference.submit(**kind, retries=retries)
            function = works.ause if work.coroutine else works.use
            gate = self._gate(work) if work.held else None
            arguments = (self.signals.path, work.number, gate, work.fails)
            self.futures.append(view.submit(function, *arguments))
        self._look()

    @rule(slot=SLOTS)
    def pass_gate(self, slot: int) -> None:
        held = [work for work in self.reference.works if work.held and not work.opened]
        if held:
            work = held[slot % len(held)]
            work.opened = True
            self.gates[work.number].open()
        self._look()

    @rule(slot=SLOTS)
    def cancel(self, slot: int) -> None:
        self._look()
        if self.futures:
            work = self.reference.works[slot % len(self.futures)]
            work.cancel_asked |= self.caller.cancel(self.futures[work.number])
        self._look()

    @precondition(lambda self: self.kills)
    @rule(slot=SLOTS)
    def kill(self, slot: int) -> None:
        """Kill a worker that has run a work."""
        living = self._living()
        known = {pid for work in self.reference.works for pid in work.starts} & living
        self._kill(sorted(known - self.reference.killed), slot)

    @precondition(lambda self: self.kills)
    @rule(slot=SLOTS)
    def kill_newcomer(self, slot: int) -> None:
        """Kill a worker that is starting, or idle."""
        known = {pid for work in self.reference.works for pid in work.starts}
        new = self._living() - known - self.reference.killed
        if new and self.newcomers:
            self.newcomers -= 1
            self._kill(sorted(new), slot)

    @rule(size=st.integers(1, 4))
    def resize(self, size: int) -> None:
        if self.reference.closed:
            with contextlib.suppress(RuntimeError):
                self.caller.pool.resize(size)
                raise AssertionError("a pool that is shut is resized")
        else:
            self.caller.pool.resize(size)
            self.reference.size = size
        self._look()

    @rule(cancel=st.booleans(), really=st.integers(0, 5))
    def shut_down(self, cancel: bool, really: int) -> None:
        if really == 0:  # seldom, or most histories would be short
            self._look()
            self.reference.shut(drop=cancel)
            self.caller.pool.shutdown(wait=False, cancel_futures=cancel)
        self._look()

    @precondition(lambda self: self.kills)
    @rule(kill=st.booleans(), really=st.integers(0, 11))
    def end_workers(self, kill: bool, really: int) -> None:
        if really == 0:
            self._look()
            self.reference.end()
            pool = self.caller.pool
            (pool.kill_workers if kill else pool.terminate_workers)()
        self._look()

    @rule()
    def settle(self) -> None:
        """Wait until all that must happen has happened."""
        deadline = time.monotonic() + PATIENCE
        self._look()
        ending = [self.futures[work.number] for work in self.reference.must_end()]
        if ending:
            self.caller.wait(*ending, timeout=PATIENCE)
        self._look()
        waiting, count = self.reference.must_run()
        while sum(work.runs_in is not None for work in waiting) < count:
            left = deadline - time.monotonic()
            assert left > 0, f"of these only some run, {count} must: {waiting}"
            self.signals.wait(left)
            self._look()

    def teardown(self) -> None:
        """Let all works end; look how; nothing must be left."""
        if self.caller is None:
            return
        if isinstance(sys.exc_info()[1], Exception):  # hypothesis tells only what it can repeat
            traceback.print_exc()
        with self.life:
            try:
                for gate in self.gates.values():
                    gate.open()
                for work in self.reference.works:
                    work.opened = True
                if self.futures:
                    self.caller.wait(*self.futures, timeout=PATIENCE)
                self._look()
                assert self.reference.undone == []
            finally:
                self.caller.close()
                for gate in self.gates.values():
                    gate.close()

    # -- what is seen -------------------------------------------------------------

    def _look(self) -> None:
        """Read what works have said, and how futures that are done have ended."""
        done = [number for number, future in enumerate(self.futures) if future.done()]
        for line in self.signals.said():
            self.signals.expect(line)
            _, number, pid = line.split()
            self.reference.saw_start(int(number), int(pid))
        for number in done:
            self.reference.saw_end(number, _outcome(self.futures[number], number))

    def _living(self) -> set[int]:
        """Return the processes that have come since the beginning."""
        return set((Census.taken() - self.before).processes)

    def _kill(self, pids: list[int], slot: int) -> None:
        self._look()
        if pids:
            pid = pids[slot % len(pids)]
            self.reference.kill(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._look()

    def _gate(self, work: Expected) -> str:
        gate = self.gates[work.number] = Gate(Path(self.folder, f"gate{work.number}"))
        return gate.path


def _outcome(future: Any, number: int) -> str:
    """Return how a future has ended, in the words of the reference."""
    if future.cancelled():
        return CANCELLED
    error = future.exception()
    if error is None:
        assert future.result() == number
        return VALUE
    if isinstance(error, works.AgreedError):
        assert error.args == (number,)
        return FAILURE
    assert isinstance(error, WorkerLostError), repr(error)
    return LOST
