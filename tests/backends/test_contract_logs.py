"""Contract: what processes log reaches the handlers of the parent."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aplex import ProcessAsyncPoolExecutor
from aplex._backends.linked import log_thread
from tests.support import lifespans, logs, works
from tests.support.callers import DEADLINE, PROCESSES, Caller, make_pool
from tests.support.programs import ALL

pytestmark = pytest.mark.few_engines

EVERY_PROCESS = pytest.mark.parametrize("engine", PROCESSES, indirect=True)
SPAWN = pytest.mark.parametrize("engine", ["spawn"], indirect=True)
BLOCKING = pytest.mark.parametrize("face", ["blocking"], indirect=True)


class Records(logging.Handler):
    """Keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[logging.LogRecord] = []
        self.gate: threading.Event | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.gate is not None:
            self.gate.wait(DEADLINE)
        self.all.append(record)

    def wait_for(self, count: int) -> list[logging.LogRecord]:
        end = time.monotonic() + DEADLINE
        while len(self.all) < count:
            assert time.monotonic() < end, self.all
            time.sleep(0.005)
        return self.all


@pytest.fixture
def records() -> Iterator[Records]:
    """A handler of the logger of the works, which lets INFO through."""
    handler, logger = Records(), logging.getLogger("tests.works")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield handler
    logger.propagate = True
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@EVERY_PROCESS
def test_records_say_where_they_are_from(
    new_caller: Callable[..., Caller], records: Records
) -> None:
    caller = new_caller(forward_logs=True)
    caller.call(logs.log, 1)
    caller.call(logs.alog, 2)
    list(caller.map(logs.log, [3], chunksize=2))
    pid = caller.call(works.pid)
    first, second, third = records.wait_for(3)
    assert first.getMessage() == "number 1"
    assert first.args == (1,)
    assert [record.number for record in records.all] == [1, 2, 3]  # type: ignore[attr-defined]
    for record, name in ((first, "log"), (second, "alog"), (third, "log")):
        found: Any = record
        assert found.process == found.worker_pid == pid
        assert found.worker_index == 0
        assert isinstance(found.work_id, int)
        assert found.work_name == f"tests.support.logs.{name}"
    assert first.work_id != second.work_id  # type: ignore[attr-defined]


@EVERY_PROCESS
@BLOCKING
def test_errors_stacks_and_what_cannot_be_pickled_survive(
    new_caller: Callable[..., Caller], records: Records
) -> None:
    caller = new_caller(forward_logs=True)
    caller.call(logs.log_error)
    caller.call(logs.log_awkward)
    error, lock, wrong, mapping = records.wait_for(4)
    assert error.exc_info is not None
    assert isinstance(error.exc_info[1], LookupError)
    text = logging.Formatter().format(error)
    assert "LookupError: lost" in text
    assert "in log_error" in text
    assert "Stack (most recent call last)" in text
    assert lock.getMessage().startswith("a <unlocked _thread.lock")
    assert "unlocked" in lock.lock  # type: ignore[attr-defined]
    assert mapping.getMessage() == "mapping 1"
    assert "two" in str(wrong.msg)


@EVERY_PROCESS
@BLOCKING
def test_levels_are_those_of_the_parent_also_later(
    new_caller: Callable[..., Caller], records: Records
) -> None:
    caller = new_caller(forward_logs=True)
    logger = logging.getLogger("tests.works")
    assert not caller.call(logs.enabled, logging.DEBUG)

    def until(level: int, *, enabled: bool) -> None:
        end = time.monotonic() + DEADLINE
        while caller.call(logs.enabled, level) is not enabled:
            assert time.monotonic() < end

    logger.setLevel(logging.DEBUG)
    until(logging.DEBUG, enabled=True)
    caller.call(logs.log, 1, logging.DEBUG)
    assert records.wait_for(1)[0].levelno == logging.DEBUG
    logging.disable(logging.ERROR)
    until(logging.ERROR, enabled=False)
    logging.disable(logging.NOTSET)
    until(logging.DEBUG, enabled=True)
    logger.setLevel(logging.NOTSET)
    until(logging.DEBUG, enabled=logger.isEnabledFor(logging.DEBUG))


