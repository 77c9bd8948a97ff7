"""Contract: code that was written for the standard library notices a crash."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

import aplex
from tests.support import works
from tests.support.callers import Caller

pytestmark = pytest.mark.few_engines


@pytest.mark.parametrize("engine", ["spawn", "fork"], indirect=True)
@pytest.mark.parametrize("expected", [BrokenProcessPool, BrokenExecutor, RuntimeError, OSError])
def test_a_crash_is_caught_as_that_of_a_standard_executor(
    new_caller: Callable[..., Caller], expected: type[Exception]
) -> None:
    caller = new_caller()
    with pytest.raises(expected):
        caller.call(works.die, "SIGKILL")
    assert caller.call(works.add, 1, 2) == 3, "unlike there, the pool goes on"


def test_a_broken_pool_is_one_as_well() -> None:
    assert issubclass(aplex.BrokenPoolError, BrokenProcessPool)
    assert issubclass(aplex.WorkQuarantinedError, BrokenProcessPool)


@pytest.mark.parametrize("name", aplex.exceptions.__all__)
def test_an_exception_has_the_name_under_which_it_is_public(name: str) -> None:
    kind = getattr(aplex.exceptions, name)
    assert kind.__module__ == "aplex.exceptions"
    assert pickle.loads(pickle.dumps(kind)) is kind


@pytest.mark.parametrize("engine", ["spawn"], indirect=True)
def test_a_worker_does_not_pay_for_it(new_caller: Callable[..., Caller]) -> None:
    assert "concurrent.futures.process" not in new_caller().call(works.loaded_modules)
