"""Workers as subinterpreters: each with a GIL of its own, in a thread of this process.

What travels is what travels to processes: frames over pipes, big payloads in memory that both
sides map. An interpreter cannot be killed. Where a process would be, the worker is *given up*
(`InterpreterLink.kill`): for the pool it has ended, another takes its place, and what it still runs
is left behind, in a daemon thread that closes the interpreter when that has come to its end.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import time
from functools import partial
from typing import Any, Final

from aplex._backends.contract import Death, Setup
from aplex._backends.interpreter.available import check_available, make_interpreter
from aplex._backends.interpreter.link import InterpreterLink
from aplex._backends.linked.backend import LinkedBackend
from aplex._common.errors import SerializationError, WorkerStartError
from aplex._common.threads import OnceThread
from aplex._pool.state import PoolWorker
from aplex._wire.setup_packer import pack_setup
from aplex._worker.green_threads import check_program

NAMED: Final = 3
"""Works that the certificate of an end names, at most."""
_START: Final = """
import sys
sys.path[:], sys.argv[:], arguments = aplex_start
del aplex_start
from aplex._worker.interpreter import main
main(*arguments)
"""


class InterpreterBackend(LinkedBackend[InterpreterLink]):
    """Starts workers in subinterpreters, and notices their end."""

    can_kill = False
    can_interrupt = True
    shares_early = True

    def __init__(self, setup: Setup) -> None:
        """Start nothing yet.

        Raises:
            NotImplementedError: There are no subinterpreters here.
            SerializationError: The setup cannot travel.
        """
        check_available()
        super().__init__(setup, main_by_value=lambda: True, forward_logs=setup.forward_logs)
        self._name = setup.name
        self._slow_callback = setup.slow_callback
        self._packed = _packed(setup)
        self._ending: list[OnceThread] = []  # of workers that have ended

    def check_can_start(self) -> None:
        check_program(forks=False)

    # -- start ----------------------------------------------------------------

    def start(self, worker: PoolWorker) -> None:
        try:
            self._make_gate()
            if worker not in self._links:  # else Ctrl-C broke into this very method
                link = InterpreterLink(
                    self._shared(),
                    worker,
                    self._logs,
                    self._name,
                    self._slow_callback,
                    partial(self._give_up, worker),
                )
                run = partial(self._run, worker, link)
                link.thread = OnceThread(run, f"{self._name}-{worker.id}")
                self._links[worker] = link
            link = self._links[worker]
        except OSError as error:  # too many open files
            self._unborn(worker, WorkerStartError(f"no channels for a worker: {error}"))
            return
        link.started = True
        self._attach(worker, link)
        # Not here, with the lock: see `OnceThread.start`.
        self.events.after_step(partial(self._launch, worker, link))

    def _launch(self, worker: PoolWorker, link: InterpreterLink) -> None:
        try:
            link.thread.start()
        except RuntimeError as error:  # there can be no more threads
            if link.thread.give_up():  # else it has begun, or another call has found out the same
                link.close_child()
                self.listener.call_soon(partial(self._ended, worker, link, error))

    def _run(self, worker: PoolWorker, link: InterpreterLink) -> None:
        """Run an interpreter from its beginning to its end. On a thread of its own."""
        failure: BaseException | None = None
        try:
            if not link.left_behind:
                self._run_interpreter(worker, link)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for the worker
            failure = error
        finally:
            link.close_child()
            self.listener.call_soon(partial(self._ended, worker, link, failure))

    def _run_interpreter(self, worker: PoolWorker, link: InterpreterLink) -> None:
        interpreter = make_interpreter()
        try:
            start = (
                tuple(filter(_is_text, sys.path)),
                tuple(filter(_is_text, sys.argv)),
                (*link.arguments(), self._packed, worker.id, worker.index, link.thread.name),
            )
            interpreter.prepare_main(aplex_start=start)
            interpreter.exec(_START)
        finally:
            interpreter.close()

    # -- stops functions --------------------------------------------------------

    def kill_at(self, worker: PoolWorker, seq: int) -> bool:
        link = self._links.get(worker)
        if link is None or link.closed or not link.progress.doom(seq):
            return False
        link.kill()
        return True

    # -- end --------------------------------------------------------------------

    def kill(self, worker: PoolWorker) -> None:
        link = self._links.get(worker)
        if link is not None:
            link.unwanted = True
            link.kill()

    def terminate(self, worker: PoolWorker) -> None:
        self.kill(worker)

    def _give_up(self, worker: PoolWorker, link: InterpreterLink) -> None:
        self.listener.call_soon(partial(self._ended, worker, link, None))

    def _ended(
        self, worker: PoolWorker, link: InterpreterLink, failure: BaseException | None
    ) -> None:
        """Take in that a worker has ended, or was given up. On the listener's thread."""
        if link.taken:
            return
        link.taken = True
        if not link.left_behind:
            self._ending = [thread for thread in self._ending if thread.is_alive()]
            self._ending.append(link.thread)
        self._take_end(worker, link, partial(self._examine, worker, link, failure))

    def _examine(
        self, worker: PoolWorker, link: InterpreterLink, failure: BaseException | None
    ) -> Death:
        uptime = time.monotonic() - link.born
        reason: WorkerStartError | None = None
        if worker.pid is None:
            how = f"could not be started: {failure}" if failure else "ended before it was ready"
            reason = WorkerStartError(f"{link.described} {how}, after {uptime:.1f} s")
            reason.__cause__ = failure
        error = _certificate(worker, link, uptime, failure)
        return Death(link.progress.read(), error, reason, uptime)

    def resident(self, worker: PoolWorker) -> int | None:  # noqa: ARG002
        """Return None: what one of the interpreters of a process holds is not known."""
        return None

    def close(self) -> None:
        super().close()
        for thread in self._ending:
            thread.join()
        self._ending.clear()

    def break_down(self) -> None:
        for link in list(self._links.values()):
            with contextlib.suppress(Exception):
                link.kill()
        self._bury_all()
        self.close()

    # -- fork -------------------------------------------------------------------

    def abandon_after_fork(self) -> None:
        super().abandon_after_fork()
        for link in self._links.values():
            link.close_child()


