"""Contract: what a recording tells of works, wherever they run, and of workers that die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aplex
from aplex import Recording
from tests.support import works
from tests.support.callers import DEADLINE, KILLED, Caller, everywhere, make_pool
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.few_engines


def rows_of(recording: Recording) -> list[dict[str, Any]]:
    columns = recording.works()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@everywhere
def test_each_work_is_told_with_its_times_and_what_became_of_it(caller: Caller) -> None:
    with caller.pool.record() as run:
        futures = [
            caller.submit(works.add, 1),
            caller.submit(works.aadd, 1),
            caller.submit(works.aspan, 0.01),
            caller.submit(works.started_coroutine(works.aadd), 1),
            caller.submit(works.fail, ValueError("secret")),
            caller.submit(works.afail, KeyError("secret")),
        ]
        caller.wait(*futures)
    rows = {row["id"]: row for row in rows_of(run)}
    assert set(rows) == {future.id for future in futures}
    told = [rows[future.id] for future in futures]
    assert [row["outcome"] for row in told] == ["done"] * 4 + ["failed"] * 2
    assert [row["error"] for row in told] == [None] * 4 + ["ValueError", "KeyError"]
    assert [row["lane"] for row in told[:3]] == ["function", "coroutine", "coroutine"]
    assert told[2]["name"] == "tests.support.works.aspan"
    assert told[2]["running"] >= 0.009  # uvloop counts milliseconds
    for row in told:
        times = [row[name] for name in ("submitted", "sent", "began", "ended", "received")]
        assert times == sorted(times)
        assert row["attempt"] == 1
        assert row["message"] is None
    assert "secret" not in repr(run.works())


def test_messages_are_kept_if_that_is_asked_for(caller: Caller) -> None:
    with caller.pool.record(messages=True) as run:
        caller.raised(works.fail, ValueError("told"))
        caller.raised(works.afail, ValueError("told"))
    assert run.works()["message"] == ["told", "told"]


def test_nothing_is_recorded_after_the_end_and_two_may_overlap(caller: Caller) -> None:
    with caller.pool.record() as outer:
        first = caller.submit(works.add, 1)
        caller.wait(first)
        with caller.pool.record() as inner:
            second = caller.submit(works.aadd, 1)
            caller.wait(second)
        third = caller.submit(works.add, 1)
        caller.wait(third)
    caller.call(works.add, 1)
    assert sorted(outer.works()["id"]) == [first.id, second.id, third.id]
    assert inner.works()["id"] == [second.id]
    assert not outer.active
    with pytest.raises(RuntimeError, match="made already"), outer:
        pass


def test_what_is_not_done_is_told_so(caller: Caller, signals: Signals, gate: Gate) -> None:
    with caller.pool.record() as run:
        held = caller.submit(works.held, signals.path, gate.path)
        signals.expect("started None")
        [row] = rows_of(run)
        assert (row["id"], row["outcome"], row["ended"]) == (held.id, "running", None)
    gate.open()
    caller.wait(held)
    assert run.works()["outcome"] == ["running"]


def test_a_cancelled_work_is_told_so(caller: Caller, signals: Signals) -> None:
    with caller.pool.record() as run:
        endless = caller.submit(works.endless, signals.path)
        signals.expect("started work")
        caller.cancel(endless)
        caller.wait(endless)
        caller.call(works.aadd, 1)  # its end may be reported after its future is cancelled
    row = next(row for row in rows_of(run) if row["id"] == endless.id)
    assert row["outcome"] == "cancelled"
    assert row["began"] < row["ended"]


def test_a_function_runs_from_its_own_begin_to_its_own_end(caller: Caller) -> None:
    """The end of one is the begin of the next, where they run one after another."""
    with caller.pool.record() as run:
        spans = [caller.result(each) for each in [caller.submit(works.span, 0.1)] * 1]
        spans += [caller.call(works.span, 0.1) for _ in range(3)]
    for row, (begin, end, _thread) in zip(rows_of(run), spans, strict=True):
        assert row["running"] == pytest.approx(end - begin, abs=0.05)


@pytest.mark.parametrize("engine", ["template", "spawn"])
def test_deaths_are_told_with_their_works(engine: str) -> None:
    with make_pool(engine) as pool, pool.record() as run:
        ahead = pool.submit(works.add, 1)
        again = pool.options(retries=1).submit(works.die, "SIGKILL")
        never = pool.submit(works.die, "SIGKILL")
        assert ahead.result(DEADLINE) == 1
        for future in (again, never):
            assert isinstance(future.exception(DEADLINE), aplex.WorkerLostError)
    rows = rows_of(run)
    assert [r["outcome"] for r in rows if r["id"] == again.id] == ["lost", "failed"]
    assert [r["attempt"] for r in rows if r["id"] == again.id] == [1, 2]
    [row] = [r for r in rows if r["id"] == never.id and r["attempt"] == 1]
    assert row["outcome"] == "failed"
    assert row["error"] == "aplex.exceptions.WorkerLostError"
    assert all(row["began"] is not None for row in rows)  # they were running when it died
    assert {row["slot"] for row in rows} == {0}
    assert len({row["pid"] for row in rows}) == 3
    assert run.summary().count("death: worker process") == 3
    assert KILLED.name in run.summary()


def test_times_of_killed_coroutines_are_told_as_far_as_they_are_known(signals: Signals) -> None:
    with make_pool("template") as pool, pool.record() as run:
        waiting = pool.submit(works.endless, signals.path)
        signals.expect("started work")
        pool.submit(works.die, "SIGKILL").exception(DEADLINE)
        waiting.exception(DEADLINE)
    row = next(row for row in rows_of(run) if row["id"] == waiting.id)
    assert (row["outcome"], row["began"]) == ("failed", None)
    assert row["sent"] < row["ended"] == row["received"]


@pytest.mark.parametrize("engine", ["thread", "template"])
def test_a_recording_survives_a_file(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "run.aplex"
    with make_pool(engine, pool_size=2) as pool, pool.record() as run:
        list(pool.map(works.add, range(100)))
        run.mark("half")
        asyncio.run(_some(pool))
    run.save(path)
    again = aplex.read(path)
    assert again.works() == run.works()
    assert again.summary() == run.summary()
    assert repr(again) == repr(run)
    data = path.read_bytes()
    for length in range(0, len(data), 997):
        path.write_bytes(data[:length])
        try:
            cut = aplex.read(path)
        except ValueError as error:
            assert length < 400 or "damaged" not in str(error)  # noqa: PT017
        else:
            assert "cut off" in cut.summary()
            assert len(cut.works()["id"]) <= len(run.works()["id"])


async def _some(pool: Any) -> None:
    await asyncio.gather(*[pool.awaitable.submit(works.aadd, i) for i in range(100)])


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.aplex"
    path.write_bytes(b"something else, and longer than the magic is")
    with pytest.raises(ValueError, match="is no recording of aplex"):
        aplex.read(path)
    with pytest.raises(FileNotFoundError):
        aplex.read(tmp_path / "nothing")


@pytest.mark.parametrize("engine", ["thread", "template"])
def test_the_oldest_works_are_dropped_and_counted(engine: str) -> None:
    with make_pool(engine) as pool, pool.record(limit=100) as run:
        futures = [pool.submit(works.add, number) for number in range(1000)]
        for future in futures:
            future.result(DEADLINE)
    ids = run.works()["id"]
    assert len(ids) + run.dropped == 1000
    assert 100 <= len(ids) <= 100 + 400  # a frame is dropped as a whole
    assert max(ids) == futures[-1].id
    assert f"{run.dropped:,} works were dropped" in run.summary()


def test_a_limit_is_a_count() -> None:
    with make_pool("thread") as pool:
        for wrong, error in ((0, ValueError), (1.5, TypeError)):
            with pytest.raises(error, match="limit must be"):
                pool.record(limit=wrong)  # type: ignore[arg-type]


def test_a_recording_that_has_not_begun_has_nothing() -> None:
    with make_pool("thread") as pool, pytest.raises(RuntimeError, match="nothing is recorded yet"):
        pool.record().works()


@pytest.mark.parametrize("engine", ["thread", "template"])
def test_a_whole_pool_is_recorded_into_a_file(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "whole.aplex"
    with make_pool(engine, record=path) as pool:
        list(pool.map(works.add, range(10)))
        recording = pool.recording
    assert recording is not None
    assert not recording.active
    assert aplex.read(path).works() == recording.works()
    assert recording.works()["outcome"] == ["done"] * 10
    with make_pool(engine, record=True) as pool:
        pool.submit(works.add, 1).result(DEADLINE)
    assert pool.recording is not None
    assert pool.recording.works()["id"] == [1]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no folder"):
        make_pool("thread", record=tmp_path / "no folder" / "file")


PROGRAM = """
import os, sys, time
import aplex
from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor

