"""What becomes of a pool when its template process is stopped, or dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from aplex import WorkerLostError
from aplex._assembly import _names_of
from tests.support import works
from tests.support.callers import make_pool
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.needs("linux", "process")  # elsewhere there is no template process


@pytest.fixture
def pool() -> Iterator[Any]:
    with make_pool("template") as pool:
        yield pool


def template_of(pool: Any) -> Any:
    return pool._manager._backend._starter._template


def test_works_go_on_when_the_template_dies(pool: Any, signals: Signals, gate: Gate) -> None:
    held = pool.submit(works.aheld, signals.path, gate.path, 5)
    function = pool.submit(works.add, 1)
    assert function.result(10) == 1
    before = template_of(pool)._pid
    os.kill(before, signal.SIGKILL)
    pool.resize(3)
    pool.start()
    assert template_of(pool)._pid != before
    gate.open()
    assert held.result(10) == 5


def test_the_death_of_a_worker_is_seen_when_its_template_is_dead(pool: Any) -> None:
    """The kernel tells of it, but not how: nobody has waited for the process."""
    pid = pool.submit(works.pid).result(10)
    os.kill(template_of(pool)._pid, signal.SIGKILL)
    lost = pool.submit(works.die, "SIGKILL")
    assert isinstance(lost.exception(10), WorkerLostError)
    assert lost.exception().exitcode == 255
    assert pool.submit(works.pid).result(10) != pid


def test_the_death_of_a_worker_is_seen_when_its_template_is_stopped(pool: Any) -> None:
    pool.submit(works.pid).result(10)
    template = template_of(pool)._pid
    os.kill(template, signal.SIGSTOP)
    try:
        lost = pool.submit(works.die, "SIGKILL")
        assert isinstance(lost.exception(10), WorkerLostError)
    finally:
        os.kill(template, signal.SIGCONT)
    assert pool.submit(works.add, 2).result(10) == 2


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV", "exit"])
def test_the_template_tells_how_a_worker_has_ended(pool: Any, how: str) -> None:
    pool.submit(works.pid).result(10)
    error = pool.submit(works.die, how).exception(10)
    expected = {"SIGKILL": -signal.SIGKILL, "SIGSEGV": -signal.SIGSEGV}
    if how in expected:
        assert error.exitcode == expected[how]
    assert error.exitcode is not None


def test_every_successor_is_forked_by_the_same_template(pool: Any) -> None:
    assert pool.submit(works.add, 1).result(10) == 1
    template, seen = template_of(pool)._pid, set()
    for _ in range(20):
        pid = pool.submit(works.pid).result(10)
        seen.add(pid)
        os.kill(pid, signal.SIGKILL)
        while True:
            try:
                assert pool.submit(works.pid).result(10) != pid
            except WorkerLostError:
                continue
            break
    assert len(seen) == 20
    assert template_of(pool)._pid == template


def test_a_pool_is_closed_while_its_template_imports() -> None:
    pool = make_pool("template", pool_size=2)
    future = pool.submit(works.add, 1)
    pool.shutdown(wait=True)
    assert future.result() == 1


@pytest.mark.parametrize(
    ("preload", "match"),
    [(preload, "preload must be a list") for preload in ("numpy", [1], 7)],
)
def test_a_preload_of_another_kind_is_refused(preload: Any, match: str) -> None:
    with pytest.raises(TypeError, match=match):
        make_pool("template", preload=preload)


def test_the_names_of_a_preload_may_be_generated() -> None:
    """They are checked and taken, in one go."""
    assert _names_of(name for name in ["json", "csv"]) == ("json", "csv")
