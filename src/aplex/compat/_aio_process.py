"""A coroutine in a process of its own: `Process` and `Worker` of aiomultiprocess.

They are processes of ``multiprocessing``, and have nothing to do with pools.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import multiprocessing
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

_log = logging.getLogger("aplex.compat.aiomultiprocess")
context: Any = multiprocessing.get_context("spawn")
chosen: str | None = None
"""The start method that the user has set; None: none."""


def set_start_method(method: str | None = "spawn") -> None:
    """Set how processes and pools start from now on; None: as is usual on this system.

    Raises:
        ValueError: There is no such method here.
    """
    global context, chosen  # noqa: PLW0603 - as in `multiprocessing`
    context = multiprocessing.get_context(method)
    chosen = context.get_start_method()


def set_context(method: str | None = None) -> None:
    """Do the same, but None is the default. It is deprecated there, too."""
    set_start_method(method)


def get_context() -> Any:
    """Return the context of ``multiprocessing`` that is in use."""
    return context


async def not_implemented(*_args: Any, **_kwargs: Any) -> None:
    """Stand in for a target that was not given.

    Raises:
        NotImplementedError: Always.
    """
    raise NotImplementedError


def check_synchronous(name: str, function: Any) -> None:
    """Check an option that must not be a coroutine function.

    Raises:
        ValueError: It is one.
    """
    if function is not None and inspect.iscoroutinefunction(function):
        raise ValueError(f"{name} must be synchronous function")


@dataclass(frozen=True, slots=True)
class _Job:
    """What the process is to do."""

    target: Callable[..., Any]
    args: Sequence[Any]
    kwargs: dict[str, Any]
    initializer: Callable[..., Any] | None
    initargs: Sequence[Any]
    loop_initializer: Callable[..., asyncio.AbstractEventLoop] | None
    results: Connection[Any, Any] | None


def _run(job: _Job) -> None:
    """Run in the new process."""
    result: Any = None
    try:
        loop = (job.loop_initializer or asyncio.new_event_loop)()
        asyncio.set_event_loop(loop)
        if job.initializer is not None:
            job.initializer(*job.initargs)
        result = loop.run_until_complete(job.target(*job.args, **job.kwargs))
    except BaseException as error:
        _log.exception("aio process %d failed", os.getpid())
        result = error
        raise
    finally:
        if job.results is not None:
            job.results.send(result)
            job.results.close()


class Process:
    """Runs a coroutine function in a process.

    Args:
        group: None.
        target: The coroutine function.
        name: Of the process.
        args: Arguments of the target.
        kwargs: Keyword arguments of it.
        daemon: Whether the process is killed when this one ends.
        initializer: Called in the process first, while its event loop is set.
        initargs: Its arguments.
        loop_initializer: Makes the event loop.

    Raises:
        ValueError: ``target`` is no coroutine function, or one of the others is.
    """

    def __init__(
        self,
        group: None = None,
        target: Callable[..., Any] | None = None,
        name: str | None = None,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        *,
        daemon: bool | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Sequence[Any] = (),
        loop_initializer: Callable[..., asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        if target is not None and not inspect.iscoroutinefunction(target):
            raise ValueError("target must be coroutine function")
        check_synchronous("initializer", initializer)
        check_synchronous("loop_initializer", loop_initializer)
        self._theirs: Connection[Any, Any] | None = self._results()
        job = _Job(
            target=target or not_implemented,
            args=args or (),
            kwargs=kwargs or {},
            initializer=initializer,
            initargs=initargs,
            loop_initializer=loop_initializer,
            results=self._theirs,
        )
        self.aio_process = context.Process(
            group=group, target=_run, args=(job,), name=name, daemon=daemon
        )

    def _results(self) -> Connection[Any, Any] | None:
        """Return where the process is to send its result, if it is to."""
        return None

    def __await__(self) -> Generator[Any, Any, Any]:
        """Start it, unless it was started, and wait for its end."""
        if not self.is_alive() and self.exitcode is None:
            self.start()
        return self.join().__await__()

    def start(self) -> None:
        """Start the process."""
        self.aio_process.start()
        if self._theirs is not None:
            self._theirs.close()

    async def join(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as there
        """Wait for the end of the process.

        Raises:
            ValueError: It was not started.
            TimeoutError: So many seconds have passed.
        """
        if not self.is_alive() and self.exitcode is None:
            raise ValueError("must start process before joining it")
        async with asyncio.timeout(timeout):
            await self._ended()
        self.aio_process.join()

    async def _ended(self) -> None:
        await _readable(self.aio_process.sentinel)

    @property
    def name(self) -> str:
        """Name of the process."""
        return str(self.aio_process.name)

    def is_alive(self) -> bool:
        """Whether it runs."""
        return bool(self.aio_process.is_alive())

    @property
    def daemon(self) -> bool:
        """Whether it is killed when this process ends."""
        return bool(self.aio_process.daemon)

    @daemon.setter
    def daemon(self, value: bool) -> None:
        self.aio_process.daemon = value

    @property
    def pid(self) -> int | None:
        """Process id; None before it was started."""
        return self.aio_process.pid  # type: ignore[no-any-return]

    @property
    def exitcode(self) -> int | None:
        """Exit code; None while it runs."""
        return self.aio_process.exitcode  # type: ignore[no-any-return]

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.aio_process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self.aio_process.kill()

    def close(self) -> None:
        """Free what this object holds, after the end of the process."""
        self.aio_process.close()


class Worker(Process):
    """The same, and hands over what the coroutine has returned, or the exception it has raised."""

    _ours: Connection[Any, Any]
    _result: Any = None

    def _results(self) -> Connection[Any, Any]:
        self._ours, theirs = context.Pipe(duplex=False)
        return theirs  # type: ignore[no-any-return]

    async def join(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as there
        """Wait for the end of the process, and return the result.

        Raises:
            ValueError: It was not started.
            TimeoutError: So many seconds have passed.
        """
        await super().join(timeout)
        return self.result

    async def _ended(self) -> None:
        if not self._ours.closed:  # a big result fills the pipe: the process waits for us
            await _readable(self._ours.fileno())
            self._receive()
        await super()._ended()

    def _receive(self) -> None:
        with contextlib.suppress(EOFError, OSError):  # it was killed
            self._result = self._ours.recv()
        self._ours.close()

    @property
    def result(self) -> Any:
        """What the coroutine has returned, or the exception it has raised.

        Raises:
            ValueError: It still runs.
        """
        if self.exitcode is None:
            raise ValueError("coroutine not completed")
        if not self._ours.closed:
            self._receive()
        return self._result


async def _readable(fd: int) -> None:
    """Wait until a descriptor can be read."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(fd, wake)
    try:
        await ready
    finally:
        loop.remove_reader(fd)
