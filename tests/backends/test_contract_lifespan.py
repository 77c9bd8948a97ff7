"""Contract: a lifespan is entered once per worker, and left on every graceful path."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aplex import BrokenPoolError, SerializationError, current_worker
from tests.support import lifespans, works
from tests.support.callers import DEADLINE, ENGINES, PROCESSES, Awaiting, Caller, make_pool
from tests.support.lifespans import notes, of_path
from tests.support.waiting import eventually

pytestmark = pytest.mark.few_engines

EVERY_ENGINE = pytest.mark.parametrize("engine", ENGINES, indirect=True)
EVERY_PROCESS = pytest.mark.parametrize("engine", PROCESSES, indirect=True)
BLOCKING = pytest.mark.parametrize("face", ["blocking"], indirect=True)
BOTH_KINDS = pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])


def lifespan_of(path: Path, *, plain: bool) -> Any:
    return of_path(lifespans.noted_plainly if plain else lifespans.noted, path)


def shut(caller: Caller) -> None:
    """End the executor; the fixture closes the caller."""
    if isinstance(caller, Awaiting):
        caller.run(caller.pool.aclose())
    else:
        caller.pool.shutdown()


@EVERY_ENGINE
@BOTH_KINDS
def test_entered_once_where_it_is_used_and_left_at_shutdown(
    new_caller: Callable[..., Caller], tmp_path: Path, *, plain: bool
) -> None:
    path = tmp_path / "notes"
    caller = new_caller(lifespan=lifespan_of(path, plain=plain))
    at_home = lifespans.at_home_plainly if plain else lifespans.at_home
    assert all(caller.call(at_home) for _ in range(3))
    assert caller.call(lifespans.state) == caller.call(lifespans.astate)
    assert notes(path) == ["enter 0"]
    shut(caller)
    assert notes(path) == ["enter 0", "leave 0 5"]


@EVERY_ENGINE
@BLOCKING
def test_works_know_their_worker(new_caller: Callable[..., Caller], engine: str) -> None:
    caller = new_caller(pool_size=2)
    caller.pool.start()
    first = caller.call(lifespans.who)
    assert first[3] == 0 or engine == "thread"
    seen = [caller.call(work) for work in (lifespans.who, lifespans.awho) * 4]
    assert {index for index, *_ in seen} == {0, 1}
    assert len({name for _, name, *_ in seen}) == 2
    assert all(at_loop for *_, at_loop in seen)
    pids = {pid for _, _, pid, _, _ in seen}
    assert (pids == {os.getpid()}) is (engine in ("thread", "interpreter"))
    for index in (0, 1):
        counts = [done for seen_index, _, _, done, _ in seen if seen_index == index]
        assert counts == sorted(set(counts)), counts


@EVERY_ENGINE
@BLOCKING
def test_a_successor_has_the_place_of_the_one_before(
    new_caller: Callable[..., Caller], tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    caller = new_caller(lifespan=lifespan_of(path, plain=False), max_tasks_per_child=1)
    names = set()
    while len(names) < 3:
        index, name, *_ = caller.call(lifespans.who)
        assert index == 0
        names.add(name)
    shut(caller)
    entered = notes(path).count("enter 0")
    assert entered >= 3
    assert sum(line.startswith("leave 0") for line in notes(path)) == entered


@EVERY_PROCESS
@BLOCKING
def test_a_worker_that_was_killed_is_replaced_in_its_place(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller(pool_size=3).pool
    caller.start()
    seen: dict[int, int] = {}
    while len(seen) < 3:
        index, _, pid, *_ = caller.submit(lifespans.who).result()
        seen[index] = pid
    os.kill(seen[1], signal.SIGKILL)
    found: dict[int, int] = {}
    while len(found) < 3 or found[1] == seen[1]:
        try:
            index, _, pid, *_ = caller.submit(lifespans.who).result()
        except Exception:  # noqa: BLE001 - it was given to the one that dies
            continue
        found[index] = pid
    assert set(found) == {0, 1, 2}
    assert (found[0], found[2]) == (seen[0], seen[2])


@EVERY_ENGINE
@BOTH_KINDS
@BLOCKING
def test_left_by_a_pool_that_shrinks(
    new_caller: Callable[..., Caller], tmp_path: Path, *, plain: bool
) -> None:
    path = tmp_path / "notes"
    pool = new_caller(lifespan=lifespan_of(path, plain=plain), pool_size=2).pool
    pool.start()
    pool.resize(1)
    eventually(lambda: sum(line.startswith("leave") for line in notes(path)) == 1)


@EVERY_ENGINE
@BOTH_KINDS
def test_left_when_the_executor_is_garbage(engine: str, tmp_path: Path, *, plain: bool) -> None:
    path = tmp_path / "notes"
    pool = make_pool(engine, lifespan=lifespan_of(path, plain=plain))
    pool.submit(lifespans.state).result()
    del pool
    gc.collect()
    eventually(lambda: "leave 0 1" in notes(path))


PROGRAM = """
from tests.support.callers import make_pool
from tests.support import lifespans

