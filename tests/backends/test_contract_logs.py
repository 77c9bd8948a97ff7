"""Contract: what processes log reaches the handlers of the parent."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aplex import ProcessAsyncPoolExecutor
from tests.support import lifespans, logs, works
from tests.support.callers import DEADLINE, PROCESSES, Caller, make_pool

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
        assert name in found.work_name
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


@EVERY_PROCESS
@BLOCKING
def test_none_is_lost_and_order_is_kept_while_workers_are_replaced(
    new_caller: Callable[..., Caller], records: Records
) -> None:
    caller = new_caller(forward_logs=True, pool_size=2, max_tasks_per_child=10)
    futures = []
    for first in range(0, 100_000, 500):
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
    assert sorted(number for seen in of_worker.values() for _, number in seen) == [*range(100_000)]
    assert len(of_worker) > 2
    for seen in of_worker.values():
        works_seen = list(dict.fromkeys(work_id for work_id, _ in seen))
        expected = [500 * ids.index(work_id) for work_id in works_seen]
        numbers = [number for _, number in seen]
        assert numbers == [first + number for first in expected for number in range(500)]


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
def test_what_is_logged_last_comes(new_caller: Callable[..., Caller], records: Records) -> None:
    caller = new_caller(forward_logs=True, lifespan=lifespans.raises_late)
    aplex = logging.getLogger("aplex")
    aplex.addHandler(records)
    try:
        caller.call(works.pid)
        caller.pool.shutdown()
    finally:
        aplex.removeHandler(records)
    assert "cannot say goodbye" in records.all[-1].getMessage()


def test_forward_logs_is_checked() -> None:
    with pytest.raises(TypeError, match="forward_logs must be a bool or None"):
        ProcessAsyncPoolExecutor(forward_logs="yes")  # type: ignore[arg-type]
