"""Locks that give themselves back when taking them was broken into."""

from __future__ import annotations

import pytest

from aplex._common.locks import CheckedRLock, condition


class Broken(CheckedRLock):
    """Is taken, and then a signal handler raises."""

    taken = True

    def acquire(self, *args: float) -> bool:
        if self.taken:
            super().acquire(*args)
        raise KeyboardInterrupt


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("before", [0, 1])
def test_a_lock_is_not_left_held(before: int, taken: bool) -> None:
    lock = Broken()
    lock.taken = taken
    for _ in range(before):
        CheckedRLock.acquire(lock)
    with pytest.raises(KeyboardInterrupt), lock:
        raise AssertionError("it was entered")
    for _ in range(before):
        lock.release()
    with pytest.raises(RuntimeError, match="un-acquired"):
        lock.release()


def test_it_is_an_rlock() -> None:
    lock = CheckedRLock()
    with lock, lock:
        pass
    with pytest.raises(RuntimeError, match="un-acquired"):
        lock.release()


def test_a_condition_has_such_a_lock() -> None:
    waiting = condition()
    with waiting, waiting:
        waiting.notify_all()
    assert isinstance(waiting._lock, CheckedRLock)  # type: ignore[attr-defined]
