"""Faults, and how they strike. In a worker process, `arm` makes it wait for its fault.

Parent and workers share a folder, named by the environment. There are, for each case:

* ``fault`` - what is to happen at which point (see `Fault`), written by the parent;
* ``struck`` - made by who strikes, once for all processes: when, and which process was hit;
* ``runs`` - a line for each run of a work, see `reliability.killing.works`;
* ``gate`` - a named pipe at which works wait (see `open_gate`).

A worker that stops itself says so on the standard output; the harness lets it go on.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from aplex._pool.state import Death
from reliability.killing.hooks import install
from reliability.points import PARENT, POINTS

FOLDER: Final = "APLEX_FAULTS"

SIGKILL: Final = "SIGKILL"
SIGSEGV: Final = "SIGSEGV"
EXIT: Final = "exit"  # os._exit(0)
STOP: Final = "stop"  # SIGSTOP, and SIGCONT after a while
CLOSE: Final = "close"  # the channel is closed
ACTIONS: Final = (SIGKILL, SIGSEGV, EXIT, STOP, CLOSE)

STOPPED: Final = 3.0
"""Seconds for which a worker is stopped."""
_SIGNALS: Final = {
    SIGKILL: signal.SIGKILL,
    SIGSEGV: signal.SIGSEGV,
    EXIT: signal.SIGUSR1,  # see `arm`
    STOP: signal.SIGSTOP,
    CLOSE: signal.SIGUSR2,
}
_gates: list[int] = []  # that are open
_DYING: Final = 0.5
"""Seconds that the parent waits for the end of the worker it has hit."""


@dataclass(frozen=True)
class Fault:
    """What is to happen, and when."""

    point: int  # its number
    action: str
    nth: int  # in which call, from 1
    parent: int  # process id


@dataclass(frozen=True)
class Struck:
    """What has happened."""

    pid: int  # of the worker that was hit
    at: float  # monotonic time


def folder() -> Path:
    """Return the folder of the case."""
    return Path(os.environ[FOLDER])


def clear() -> None:
    """Forget the last case."""
    for name in ("fault", "struck", "runs", "gate"):
        (folder() / name).unlink(missing_ok=True)
    while _gates:
        os.close(_gates.pop())


def announce(fault: Fault) -> None:
    """Have the workers that are started from now on arm themselves."""
    (folder() / "fault").write_text(json.dumps(asdict(fault)), encoding="utf-8")


def struck() -> Struck | None:
    """Return what has happened, None if nothing has."""
    try:
        return Struck(**json.loads((folder() / "struck").read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError):  # the latter: it is about to happen
        return None


def close_gate() -> None:
    """Let works wait at the gate, a named pipe."""
    gate = folder() / "gate"
    gate.unlink(missing_ok=True)
    os.mkfifo(gate)


def open_gate() -> None:
    """Let works pass, those that come later too: what is in the pipe is never read."""
    fd = os.open(folder() / "gate", os.O_RDWR)
    os.write(fd, b"\0")
    _gates.append(fd)


class Trigger:
    """Counts calls; says once, in one process, that it is time."""

    def __init__(self, nth: int) -> None:
        self._left = nth
        self._lock = threading.Lock()

    def due(self) -> bool:
        """Whether the call that is being made is the one."""
        with self._lock:
            self._left -= 1
            if self._left:
                return False
        try:
            os.close(os.open(folder() / "struck", os.O_CREAT | os.O_EXCL))
        except FileExistsError:  # another worker was faster, or this one is its successor
            return False
        return True


def note(pid: int) -> None:
    """Write down that a worker is hit now."""
    text = json.dumps(asdict(Struck(pid, time.monotonic())))
    fd = os.open(folder() / "struck", os.O_WRONLY)
    os.write(fd, text.encode())
    os.close(fd)


def say(**words: Any) -> None:
    """Tell the harness. One write: others write there, too."""
    os.write(1, (json.dumps(words) + "\n").encode())


# -- in a worker --------------------------------------------------------------


def arm() -> None:
    """Wait for the fault of the case, in a process that may become a worker."""
    try:
        fault = Fault(**json.loads((folder() / "fault").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return
    signal.signal(signal.SIGUSR1, lambda _number, _frame: os._exit(0))
    signal.signal(signal.SIGUSR2, lambda _number, _frame: close_channels())
    point = POINTS[fault.point - 1]
    if point.side != PARENT:
        trigger = Trigger(fault.nth)
        install(point, lambda _: trigger.due(), partial(hit_self, fault.action))
    arrived()


def arrived() -> None:
    """Do nothing: the first point."""


def hit_self(action: str) -> None:
    """Do to this process what the fault says."""
    note(os.getpid())
    if action == EXIT:
        os._exit(0)
    if action == CLOSE:
        close_channels()
        return
    if action == STOP:
        say(stopped=os.getpid())
    signal.raise_signal(_SIGNALS[action])


def close_channels() -> None:
    """Put closed pipes in the place of all pipes of this process.

    As if it had closed them, or somebody had at the other end; but no file that is opened
    later gets their numbers, which would be the end of that file.
    """
    ended, writer = os.pipe()
    reader, broken = os.pipe()
    os.close(writer)
    os.close(reader)
    for fd, what in pipes():
        if fd not in (ended, broken):
            os.dup2(broken if what & os.O_WRONLY else ended, fd, inheritable=False)
    os.close(ended)
    os.close(broken)


def pipes() -> list[tuple[int, int]]:
    """Return the descriptors of pipes of this process above the standard ones, with flags."""
    import fcntl

    found = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if fd > 2 and os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:"):
                found.append((fd, fcntl.fcntl(fd, fcntl.F_GETFL)))
        except OSError:  # the listing's own
            continue
    return found


# -- in the parent ------------------------------------------------------------


class ParentsFault:
    """Hits the worker that a call of the parent is about."""

    def __init__(self, action: str, nth: int) -> None:
        self._action = action
        self._trigger = Trigger(nth)
        self._pid = 0

    def due(self, args: tuple[Any, ...]) -> bool:
        """Whether the call that is being made is the one."""
        pid = _victim(args)  # looked up now: at the end of the call it may be forgotten
        if pid is None or not self._trigger.due():
            return False
        self._pid = pid
        return True

    def strike(self) -> None:
        """Do to the worker what the fault says; return when it is done, or nearly so."""
        note(self._pid)
        try:
            pidfd = os.pidfd_open(self._pid)
        except ProcessLookupError:  # it has just ended
            return
        if self._action == STOP:
            say(stopped=self._pid)
        signal.pidfd_send_signal(pidfd, _SIGNALS[self._action])
        if self._action in (SIGKILL, SIGSEGV, EXIT):
            select.select([pidfd], [], [], _DYING)
        os.close(pidfd)


def _victim(args: tuple[Any, ...]) -> int | None:
    """Return the process id of the worker that a call of the parent is about."""
    if len(args) > 2 and isinstance(args[2], Death):  # another is lost: not that one
        pool, lost, *_ = args
        return next((w.pid for w in pool.workers if w is not lost and w.pid is not None), None)
    for arg in args:
        process = getattr(arg, "process", None)
        if process is not None:  # a link; of a process that was not started yet, nobody is hit
            pid: int | None = process.pid  # who waits for the start may not have returned
            return pid
    for arg in args:
        number = getattr(getattr(arg, "worker", arg), "pid", None)
        if number is not None:
            return int(number)
    return next((arg for arg in args if isinstance(arg, int)), None)  # it says it just now
