"""Workers in a real cluster of Ray: what the engine adds to the contract, and how things end.

One head for all tests, on loopback, with a token of its own; the last test kills it. Run them by
themselves, in one process: ``pytest tests/engines``. What else the engine must keep of the contract
runs with ``--engine ray``, see `tests/backends/conftest.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any

import pytest

from aplex import BrokenPoolError, RayAsyncPoolExecutor, WorkerLostError
from tests.support.callers import DEADLINE, make_pool
from tests.support.engines import needs_ray
from tests.support.leaks import nothing_left_alive
from tests.support.processes import is_alive
from tests.support.ray_head import Head, Node
from tests.support.waiting import eventually
from tests.test_documents import EXAMPLE, ON_RAY

PROGRAMS = EXAMPLE.findall(ON_RAY.read_text(encoding="utf-8"))
pytestmark = [needs_ray, pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def shared(ray_head: Head) -> Iterator[RayAsyncPoolExecutor[Any]]:
    """One with two workers, for all tests but those that end it."""
    with make_pool("ray", pool_size=2, max_restarts=100) as pool:
        pool.submit(os.getpid).result(60)
        yield pool


@pytest.fixture
def pool(shared: RayAsyncPoolExecutor[Any]) -> RayAsyncPoolExecutor[Any]:
    eventually(lambda: all(worker.state == "serving" for worker in shared.stats().workers))
    return shared


def pids_of(pool: RayAsyncPoolExecutor[Any]) -> list[int]:
    return [worker.pid for worker in pool.stats().workers if worker.pid is not None]


def envoy_of(pool: RayAsyncPoolExecutor[Any]) -> int:
    return pool._manager._backend._launcher._envoy.process.pid


# -- works ------------------------------------------------------------------------------------


def test_works_of_both_kinds_run_in_actors(pool: RayAsyncPoolExecutor[Any]) -> None:
    async def slept(value: int) -> int:
        await asyncio.sleep(0.01)
        return value

    def squared(value: int) -> int:
        return value * value

    assert pool.submit(os.getpid).result(DEADLINE) in pids_of(pool)
    assert pool.submit(slept, 1).result(DEADLINE) == 1
    assert list(pool.map(squared, range(20))) == [n * n for n in range(20)]


def test_a_stream_comes_in_order(pool: RayAsyncPoolExecutor[Any]) -> None:
    async def numbers(count: int) -> Any:
        for number in range(count):
            yield number

    assert list(pool.stream(numbers, 500)) == list(range(500))


def test_rays_own_functions_go_on_working(pool: RayAsyncPoolExecutor[Any]) -> None:
    def plain() -> Any:
        import threading

        import ray

        main = threading.current_thread() is threading.main_thread()
        return main, ray.get(ray.put([1, 2])), ray.get_runtime_context().get_actor_id()

    async def coroutine() -> Any:
        import ray

        @ray.remote(num_cpus=0)
        def add_one(value: int) -> int:
            return value + 1

        return await ray.put(1), await add_one.remote(1)

    main, value, actor = pool.submit(plain).result(DEADLINE)
    assert main
    assert value == [1, 2]
    assert actor
    assert pool.submit(coroutine).result(60) == (1, 2)


def test_this_process_knows_nothing_of_ray(pool: RayAsyncPoolExecutor[Any]) -> None:
    assert "ray" not in sys.modules


def test_a_running_coroutine_is_cancelled(pool: RayAsyncPoolExecutor[Any], tmp_path: Any) -> None:
    async def wait(path: str) -> None:
        try:
            open(path + ".begun", "w").close()
            await asyncio.sleep(60)
        finally:
            open(path + ".ended", "w").close()

    path = str(tmp_path / "work")
    future = pool.submit(wait, path)
    eventually(lambda: os.path.exists(path + ".begun"))
    assert future.cancel()
    eventually(lambda: os.path.exists(path + ".ended"))


def test_a_function_that_takes_too_long_is_interrupted(pool: RayAsyncPoolExecutor[Any]) -> None:
    with pytest.raises(TimeoutError):
        pool.options(time_limit=0.2).submit(time.sleep, 30).result(DEADLINE)


def test_a_node_that_has_another_aplex_gets_this_one(ray_head: Head, tmp_path: Path) -> None:
    """And a module that is beside the caller's program."""
    (tmp_path / "there" / "aplex").mkdir(parents=True)
    (tmp_path / "there" / "aplex" / "__init__.py").write_text("__version__ = '0.1'")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "beside.py").write_text("def double(value): return 2 * value")
    program = tmp_path / "here" / "program.py"
    program.write_text(
        "import functools\n"
        "import beside\n"
        "from aplex import RayAsyncPoolExecutor\n"
        "def about():\n"
        "    import aplex\n"
        "    return aplex.__version__ != '0.1', aplex.__file__.split('/')[1]\n"
        "if __name__ == '__main__':\n"
        f"    env = {{'env_vars': {{'PYTHONPATH': {str(tmp_path / 'there')!r}}}}}\n"
        "    make = functools.partial(RayAsyncPoolExecutor, num_cpus=0.1, log_to_driver=False)\n"
        "    with make(runtime_env=env) as pool:\n"
        "        print(pool.submit(about).result(60), pool.submit(beside.double, 21).result(60))\n"
    )
    command = [sys.executable, program]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (ran.stdout, ran.stderr) == ("(True, 'proc') 42\n", "")


