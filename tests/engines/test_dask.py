"""Workers on a Dask cluster: what Dask has a part in."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aplex import DaskAsyncPoolExecutor, WorkerLostError
from aplex._backends.remote.dask.cluster import DaskCluster
from aplex._backends.remote.dask.launcher import DaskLauncher
from tests.support import works
from tests.support.at_port import free_port, wait_until_gone
from tests.support.dask_cluster import LocalDask, needs
from tests.support.signals import Gate
from tests.support.waiting import eventually

DEADLINE = 15.0


def busy(pool: DaskAsyncPoolExecutor[bool]) -> int:
    """Return the process of the worker that has something to do, once there is one."""
    eventually(lambda: any(worker.in_flight for worker in pool.stats().workers))
    return next(worker.pid for worker in pool.stats().workers if worker.in_flight)


def test_works_run_on_the_cluster_and_leave_no_place_taken(dask: LocalDask) -> None:
    with DaskAsyncPoolExecutor(dask.file, 2) as pool:
        pool.start()
        assert len({worker.pid for worker in pool.stats().workers}) == 2
        assert list(pool.map(works.same, range(100))) == list(range(100))
        assert list(pool.stream(works.count_to, 100)) == list(range(100))
        assert sum(dask.taken().values()) == 2
        assert {worker.node for worker in pool.stats().workers} == {os.uname().nodename}
    dask.wait_until_free(1.0)


@pytest.mark.parametrize("kind", ["client", "asynchronous client", "address", "cluster"])
def test_a_cluster_is_told_by_what_dask_has_for_that(dask: LocalDask, kind: str) -> None:
    address = dask.client.scheduler.address

    async def run() -> int:
        from distributed import Client

        async with Client(address, asynchronous=True, set_as_default=False) as client:
            async with DaskAsyncPoolExecutor(client, 1, awaitable=True) as pool:
                return await pool.submit(works.add, 2, 2)

    class Cluster:
        scheduler_address = address

    if kind == "asynchronous client":
        assert asyncio.run(run()) == 4
        return
    given = {"client": dask.client, "address": address, "cluster": Cluster()}[kind]
    with DaskAsyncPoolExecutor(given, 1) as pool:
        assert pool.submit(works.add, 2, 2).result(DEADLINE) == 4


def test_where_dask_speaks_tls_the_works_do() -> None:
    """By certificates that are in memory only; without them nobody is let in."""
    needs("distributed")
    from distributed import LocalCluster, Security

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, protocol="tls",
            security=Security.temporary(), dashboard_address="127.0.0.1:0",
        ) as cluster,
        DaskAsyncPoolExecutor(cluster, 1) as pool,
    ):  # fmt: skip
        assert pool.submit(works.add, 2, 2).result(DEADLINE) == 4
        assert pool.submit(os.environ.get, "APLEX_TLS_KEY").result(DEADLINE) is None
        door = pool._gateway._backend._door  # type: ignore[attr-defined]
        assert door._tunnels is not None


def test_a_killed_worker_is_told_at_once_and_replaced(dask: LocalDask, gate: Gate) -> None:
    with DaskAsyncPoolExecutor(dask.file, 1) as pool:
        future = pool.submit(works.pass_gate, gate.path)
        victim = busy(pool)
        start = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(WorkerLostError) as caught:
            future.result(DEADLINE)
        assert time.monotonic() - start < 1
        assert (caught.value.pid, caught.value.exitcode) == (victim, -signal.SIGKILL)
        assert pool.submit(os.getpid).result(DEADLINE) != victim
    dask.wait_until_free()


def test_a_killed_dask_worker_takes_its_workers_along(new_dask, gate: Gate) -> None:
    """What it had started fails; and the anchor that Dask starts anew, ends."""
    dask = new_dask()
    for name in "ab":
        dask.add_worker(name)
    dask.wait_for_workers(2)
    with DaskAsyncPoolExecutor(dask.file, 2) as pool:
        pool.start()
        pids = [pool.submit(works.pass_gate, gate.path) for _ in range(2)]
        waiting = pool.submit(works.add, 4, 4)
        eventually(lambda: all(worker.in_flight for worker in pool.stats().workers))
        os.kill(dask.pids()["a"], signal.SIGKILL)
        eventually(lambda: any(each.done() for each in pids))
        [lost] = [each for each in pids if each.done()]
        error = lost.exception(0)
        assert isinstance(error, WorkerLostError)
        assert "what had started it is gone" in str(error)
        gate.open()
        assert waiting.result(DEADLINE) == 8
        eventually(lambda: sum(w.state == "serving" for w in pool.stats().workers) == 2, 30)
    dask.wait_until_free()


def test_a_retired_dask_worker_is_drained(dask: LocalDask, gate: Gate) -> None:
    for name in ("first", "second"):
        dask.add_worker(name)
    dask.wait_for_names("first", "second")
    with DaskAsyncPoolExecutor(dask.file, 1, workers=["first", "second"]) as pool:
        running = pool.submit(works.pass_gate, gate.path)
        first = busy(pool)
        taken = dask.taken()
        name = next(each for each in ("first", "second") if taken[each])
        dask.client.retire_workers(names=[name])
        assert pool.submit(os.getpid).result(DEADLINE) != first
        gate.open()
        running.result(DEADLINE)
        dask.client.retire_workers(names=["first", "second"])
    dask.wait_until_free()


def test_a_pool_is_as_big_as_its_cluster(dask: LocalDask) -> None:
    with DaskAsyncPoolExecutor(dask.file, "cluster", resources={"size": 1}) as pool:
        future = pool.submit(os.getpid)  # waits for a place
        dask.add_worker("one", threads=2, resources="size=2")
        future.result(DEADLINE)
        eventually(lambda: sum(w.state == "serving" for w in pool.stats().workers) == 2)
        dask.add_worker("two", resources="size=1")
        eventually(lambda: sum(w.state == "serving" for w in pool.stats().workers) == 3)
        dask.client.retire_workers(names=["one"])
        eventually(lambda: len(pool.stats().workers) == 1)
        assert pool.submit(works.add, 1, 1).result(DEADLINE) == 2
    dask.client.retire_workers(names=["one", "two"])


def test_orders_beyond_the_places_of_the_cluster_wait(dask: LocalDask) -> None:
    with DaskAsyncPoolExecutor(
        dask.file, max_pool_size=3, idle_timeout=0.4, resources={"late": 2}
    ) as pool:
        futures = [pool.submit(time.sleep, 0.1) for _ in range(6)]
        eventually(lambda: dask.taken()["-"] == 3)
        dask.add_worker("late", resources="late=3", threads=2)
        for future in futures:
            future.result(DEADLINE)
        eventually(lambda: len(pool.stats().workers) == 1)
        eventually(lambda: dask.taken()["-"] == 0)
    dask.client.retire_workers(names=["late"])


def test_a_pool_outlives_its_scheduler(
    new_dask, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """What runs ends, what waits goes on waiting, and workers are started when there is one again.

    With no restarts at all: a start that finds no scheduler has not failed. One of two orders had
    no place as yet.
    """
    caplog.set_level(logging.INFO, "aplex")
    cluster = new_dask()
    cluster.add_worker("a")
    cluster.wait_for_workers(1)
    with DaskAsyncPoolExecutor(cluster.file, 2, max_restarts=0) as pool:
        running = pool.submit(works.pass_gate, gate.path)
        busy(pool)
        eventually(lambda: sum(cluster.taken().values()) == 2)
        waiting = pool.submit(works.add, 1, 1)
        assert pool.stats().cluster_away is None
        cluster.scheduler.kill()
        eventually(lambda: pool.stats().cluster_away)
        eventually(lambda: not any(w.state == "serving" for w in pool.stats().workers))
        gate.open()
        running.result(DEADLINE)  # Dask's worker waits for it, for a while
        late = pool.options(deadline=0.3).submit(works.add, 2, 2)
        assert isinstance(late.exception(DEADLINE), TimeoutError)
        unwanted = pool.submit(works.add, 3, 3)
        assert unwanted.cancel()
        assert not waiting.done()
        cluster.start_scheduler()
        cluster.add_worker("b", threads=2)
        assert waiting.result(30) == 2
        eventually(lambda: sum(w.state == "serving" for w in pool.stats().workers) == 2)
        assert pool.stats().cluster_away is None
        assert pool.submit(works.add, 4, 4).result(DEADLINE) == 8
    cluster.wait_until_free()
    first, last = [r.getMessage() for r in caplog.records if "the cluster is" in r.getMessage()]
    assert "the cluster is away: the Dask scheduler at tcp://127.0.0.1:" in first
    assert last.endswith("the cluster is back")


def test_a_pool_whose_scheduler_is_gone_can_be_shut_down_at_once(new_dask) -> None:
    cluster = new_dask()
    cluster.add_worker("a")
    cluster.wait_for_workers(1)
    pool = DaskAsyncPoolExecutor(cluster.file, 1)
    assert pool.submit(works.add, 1, 1).result(DEADLINE) == 2
    cluster.scheduler.kill()
    eventually(lambda: pool.stats().cluster_away)
    eventually(lambda: not any(w.state == "serving" for w in pool.stats().workers))
    waiting = pool.submit(works.add, 1, 1)
    start = time.monotonic()
    pool.shutdown(cancel_futures=True)
    assert waiting.cancelled()
    assert time.monotonic() - start < 2


def test_a_killed_nanny_leaves_nobody_behind(new_dask, gate: Gate) -> None:
    """What it had may go on or not, as Dask likes; but all is accounted for."""
    dask = new_dask()
    for name in "ab":
        dask.add_worker(name)
    dask.wait_for_workers(2)
    port = free_port()
    with DaskAsyncPoolExecutor(dask.file, 2, port=port) as pool:
        futures = [pool.submit(works.pass_gate, gate.path) for _ in range(2)]
        waiting = pool.submit(works.add, 4, 4)
        eventually(lambda: sum(bool(w.in_flight) for w in pool.stats().workers) == 2)
        dask.nannies["a"].kill()
        gate.open()
        errors = [future.exception(DEADLINE) for future in futures]
        assert all(error is None or isinstance(error, WorkerLostError) for error in errors)
        assert waiting.result(DEADLINE) == 8
    dask.wait_until_free(30)
    wait_until_gone(port)


def test_a_pool_grows_and_shrinks_with_its_cluster_under_load() -> None:
    """By ``scale``, and by ``adapt``; of works none is lost, as Dask drains whom it retires."""
    distributed = pytest.importorskip("distributed")
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0}
    with (
        distributed.LocalCluster(n_workers=1, processes=True, **options) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        with DaskAsyncPoolExecutor(cluster, "cluster") as pool:

            def serving() -> int:
                return sum(worker.state == "serving" for worker in pool.stats().workers)

            items = iter(pool.map(works.slow_same, itertools.count(), chunksize=1, buffersize=20))
            assert [next(items) for _ in range(10)] == list(range(10))
            cluster.scale(3)
            got = _until(items, lambda: serving() == 3)
            cluster.scale(1)
            got += _until(items, lambda: serving() == 1 and len(cluster.workers) == 1)
            assert got == list(range(10, 10 + len(got)))
        with DaskAsyncPoolExecutor(cluster, max_pool_size=2, idle_timeout=0.5) as pool:
            # Dask believes of a task that it does not know that it takes half a second.
            soon = {"interval": "200ms", "wait_count": 2, "target_duration": "100ms"}
            cluster.adapt(minimum=0, maximum=2, **soon)
            items = iter(pool.map(works.slow_same, itertools.count(), chunksize=1, buffersize=20))
            got = _until(items, lambda: len({w.pid for w in pool.stats().workers if w.pid}) == 2)
            items.close()
            assert got == list(range(len(got)))
            eventually(lambda: len(cluster.workers) == 1, 30)
            assert pool.submit(works.add, 1, 1).result(DEADLINE) == 2
        eventually(lambda: not any(client.processing().values()))


def _until(items: Iterator[int], true: Callable[[], bool]) -> list[int]:
    """Take items until something is so."""
    got, end = [], time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        got.append(next(items))
    return got


def test_a_worn_worker_of_a_full_cluster_is_replaced(new_dask) -> None:
    """Its successor would wait for a place for ever: so it goes first."""
    dask = new_dask()
    dask.add_worker("a")
    dask.wait_for_workers(1)
    with DaskAsyncPoolExecutor(dask.file, 1, max_age=0.5) as pool:
        first = pool.submit(os.getpid).result(DEADLINE)
        eventually(lambda: pool.submit(os.getpid).result(DEADLINE) != first)
    with DaskAsyncPoolExecutor(dask.file, 1, max_tasks_per_child=3) as pool:
        pids = [pool.submit(os.getpid).result(DEADLINE) for _ in range(7)]
        assert len(set(pids)) >= 3
        assert max(pids.count(pid) for pid in pids) <= 3
    dask.wait_until_free()


def test_modules_and_aplex_itself_travel_to_a_cluster_that_lacks_them(
    new_dask, tmp_path: Path
) -> None:
    """Its Python has Dask, but no aplex, and a cloudpickle of its own."""
    import distributed

    packages = str(Path(distributed.__file__).parents[1])
    python = f"{sys.base_prefix}/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    dask = new_dask(python=python, env={"PYTHONPATH": packages})
    dask.add_worker("a")
    (tmp_path / "beside.py").write_text(
        "import aplex\ndef where(): return aplex.__file__, __file__\n"
        "def begin():\n    global BEGUN\n    BEGUN = True\n"
    )
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""
        import beside
        from aplex import DaskAsyncPoolExecutor
        def here(): return beside.BEGUN
        if __name__ == "__main__":
            with DaskAsyncPoolExecutor({str(dask.file)!r}, initializer=beside.begin) as pool:
                print(*pool.submit(beside.where).result(), pool.submit(here).result())
        """)
    )
    dask.wait_for_workers(1)
    said = subprocess.run(
        [sys.executable, str(program)], timeout=50, check=True, capture_output=True, text=True
    ).stdout.split()
    assert said[0].startswith("/proc/")
    assert said[0].endswith("/aplex/__init__.py")
    assert said[1].startswith("/proc/")
    assert said[1].endswith("/beside.py")
    assert said[2] == "True"


