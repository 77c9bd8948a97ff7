"""The CommandLauncher: starts workers by a command of the user's, once for each.

``srun``, ``ssh``, ``docker run``, or plainly ``python -m aplex.worker``: whatever ends when its
worker has ended. The command is a child of this process, in a session of its own: Ctrl-C in a
terminal is meant for this program, and an ``ssh`` would end by it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from aplex._backends.remote.launcher import Launcher, Order, told
from aplex._common.ends import wait_for_end
from aplex._common.locks import RLock
from aplex._wire.frames import PipeEnd

assert sys.platform != "win32"

LAST: Final = 3.0
"""Seconds in which commands must have ended when the pool is gone; then they are killed."""


class _Command:
    """One that was started."""

    __slots__ = ("process", "watched")

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.watched: PipeEnd | None = None

    def kill(self) -> None:
        """Kill it, and what it has started in its session."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)


class CommandLauncher(Launcher):
    """Runs a command for each worker."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start nothing yet.

        Args:
            command: To which the arguments of the orders are appended.
        """
        self._command = list(command)
        self._commands: dict[int, _Command] = {}
        self._unwanted: set[int] = set()
        self._lock = RLock()

    def launch(self, order: Order) -> None:
        process = subprocess.Popen(  # noqa: S603 - it is the user's
            [*self._command, *order.arguments],
            env={**os.environ, **order.environment},
            stdin=subprocess.PIPE,  # `--secret-file -` reads it; and it is not our terminal
            start_new_session=True,
        )
        command = self._commands[order.number] = _Command(process)
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended, or closed it: it needs none
            process.stdin.write(f"{order.secret}\n".encode())
            process.stdin.flush()
        with contextlib.suppress(OSError):
            process.stdin.close()
        self.events.placed(order.number)
        self._watch(order.number, command)

    def _watch(self, number: int, command: _Command) -> None:
        ended = partial(self._ended, number, command)
        if sys.platform == "linux" and hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # an old kernel, or too many open files
                command.watched = PipeEnd(os.pidfd_open(command.process.pid))
        if command.watched is not None:
            self.listener.call_soon(partial(self.listener.watch, command.watched, ended))
        else:
            thread = threading.Thread(
                target=self._wait, args=(command, ended), name="aplex-command", daemon=True
            )
            thread.start()

    def _wait(self, command: _Command, ended: partial[None]) -> None:
        wait_for_end(command.process.pid)
        self.listener.call_soon(ended)

    def _ended(self, number: int, command: _Command) -> None:
        """Take in the end of a command. On the listener's thread."""
        self._let_go(command)
        with self._lock:
            self._commands.pop(number, None)
            wanted = number not in self._unwanted
            self._unwanted.discard(number)
        code = command.process.wait()
        if code == 0 and wanted:
            return  # it may have submitted a job: if not, the worker does not come in time
        self.events.ended(number, told(code))

    def _let_go(self, command: _Command) -> None:
        watched, command.watched = command.watched, None
        if watched is not None:
            self.listener.unwatch(watched)
            watched.close()

    def kill(self, number: int) -> None:
        with self._lock:
            command = self._commands.get(number)
            self._unwanted.add(number)
        if command is not None:
            command.kill()

    def close(self) -> None:
        end = time.monotonic() + LAST
        with self._lock:
            commands = list(self._commands.values())
            self._commands.clear()
        for command in commands:
            try:
                command.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                command.kill()
                command.process.wait()
            self._let_go(command)

    def abandon_after_fork(self) -> None:
        for command in self._commands.values():
            if command.watched is not None:
                command.watched.close()
            command.process.returncode = 0  # it is no child of this process
