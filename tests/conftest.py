"""Shared by all tests."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Generator
from typing import Final

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

TEARDOWN: Final = 60.0
"""Seconds that the cleanup after a test may take."""

for _number, _action in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        # Started in the background of a shell; the programs that tests start, and press Ctrl-C
        # on, would inherit the deafness.
        signal.signal(_number, _action)


def pytest_configure() -> None:
    """No fork while another thread has the lock of coverage: the child would wait for it."""
    coverage = sys.modules.get("coverage")
    measuring = None if coverage is None else coverage.Coverage.current()
    collector = getattr(measuring, "_collector", None)
    if collector is not None and hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=collector.lock_data,
            after_in_parent=collector.unlock_data,
            after_in_child=collector.unlock_data,
        )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """No cleanup hangs: pytest-timeout stops its clock when a test has failed.

    Pytest calls the timer off when the test is over, as it uses the same one.
    """
    stderr = item.config.stash[fault_handler_stderr_fd_key]
    faulthandler.dump_traceback_later(TEARDOWN, exit=True, file=stderr)
    return (yield)
