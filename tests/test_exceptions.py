"""Logic: what aplex raises: families, messages, and that all of it can be pickled."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from concurrent.futures import BrokenExecutor
from typing import Any

import pytest

import aplex
from aplex import exceptions
from aplex.exceptions import (
    AplexError,
    AplexWorkerError,
    BrokenPoolError,
    JournalError,
    LoadBalancerError,
    PoolFullError,
    RemoteError,
    RemoteTraceback,
    SerializationError,
    SharedHandleError,
    WorkerLostError,
    WorkerStartError,
    WorkInterrupted,
    WorkQuarantinedError,
)

ONE_OF_EACH = [
    AplexError("message"),
    AplexWorkerError("message"),
    BrokenPoolError("message"),
    PoolFullError("message"),
    LoadBalancerError("message"),
    RemoteError("module.Class", "message", "Traceback …"),
    RemoteTraceback("Traceback …"),
    JournalError("message"),
    SerializationError("message"),
    SharedHandleError("message"),
    WorkInterrupted("message"),
    WorkQuarantinedError("module.work", (WorkerLostError(1, -9, 1), WorkerLostError(2, -9, 3))),
    WorkQuarantinedError("module.work", (LookupError("no death"),)),
    WorkerLostError(4711, -9, 3),
    WorkerLostError(
        4711,
        -11,
        3,
        works=("module.work", "module.other"),
        works_done=12,
        uptime=2.5,
        out_of_memory=True,
        peak_rss=3 * 2**20,
        reason="it did not stop",
        stack="Fatal Python error: …",
    ),
    WorkerLostError(None, None, 0),
    WorkerLostError(1, 0, 1),
    WorkerStartError("message"),
]


def test_there_is_one_of_each() -> None:
    assert {type(error).__name__ for error in ONE_OF_EACH} == set(exceptions.__all__)
    assert set(exceptions.__all__) <= set(aplex.__all__)


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=repr)
@pytest.mark.parametrize("again", [copy.copy, lambda e: pickle.loads(pickle.dumps(e, 5))])
def test_all_of_them_can_be_pickled(error: Exception, again: Any) -> None:
    same = again(error)
    assert type(same) is type(error)
    assert str(same) == str(error)
    assert same.args == error.args
    assert shown(vars(same)) == shown(vars(error))


def shown(attributes: dict[str, Any]) -> dict[str, str]:
    """Exceptions are equal only to themselves; not so what they show."""
    return {name: repr(value) for name, value in attributes.items()}


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=repr)
def test_all_errors_have_one_base(error: Exception) -> None:
    others = RemoteTraceback, WorkInterrupted
    assert isinstance(error, AplexError) is not isinstance(error, others)


@pytest.mark.parametrize("kind", [WorkerLostError, WorkerStartError, BrokenPoolError])
def test_the_errors_about_workers_have_one_base_that_is_an_os_error(kind: type) -> None:
    assert issubclass(kind, AplexWorkerError)
    assert issubclass(kind, OSError)


def test_the_standard_library_knows_some_of_them() -> None:
    assert issubclass(BrokenPoolError, BrokenExecutor)
    assert issubclass(SerializationError, pickle.PicklingError)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            WorkerLostError(7, -9, 3),
            "worker process 7 was killed by SIGKILL with 3 works in flight",
        ),
        (
            WorkerLostError(7, -11, 1),
            "worker process 7 was killed by SIGSEGV with 1 work in flight",
        ),
        (WorkerLostError(7, -250, 0), "was killed by signal 250 with 0 works in flight"),
        (WorkerLostError(7, 3, 2), "worker process 7 exited with code 3 with 2 works in flight"),
        (WorkerLostError(7, 0, 2), "exited with code 0"),
        (WorkerLostError(7, None, 2), "ended for an unknown reason"),
    ],
)
def test_a_lost_worker_says_who_died_how_and_with_how_much(
    error: WorkerLostError, expected: str
) -> None:
    assert expected in str(error)


@pytest.mark.parametrize(
    ("exitcode", "name"),
    [(-9, "SIGKILL"), (-250, "signal 250"), (0, None), (3, None), (None, None)],
)
def test_a_lost_worker_names_the_signal(exitcode: int | None, name: str | None) -> None:
    assert WorkerLostError(7, exitcode, 1).signal_name == name


CERTIFICATE = WorkerLostError(
    7,
    -11,
    3,
    works=("m.f", "m.g", "m.f"),
    works_done=12,
    uptime=2.54,
    out_of_memory=False,
    peak_rss=300 * 2**20,
    stack='Fatal Python error: Segmentation fault\n\n  File "m.py", line 3 in f',
)


def test_a_death_certificate_reads_well() -> None:
    assert str(CERTIFICATE) == (
        "worker process 7 was killed by SIGSEGV with 3 works in flight (m.f, m.g), after 2.5 s and "
        "12 works done, at most 300 MiB in memory; this work had been started there and may "
        "have run in part"
    )
    assert "the worker's last stack:\nFatal Python error" in CERTIFICATE.__notes__[0]


def test_a_death_certificate_names_a_few_works_and_the_want_of_memory() -> None:
    error = WorkerLostError(7, -9, 300, works=("m.f",) * 16, out_of_memory=True)
    assert "with 300 works in flight (m.f, …)" in str(error)
    assert "probably by the kernel, which was out of memory" in str(error)


def test_a_quarantined_work_shows_all_deaths() -> None:
    deaths = (WorkerLostError(1, -9, 1), CERTIFICATE)
    error = WorkQuarantinedError("m.f", deaths)
    assert isinstance(error, WorkerLostError)
    assert (error.deaths, error.work) == (deaths, "m.f")
    assert (error.pid, error.signal_name, error.uptime) == (7, "SIGSEGV", 2.54)
    assert "m.f was started 2 times, and each time its worker died" in str(error)
    assert error.__notes__ == [
        "1. worker process 1 was killed by SIGKILL with 1 work in flight",
        f"2. {CERTIFICATE.summary}",
    ]


def test_a_lost_worker_has_numbers_to_be_used() -> None:
    error = WorkerLostError(7, -9, 3)
    assert (error.pid, error.exitcode, error.in_flight) == (7, -9, 3)


def test_a_lost_workers_numbers_are_not_taken_for_those_of_an_os_error() -> None:
    """``errno == ENOENT`` must not be true of a worker that was process 2."""
    error = WorkerLostError(2, -9, 3)
    assert (error.errno, error.strerror, error.filename) == (None, None, None)


def test_a_stand_in_shows_the_original() -> None:
    error = RemoteError("module.Class", "something", "Traceback …")
    assert str(error) == "module.Class: something"
    assert error.traceback == "Traceback …"


def test_a_remote_traceback_is_framed() -> None:
    assert str(RemoteTraceback("Traceback …\n")) == '\n"""\nTraceback …\n"""'


def test_they_can_be_imported_while_the_interpreter_ends() -> None:
    """``concurrent.futures.process`` cannot; so nobody can catch what it names."""
    program = (
        "import atexit\n"
        "def late():\n"
        "    from aplex.exceptions import WorkerLostError\n"
        "    print(*(kind.__name__ for kind in WorkerLostError.__mro__))\n"
        "atexit.register(late)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert "BrokenExecutor" in ran.stdout.split()
    assert ran.stderr == ""