@pytest.mark.needs("process")  # it tells workers by their process ids
@EVERY_PROCESS
@BLOCKING
@pytest.mark.timeout(240)
def test_none_is_lost_and_order_is_kept_while_workers_are_replaced(
    new_caller: Callable[..., Caller], records: Records
) -> None:
    count = 100_000 if ALL in os.environ else 20_000
    caller = new_caller(forward_logs=True, pool_size=2, max_tasks_per_child=10)
    futures = []
    for first in range(0, count, 500):
        records.wait_for(first - 5000)  # no more than a worker keeps in line
        futures.append(caller.pool.submit(logs.log_many, first, 500))
    for future in futures:
        future.result(DEADLINE)
    caller.pool.shutdown()
    of_worker: dict[int, list[tuple[int, int]]] = {}
    for record in records.all:
        assert record.args
        found: Any = record
        of_worker.setdefault(found.worker_pid, []).append((found.work_id, found.args[0]))
    ids = [future.id for future in futures]
    assert sorted(number for seen in of_worker.values() for _, number in seen) == [*range(count)]
    assert len(of_worker) > 2
    for seen in of_worker.values():
        works_seen = list(dict.fromkeys(work_id for work_id, _ in seen))
        expected = [500 * ids.index(work_id) for work_id in works_seen]
        numbers = [number for _, number in seen]
        assert numbers == [first + number for first in expected for number in range(500)]


