"""Shared by all tests."""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Generator
from typing import Final

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

TEARDOWN: Final = 60.0
"""Seconds that the cleanup after a test may take."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell; the programs that tests start, and press Ctrl-C
    # on, would inherit the deafness.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """No cleanup hangs: pytest-timeout stops its clock when a test has failed.

    Pytest calls the timer off when the test is over, as it uses the same one.
    """
    stderr = item.config.stash[fault_handler_stderr_fd_key]
    faulthandler.dump_traceback_later(TEARDOWN, exit=True, file=stderr)
    return (yield)
