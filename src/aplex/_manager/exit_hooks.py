"""What happens to pools when the interpreter exits or forks.

Nothing is registered at import: the hooks are set when the first pool is made. (Not when it is
first used: then one that was never used would take works after the hook of the others has run,
and nobody would see to their end.)

* Exit: plain functions are finished, as ``concurrent.futures`` does; coroutine
  works have ``exit_grace`` seconds and are then cancelled, as ``asyncio.run``
  cancels what is left. Ctrl-C meanwhile gives all of them up. The hook is
  registered after ``multiprocessing`` was imported, so it runs before the hook
  of that, which would wait for children.
* Fork: the child's copies of used pools are dead. Their descriptors are closed,
  or they would hide the parent's death from the workers. Those that were never used, as
  servers make them that load a program before they fork, can be used in the child.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
import weakref
from typing import Protocol


class Ends(Protocol):
    """What the hooks call of a pool's manager, which imports this module."""

    @property
    def exit_grace(self) -> float:
        """Seconds that coroutine works have at the exit to finish by themselves."""
        ...

    def prepare_exit(self) -> None:
        """Submit what is still to be submitted."""

    def close(self, *, cancel_waiting: bool = ..., why: str = ...) -> None:
        """Take no more works; go when the last one is done."""

    def interrupt(self) -> float:
        """Cancel everything; return the seconds in which it is all over."""
        ...

    def wait(self, timeout: float | None = ...) -> bool:
        """Wait until the pool is gone; return whether it is."""
        ...

    def cancel_coroutines_at(self, deadline: float) -> int:
        """Wait for the coroutine works; at the deadline cancel them, and return how many."""
        ...

    def finish_at_exit(self) -> None:
        """Wait for plain functions to finish."""

    def after_fork(self) -> bool:
        """In a forked child: return whether this copy of the pool can be used."""
        ...


_managers: weakref.WeakSet[Ends] = weakref.WeakSet()
_registered = False
_forks = False  # whether the hook of forks is set, which children inherit
_over = False  # whether the hook of the exit has begun


def remember(manager: Ends) -> None:
    """Let a pool be ended at exit."""
    global _registered, _forks  # noqa: PLW0603 - the process has one exit
    if not _registered:
        _registered = True
        from multiprocessing import parent_process, util  # has registered its exit hook now

        atexit.register(_at_exit)
        if parent_process() is not None:
            # Children of multiprocessing run no atexit hooks in time, or none at all.
            util.Finalize(None, _at_exit, exitpriority=100)
        if sys.platform != "win32" and not _forks:
            os.register_at_fork(after_in_child=_after_fork)
            _forks = True
    _managers.add(manager)


def forget(manager: Ends) -> None:
    """The pool is gone."""
    _managers.discard(manager)


def remembered() -> list[Ends]:
    """Return the pools of this process that are not gone."""
    return list(_managers)


def is_over() -> bool:
    """Whether no pool can begin any more: nobody would see to its end."""
    return _over


def _after_fork() -> None:
    global _registered, _over  # noqa: PLW0603
    _registered = False  # multiprocessing forgets its finalizers in its children
    _over = False  # of the parent, which starts workers in its last moments
    managers = list(_managers)
    _managers.clear()
    _managers.update([manager for manager in managers if manager.after_fork()])


def _at_exit() -> None:
    global _over  # noqa: PLW0603
    _over = True
    # Set by the interpreter when it has shown an exception that nobody caught; in an
    # interactive session that may have been long ago.
    uncaught = getattr(sys, "last_value", None)
    interrupted = isinstance(uncaught, KeyboardInterrupt) and not hasattr(sys, "ps1")
    managers = list(_managers)
    try:
        if not interrupted:
            _finish_all(managers)
    except KeyboardInterrupt:  # while we wait here: nothing would show it but our own frames
        interrupted = True
        _tell("interrupted at the end of the program: works that are unfinished are given up")
    if interrupted:
        with contextlib.suppress(KeyboardInterrupt):  # the listener kills the workers anyway
            _interrupt_all(managers)


def _finish_all(managers: list[Ends]) -> None:
    for manager in managers:
        manager.prepare_exit()
    for manager in managers:
        manager.close(cancel_waiting=False, why="interpreter exit")
    began = time.monotonic()
    for manager in managers:
        _finish(manager, began + manager.exit_grace)


def _interrupt_all(managers: list[Ends]) -> None:
    for manager in managers:
        manager.close(cancel_waiting=True, why="interpreter exit")
    timeouts = [manager.interrupt() for manager in managers]
    began = time.monotonic()
    for manager in managers:
        manager.wait(max(0.0, began + max(timeouts) - time.monotonic()))


def _finish(manager: Ends, deadline: float) -> None:
    cancelled = manager.cancel_coroutines_at(deadline)
    if cancelled:
        works = "1 coroutine work" if cancelled == 1 else f"{cancelled} coroutine works"
        _tell(
            f"cancelled {works} still unfinished {manager.exit_grace:g} s after the end of "
            "the program; use `with` or call shutdown() to wait for them"
        )
    manager.finish_at_exit()


def _tell(what: str) -> None:
    """Print the last words of a program that forgot something, if there is where to."""
    if sys.stderr is not None:  # else `print` would take the standard output
        with contextlib.suppress(OSError, ValueError):  # works are finished whatever it takes
            print(f"aplex: {what}", file=sys.stderr)  # noqa: T201