@pytest.mark.needs("posix")  # a socket that is soon full
@SPAWN
@BLOCKING
def test_what_handlers_do_not_take_in_time_is_counted(
    new_caller: Callable[..., Caller], records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    """Works do not wait for handlers."""
    caller = new_caller(forward_logs=True)
    records.gate = threading.Event()
    caller.call(logs.log_many, 0, 15_000)
    assert caller.call(works.pid)
    records.gate.set()
    caller.pool.shutdown()
    counts = [r.args[0] for r in caplog.records if r.args and "were dropped" in r.msg]
    assert counts
    assert sum(map(int, counts)) + len(records.all) == 15_000  # type: ignore[arg-type]


@SPAWN
@BLOCKING
def test_warnings_go_where_the_parent_has_them(
    new_caller: Callable[..., Caller], records: Records, capfd: pytest.CaptureFixture[str]
) -> None:
    logging.captureWarnings(True)
    logger = logging.getLogger("py.warnings")
    logger.addHandler(records)
    try:
        caller = new_caller(forward_logs=True)
        caller.call(logs.warn)
        assert "beware" in records.wait_for(1)[0].getMessage()
        caller.call(logs.say, "hello")
        assert "hello" in capfd.readouterr().out
    finally:
        logger.removeHandler(records)
        logging.captureWarnings(False)


@EVERY_PROCESS
@BLOCKING
@pytest.mark.parametrize("wanted", [False, None])
def test_on_where_the_root_logger_has_a_handler(
    new_caller: Callable[..., Caller], records: Records, wanted: bool | None
) -> None:
    handlers, logging.root.handlers = logging.root.handlers, [Records()] if wanted is False else []
    try:
        caller = new_caller(forward_logs=wanted)
        caller.call(logs.log)
        caller.pool.shutdown()
    finally:
        logging.root.handlers = handlers
    assert records.all == []
    if wanted is None:
        assert logging.root.handlers  # those of pytest
        with make_pool("spawn") as pool:
            pool.submit(logs.log).result()
        assert len(records.all) == 1


@EVERY_PROCESS
@BLOCKING
def test_records_know_their_work_wherever_it_logs(
    new_caller: Callable[..., Caller], records: Records
) -> None:
    caller = new_caller(forward_logs=True)

    def seen(future: Any, count: int) -> set[tuple[int, str]]:
        caller.result(future)
        taken, records.all = records.wait_for(count), []
        assert {record.work_id for record in taken} == {future.id}  # type: ignore[attr-defined]
        return {(record.number, record.work_name) for record in taken}  # type: ignore[attr-defined]

    here = "tests.support.logs."
    tasks = here + "log_in_tasks"
    assert seen(caller.submit(logs.log_in_tasks), 3) == {(1, tasks), (2, tasks), (3, tasks)}
    assert seen(caller.submit(logs.log_late), 1) == {(1, here + "alog")}
    for work in (logs.log_in_stream, logs.alog_in_stream):
        list(caller.stream(work, 2))
        taken, records.all = records.wait_for(2), []
        assert len({record.work_id for record in taken}) == 1  # type: ignore[attr-defined]
        assert {r.work_name for r in taken} == {here + work.__name__}  # type: ignore[attr-defined]
    list(caller.map(logs.alog, range(20), chunksize=10))
    taken = records.wait_for(20)
    assert len({record.work_id for record in taken}) == 2  # type: ignore[attr-defined]
    assert {record.work_name for record in taken} == {here + "alog"}  # type: ignore[attr-defined]


@EVERY_PROCESS
@BLOCKING
@pytest.mark.parametrize("how", ["exit", "SIGKILL", "SIGSEGV"])
def test_what_was_logged_before_a_crash_comes(
    new_caller: Callable[..., Caller],
    records: Records,
    how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is lost that its channel takes; of what is lost, it is said how much that is."""
    caller = new_caller(forward_logs=True)
    caller.raised(logs.log_and_die, 50, how)
    assert [record.args for record in records.wait_for(50)] == [(n,) for n in range(50)]
    records.all = []
    records.gate = threading.Event()
    caller.raised(logs.log_and_die, 5000, how)
    records.gate.set()
    caller.pool.shutdown()
    told = [r.args[0] for r in caplog.records if r.args and "were lost" in str(r.msg)]
    assert len(told) <= 1  # none where the channel is a socket that takes them all
    lost = sum(int(str(count)) for count in told)
    assert [record.args for record in records.all] == [(n,) for n in range(5000 - lost)]


@EVERY_PROCESS
@BLOCKING
def test_what_is_logged_last_comes(new_caller: Callable[..., Caller], records: Records) -> None:
    """After the works, by the lifespan, and by what runs when the process ends."""
    caller = new_caller(forward_logs=True, lifespan=lifespans.raises_late)
    aplex = logging.getLogger("aplex")
    aplex.addHandler(records)
    try:
        records.gate = threading.Event()
        caller.call(logs.log_many, 0, 3000)
        caller.call(logs.log_at_exit)
        threading.Timer(0.2, records.gate.set).start()
        caller.pool.shutdown()
    finally:
        aplex.removeHandler(records)
    *numbers, late, last = [record.getMessage() for record in records.all]
    assert numbers == [f"number {number}" for number in range(3000)]
    assert "cannot say goodbye" in late
    assert last == "at exit"


@EVERY_PROCESS
@BLOCKING
def test_what_cannot_be_unpickled_comes_as_text(
    new_caller: Callable[..., Caller], records: Records
) -> None:
    new_caller(forward_logs=True).call(logs.log_objects)
    first, second, third = records.wait_for(3)
    assert first.getMessage() == "an awkward 1"
    assert "cannot be unpickled" in first.other  # type: ignore[attr-defined]
    assert first.path == Path("a/b")  # type: ignore[attr-defined]
    assert second.msg == {"a": [1, 2]}  # type: ignore[comparison-overlap]
    assert third.getMessage() == "awkward 1"


@EVERY_PROCESS
def test_handlers_may_use_the_pool_and_log(
    new_caller: Callable[..., Caller], records: Records
) -> None:
    """They run in a thread of their own, which nothing waits for."""
    caller = new_caller(forward_logs=True)
    made: list[Any] = []

    class Works(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            made.append(caller.call(works.add, record.args[0], 1))  # type: ignore[index]
            logging.getLogger("tests.works.handler").info("number %d", -made[-1])

    handler = Works()
    logger = logging.getLogger("tests.works")
    handler.addFilter(lambda record: record.name == logger.name)
    logger.addHandler(handler)
    try:
        caller.call(logs.log_many, 0, 300)
        records.wait_for(600)
    finally:
        logger.removeHandler(handler)
    assert made == list(range(1, 301))


@SPAWN
@BLOCKING
def test_a_handler_may_shut_the_pool_down(
    new_caller: Callable[..., Caller], records: Records
) -> None:
    caller = new_caller(forward_logs=True)
    handler = logging.Handler()
    handler.emit = lambda _: caller.pool.shutdown(wait=False)  # type: ignore[method-assign]
    logger = logging.getLogger("tests.works")
    logger.addHandler(handler)
    try:
        caller.call(logs.log)
        records.wait_for(1)
        caller.pool.shutdown()
    finally:
        logger.removeHandler(handler)


@SPAWN
@BLOCKING
def test_a_handler_that_hangs_does_not_hold_up_the_end_for_ever(
    new_caller: Callable[..., Caller], records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_thread, "LAST", 0.2)
    records.gate = threading.Event()
    caller = new_caller(forward_logs=True)
    caller.call(logs.log)
    caller.pool.shutdown()
    assert records.all == []
    records.gate.set()  # its thread goes on, and ends
    records.wait_for(1)
    for thread in threading.enumerate():
        if thread.name.endswith("-logs"):
            thread.join(DEADLINE)


@EVERY_PROCESS
@BLOCKING
def test_what_raises_in_a_handler_harms_nothing_else(
    new_caller: Callable[..., Caller], records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    caller = new_caller(forward_logs=True)

    def fail(record: logging.LogRecord) -> bool:
        if record.args == (1,):
            raise SystemExit("not this one")
        return True

    logger = logging.getLogger("tests.works")
    logger.addFilter(fail)
    try:
        caller.call(logs.log_many, 0, 3)
        assert [record.args for record in records.wait_for(2)] == [(0,), (2,)]
    finally:
        logger.removeFilter(fail)
    assert "could not be handled" in caplog.text


@EVERY_PROCESS
@BLOCKING
def test_where_nothing_is_logged_there_is_no_thread(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(forward_logs=True)
    caller.call(works.pid)
    caller.call(works.apid)
    assert not [t for t in threading.enumerate() if t.name.endswith("-logs")]


@SPAWN
@BLOCKING
def test_a_copy_of_a_worker_sends_nothing(
    new_caller: Callable[..., Caller], records: Records, capfd: pytest.CaptureFixture[str]
) -> None:
    caller = new_caller(forward_logs=True)
    assert caller.call(logs.log_forked) == 0
    caller.call(logs.log, 2)
    assert [record.args for record in records.wait_for(1)] == [(2,)]
    assert "in a copy" in capfd.readouterr().err


@SPAWN
@BLOCKING
def test_workers_of_workers_forward_through_them(
    new_caller: Callable[..., Caller], records: Records
) -> None:
    pid, work_id = new_caller(forward_logs=True).call(logs.log_nested, "spawn")
    (record,) = records.wait_for(1)
    found: Any = record
    assert (found.process, found.worker_pid, found.work_id) == (pid, pid, work_id)


@pytest.mark.needs("posix")  # signals interrupt functions
@EVERY_PROCESS
@BLOCKING
def test_a_function_that_logs_is_interrupted(
    new_caller: Callable[..., Caller], records: Records
) -> None:
    """And the records that follow come."""
    caller = new_caller(forward_logs=True)
    pid = caller.call(works.pid)
    for _ in range(10):
        future = caller.pool.options(time_limit=0.05, kill_after=8.0).submit(logs.log_until_stopped)
        assert isinstance(caller.error(future), TimeoutError)
    records.all = []
    caller.call(logs.log, 77)
    records.wait_for(1)
    caller.pool.shutdown()
    assert records.all[-1].args == (77,)
    assert records.all[-1].process == pid


def test_forward_logs_is_checked() -> None:
    with pytest.raises(TypeError, match="forward_logs must be a bool or None"):
        ProcessAsyncPoolExecutor(forward_logs="yes")  # type: ignore[arg-type]