def _packed(setup: Setup) -> bytes:
    """Return what every worker begins with, pickled.

    Raises:
        SerializationError: It cannot travel.
    """
    parts = (setup.worker_loop_factory, setup.initializer, setup.initargs, setup.surroundings)
    packed = pack_setup(parts, main_by_value=True, by_fork=False)
    if packed.inherited:
        kinds = ", ".join(dict.fromkeys(type(each).__qualname__ for each in packed.inherited))
        raise SerializationError(
            f"the initializer or its arguments have something ({kinds}) that only processes can "
            "inherit, and subinterpreters cannot: use ProcessAsyncPoolExecutor for that"
        )
    return pickle.dumps(packed, 5)


def _certificate(
    worker: PoolWorker, link: InterpreterLink, uptime: float, failure: BaseException | None
) -> Any:
    """Return what to tell the works that the worker had started."""
    # Executors have imported it, see `_backends.linked.deaths`.
    from aplex.exceptions import WorkerLostError

    names = [work.name for work, _ in zip(worker.works.values(), range(NAMED), strict=False)]
    error = WorkerLostError(
        worker.pid,
        None,
        worker.workload,
        works=tuple(names),
        works_done=worker.works_done,
        uptime=uptime,
        out_of_memory=False,
        reason=worker.why_killed if link.left_behind else None,
        who=link.described,
        how="was given up, and runs on by itself until it ends" if link.left_behind else "ended",
    )
    error.__cause__ = failure
    return error


def _is_text(value: object) -> bool:
    return isinstance(value, str)