def inner(x):
    with ThreadAsyncPoolExecutor(1) as pool:
        return pool.submit(abs, x).result()

if __name__ == "__main__":
    with ProcessAsyncPoolExecutor(1) as pool, ThreadAsyncPoolExecutor(1) as threads:
        print(pool.submit(inner, -1).result(), threads.submit(abs, -2).result(), flush=True)
        if sys.argv[1:]:
            while not len(aplex.read(sys.argv[1]).works()["name"]):
                time.sleep(0.01)  # it is written once a second
            os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("killed", [False, True])
def test_the_environment_records_every_pool_of_the_program(tmp_path: Path, killed: bool) -> None:
    """Not those in its workers, which would write over the same file; a kill loses a second."""
    program, path = tmp_path / "program.py", tmp_path / "run.aplex"
    program.write_text(PROGRAM)
    ran = subprocess.run(
        [sys.executable, program, *([str(path)] if killed else [])],
        env={**os.environ, "APLEX_RECORD": str(path)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.stdout == "1 2\n", ran.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "program.py",
        "run-2.aplex",
        "run.aplex",
    ]
    first, second = aplex.read(path), aplex.read(tmp_path / "run-2.aplex")
    assert first.works()["name"] == ["__main__.inner"]
    assert ("cut off" in first.summary()) == killed
    if not killed:
        assert second.works()["name"] == ["builtins.abs"]


def test_a_long_recording_into_a_file_stays_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aplex._calls.recorded.LIMIT", 64)
    monkeypatch.setattr("aplex._observe.source.PAUSE", 0.001)
    path = tmp_path / "long.aplex"
    with make_pool("thread", record=path) as pool:
        for number in range(500):
            pool.submit(works.add, number).result(DEADLINE)
            if number % 50 == 0:
                time.sleep(0.005)  # let it be written
        recording = pool.recording
    again = aplex.read(path)
    assert recording is not None
    assert again.works() == recording.works()
    assert recording.dropped + len(again.works()["id"]) == 500
    assert "were dropped" in again.summary()


def test_a_garbage_pool_is_not_kept_by_its_recording(collected: Callable[..., None]) -> None:
    pool = make_pool("thread", record=True)
    pool.submit(works.add, 1).result(DEADLINE)
    recording = pool.recording
    assert recording is not None
    manager = pool._gateway.manager
    del pool
    collected()
    assert manager.wait(DEADLINE)
    assert not recording.active


@pytest.fixture
def collected() -> Callable[[], object]:
    import gc

    return gc.collect


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_tables_take_the_columns(library: str) -> None:
    module = pytest.importorskip(library)
    with make_pool("thread") as pool, pool.record() as run:
        for number in range(3):
            pool.submit(works.add, number).result(DEADLINE)
        pool.submit(works.fail, ValueError()).exception(DEADLINE)
    table = module.DataFrame(run.works())
    assert table.shape[0] == 4
    assert list(table["id"]) == [1, 2, 3, 4]
    assert float(table["running"].sum()) > 0


@pytest.mark.parametrize("engine", ["template", "forkserver"])
def test_works_of_workers_that_are_killed_at_random_are_told_truly(engine: str) -> None:
    """Each work once, and what its future says; workers are killed while works run."""
    import random
    import signal

    with make_pool(engine, pool_size=3, max_restarts=100) as pool, pool.record() as run:
        futures = [pool.options(retries=3).submit(works.span, 0.001) for _ in range(300)]
        futures += [pool.options(retries=3).submit(works.aspan, 0.001) for _ in range(300)]
        for _ in range(5):
            workers = [each for each in pool.stats().workers if each.state == "serving"]
            if workers:
                pid = random.choice(workers).pid
                assert pid is not None
                with contextlib.suppress(ProcessLookupError):  # the last one killed, perhaps
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)  # let it be noticed, and others work on
        errors = [future.exception(60) for future in futures]
    last: dict[int, dict[str, Any]] = {}
    attempts: dict[int, int] = {}
    for row in rows_of(run):
        times = [row[name] for name in ("submitted", "sent", "began", "ended", "received")]
        known = [moment for moment in times if moment is not None]
        assert known == sorted(known)
        attempts[row["id"]] = attempts.get(row["id"], 0) + 1
        assert row["attempt"] == attempts[row["id"]]
        last[row["id"]] = row
    for future, error in zip(futures, errors, strict=True):
        assert last[future.id]["outcome"] == ("failed" if error else "done")
    stats = pool.stats()
    assert sum(attempts.values()) == len(futures) + stats.retried


