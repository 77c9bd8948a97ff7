"""What aplex raises.

``AplexError`` is the base of all; ``AplexWorkerError`` (an ``OSError``, as it
was in 2019) is the base of everything that happened to a *worker* rather than
to a work. All of them can be pickled.
"""

from __future__ import annotations

import pickle
import signal
from concurrent.futures import BrokenExecutor
from typing import Any

__all__ = [
    "AplexError",
    "AplexWorkerError",
    "BrokenPoolError",
    "LoadBalancerError",
    "RemoteError",
    "RemoteTraceback",
    "SerializationError",
    "WorkerLostError",
    "WorkerStartError",
]


class AplexError(Exception):
    """Base of the exceptions that aplex itself raises."""


class AplexWorkerError(AplexError, OSError):
    """Something happened to a worker. Base of the errors about workers."""


class WorkerLostError(AplexWorkerError):
    """The worker died while it was running the work.

    Attributes:
        pid (int | None): The process id the worker had.
        exitcode (int | None): Its exit code; negative means killed by that
            signal, as in ``multiprocessing.Process.exitcode``; None if unknown.
        aboard (int): How many works were aboard (started or not), in works.
    """

    def __init__(self, pid: int | None, exitcode: int | None, aboard: int) -> None:
        """Describe a death."""
        self.pid = pid
        self.exitcode = exitcode
        self.aboard = aboard
        super().__init__(self._described())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the constructor's arguments."""
        return type(self), (self.pid, self.exitcode, self.aboard), self.__dict__

    @property
    def signal_name(self) -> str | None:
        """Name of the signal that killed the worker (``"SIGKILL"``), or None."""
        if self.exitcode is None or self.exitcode >= 0:
            return None
        try:
            return signal.Signals(-self.exitcode).name
        except ValueError:
            return f"signal {-self.exitcode}"

    def _described(self) -> str:
        """Say who died, how, and what was aboard."""
        if self.signal_name:
            how = f"was killed by {self.signal_name}"
        elif self.exitcode is None:
            how = "ended for an unknown reason"
        else:
            how = f"exited with code {self.exitcode}"
        works = "1 work" if self.aboard == 1 else f"{self.aboard} works"
        message = f"worker process {self.pid} {how} with {works} aboard"
        if self.aboard:
            message += "; this work had been started there and may have run in part"
        return message


class WorkerStartError(AplexWorkerError):
    """A worker could not start serving: its ``initializer`` or loop factory raised."""


class BrokenPoolError(AplexWorkerError, BrokenExecutor):
    """New workers failed again and again before they served; the pool gave up.

    It is a ``concurrent.futures.BrokenExecutor`` too. Make a new executor after
    mending the reason, which is in the message and in ``__cause__``.
    """


class LoadBalancerError(AplexError):
    """The load balancer raised, or returned something that is no worker of the pool."""


class SerializationError(AplexError, pickle.PicklingError):
    """A work, an argument or a result cannot travel between processes."""


class RemoteError(AplexError):
    """Stands in for an exception of a worker that cannot travel.

    Attributes:
        type_name (str): Qualified name of the original class.
        message (str): ``str()`` of the original exception.
        traceback (str): The traceback as the worker formatted it.
    """

    def __init__(self, type_name: str, message: str, traceback: str = "") -> None:
        """Name the exception this one stands in for."""
        super().__init__(type_name, message, traceback)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        """Return ``type: message`` of the original."""
        return f"{self.type_name}: {self.message}"


class RemoteTraceback(Exception):  # noqa: N818 - it carries a text, it is no error
    """Shows the worker's traceback above the exception it is the cause of.

    The idea, and the place (the innermost ``__cause__``), are those of
    ``concurrent.futures.process``.
    """

    def __init__(self, text: str) -> None:
        """Keep the formatted traceback."""
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        """Return the worker's traceback, framed."""
        return f'\n"""\n{self.text}"""'
