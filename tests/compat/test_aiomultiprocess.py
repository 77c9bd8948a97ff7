"""`aplex.compat.aiomultiprocess`: its own public tests, and what they do not ask."""

import asyncio
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import aplex.compat.aiomultiprocess as amp
from aplex import WorkerLostError
from tests.compat import functions

pytestmark = pytest.mark.measured


@pytest.mark.timeout(150)
def test_their_public_tests_pass(tmp_path):
    program = Path(__file__).with_name("their_tests.py")
    ran = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    run, skipped, internal = map(int, ran.stdout.split())
    assert run >= 29
    assert (skipped, internal) == (0, 3)


def run(function):
    """Make a test of a coroutine function."""

    def test(tmp_path):
        arguments = (tmp_path,) if inspect.signature(function).parameters else ()
        asyncio.run(asyncio.wait_for(function(*arguments), 40))

    test.__name__ = function.__name__
    return test


@run
async def test_workers_of_a_queue_run_its_works():
    async with amp.Pool(4, queuecount=2) as pool:
        assert pool.processes == {0: 0, 1: 1, 2: 0, 3: 1}
        pids = await pool.map(functions.pid, range(40))
    even, odd = set(pids[0::2]), set(pids[1::2])
    assert 1 <= len(even) <= 2  # one may be faster than the other begins
    assert 1 <= len(odd) <= 2
    assert not even & odd


@run
async def test_a_scheduler_of_ones_own():
    class Last(amp.Scheduler):
        def __init__(self):
            self.queues, self.processes, self.done = [], [], []

        def register_queue(self, tx):
            self.queues.append(tx)
            return amp.QueueID(10 * len(self.queues))

        def register_process(self, qid):
            self.processes.append(qid)

        def schedule_task(self, task_id, func, args, kwargs):
            return amp.QueueID(20)

        def complete_task(self, task_id):
            self.done.append(task_id)

    scheduler = Last()
    async with amp.Pool(3, queuecount=2, scheduler=scheduler) as pool:
        pids = await pool.map(functions.pid, range(9))
    assert len(set(pids)) == 1
    assert scheduler.processes == [10, 20, 10]
    assert sorted(scheduler.done) == list(range(1, 10))


@run
async def test_works_run_side_by_side_as_many_as_childconcurrency():
    async with amp.Pool(1, childconcurrency=2) as pool:
        await pool.apply(functions.double, (1,))
        clock = asyncio.get_running_loop().time
        began = clock()
        await pool.map(asyncio.sleep, [0.2] * 4)
        assert clock() - began >= 0.4


@run
async def test_workers_are_replaced():
    async with amp.Pool(1, maxtasksperchild=2) as pool:
        pids = set()
        while len(pids) < 2:  # a worker serves until its successor does
            pids.add(await pool.apply(functions.pid))


@run
async def test_an_initializer_runs_on_the_event_loop():
    async with amp.Pool(1, initializer=functions.start, initargs=("it",)) as pool:
        assert await pool.apply(functions.has_started) == [("it", True)]


@run
async def test_what_a_work_raises_ends_nothing_here():
    async with amp.Pool(1) as pool:
        with pytest.raises(amp.ProxyException, match="SystemExit: 3") as raised:
            await pool.apply(functions.leave)
        assert isinstance(raised.value.__cause__, SystemExit)
        assert await pool.apply(functions.double, args=(2,)) == 4
        results = pool.map(functions.double, [1, 2])
        assert await results == await results == [2, 4]
        assert results.task_ids == [3, 4]  # after the two above: no two works have the same


@run
async def test_a_worker_that_dies_is_replaced():
    async with amp.Pool(1) as pool:
        with pytest.raises(WorkerLostError):
            await pool.apply(functions.die)
        assert await pool.apply(functions.double, (2,)) == 4


@run
async def test_a_cancel_reaches_the_coroutine(tmp_path):
    async with amp.Pool(1) as pool:
        task = asyncio.ensure_future(pool.apply(functions.hang, (str(tmp_path),)))
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not (tmp_path / "cleaned up").exists():
            await asyncio.sleep(0.01)


@run
async def test_after_close_what_was_submitted_is_finished():
    pool = amp.Pool(1)
    results = pool.map(functions.double, range(20))
    pool.close()
    with pytest.raises(RuntimeError, match="pool is closed"):
        pool.map(functions.double, [1])
    await pool.join()
    assert await results == [n * 2 for n in range(20)]


@run
async def test_a_result_that_fills_a_pipe():
    assert await amp.Worker(target=functions.double, args=("x" * 1_000_000,)) == "x" * 2_000_000


def test_plain_functions_where_such_are_needed():
    with pytest.raises(ValueError, match="initializer must be synchronous"):
        amp.Pool(1, initializer=functions.leave)
    with pytest.raises(ValueError, match="loop_initializer must be synchronous"):
        amp.Pool(1, loop_initializer=functions.leave)
