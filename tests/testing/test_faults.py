"""`aplex.testing.Faults`: the call that is named is struck, and no other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor
from aplex.exceptions import WorkerLostError
from aplex.testing import Faults


def note(path: Path, number: int) -> int:
    with path.open("a") as file:
        file.write(f"{number}\n")
    return number


async def waited(number: int) -> int:
    await asyncio.sleep(0.001)
    return number


def test_the_worker_dies_as_it_starts_the_call(tmp_path: Path) -> None:
    faults, path = Faults(), tmp_path / "ran"
    faults.kill_worker(note, call=2)
    with ProcessAsyncPoolExecutor(1) as pool, faults.injected(pool):
        assert pool.submit(note, path, 1).result() == 1
        with pytest.raises(WorkerLostError):
            pool.submit(note, path, 2).result()
        assert pool.submit(note, path, 3).result() == 3
    assert path.read_text().split() == ["1", "3"]
    assert faults.struck == 1


def test_the_result_is_lost_after_the_call_has_run(tmp_path: Path) -> None:
    faults, path = Faults(), tmp_path / "ran"
    faults.lose_result(note, call=1)
    with ProcessAsyncPoolExecutor(1) as pool, faults.injected(pool):
        with pytest.raises(WorkerLostError):
            pool.submit(note, path, 1).result()
        assert pool.submit(note, path, 2).result() == 2
    assert path.read_text().split() == ["1", "2"]
    assert faults.struck == 1


@pytest.mark.parametrize("kind", ["kill_worker", "lose_result"])
def test_retries_make_it_good(tmp_path: Path, kind: str) -> None:
    faults, path = Faults(), tmp_path / "ran"
    getattr(faults, kind)(note, call=1, times=2)
    with ProcessAsyncPoolExecutor(1, retries=2) as pool, faults.injected(pool):
        assert pool.submit(note, path, 1).result() == 1
    assert len(path.read_text().split()) == (1 if kind == "kill_worker" else 3)
    assert faults.struck == 2


def test_coroutines_are_struck_as_well() -> None:
    faults = Faults()
    faults.kill_worker(waited, call=3)
    faults.lose_result(waited, call=5)
    with ProcessAsyncPoolExecutor(2, retries=1) as pool, faults.injected(pool):
        assert [pool.submit(waited, n).result() for n in range(6)] == list(range(6))
    assert faults.struck == 2


def test_after_the_context_nothing_is_struck() -> None:
    faults = Faults()
    faults.kill_worker(abs, call=1)
    with ProcessAsyncPoolExecutor(1) as pool:
        with faults.injected(pool):
            pass
        assert pool.submit(abs, -1).result() == 1
    assert faults.struck == 0


def test_threads_cannot_die() -> None:
    with (
        ThreadAsyncPoolExecutor() as pool,
        pytest.raises(TypeError, match="only processes"),
        Faults().injected(pool),  # type: ignore[arg-type]
    ):
        pass


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="call must be at least 1"):
        Faults().kill_worker(abs, call=0)
    with pytest.raises(TypeError, match="times must be an int"):
        Faults().lose_result(abs, times=1.5)  # type: ignore[arg-type]
