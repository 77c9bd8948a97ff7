"""Shared by all tests."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Generator, Iterator
from typing import Final

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

from tests.support import measuring, only, programs
from tests.support.emulation import start as emulation
from tests.support.emulation.selection import is_out_of_reach, left_out_of_the_short_form
from tests.support.matrix import thinned
from tests.support.ray_head import Head

TEARDOWN: Final = 60.0
"""Seconds that the cleanup after a test may take."""

only.begin(sys.argv[1:])
emulation.begin(sys.argv[1:])  # before anything imports aplex

for _number, _action in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        # Started in the background of a shell; the programs that tests start, and press Ctrl-C
        # on, would inherit the deafness.
        signal.signal(_number, _action)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full-matrix",
        action="store_true",
        help="run tests with all combinations of engine, event loop, face and parameters, "
        "instead of as many as let each two values meet",
    )
    parser.addoption(
        "--emulate",
        choices=emulation.SYSTEMS,
        help="let aplex have only what that system has; see tests/support/emulation",
    )
    parser.addoption(
        "--engine",
        choices=only.ENGINES,
        help="run the contract with that engine alone; see tests/support/only.py",
    )
    parser.addoption(
        "--short",
        action="store_true",
        help="with --emulate or --engine: run each test once for each face, not with threads",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("full_matrix"):
        os.environ[programs.ALL] = "1"  # read when tests are decorated
    _let_coverage_fork()


@pytest.hookimpl(trylast=True)  # of those that `-k` and `-m` leave
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    out_of_reach = set(filter(is_out_of_reach, items))
    items[:] = [item for item in items if item not in out_of_reach]
    config.hook.pytest_deselected(items=list(out_of_reach))
    if config.getoption("full_matrix"):
        return
    short = (emulation.emulated() or only.only_engine()) and config.getoption("short")
    left_out = left_out_of_the_short_form(items) if short else thinned(items)
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=list(left_out))


@pytest.fixture(scope="session")
def ray_head() -> Iterator[Head]:
    """The one head of Ray of all tests; drivers find it by the environment."""
    with pytest.MonkeyPatch.context() as patch:
        head = Head()
        for name, value in head.variables.items():
            patch.setenv(name, value)
        yield head
        head.stop()


@pytest.fixture
def unmeasured() -> Iterator[None]:
    """Without coverage, whose own code a signal handler may break into, in any thread."""
    coverage = sys.modules.get("coverage")
    measuring = None if coverage is None else coverage.Coverage.current()
    if measuring is not None:
        measuring.stop()
    yield
    if measuring is not None:
        measuring.start()


def _let_coverage_fork() -> None:
    """Have coverage do without its lock: forks and signal handlers come at any moment here.

    A child that is forked while another thread has the lock would wait for it. And a signal
    handler that breaks in where this thread has it may wait for a thread that waits for it. Without
    it, a line that two threads come to first may count as not run, at worst.
    """
    coverage = sys.modules.get("coverage")
    measuring = None if coverage is None else coverage.Coverage.current()
    collector = getattr(measuring, "_collector", None)
    if collector is not None:
        collector.data_lock = None


@pytest.hookimpl(tryfirst=True)  # before fixtures start processes
def pytest_runtest_setup(item: pytest.Item) -> None:
    measuring.choose(item)
    if "polars" in sys.modules:
        # It handles SIGINT as well, in such a way that who waits for a lock goes on waiting.
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """No cleanup hangs: pytest-timeout stops its clock when a test has failed.

    Pytest calls the timer off when the test is over, as it uses the same one.
    """
    stderr = item.config.stash[fault_handler_stderr_fd_key]
    faulthandler.dump_traceback_later(TEARDOWN, exit=True, file=stderr)
    return (yield)
