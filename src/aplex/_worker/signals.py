"""Deafness: in a worker process, Ctrl-C and SIGTERM are the parent's business. A leaf.

A terminal, systemd, many container runtimes and ``kill -- -PGID`` signal every process of a
program at once. If workers obeyed, the works would be lost while the program still wants to
finish them. So a worker hears nothing, until its parent says (over the lifeline) that a SIGTERM
is meant.

It is done by a handler and not by ``SIG_IGN``, which programs that works start would inherit.
Processes that works fork would inherit the handler: they get the default action of SIGTERM back,
or ``Process.terminate`` could not end them. What was ignored when the worker started is left so:
it is the user's wish for the whole program (``nohup``, a script's ``&``), and programs that works
start are to inherit that.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

_forking = threading.local()
_listens = False  # whether the next SIGTERM is the parent's
_hooked = False  # whether forked children get the default action; they inherit the hook too


def be_deaf() -> None:
    """Set the handlers, and let in what was blocked while this process started. Main thread."""
    global _hooked  # noqa: PLW0603
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _hear)
    if not _hooked and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_hear_again)
        _hooked = True
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def obey() -> None:
    """Send this process the SIGTERM that the parent wants. Any thread.

    A handler that a work has set gets it. Ours ends the process, on the main thread.
    """
    global _listens  # noqa: PLW0603
    _listens = True
    os.kill(os.getpid(), signal.SIGTERM)


def is_deaf() -> bool:
    """Whether no work has set another handler of SIGTERM."""
    return signal.getsignal(signal.SIGTERM) in (_hear, signal.SIG_DFL, signal.SIG_IGN)


def _hear(number: int, _frame: FrameType | None) -> None:
    if _listens and number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _hold() -> None:
    """Let the SIGTERM for a child that is about to be forked wait until it hears."""
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _hear_again() -> None:
    if signal.getsignal(signal.SIGTERM) is _hear:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release()
