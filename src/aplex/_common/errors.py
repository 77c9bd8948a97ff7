"""The exceptions that workers raise, too: what `aplex.exceptions` shows of them.

Apart from the others, which are kinds of what ``concurrent.futures.process`` raises: a worker need
not import that. Their ``__module__`` is the public one.
"""

from __future__ import annotations

import pickle

PUBLIC = "aplex.exceptions"


class AplexError(Exception):
    """Base of the exceptions that aplex itself raises."""

    __module__ = PUBLIC


class AplexWorkerError(AplexError, OSError):
    """Something happened to a worker. Base of the errors about workers."""

    __module__ = PUBLIC


class WorkInterrupted(KeyboardInterrupt):
    """Raised in a plain function that runs in a worker process, to stop it.

    Its future was cancelled, or its time is over. It comes at any moment, as the
    ``KeyboardInterrupt`` of Ctrl-C does, which it is a kind of: so code that minds Ctrl-C
    minds it too, and ``except Exception`` does not catch it. Clean up, and let it pass; a
    function that catches it and returns keeps its result.
    """

    __module__ = PUBLIC


class WorkerStartError(AplexWorkerError):
    """A worker could not start serving: its ``initializer`` or loop factory raised."""

    __module__ = PUBLIC


class LoadBalancerError(AplexError):
    """The load balancer raised, or returned something that is no worker of the pool."""

    __module__ = PUBLIC


class PoolFullError(AplexError, RuntimeError):
    """``max_pending`` works are pending, and the caller of ``submit`` must not block."""

    __module__ = PUBLIC


class JournalError(AplexError, ValueError):
    """A journal is that of another job, or none; or another run is writing to it."""

    __module__ = PUBLIC


class SerializationError(AplexError, pickle.PicklingError):
    """A work, an argument or a result cannot travel between processes."""

    __module__ = PUBLIC


class SharedHandleError(AplexError, ValueError):
    """A handle of a shared object was closed, or belongs to another executor."""

    __module__ = PUBLIC


class RemoteError(AplexError):
    """Stands in for an exception of a worker that cannot travel.

    Where that can be, it is an instance of the original class as well, with its ``str()``,
    its ``args`` and those attributes that could travel: ``except`` catches it as that.

    Attributes:
        type_name (str): Qualified name of the original class.
        message (str): ``str()`` of the original exception.
        traceback (str): The traceback as the worker formatted it.
    """

    __module__ = PUBLIC

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

    __module__ = PUBLIC

    def __init__(self, text: str) -> None:
        """Keep the formatted traceback."""
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        """Return the worker's traceback, framed."""
        return f'\n"""\n{self.text}"""'
