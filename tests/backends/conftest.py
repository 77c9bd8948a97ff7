"""Which executors the contract is run against.

``caller``: an engine of each kind, both faces; with ``everywhere`` every engine, both kinds
of loop, both faces. Its executor is shared by all tests: they must leave it as it was, which
is checked. ``new_caller`` makes executors of the test's own, for ``face`` and ``engine``.
"""

from __future__ import annotations

import functools
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import works
from tests.support.callers import (
    ENGINES,
    FACES,
    LOOPS,
    REMOTE,
    Caller,
    caller_of,
    loop_factory,
)
from tests.support.leaks import nothing_left_alive
from tests.support.signals import Gate, Signals, close_all

MATRIX = [(engine, loop, face) for engine in ENGINES for loop in LOOPS for face in FACES]
THIN = [(engine, "stock", face) for engine in ("thread", "template", *REMOTE) for face in FACES]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who asks for ``fork`` gets the warning of Python 3.12 and newer; it is not ours."""
    ignore = pytest.mark.filterwarnings("ignore:.*use of fork.. may lead:DeprecationWarning")
    for item in items:
        if "fork" in item.name:
            item.add_marker(ignore)


@pytest.fixture(scope="session", autouse=True)
def helpers() -> None:
    """Start what is started once and stays, before anybody counts.

    ``multiprocessing`` keeps two processes and the memory of its shared values, libuv a pipe.
    """
    multiprocessing.Value("i")
    multiprocessing.resource_tracker.ensure_running()
    multiprocessing.forkserver.ensure_running()
    loop_factory("uvloop")().close()


@pytest.fixture(autouse=True)
def leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing that a test made lives on. What is shared by tests was made before."""
    with nothing_left_alive():
        yield


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the executors that a test is run against."""
    if "shared" in metafunc.fixturenames:
        matrix = MATRIX if "whole_matrix" in metafunc.fixturenames else THIN
        for face in FACES:
            if f"{face}_caller" in metafunc.fixturenames:
                matrix = [chosen for chosen in matrix if chosen[2] == face]
        metafunc.parametrize(
            "shared", matrix, ids=map("-".join, matrix), indirect=True, scope="session"
        )


class Shared:
    """A caller with two warm workers; a new one after a test that has spoiled it."""

    def __init__(self, engine: str, loop: str, face: str) -> None:
        self._make = functools.partial(caller_of, face, engine, loop=loop, pool_size=2)
        self._caller: Caller | None = None

    def caller(self) -> Caller:
        if self._caller is None:
            caller = self._caller = self._make()
            for work in (works.where, works.awhere):
                met: set[object] = set()
                while len(met) < 2:
                    met.add(caller.call(work)[:2])
        return self._caller

    def close(self) -> None:
        caller, self._caller = self._caller, None
        if caller is not None:
            caller.close()


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest, helpers: None) -> Iterator[Shared]:
    """The executor of a combination, for all tests."""
    shared = Shared(*request.param)
    shared.caller()
    yield shared
    shared.close()


@pytest.fixture
def caller(shared: Shared) -> Iterator[Caller]:
    """The shared caller; no work is left in its executor."""
    caller = shared.caller()
    yield caller
    try:
        caller.assert_idle()
    except BaseException:
        shared.close()
        raise


@pytest.fixture
def whole_matrix() -> None:
    """Ask for every combination; by the decorator ``everywhere``."""


@pytest.fixture
def blocking_caller(caller: Caller) -> Caller:
    """For promises that only the blocking face makes."""
    return caller


@pytest.fixture
def awaitable_caller(caller: Caller) -> Caller:
    """For promises that only the awaitable face makes."""
    return caller


@pytest.fixture
def processes(request: pytest.FixtureRequest) -> bool:
    """Whether the workers of the caller are processes."""
    return "thread" not in request.node.callspec.id


@pytest.fixture(params=["thread", "template", *REMOTE])
def engine(request: pytest.FixtureRequest) -> str:
    """An engine of each kind. A test may ask for others."""
    return request.param


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def new_caller(face: str, engine: str) -> Iterator[Callable[..., Caller]]:
    """Make callers with an executor of their own, closed after the test."""
    callers: list[Caller] = []

    def make(**options: object) -> Caller:
        callers.append(caller_of(face, engine, **options))
        return callers[-1]

    yield make
    for caller in callers:
        caller.close()


@pytest.fixture
def signals(tmp_path: Path) -> Iterator[Signals]:
    signals = Signals(tmp_path / "signals")
    yield signals
    signals.close()


@pytest.fixture
def new_gate(tmp_path: Path) -> Iterator[Callable[[], Gate]]:
    gates: list[Gate] = []

    def make() -> Gate:
        gates.append(Gate(tmp_path / f"gate{len(gates)}"))
        return gates[-1]

    yield make
    close_all(gates)


@pytest.fixture
def gate(new_gate: Callable[[], Gate]) -> Gate:
    """A gate; opened after the test at the latest."""
    return new_gate()
