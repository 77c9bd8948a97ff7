"""Subinterpreters: what is theirs alone. The rest of the contract: ``--engine=interpreter``."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

import aplex
from aplex import InterpreterAsyncPoolExecutor
from aplex._backends.interpreter import available
from aplex._worker.refused import with_cure
from tests.support import works
from tests.support.callers import Caller

there = pytest.mark.needs("interpreter")


def interpreters() -> int:
    return len(import_module("concurrent.interpreters").list_all())


def assert_gone_to(count: int) -> None:
    """Nobody tells of the end of an interpreter that is left behind."""
    deadline = time.monotonic() + 10
    while interpreters() > count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- where there are none -------------------------------------------------------------------


@pytest.mark.smoke
def test_an_older_python_says_what_is_missing_and_what_to_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(available, "VERSION", (3, 13))
    with pytest.raises(NotImplementedError, match=r"CPython 3\.14.*use ProcessAsyncPoolExecutor"):
        InterpreterAsyncPoolExecutor()


# -- modules that are refused -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("module numpy._core._multiarray_umath does not support loading in subinterpreters", None),
        ("PyO3 modules do not yet support subinterpreters, see https://…/issues/576", "orjson"),
        ("cannot load module more than once per process", "numpy"),
        (("Interpreter change detected - this module can only be loaded into one interpreter per "
         "process."), "uvloop.loop"),
    ],
)  # fmt: skip
def test_a_refusal_is_known_by_its_words(message: str, name: str | None) -> None:
    error = ImportError(message, name=name)
    told = with_cure(error)
    assert isinstance(told, ImportError)
    assert told.__cause__ is error
    assert told.name == (name or "numpy._core._multiarray_umath")
    assert str(told) == (
        f"module {told.name} cannot be imported in a subinterpreter; "
        "use ProcessAsyncPoolExecutor for works that need it"
    )


def test_a_module_that_is_not_there_is_no_refusal() -> None:
    error = ModuleNotFoundError("No module named 'x'", name="x")
    assert with_cure(error) is error


@there
def test_a_refused_import_fails_its_work_and_no_other(caller: Caller) -> None:
    error = caller.raised(works.refused_in_c)
    assert isinstance(error, ImportError)
    assert str(error) == (
        "module _curses cannot be imported in a subinterpreter; "
        "use ProcessAsyncPoolExecutor for works that need it"
    )
    assert caller.call(works.add, 1, 2) == 3


@there
def test_an_exception_that_a_refusal_has_caused_has_a_note(caller: Caller) -> None:
    error = caller.raised(works.raised_from_a_refusal)
    assert isinstance(error, LookupError)
    assert "module _curses cannot be imported in a subinterpreter" in error.__notes__[0]
    assert not getattr(caller.raised(works.raised_beside_a_refusal), "__notes__", [])


@there
def test_a_work_may_do_without_the_module(caller: Caller) -> None:
    assert "does not support loading in subinterpreters" in caller.call(works.falls_back)


@there
def test_a_refusal_in_the_initializer_breaks_the_pool_and_says_why(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller(initializer=works.refused_in_c, max_restarts=0)
    error = caller.raised(works.add, 1)
    assert isinstance(error, aplex.BrokenPoolError)
    assert "module _curses cannot be imported in a subinterpreter" in str(error)


@there
def test_what_only_processes_inherit_is_refused_at_once() -> None:
    with pytest.raises(aplex.SerializationError, match=r"Lock.*use ProcessAsyncPoolExecutor"):
        InterpreterAsyncPoolExecutor(initializer=print, initargs=(multiprocessing.Lock(),))


# -- no kill ------------------------------------------------------------------------------------


@there
def test_a_function_that_computes_is_interrupted(caller: Caller) -> None:
    """In Python code at once; the worker goes on."""
    before = interpreters()
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="time_limit"):
        caller.through(caller.pool.options(time_limit=0.2)).call(works.compute_until, 60.0)
    assert time.monotonic() - began < 5
    assert interpreters() == before


@there
def test_a_function_that_hears_nothing_is_left_behind_and_its_worker_replaced(
    new_caller: Callable[..., Caller],
) -> None:
    before = interpreters()
    caller = new_caller()
    view = caller.through(caller.pool.options(time_limit=0.1, kill_after=0.1))
    with pytest.raises(TimeoutError, match="time_limit"):
        view.call(time.sleep, 3)
    assert interpreters() > before
    assert caller.call(works.add, 1, 2) == 3  # in another worker
    assert interpreters() == before + 2
    began = time.monotonic()
    caller.pool.shutdown()
    assert time.monotonic() - began < 2  # does not wait for it
    assert_gone_to(before)


@there
def test_functions_behind_one_that_is_left_behind_run_once_elsewhere(
    new_caller: Callable[..., Caller],
) -> None:
    before = interpreters()
    caller = new_caller()
    view = caller.through(caller.pool.options(time_limit=0.1, kill_after=0.1))
    stuck = view.submit(time.sleep, 1)
    others = [caller.submit(works.add, number, 1) for number in range(50)]
    assert [caller.result(other) for other in others] == list(range(1, 51))
    assert isinstance(caller.error(stuck), TimeoutError)
    assert_gone_to(before + 1)


# -- the end --------------------------------------------------------------------------------------


@there
def test_no_interpreter_outlives_its_pool() -> None:
    before = interpreters()
    for _ in range(3):
        with InterpreterAsyncPoolExecutor(2) as pool:
            pool.submit(works.add, 1).result()
            pool.submit(works.aadd, 1).result()
            assert interpreters() > before
    assert interpreters() == before
    pool = InterpreterAsyncPoolExecutor(1)
    pool.submit(works.add, 1).result()
    del pool
    assert_gone_to(before)


@there
@pytest.mark.parametrize("end", ["", "sys.exit(0)", "raise SystemExit"])
def test_a_program_ends_by_itself(end: str, tmp_path: Any) -> None:
    """Without `shutdown`: works that are submitted finish first, as with ``concurrent.futures``."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            from aplex import InterpreterAsyncPoolExecutor

            async def double(x):
                return 2 * x

            pool = InterpreterAsyncPoolExecutor(2)
            futures = [pool.submit(double, n) for n in range(5)]
            print(*[future.result() for future in futures], flush=True)
            {end}
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 2 4 6 8\n", "")
