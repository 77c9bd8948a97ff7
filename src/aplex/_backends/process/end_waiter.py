"""The EndWaiter: threads that wait for the ends of processes, where no selector can (Windows).

A process is a handle there, and a selector waits for sockets only. One thread waits for all
processes, up to as many as the system allows at a time; then for each so many more there is
another thread. The first begins with the first worker, when there still can be new threads: a
worker may be replaced while the interpreter exits.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import connection
from typing import Any, Final, NoReturn, cast

from aplex._backends.listener import Listener
from aplex._wire.frames import End, one_way

MOST: Final = 60
"""Processes for which one thread waits: ``WaitForMultipleObjects`` takes 64 handles."""


class EndWaiter:
    """Calls back on the listener's thread when processes have ended. Used on that thread."""

    def __init__(self, listener: Listener) -> None:
        """Wait for nothing yet."""
        self._listener = listener
        self._groups: list[_Group] = []

    def watch(self, process: Any, ended: Callable[[], None]) -> None:
        """Call back when a process has ended, which is not closed before.

        Raises:
            RuntimeError: There can be no more threads.
            OSError: There are too many open files.
        """
        group = next((group for group in self._groups if len(group.waited) < MOST), None)
        if group is None:
            group = _Group(self._listener)
            group.thread.start()
            self._groups.append(group)
        group.waited[process.sentinel] = ended
        group.wake()

    def close(self) -> None:
        """End the threads."""
        for group in self._groups:
            group.close()


class _Group:
    """One thread, and what it waits for."""

    def __init__(self, listener: Listener) -> None:
        self.waited: dict[int, Callable[[], None]] = {}  # by their sentinels
        self._listener = listener
        self._wakee, self._waker = one_way()
        self._waker.set_blocking(False)
        self._closed = False
        self.thread = threading.Thread(target=self._run, name="aplex-end-waiter", daemon=True)

    def wake(self) -> None:
        """Have the thread look at what it is to wait for."""
        with contextlib.suppress(OSError):  # full: it wakes anyway
            self._waker.write([b"\0"])

    def close(self) -> None:
        """End the thread, which frees what it has."""
        self._closed = True
        self._waker.close()  # which wakes it

    def _run(self) -> None:
        waker: Any = self._wakee
        try:
            while not self._closed:
                ready = connection.wait([waker, *list(self.waited)])
                for one in ready:
                    if one is waker:
                        _drain(self._wakee)
                    else:
                        self._listener.call_soon(self.waited.pop(cast("int", one)))
        except BaseException as error:  # noqa: BLE001 - a bug: no end would be seen any more
            self._listener.call_soon(partial(_raise, error))
        finally:
            self._wakee.close()


def _raise(error: BaseException) -> NoReturn:
    raise error


def _drain(wakee: End) -> None:
    with contextlib.suppress(OSError):  # closed: its thread sees that it is to end
        wakee.read_into(memoryview(bytearray(64)))