def good_at(path: Path, number: int) -> int:
    with path.open("a") as file:
        file.write("x")
    if len(path.read_text()) < number:
        raise LookupError(number)
    return number


async def agood_at(path: Path, number: int) -> int:
    return good_at(path, number)


@pytest.mark.parametrize("work", [good_at, agood_at])
def test_attempts_that_retry_on_asks_for_are_numbered(
    caller: Caller, tmp_path: Path, work: Callable[..., Any]
) -> None:
    view = caller.through(caller.pool.options(retry_on=LookupError, backoff=0.001, max_attempts=3))
    with caller.pool.record(messages=True) as run:
        good = view.submit(work, tmp_path / "good", 3)
        bad = view.submit(work, tmp_path / "bad", 4)
        assert view.result(good) == 3
        assert isinstance(view.error(bad), LookupError)
    told: dict[int, list[tuple[Any, ...]]] = {good.id: [], bad.id: []}
    for row in rows_of(run):
        words = row["attempt"], row["outcome"], row["error"], row["message"]
        told[row["id"]].append(words)
    refused = ("failed", "LookupError")
    firsts = [(1, *refused, "3"), (2, *refused, "3")]
    assert told[good.id] == [*firsts, (3, "done", None, None)]
    assert told[bad.id] == [(number, *refused, "4") for number in (1, 2, 3)]


def test_a_work_that_is_cancelled_before_its_next_attempt_has_waited(
    new_caller: Callable[..., Caller], tmp_path: Path
) -> None:
    caller = new_caller()
    view = caller.through(caller.pool.options(retry_on=LookupError, backoff=DEADLINE))
    with caller.pool.record() as run:
        future = view.submit(good_at, tmp_path / "made", 2)
        while not caller.pool.stats().retried:
            caller.call(works.add, 1)
        assert caller.cancel(future)
        caller.wait(future)
    rows = [row for row in rows_of(run) if row["id"] == future.id]
    told = [(row["attempt"], row["outcome"], row["worker"]) for row in rows]
    assert [told_of[:2] for told_of in told] == [(1, "failed"), (2, "cancelled")]
    assert told[1][2] is None
