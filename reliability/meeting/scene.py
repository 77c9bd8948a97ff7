"""What both faces share: the pool of a case, what happens to it, and what is written down."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import warnings
from typing import Any, Final

from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor
from reliability.load.submitter import CANCELLED, RIGHT, WRONG
from reliability.load.works import payload
from reliability.meeting import works
from reliability.meeting.cases import OFF, Case
from reliability.meeting.ears import Ears
from reliability.meeting.jobs import HELD, ITEMS, Call, calls_of
from reliability.meeting.ledger import Ledger, described
from reliability.system.processes import children, strike

STEPS: Final = {"fork": 3, "up": 4, "down": 9, "end": 12}
"""How many works, or items of streams, have begun when it happens."""
STRIKES: Final = (6, 14)
"""The same for a worker that is struck from outside: the one where it has begun."""
SMALL, LARGE = 1, 3
"""Workers after a resize."""


def make(case: Case, folder: str) -> Any:
    """Make the executor of a case."""
    options: dict[str, Any] = {
        "awaitable": case.awaitable,
        "pool_size": 2,
        "max_works_per_worker": 3,
        "exit_grace": 15.0,
        "retries": 0 if case.retries == OFF else 2,
        "max_tasks_per_child": None if case.recycling == OFF else 4,
        "max_restarts": 1_000,  # to be killed before it serves is no end here
        "initializer": works.prepare,
        "initargs": (folder,),
    }
    if case.face == "uvloop":
        import uvloop

        options["worker_loop_factory"] = uvloop.new_event_loop
    if case.engine == "thread":
        return ThreadAsyncPoolExecutor(**options)
    return ProcessAsyncPoolExecutor(mp_context=case.engine, **options)


class Scene:
    """A pool under a load of calls."""

    def __init__(self, case: Case, folder: str, ears: Ears, ledger: Ledger) -> None:
        self.case, self.ears, self.ledger = case, ears, ledger
        self.pool = make(case, folder)
        self.calls = calls_of(case)
        self.futures: dict[int, Any] = {}
        if case.death == "outside":
            ears.hooks.append(self._strike)

    # -- calls ----------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """Submit a work; have its outcome written down."""
        (job,) = call.jobs
        self.ledger.write("sent", work=job.number)
        future = self.pool.options(**call.options).submit(
            works.work_of(call.way, self.case.lane), job
        )
        self.futures[job.number] = future
        future.add_done_callback(lambda done: self._resolved(call, done))
        if call.cancel == "early":
            self.ask(job.number)

    def map(self, call: Call) -> Any:
        """Open a map."""
        for job in call.jobs:
            self.ledger.write("sent", work=job.number)
        return self.pool.options(**call.options).map(
            works.work_of(call.way, self.case.lane), call.jobs, **call.arguments
        )

    def stream(self, call: Call) -> Any:
        """Open a stream."""
        self.ledger.write("sent", work=call.number)
        return self.pool.options(**call.options).stream(
            works.work_of(call.way, self.case.lane), call.jobs[0]
        )

    def ask(self, number: int) -> None:
        """Cancel a work."""
        self.ledger.write("asking", work=number)
        future = self.futures[number]
        answer = future.cancel()
        self.ledger.write("asked", work=number, answer=answer, seen=future.cancelled())

    def late_cancels(self) -> list[int]:
        """Return the works that are cancelled when they have begun."""
        return [call.number for call in self.calls if call.cancel == "late"]

    def held(self) -> list[int]:
        """Return the works that would not end by themselves."""
        return [job.number for call in self.calls for job in call.jobs if job.role == HELD]

    # -- what is written down -------------------------------------------------

    def _resolved(self, call: Call, future: Any) -> None:
        (job,) = call.jobs
        self.ears.pass_over(job.number)
        try:
            value = future.result()
        except BaseException as error:
            self.ledger.error(job, error)
        else:
            self.ledger.value(job, value)

    def mapped(self, call: Call, place: int, result: Any) -> None:
        """Write down what a map has yielded: it is of the item in that place."""
        job = call.jobs[place]
        if not call.arguments["return_outcomes"]:
            self.ledger.value(job, result)
        elif result.input.number != job.number:
            self.ledger.write("fate", work=job.number, outcome=WRONG, trouble="out of order")
        elif result.ok:
            self.ledger.value(job, result.value)
        else:
            self.ledger.error(job, result.exception)

    def streamed(self, call: Call, place: int, item: Any) -> None:
        """Write down if what a stream has yielded is not the item in that place."""
        (job,) = call.jobs
        if item != (place, payload(job.number, job.size)):
            trouble = f"item {place} is {item!r:.100}"
            self.ledger.write("fate", work=job.number, outcome=WRONG, trouble=trouble)

    def ended(self, call: Call, got: int, how: str, error: BaseException | None = None) -> None:
        """Write down how a map or a stream has ended, after so many results or items."""
        trouble = "" if error is None else repr(error)[:300]
        self.ledger.write("end", call=call.number, how=how, got=got, trouble=trouble)
        if call.way != "stream":
            return
        fate: dict[str, Any] = {"outcome": RIGHT if got == ITEMS else WRONG, "trouble": how}
        if error is not None:
            fate = described(error)
        elif how == "closed":
            fate = {"outcome": CANCELLED}
        self.ledger.write("fate", work=call.number, **fate)

    # -- what happens ---------------------------------------------------------

    def steps(self) -> list[str]:
        """Return what happens while works run, in its order."""
        case = self.case
        wanted = {
            "fork": case.fork != OFF,
            "up": case.resize != OFF,
            "down": case.resize != OFF,
            "end": case.end != "with",
        }
        return [name for name in STEPS if wanted[name]]

    def happen(self, step: str) -> None:
        """Have it happen, but for the end."""
        self.ledger.write("did", what=step)
        if step == "up":
            self.pool.resize(LARGE)
        elif step == "down":
            self.pool.resize(SMALL)
        elif step == "fork":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # it has threads: so it should
                _fork() if self.case.fork == "os" else self._fork_and_use()

    def shut(self) -> None:
        """Shut the pool down in the middle."""
        end = self.case.end
        self.ledger.write("did", what=end)
        self.pool.shutdown(wait=end != "nowait", cancel_futures=end == "cancel")
        if end != "nowait" and not self.case.awaitable:
            late = [number for number, future in self.futures.items() if not future.done()]
            self.complain(f"not done after the shutdown: {late}" if late else "")

    def complain(self, what: str) -> None:
        """Write down what is wrong, if it is."""
        if what:
            self.ledger.write("wrong", what=what)

    def _strike(self, count: int, _: int, pid: int) -> None:
        if count in STRIKES:
            self.ledger.write("struck", pid=pid)
            for parent in (os.getpid(), *children(os.getpid())):  # or the fork server
                if strike(pid, signal.SIGKILL, parent):
                    return

    def _fork_and_use(self) -> None:
        context = multiprocessing.get_context("fork")
        process = context.Process(target=_use, args=(self.pool, self.case.engine))
        process.start()
        process.join()
        self.complain(f"the child ended with {process.exitcode}" if process.exitcode else "")
        process.close()


def _fork() -> None:
    """Fork, and leave the child at once."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _use(pool: Any, engine: str) -> None:
    """In a forked child: the pool of the parent must refuse, and another one must serve."""
    asyncio._set_running_loop(None)  # that of the parent
    for use in pool.submit, pool.map, pool.stream:
        with contextlib.suppress(RuntimeError):
            use(payload, 1, 1) if use != pool.map else pool.map(payload, [1], [1])
            raise AssertionError(f"{use} of a forked copy has taken a work")
    kind: Any = ThreadAsyncPoolExecutor
    options: dict[str, Any] = {"pool_size": 1}
    if engine != "thread":
        # CPython knows no fork server in a child that was forked from who had started one.
        method = "spawn" if engine == "forkserver" else engine
        kind, options = ProcessAsyncPoolExecutor, {"pool_size": 1, "mp_context": method}
    with kind(**options) as own:
        assert own.submit(payload, 1, 3).result() == payload(1, 3)
