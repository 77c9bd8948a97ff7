"""Contract: progress of maps counts completions, in every engine."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from aplex.progress import Progress, as_completed
from tests.support import works
from tests.support.callers import Caller, everywhere, make_pool


class OwnBar:
    """Counts."""

    def __init__(self) -> None:
        self.n = 0

    def update(self, n: int) -> None:
        """Count."""
        self.n += n


@everywhere
@pytest.mark.parametrize("options", [{}, {"chunksize": 4}, {"ordered": False}])
def test_a_function_is_told_of_each_completion(caller: Caller, options: dict[str, Any]) -> None:
    told: list[Progress] = []
    results = caller.map(works.add, range(10), progress=told.append, **options)
    assert sorted(results) == list(range(10))
    last = max(told, key=lambda progress: progress.done)
    assert last == Progress(10, 0, 10)


def test_a_bar_of_the_users_is_updated(caller: Caller) -> None:
    bar = OwnBar()
    assert list(caller.map(works.aadd, iter(range(5)), progress=bar)) == list(range(5))
    assert bar.n == 5


def test_nothing_is_shown_without_a_terminal(
    caller: Caller, capfd: pytest.CaptureFixture[str]
) -> None:
    assert list(caller.map(works.add, range(3), progress="adding")) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")


def test_without_tqdm_the_cure_is_named(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"aplex\[progress\]"):
        caller.map(works.add, range(3), progress=True)


def test_something_else_is_a_type_error(caller: Caller) -> None:
    with pytest.raises(TypeError, match="progress must be"):
        caller.map(works.add, range(3), progress=7)


def test_futures_are_counted_as_they_complete(engine: str) -> None:
    told: list[Progress] = []
    with make_pool(engine) as pool:
        futures = [pool.submit(works.add, 1), pool.submit(works.fail, ValueError())]
        assert set(as_completed(futures, told.append)) == set(futures)
    assert told[-1] == Progress(2, 1, 2)
    assert [progress.done for progress in told] == [1, 2]
