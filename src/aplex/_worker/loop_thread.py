"""The LoopThread: the thread of a worker's event loop, in a process or beside other threads.

The loop is made when somebody first wants one: the first coroutine, an asynchronous initializer,
or a `worker_loop_factory`, which is tried at once. A worker that only gets plain functions has
none, and never imports ``asyncio``.

How coroutine works arrive is not known here: a `Port` connects the loop to where they come from.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

from aplex._common.locks import RLock
from aplex._worker.lane import Detached, is_coroutine

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    import asyncio
    from contextvars import Context
    from typing import Any, Protocol

    from aplex._worker.coroutine_lane import CoroutineLane
else:
    Protocol = object


def be_daemon(thread: threading.Thread) -> None:
    """Have a thread that is not started yet not outlive the program.

    In a subinterpreter ``threading`` refuses that; ``_thread``, which knows how to end one there,
    does not. A thread that is no daemon would keep the whole program from ending.
    """
    try:
        thread.daemon = True
    except RuntimeError:
        thread._daemonic = True  # type: ignore[attr-defined] # noqa: SLF001


class DaemonThread(threading.Thread):
    """A daemon thread whose start is tried once; see `WorkerThread`."""

    def __init__(self, target: Callable[[], None], name: str) -> None:
        super().__init__(target=target, name=name)
        be_daemon(self)

    def give_up(self) -> bool:
        return True


class Port(Protocol):
    """How works arrive at a worker's loop, and who is told that there is no loop."""

    def connect(self, loop: asyncio.AbstractEventLoop) -> CoroutineLane:
        """Make the lane, and have works arrive on it. On the loop's thread, before it runs."""
        ...  # noqa: PIE790 - pyright wants it

    def disconnect(self) -> None:
        """Have no more works arrive. On the loop's thread."""

    def leaving(self, lane: CoroutineLane) -> Coroutine[Any, Any, None] | None:
        """Return what the loop is to run when it was stopped, while its tasks still live.

        On the loop's thread. None: nothing.
        """

    def loop_failed(self, error: BaseException) -> None:
        """Hear that no loop can be made. Called while that exception is being handled."""

    def loop_broke(self, error: BaseException, *, stopping: bool) -> None:
        """Hear that a work has broken the loop itself. Called as `loop_failed` is."""


