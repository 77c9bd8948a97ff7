"""What aplex raises.

``AplexError`` is the base of all; ``AplexWorkerError`` (an ``OSError``, as it
was in 2019) is the base of everything that happened to a *worker* rather than
to a work. All of them can be pickled. Those that tell of a crash are kinds of
``concurrent.futures.process.BrokenProcessPool``, too: code that was written for the standard
library notices it.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from aplex._common.errors import (
    AplexError,
    AplexWorkerError,
    JournalError,
    LoadBalancerError,
    PoolFullError,
    RemoteError,
    RemoteTraceback,
    SerializationError,
    SharedHandleError,
    WorkerStartError,
    WorkInterrupted,
)

if TYPE_CHECKING:
    from concurrent.futures.process import BrokenProcessPool
else:
    try:
        from concurrent.futures.process import BrokenProcessPool
    except RuntimeError:
        # The interpreter is ending, and nobody can import that any more: so nobody has its name
        # in an ``except`` who has not imported it already.
        from concurrent.futures import BrokenExecutor as BrokenProcessPool

__all__ = [
    "AplexError",
    "AplexWorkerError",
    "BrokenPoolError",
    "JournalError",
    "LoadBalancerError",
    "PoolFullError",
    "RemoteError",
    "RemoteTraceback",
    "SerializationError",
    "SharedHandleError",
    "WorkInterrupted",
    "WorkQuarantinedError",
    "WorkerLostError",
    "WorkerStartError",
]


class WorkerLostError(AplexWorkerError, BrokenProcessPool):
    """The worker died while it was running the work: its death certificate.

    It is a ``concurrent.futures.process.BrokenProcessPool`` (and so a ``BrokenExecutor``) too,
    which is what the standard library raises then. But the pool is not broken: other works go on,
    and a new worker takes its place.

    Attributes:
        pid (int | None): The process id the worker had.
        exitcode (int | None): Its exit code; negative means killed by that
            signal, as in ``multiprocessing.Process.exitcode``; None if unknown.
        in_flight (int): How many works it had (started or not), in works.
        works (tuple[str, ...]): What these works were: the names of their
            callables, of the first few of them.
        works_done (int): How many works had ended on this worker, in works.
        uptime (float | None): How long the worker had lived, in seconds.
        out_of_memory (bool | None): Whether the kernel's out-of-memory killer is
            the likely cause: the worker was killed by SIGKILL, and the kernel has
            counted a kill of its own. None if that cannot be known here.
        peak_rss (int | None): The most memory that was resident in the worker at
            a time, in bytes. None if that cannot be known: also if it was less than
            in its parent, from which a new process inherits the figure.
        reason (str | None): Why aplex has killed the worker, if it has: a function of its
            did not let itself be stopped.
        stack (str | None): The stack that ``faulthandler`` left, if the worker died
            of a signal such as SIGSEGV. It is a note of the exception, too.
        node (str | None): The machine on which it ran; None: this one.
        lost_by (str | None): Of a worker elsewhere, what is known instead of an exit code: that its
            connection was lost, say, or its machine. It may go on there for a moment.
    """

    def __init__(
        self,
        pid: int | None,
        exitcode: int | None,
        in_flight: int,
        *,
        works: tuple[str, ...] = (),
        works_done: int = 0,
        uptime: float | None = None,
        out_of_memory: bool | None = None,
        peak_rss: int | None = None,
        reason: str | None = None,
        stack: str | None = None,
        node: str | None = None,
        lost_by: str | None = None,
        who: str | None = None,
        how: str | None = None,
    ) -> None:
        """Describe a death; that of a worker which is no process is told in words of its own."""
        self._who = who
        self._how = how
        self.pid = pid
        self.exitcode = exitcode
        self.in_flight = in_flight
        self.works = works
        self.works_done = works_done
        self.uptime = uptime
        self.out_of_memory = out_of_memory
        self.peak_rss = peak_rss
        self.reason = reason
        self.stack = stack
        self.node = node
        self.lost_by = lost_by
        super().__init__(self._described())
        if stack:
            self.add_note(f"the worker's last stack:\n{stack}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the constructor's first arguments; the state holds the rest."""
        return type(self), (self.pid, self.exitcode, self.in_flight), self.__dict__

    def __setstate__(self, state: dict[str, Any] | None) -> None:
        """Take all attributes over, and the message that tells of them."""
        self.__dict__.update(state or {})
        self.args = (self._described(),)

    @property
    def signal_name(self) -> str | None:
        """Name of the signal that killed the worker (``"SIGKILL"``), or None."""
        if self.exitcode is None or self.exitcode >= 0:
            return None
        try:
            return signal.Signals(-self.exitcode).name
        except ValueError:
            return f"signal {-self.exitcode}"

    @property
    def cause(self) -> str:
        """How it ended, in a few words."""
        how: str | None = self.__dict__.get("_how")
        if how is not None:
            return how
        if self.signal_name:
            return f"was killed by {self.signal_name}"
        if self.__dict__.get("lost_by"):
            return f"is lost ({self.lost_by})"
        if self.exitcode is None:
            return "ended for an unknown reason"
        return f"exited with code {self.exitcode}"

    @property
    def summary(self) -> str:
        """Say in one line who died, how, and what it ran."""
        who = self.__dict__.get("_who")
        if who is None:
            node = self.__dict__.get("node")
            who = f"worker process {self.pid} on {node}" if node else f"worker process {self.pid}"
        parts = [f"{who} {self.cause} with {_works(self.in_flight)} in flight"]
        if self.works:
            more = ", …" if self.in_flight > len(self.works) else ""
            parts[0] += f" ({', '.join(dict.fromkeys(self.works))}{more})"
        if self.uptime is not None:
            parts.append(f"after {self.uptime:.1f} s and {_works(self.works_done)} done")
        if self.peak_rss is not None:
            parts.append(f"at most {self.peak_rss / 2**20:.0f} MiB in memory")
        if self.reason:
            parts.append(f"by aplex, as {self.reason}")
        if self.out_of_memory:
            parts.append("probably by the kernel, which was out of memory")
        return ", ".join(parts)

    def _described(self) -> str:
        message = self.summary
        if self.in_flight:
            message += "; this work had been started there and may have run in part"
        return message