@pytest.mark.parametrize(("code", "printed"), PROGRAMS)
def test_the_programs_of_the_page_run(
    ray_head: Head, code: str, printed: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(code, encoding="utf-8")
    command = [sys.executable, "-W", "error", program]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, printed, "")


# -- deaths -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_a_killed_worker_is_told_at_once(pool: RayAsyncPoolExecutor[Any], kind: str) -> None:
    work = time.sleep if kind == "function" else asyncio.sleep
    futures = [pool.submit(work, 60) for _ in range(2)]
    eventually(lambda: all(worker.in_flight == 1 for worker in pool.stats().workers))
    pids = pids_of(pool)
    time.sleep(0.05)  # until both have begun
    killed = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    errors = [future.exception(DEADLINE) for future in futures]
    assert time.monotonic() - killed < 1.0  # some 25 ms on an idle machine
    for error in errors:
        assert isinstance(error, WorkerLostError)
        assert error.pid in pids
        assert error.node
        assert error.exitcode in (-signal.SIGKILL, None)  # before Linux 6.15 nobody tells
    assert pool.submit(os.getpid).result(DEADLINE) not in pids


def test_a_work_with_retries_runs_again_elsewhere(
    pool: RayAsyncPoolExecutor[Any], tmp_path: Any
) -> None:
    def die_once(path: str) -> int:
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    path = str(tmp_path / "died")
    assert pool.options(retries=1).submit(die_once, path).result(DEADLINE)


def test_the_agent_dies_and_its_worker_ends(pool: RayAsyncPoolExecutor[Any]) -> None:
    """What was aboard counts as started, for nobody certifies how far it had got."""
    future = pool.submit(time.sleep, 60)
    eventually(lambda: any(worker.running for worker in pool.stats().workers))
    (worker,) = (worker for worker in pool.stats().workers if worker.running)
    agents = {
        link.arrival.pid: served.pid for served, link in pool._manager._backend._links.items()
    }
    (agent,) = (agent for agent, pid in agents.items() if pid == worker.pid)
    os.kill(agent, signal.SIGKILL)
    error = future.exception(DEADLINE)
    assert isinstance(error, WorkerLostError)
    eventually(lambda: not is_alive(worker.pid))


def test_the_connection_to_ray_dies_and_is_made_anew(pool: RayAsyncPoolExecutor[Any]) -> None:
    """Ray ends the actors of whoever has gone; the pool starts others."""
    pids, envoy = pids_of(pool), envoy_of(pool)
    future = pool.submit(time.sleep, 60)
    os.kill(envoy, signal.SIGKILL)
    assert isinstance(future.exception(30), WorkerLostError)
    assert pool.submit(os.getpid).result(60) not in pids
    assert envoy_of(pool) != envoy
    eventually(lambda: not any(map(is_alive, pids)))


# -- ends -------------------------------------------------------------------------------------


def test_shutdown_leaves_no_actor_and_no_process(pool: RayAsyncPoolExecutor[Any]) -> None:
    with nothing_left_alive():
        with make_pool("ray", pool_size=2) as other:
            other.submit(os.getpid).result(60)
            eventually(lambda: len(pids_of(other)) == 2)
            pids = pids_of(other)
    eventually(lambda: not any(map(is_alive, pids)))