class WorkerThread(Protocol):
    """A thread, as a `LoopThread` needs it."""

    @property
    def ident(self) -> int | None:
        """Its identity; None before it has begun."""

    def start(self) -> None:
        """Start it; raise RuntimeError if there can be no more threads."""

    def give_up(self) -> bool:
        """After `start` has raised: have it never begin; return False if it has begun."""
        ...  # noqa: PIE790 - pyright wants it

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, if it was started."""


class LoopThread:
    """The thread of a worker's event loop.

    Attributes:
        loop: The loop, once it is connected; None before.
        failure: Why there is no loop and will be none; None if there may be one.
    """

    def __init__(
        self, port: Port, make_thread: Callable[[Callable[[], None]], WorkerThread]
    ) -> None:
        """Have no loop yet.

        Args:
            port: How works arrive.
            make_thread: Makes a thread that calls the given function; does not start it.
        """
        self._port = port
        self.thread = make_thread(self._run)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.failure: BaseException | None = None
        self._factory: Any = None
        self._lane: CoroutineLane | None = None
        self._stopping: asyncio.Future[None] | None = None
        self._lock = RLock()
        self._claimed = False  # the thread is started, or will be, or is never to be
        self._unwanted = False  # it is to end
        self._made = threading.Event()  # there is a loop, or a failure

    # -- any thread -------------------------------------------------------------

    def claim(self) -> bool:
        """Return whether nobody has claimed the thread before; whoever is told so launches it."""
        with self._lock:
            claimed, self._claimed = self._claimed, True
        return not claimed

    def launch(self) -> None:
        """Start the thread that was claimed. Without locks: a finalizer that runs may want one."""
        try:
            self.thread.start()
        except (RuntimeError, MemoryError) as error:  # there can be no more threads
            if self.thread.give_up():
                self._fail(error)

    def start(self) -> None:
        """Start the thread, unless somebody has."""
        if self.claim():
            self.launch()

    def stop(self, timeout: float | None = None) -> None:
        """Have the loop cancel its tasks and end, and wait for that; if there is none, make none.

        Args:
            timeout: Seconds to wait at most for a loop that is being made, and then for its end.
        """
        self._unwanted = True
        if self.claim():
            self.failure = RuntimeError("this worker is ending")  # for whoever still wants a loop
            self._made.set()
            return
        self._made.wait(timeout)  # it may have been started just now, by a cancel that came late
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._stop)
        if self.thread.ident is not None:
            self.thread.join(timeout)

    def want_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop; start its thread first, if need be, and wait until it is made."""
        if not self._made.is_set():
            self.start()
            self._made.wait()
        if self.failure is not None:
            raise self.failure
        assert self.loop is not None
        return self.loop

    @property
    def lane(self) -> CoroutineLane | None:
        """The lane of the loop, once it is connected."""
        return self._lane

    def works_running(self) -> int:
        """How many coroutine works have begun and not ended."""
        if self._lane is None:
            return 0
        from aplex._worker.coroutine_lane import is_in_first_step

        return len(self._lane.running) + is_in_first_step()

    def be_copy(self) -> None:
        """In a process that a work has forked off, on the thread that has forked."""
        if self._lane is not None and self.thread.ident == threading.get_ident():
            self._lane.be_copy()

    # -- the worker's main thread -----------------------------------------------

    def initialize(
        self, factory: Any, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
    ) -> None:
        """Try the loop factory, if there is one, and call the initializer, if there is one.

        What the initializer returns runs on the loop, if it is a coroutine.

        Raises:
            TypeError: The initializer is a generator function: nothing of it has run.
            BaseException: What either of them raises.
        """
        self._factory = factory
        if factory is not None:
            self.want_loop()
        if initializer is None:
            return
        made: Any = initializer(*initargs)
        if is_coroutine(made):
            self.run_coroutine(made)
        elif isinstance(made, (Generator, AsyncGenerator)):
            raise TypeError(
                "the initializer is a generator function, of which nothing was run: it must be a "
                "function, or a coroutine function (without `yield`)"
            )

    def adopt_soon(self, work_id: int, made: Detached, context: Context | None = None) -> None:
        """Hand a coroutine, or a stream, that a plain function has returned over to the loop.

        Its task has a copy of that context; None: of this thread's.
        """
        loop = self.want_loop()
        assert self._lane is not None
        loop.call_soon_threadsafe(self._lane.adopt, work_id, made, context=context)

    def run_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine on the loop to its end."""
        try:
            loop = self.want_loop()
        except BaseException:
            coroutine.close()
            raise
        import asyncio

        asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    # -- the loop's thread --------------------------------------------------------

    def _run(self) -> None:
        try:
            import asyncio

            runner = asyncio.Runner(loop_factory=self._factory)
            loop = runner.get_loop()
            self._stopping = loop.create_future()
            self._lane = self._port.connect(loop)
        except BaseException as error:  # noqa: BLE001 - raised where a loop is wanted
            self._fail(error)
            return
        self.loop = loop
        self._made.set()
        try:
            run_until_stopped(runner, loop, self._stopping, self._leaving)
        except BaseException as error:  # noqa: BLE001 - a work has broken the loop itself
            self._port.loop_broke(error, stopping=self._unwanted)
            self._lane.mute()  # the parent is told the reason, and not the cancels of this
            runner.close()

    def _leaving(self) -> Coroutine[Any, Any, None] | None:
        assert self._lane is not None
        return self._port.leaving(self._lane)

    def _fail(self, error: BaseException) -> None:
        """Note why there is no loop; it is the exception that is being handled."""
        self.failure = error
        self._made.set()
        self._port.loop_failed(error)

    def _stop(self) -> None:
        self._port.disconnect()
        if self._stopping is not None and not self._stopping.done():
            self._stopping.set_result(None)


def run_until_stopped(
    runner: asyncio.Runner,
    loop: asyncio.AbstractEventLoop,
    stopping: asyncio.Future[None],
    leaving: Callable[[], Coroutine[Any, Any, None] | None],
) -> None:
    """Run a worker's loop; at the end leave the lifespan, cancel what is left, and close it."""
    while not stopping.done():
        try:
            loop.run_until_complete(stopping)
        except (SystemExit, KeyboardInterrupt):
            # A work raised it. asyncio has given it to the work's task, where it
            # belongs, and raised it out of the loop as well: go on.
            continue
    last = leaving()
    if last is not None:
        _finish(loop, last)
    while True:
        try:
            runner.close()
        except (SystemExit, KeyboardInterrupt):
            continue
        return


def _finish(loop: asyncio.AbstractEventLoop, last: Coroutine[Any, Any, None]) -> None:
    """Run the last coroutine of a loop to its end, whatever others raise out of the loop."""
    task = loop.create_task(last)
    while not task.done():
        try:
            loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt):
            continue