class WorkQuarantinedError(WorkerLostError):
    """Workers died again and again while they were running the work; it is not run again.

    Its ``retries`` are used up, or it has killed as many workers as ``quarantine_after``
    allows. It is a `WorkerLostError` too, with the attributes of the last death.

    Attributes:
        work (str): Name of the work's callable.
        deaths (tuple[WorkerLostError, ...]): All these deaths, in their order.
    """

    def __init__(self, work: str, deaths: tuple[Any, ...]) -> None:
        """Collect the deaths that a work has seen."""
        last = deaths[-1]
        if isinstance(last, WorkerLostError):
            super().__init__(last.pid, last.exitcode, last.in_flight)
            self.__dict__.update(last.__dict__)
            self.__dict__.pop("__notes__", None)
        else:
            super().__init__(None, None, 0)
        self.work = work
        self.deaths = deaths
        self.args = (self._described(),)
        for number, death in enumerate(deaths, 1):
            self.add_note(f"{number}. {getattr(death, 'summary', death)}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the constructor's arguments."""
        return type(self), (self.work, self.deaths), self.__dict__

    def _described(self) -> str:
        work = self.__dict__.get("work", "the work")
        count = len(self.__dict__.get("deaths", ()))
        return (
            f"{work} was started {count} times, and each time its worker died; it is not run "
            f"again. The last time: {self.summary}"
        )


class BrokenPoolError(AplexWorkerError, BrokenProcessPool):
    """New workers failed again and again before they served; the pool gave up.

    It is a ``concurrent.futures.process.BrokenProcessPool`` (and so a ``BrokenExecutor``) too,
    also with threads. Make a new executor after mending the reason, which is in the message and
    in ``__cause__``.
    """


def _works(count: int) -> str:
    return "1 work" if count == 1 else f"{count} works"
