"""Shared by all tests."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell; the programs that tests start, and press Ctrl-C
    # on, would inherit the deafness.
    signal.signal(signal.SIGINT, signal.default_int_handler)