if __name__ == "__main__":
    pool = make_pool({engine!r}, lifespan=lifespans.of_path(lifespans.{name}, {path!r}))
    pool.submit(lifespans.state).result()
"""


@EVERY_ENGINE
@BOTH_KINDS
def test_left_at_the_exit_of_the_program(engine: str, tmp_path: Path, *, plain: bool) -> None:
    path, script = tmp_path / "notes", tmp_path / "program.py"
    name = "noted_plainly" if plain else "noted"
    script.write_text(PROGRAM.format(engine=engine, name=name, path=str(path)))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        env=environment, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert not done.stderr
    assert notes(path) == ["enter 0", "leave 0 1"]


@EVERY_ENGINE
@BLOCKING
def test_what_works_left_on_the_loop_is_cancelled_after_it(
    new_caller: Callable[..., Caller], tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    caller = new_caller(lifespan=lifespan_of(path, plain=False))
    caller.call(lifespans.leave_a_task, str(path))
    shut(caller)
    assert notes(path) == ["enter 0", "leave 0 1", "task cancelled"]


@BLOCKING
def test_a_class_is_made_on_the_loop(new_caller: Callable[..., Caller], tmp_path: Path) -> None:
    caller = new_caller(lifespan=of_path(lifespans.Session, tmp_path / "notes"))
    assert caller.call(lifespans.state) == "a session"
    shut(caller)
    assert notes(tmp_path / "notes") == ["closed"]


def test_outside_a_worker_the_error_is_clear() -> None:
    with pytest.raises(RuntimeError, match="no worker runs this"):
        current_worker()


def test_options_are_checked() -> None:
    with pytest.raises(TypeError, match="lifespan must be callable or None"):
        make_pool("thread", lifespan=7)
    lock = threading.Lock()
    with pytest.raises(SerializationError, match="the lifespan"):
        make_pool("spawn", lifespan=lambda: lock)


# -- those that go wrong ------------------------------------------------------------------------

BAD = {
    "raises": "LookupError: no database",
    "raises_plainly": "LookupError: no database",
    "never_yields": "did not yield",
    "never_yields_plainly": "did not yield",
    "undecorated": "not decorated",
    "undecorated_plainly": "not decorated",
    "coroutine": "coroutine function",
    "returns_a_number": "no context manager, but int",
}


@EVERY_ENGINE
@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_entered_breaks_the_pool_and_says_why(
    new_caller: Callable[..., Caller], name: str
) -> None:
    caller = new_caller(pool_size=1, lifespan=getattr(lifespans, name))
    error = caller.raised(works.pid)
    assert isinstance(error, BrokenPoolError)
    assert "lifespan" in str(error)
    assert BAD[name] in str(error)
    assert "2 workers in a row" in str(error)  # more starts would be in vain


@EVERY_ENGINE
@BOTH_KINDS
def test_a_lifespan_that_hangs_at_its_entry_fails(
    new_caller: Callable[..., Caller], tmp_path: Path, *, plain: bool
) -> None:
    gate = tmp_path / "gate"
    lifespan = of_path(lifespans.hangs_plainly if plain else lifespans.hangs, gate)
    caller = new_caller(lifespan=lifespan, max_restarts=0, start_timeout=1.0)
    try:
        error = caller.raised(works.pid)
        assert isinstance(error, BrokenPoolError)
        assert "start_timeout" in str(error)
        assert "lifespan" in str(error)
        shut(caller)
    finally:
        gate.touch()


LATE = {
    "yields_twice": "yielded more than once",
    "yields_twice_plainly": "yielded more than once",
    "raises_late": "LookupError: cannot say goodbye",
    "raises_late_plainly": "LookupError: cannot say goodbye",
}


@EVERY_ENGINE
@BLOCKING
@pytest.mark.parametrize("name", LATE)
def test_what_goes_wrong_at_the_exit_is_logged(
    new_caller: Callable[..., Caller], name: str, engine: str, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caller = new_caller(lifespan=getattr(lifespans, name))
    caller.call(works.pid)
    shut(caller)
    said = caplog.text + capfd.readouterr().err
    assert LATE[name] in said


@EVERY_ENGINE
@BLOCKING
@BOTH_KINDS
def test_a_lifespan_that_hangs_at_its_exit_is_given_up(
    new_caller: Callable[..., Caller], tmp_path: Path, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str], *, plain: bool,
) -> None:  # fmt: skip
    gate = tmp_path / "gate"
    lifespan = of_path(lifespans.hangs_late_plainly, gate) if plain else lifespans.hangs_late
    caller = new_caller(lifespan=lifespan, exit_grace=1.0)
    caller.call(works.pid)
    try:
        with caplog.at_level(logging.ERROR):
            began = time.monotonic()
            shut(caller)
            assert time.monotonic() - began < DEADLINE / 2
        assert "was not left within" in caplog.text + capfd.readouterr().err
    finally:
        gate.touch()
