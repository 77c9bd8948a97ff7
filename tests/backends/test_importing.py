"""Logic: a process that only imports a program may not start workers."""

from __future__ import annotations

import pickle
import sys
from multiprocessing import process
from typing import Any

import pytest

from aplex._backends.process import importing
from aplex._backends.process.importing import check_process
from aplex._common.errors import SerializationError
from aplex._wire.calls import CallDecoder


class Checks:
    """Is not allowed, or is, when it is unpickled: as what a module does while it is imported."""

    def __reduce__(self) -> tuple[Any, ...]:
        return check_process, ()


def test_a_program_may() -> None:
    check_process()


def test_a_process_that_imports_the_main_module_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(RuntimeError, match="under `if __name__ == '__main__':`"):
        check_process()


def test_a_frozen_program_may_unless_it_was_started_as_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "argv", ["program", "--verbose"])
    check_process()
    monkeypatch.setattr(sys, "argv", ["program", "--multiprocessing-fork", "pipe_handle=7"])
    with pytest.raises(RuntimeError, match=r"freeze_support\(\) before anything else"):
        check_process()


def test_a_worker_may_in_a_work_but_not_while_it_finds_a_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call = pickle.dumps((Checks(), (), {}))
    with pytest.raises(TypeError, match="not callable"):
        CallDecoder().run(0, call)  # that is what it gets here, which is no worker
    monkeypatch.setattr(importing, "this_worker", lambda: 1)
    check_process()
    with pytest.raises(SerializationError, match="imports a module to find a function in it"):
        CallDecoder().run(0, call)
