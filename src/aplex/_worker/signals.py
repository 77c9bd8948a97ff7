"""What a worker process does with signals: it is deaf to those of its program, and interrupts.

Deafness: a terminal, systemd, many container runtimes and ``kill -- -PGID`` signal every process
of a program at once. If workers obeyed, the works would be lost while the program still wants to
finish them. So a worker ignores Ctrl-C and SIGTERM, until its parent says (over the lifeline)
that a SIGTERM is meant.

This is done by a handler and not by ``SIG_IGN``, which programs that works start would inherit.
Processes that works fork would inherit the handler: they get the default action of SIGTERM back,
or ``Process.terminate`` could not end them. What was ignored when the worker started stays
ignored: the user wants that for the whole program (``nohup``, a script's ``&``), and programs that
works start are to inherit it.

Interrupts: a plain function that is to stop is sent a signal, on the main thread, so that system
calls return. Its Python handler raises `WorkInterrupted` there, as Ctrl-C raises
``KeyboardInterrupt``, but in the user's function only: ``PlainLane.inside`` is the number of the
function that the main thread is in, and 0 in all of the lane's own code.

The signal is sent again, after pauses that double, until the exception was raised or the
function has ended: a signal that comes between CPython's last look for one and the system call
in which the thread then sleeps wakes nobody; and what is raised in a finalizer is swallowed.
The exception waits for the end of an import: raised there, it could leave the import lock held
for ever, and any other thread that imports the same module would fail too. It waits as well for
the end of code of ours that is `spare`-d; what calls that code calls `Interrupts.again` after it,
since a function that does hardly anything else would rarely be elsewhere when a signal comes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType

from aplex._common.errors import WorkInterrupted
from aplex._wire.counters import Progress
from aplex._worker.plain_lane import PlainLane

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""Those to which a worker is deaf."""
if sys.platform == "win32":
    KILL: Final = signal.SIGTERM
    """By what ``multiprocessing`` says that a killed process has ended."""
    _TERMINATED: Final = 0x10000  # an exit code, which it takes for SIGTERM
else:
    KILL: Final = signal.SIGKILL
    """By what ``multiprocessing`` says that a killed process has ended."""
    _TERMINATED: Final = signal.SIGTERM
FIRST_PAUSE: Final = 0.01
"""Seconds before a signal is sent a second time; each pause is twice the one before."""
LONGEST_PAUSE: Final = 1.0
"""Seconds; pauses grow to this."""
RUN: Final = PlainLane.run.__code__
"""What calls the functions."""

_spared: Final[list[CodeType]] = []
_forking = threading.local()
_listens = False  # whether the next SIGTERM is the parent's
_hooked = False  # whether forked children get the default action; they inherit the hook too


def be_deaf() -> None:
    """Set the handlers, and let in what was blocked while this process started. Main thread."""
    global _hooked  # noqa: PLW0603
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _hear)
    if sys.platform != "win32" and not _hooked:
        os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_hear_again)
        _hooked = True
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def obey() -> None:
    """Send this process the SIGTERM that the parent wants. Any thread.

    A handler that a work has set gets it. Ours ends the process, on the main thread.
    """
    global _listens  # noqa: PLW0603
    _listens = True
    if sys.platform == "win32":  # where `os.kill` calls no handler
        signal.raise_signal(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)


def kill_self() -> None:
    """End this process at once. Any thread."""
    os.kill(os.getpid(), _TERMINATED if sys.platform == "win32" else KILL)


def is_deaf() -> bool:
    """Whether no work has set another handler of SIGTERM."""
    return signal.getsignal(signal.SIGTERM) in (_hear, signal.SIG_DFL, signal.SIG_IGN)


def _hear(number: int, _frame: FrameType | None) -> None:
    if _listens and number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), _TERMINATED)


def _hold() -> None:
    """Let the SIGTERM for a child that is about to be forked wait until it hears."""
    if sys.platform != "win32":
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def _release() -> None:
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _hear_again() -> None:
    if signal.getsignal(signal.SIGTERM) is _hear:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release()


def spare(code: CodeType) -> None:
    """Do not interrupt a function while this code of ours, which it calls, is at work.

    What calls the code has to call `Interrupts.again` next.
    """
    if code not in _spared:
        _spared.append(code)


def free_signal() -> int | None:
    """Return the signal that interrupts: one that programs hardly use. None: there is none."""
    if sys.platform == "win32":
        return None
    first: int | None = getattr(signal, "SIGRTMIN", None)
    return int(signal.SIGUSR2) if first is None else first + 11


class Interrupts:
    """Interrupts functions of a lane that runs on the main thread.

    Args:
        lane: The lane.
        progress: Where it publishes what it runs.
        wake: Has the thread that calls ``send`` call it soon. Safe in a finalizer.
    """

    def __init__(self, lane: PlainLane, progress: Progress, wake: Callable[[], object]) -> None:
        self._lane = lane
        self._progress = progress
        self._wake = wake
        self._signal = free_signal()
        self._main = threading.main_thread().ident or 0
        self._wanted = 0  # number of the function to be interrupted; 0: none
        self._pause = FIRST_PAUSE
        self._missed = False  # a signal came in code that is spared

    def install(self) -> None:
        """Set the handlers. On the main thread."""
        if self._signal is not None:
            signal.signal(self._signal, self._handle)
            self._say_unraisable = sys.unraisablehook
            sys.unraisablehook = self._swallowed

    def ask(self, seq: int) -> None:
        """Have a function interrupted; call ``send`` next. Both on one thread."""
        self._wanted = seq
        self._pause = FIRST_PAUSE

    def send(self) -> float | None:
        """Send the signal, if a function is still to be interrupted.

        Returns:
            Seconds after which to call again; None: only when there is something new.
        """
        seq = self._wanted
        if sys.platform == "win32" or not seq or self._signal is None:
            return None
        if self._progress.running()[0] != seq:  # it has ended
            self._wanted = 0
            return None
        signal.pthread_kill(self._main, self._signal)
        pause = self._pause
        self._pause = min(2 * pause, LONGEST_PAUSE)
        return pause

    def stop(self) -> None:
        """Interrupt nothing any more."""
        self._wanted = 0

    def again(self) -> None:
        """Interrupt the function now, if code that is spared has kept it from that. Any thread."""
        if self._missed and threading.get_ident() == self._main:
            self._missed = False
            self._handle(0, sys._getframe(1))  # noqa: SLF001 - documented

    def _handle(self, _number: int, frame: FrameType | None) -> None:
        seq = self._wanted
        if seq and seq == self._lane.inside and not self._is_delicate(frame):
            self._wanted = 0
            self._lane.interrupted = seq
            raise WorkInterrupted("aplex has interrupted this function: it is not wanted any more")

    def _is_delicate(self, frame: FrameType | None) -> bool:
        """Whether this thread is in an import, or in code of ours: our hook would swallow it."""
        # Below our own frame there may be an import too, in which a parent was that forked us.
        while frame is not None and frame.f_code is not RUN:
            code = frame.f_code
            if code is HOOK or code.co_filename.startswith("<frozen importlib."):
                return True
            if any(code is spared for spared in _spared):
                self._missed = True
                return True
            frame = frame.f_back
        return False

    def _swallowed(self, unraisable: Any) -> None:
        """Interrupt once more if the exception came in a finalizer, from which nothing comes."""
        if isinstance(unraisable.exc_value, WorkInterrupted) and self._lane.inside:
            self._wanted = self._lane.inside
            self._wake()
        else:
            self._say_unraisable(unraisable)


HOOK: Final = Interrupts._swallowed.__code__  # noqa: SLF001 - private to this file