def test_a_caller_that_is_killed_leaves_no_actor(ray_head: Head) -> None:
    program = (
        "import os, time; from aplex import RayAsyncPoolExecutor\n"
        "pool = RayAsyncPoolExecutor(num_cpus=0.1, log_to_driver=False)\n"
        "print(pool.submit(os.getpid).result(60),"
        " pool._manager._backend._launcher._envoy.process.pid, flush=True)\n"
        "pool.submit(time.sleep, 60).result()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None
        pids = [int(word) for word in caller.stdout.readline().split()]
        caller.kill()
    assert len(pids) == 2
    eventually(lambda: not any(map(is_alive, pids)))


def test_a_cluster_that_is_not_there_is_told(
    ray_head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_pool("ray", address="127.0.0.1:9", max_restarts=0) as pool:
        with pytest.raises(BrokenPoolError, match="found no cluster of Ray"):
            pool.submit(os.getpid).result(60)


def test_a_lost_node_is_told(ray_head: Head) -> None:
    """By the agent: Ray itself needs some 15 s to find out, and may leave the actor's process."""
    node = Node(ray_head, "second")
    try:
        with make_pool("ray", pool_size=1, resources={"second": 1}) as pool:
            future = pool.submit(time.sleep, 60)
            eventually(lambda: any(worker.running for worker in pool.stats().workers))
            (pid,) = pids_of(pool)
            killed = time.monotonic()
            node.kill_raylet()
            error = future.exception(DEADLINE)
            assert time.monotonic() - killed < 5
            assert isinstance(error, WorkerLostError)
            eventually(lambda: not is_alive(pid))
            waiting = pool.submit(abs, -1)  # for a node
            with pytest.raises(FutureTimeout):
                waiting.result(0.5)
            assert waiting.cancel()
    finally:
        node.stop()


def test_an_envoy_that_dies_early_loses_no_order(ray_head: Head) -> None:
    """Neither before it has joined, nor while its orders wait for a place."""
    with make_pool("ray", pool_size=1, resources={"nowhere": 1}) as pool:
        waiting = pool.submit(abs, -1)
        eventually(lambda: pool._manager._backend._launcher._envoy is not None)
        os.kill(envoy_of(pool), signal.SIGKILL)
        launcher = pool._manager._backend._launcher
        for _ in range(2):
            eventually(lambda: launcher._envoy is not None and launcher._envoy.joined)
            assert pool.stats().cluster_away is None
            first = launcher._envoy
            first.process.kill()
            eventually(lambda first=first: launcher._envoy not in (None, first))
        assert not waiting.done()
        assert waiting.cancel()


def test_a_pool_outlives_its_head(ray_head: Head, caplog: pytest.LogCaptureFixture) -> None:
    """The last test: the head that comes back ends with it. With no restarts at all."""
    caplog.set_level(logging.INFO, "aplex")
    with make_pool("ray", pool_size=1, max_restarts=0) as pool:
        assert pool.submit(abs, -1).result(60) == 1
        running = [pool.submit(time.sleep, 60), pool.submit(asyncio.sleep, 60)]
        with make_pool("ray", pool_size=1, max_restarts=0) as other:
            assert other.submit(abs, -1).result(60) == 1
            eventually(lambda: any(worker.running for worker in pool.stats().workers))
            ray_head.kill()
            for work in running:
                assert isinstance(work.exception(30), WorkerLostError)
            waiting = pool.submit(abs, -1)
            eventually(lambda: pool.stats().cluster_away)
            eventually(lambda: other.stats().cluster_away)
            unwanted = other.submit(abs, -1)
            start = time.monotonic()
            other.shutdown(cancel_futures=True)
            assert unwanted.cancelled()
            assert time.monotonic() - start < 3
        late = pool.options(deadline=0.3).submit(abs, -1)
        assert isinstance(late.exception(DEADLINE), TimeoutError)
        assert not waiting.done()
        head = Head(again=ray_head)
        try:
            assert waiting.result(90) == 1
            assert pool.stats().cluster_away is None
            pool.shutdown()
        finally:
            head.stop()
    said = [r.getMessage() for r in caplog.records if "the cluster is" in r.getMessage()]
    away = [line.partition(":")[0] for line in said if "the cluster is away: nothing ans" in line]
    assert len(away) == len(set(away)) >= 2  # the pool that other tests share, too