def test_without_dask_one_error_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'aplex\[dask\]'"):
        DaskAsyncPoolExecutor("127.0.0.1:1")


def test_dask_is_imported_with_the_first_executor_only() -> None:
    code = (
        "import sys, aplex.dask; sys.exit(any(n in sys.modules for n in ('dask', 'distributed')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)


@pytest.mark.parametrize(
    ("client", "options", "error"),
    [
        (3, {}, TypeError),
        ("127.0.0.1:1", {"pool_size": "all"}, TypeError),
        ("127.0.0.1:1", {"pool_size": 2, "max_pool_size": 3}, TypeError),
        ("127.0.0.1:1", {"max_pool_size": 0}, ValueError),
        ("127.0.0.1:1", {"ship": "every"}, TypeError),
        ("127.0.0.1:1", {"ship": ["no_such_module"]}, ValueError),
        ("127.0.0.1:1", {"listen": "0.0.0.0"}, ValueError),
        ("/no/such/file", {}, OSError),
    ],
)
def test_options_are_checked(client: object, options: dict, error: type[Exception]) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(error):
        DaskAsyncPoolExecutor(client, **options)


@pytest.mark.parametrize(("has", "need", "places"), [(1.0, 0.1, 10), (1.0, 0.4, 2), (0.0, 1.0, 0)])
def test_places_are_counted_by_resources(has: float, need: float, places: int) -> None:
    needs("distributed")
    cluster = DaskCluster("127.0.0.1:1")
    launcher = DaskLauncher(cluster, {"resources": {"GPU": need}}, least=1)
    worker = {"name": "a", "host": "127.0.0.1", "nthreads": 20, "resources": {"GPU": has}}
    assert launcher._places("tcp://127.0.0.1:2", worker) == places
