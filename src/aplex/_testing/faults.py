"""Faults: has the workers of a pool die where a test says, so that its luck is known.

Injected where works are sent to a worker and where its reports are read, in the parent: the
program under test and the code of its works stay as they are.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aplex._common.messages import LANES, Reports
from aplex._common.numbers import check_count
from aplex.executors import ProcessAsyncPoolExecutor

if TYPE_CHECKING:
    from aplex._pool.state import PoolWorker, Work


def _die() -> None:
    """End this worker as the kernel would end it."""
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


@dataclass(frozen=True, slots=True)
class _Fault:
    """What happens to a call."""

    work: Callable[..., Any]
    call: int
    times: int
    result: bool  # whether the work runs, and its result is lost


class Faults:
    """Faults to inject into a pool of processes.

    A fault strikes the n-th call of a work, counted from 1 in the order in which calls are first
    sent to workers, while `injected`. It strikes the first ``times`` attempts of that call: with
    ``retries`` of at least as many, the call succeeds after all.

    Example:
        >>> faults = Faults()
        >>> faults.kill_worker(fetch, call=3)
        >>> with ProcessAsyncPoolExecutor(retries=1) as pool, faults.injected(pool):
        ...     pages = list(pool.map(fetch, urls))
    """

    def __init__(self) -> None:
        """Have no fault yet."""
        self._faults: list[_Fault] = []
        self._struck = 0
        self._lock = threading.Lock()

    @property
    def struck(self) -> int:
        """How many attempts were struck so far, in works."""
        return self._struck

    def kill_worker(self, work: Callable[..., Any], *, call: int = 1, times: int = 1) -> None:
        """Have the worker die as it starts a call: none of the work's code runs.

        Other works that the worker has started die with it, as they would.

        Args:
            work: The function that is submitted.
            call: Which of its calls, from 1.
            times: How many attempts of that call, from the first one on.

        Raises:
            ValueError: ``call`` or ``times`` is less than 1.
            TypeError: One of them is no whole number.
        """
        self._add(work, call, times, result=False)

    def lose_result(self, work: Callable[..., Any], *, call: int = 1, times: int = 1) -> None:
        """Have the worker die when a call has run, before its result arrives.

        What the call did outside is done. Results that came in the same frame are lost as well.

        Args:
            work: The function that is submitted.
            call: Which of its calls, from 1.
            times: How many attempts of that call, from the first one on.

        Raises:
            ValueError: ``call`` or ``times`` is less than 1.
            TypeError: One of them is no whole number.
        """
        self._add(work, call, times, result=True)

    def _add(self, work: Callable[..., Any], call: int, times: int, *, result: bool) -> None:
        check_count("call", call)
        check_count("times", times)
        self._faults.append(_Fault(work, call, times, result))

    @contextmanager
    def injected(self, pool: ProcessAsyncPoolExecutor[Any]) -> Generator[Faults]:
        """Inject them into a pool, for as long as the context lasts.

        Args:
            pool: An executor of processes, before its first work.

        Raises:
            TypeError: Its workers are no processes: threads cannot die.
        """
        if not isinstance(pool, ProcessAsyncPoolExecutor):
            raise TypeError(
                f"faults need a ProcessAsyncPoolExecutor, not {pool!r}: only processes can die"
            )
        seam = _Seam(self, pool._manager.backend)  # noqa: SLF001 - our own
        try:
            yield self
        finally:
            seam.close()

    def _of(self, work: Work, call: int) -> _Fault | None:
        """Return what happens to this attempt of a call."""
        attempt = len(work.deaths) + 1
        for fault in self._faults:
            if fault.work == work.target and fault.call == call and attempt <= fault.times:
                return fault
        return None

    def _count(self) -> None:
        with self._lock:
            self._struck += 1


class _Seam:
    """Stands before the methods of one back end that send works, and that report."""

    def __init__(self, faults: Faults, backend: Any) -> None:
        self._faults = faults
        self._backend = backend
        self._calls: dict[Any, int] = {}  # of each function, how many were sent
        self._numbers: dict[int, int] = {}  # of each call, which one it is
        self._losing: set[int] = set()  # calls whose results are to be lost
        self._dying = backend.encode(_die, (), {})
        self._send: Callable[[PoolWorker], None] = backend.send
        self._send_alone: Callable[[PoolWorker, Work], None] = backend.send_alone
        self._events = backend.events
        self._backend.send, self._backend.send_alone = self.send, self.send_alone
        self._backend.events = self

    def close(self) -> None:
        """Stand there no longer."""
        del self._backend.send, self._backend.send_alone
        self._backend.events = self._events

    # -- sending; under the pool's lock ---------------------------------------

    def send(self, worker: PoolWorker) -> None:
        with self._replaced([work for lane in LANES for work in worker.outboxes[lane]]):
            self._send(worker)

    def send_alone(self, worker: PoolWorker, work: Work) -> None:
        with self._replaced([work]):
            self._send_alone(worker, work)

    @contextmanager
    def _replaced(self, works: list[Work]) -> Generator[None]:
        """Have works that are to kill their worker do that, and no more."""
        # Not twice: to send one alone may be to send its worker's outboxes.
        fresh = [work for work in works if (work.function, work.call) != self._dying]
        doomed = [work for work in fresh if self._dooms(work)]
        calls = [(work.function, work.call) for work in doomed]
        for work in doomed:
            work.function, work.call = self._dying
        try:
            yield
        finally:
            for work, call in zip(doomed, calls, strict=True):
                work.function, work.call = call

    def _dooms(self, work: Work) -> bool:
        """Whether this attempt of a work kills its worker; note it if its result is to be lost."""
        number = self._numbers.get(work.id)
        if number is None:
            number = self._calls[work.target] = self._calls.get(work.target, 0) + 1
            self._numbers[work.id] = number
        fault = self._faults._of(work, number)  # noqa: SLF001 - of this file
        if fault is None:
            self._losing.discard(work.id)
            return False
        if fault.result:
            self._losing.add(work.id)
            return False
        self._faults._count()  # noqa: SLF001 - of this file
        return True

    # -- reporting: `Events` ----------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        return getattr(self._events, name)

    def receive(self, worker: PoolWorker, lane: int, read: Callable[[], deque[Reports]]) -> None:
        self._events.receive(worker, lane, lambda: self._lossy(worker, read()))

    def _lossy(self, worker: PoolWorker, frames: deque[Reports]) -> deque[Reports]:
        """Drop the frames with results that are to be lost, and kill the worker."""
        for frame in list(frames):
            lost = self._losing.intersection(_ids_in(frame))
            if lost:
                frames.remove(frame)
                self._losing -= lost
                self._faults._count()  # noqa: SLF001 - of this file
                self._backend.kill(worker)
        return frames


def _ids_in(frame: Reports) -> set[int]:
    """Return the numbers of the works that a frame tells the outcomes of."""
    _, others, ids, _, pickled, _ = frame
    return {*ids, *pickled, *(report[0] for report in others)}
