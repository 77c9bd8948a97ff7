"""Workers on a Dask cluster: what Dask has a part in."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from aplex import BrokenPoolError, DaskAsyncPoolExecutor, WorkerLostError
from tests.support import works
from tests.support.dask_cluster import LocalDask, needs
from tests.support.signals import Gate

DEADLINE = 15.0


def wait_until(true: object, seconds: float = DEADLINE) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)  # of what others do, nobody tells


def busy(pool: DaskAsyncPoolExecutor[bool]) -> int:
    """Return the process of the worker that has something to do, once there is one."""
    wait_until(lambda: any(worker.in_flight for worker in pool.stats().workers))
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
        wait_until(lambda: all(worker.in_flight for worker in pool.stats().workers))
        os.kill(dask.pids()["a"], signal.SIGKILL)
        wait_until(lambda: any(each.done() for each in pids))
        [lost] = [each for each in pids if each.done()]
        error = lost.exception(0)
        assert isinstance(error, WorkerLostError)
        assert "what had started it is gone" in str(error)
        gate.open()
        assert waiting.result(DEADLINE) == 8
        wait_until(lambda: sum(w.state == "serving" for w in pool.stats().workers) == 2, 30)
    dask.wait_until_free()


def test_a_retired_dask_worker_is_drained(dask: LocalDask, gate: Gate) -> None:
    for name in ("first", "second"):
        dask.add_worker(name)
    dask.wait_for_workers(4)
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
        wait_until(lambda: sum(w.state == "serving" for w in pool.stats().workers) == 2)
        dask.add_worker("two", resources="size=1")
        wait_until(lambda: sum(w.state == "serving" for w in pool.stats().workers) == 3)
        dask.client.retire_workers(names=["one"])
        wait_until(lambda: len(pool.stats().workers) == 1)
        assert pool.submit(works.add, 1, 1).result(DEADLINE) == 2
    dask.client.retire_workers(names=["one", "two"])


def test_orders_beyond_the_places_of_the_cluster_wait(dask: LocalDask) -> None:
    with DaskAsyncPoolExecutor(
        dask.file, max_pool_size=3, idle_timeout=0.4, resources={"late": 2}
    ) as pool:
        futures = [pool.submit(time.sleep, 0.1) for _ in range(6)]
        wait_until(lambda: dask.taken()["-"] == 3)
        dask.add_worker("late", resources="late=3", threads=2)
        for future in futures:
            future.result(DEADLINE)
        wait_until(lambda: len(pool.stats().workers) == 1)
        wait_until(lambda: dask.taken()["-"] == 0)
    dask.client.retire_workers(names=["late"])


def test_without_a_scheduler_what_runs_ends_and_what_waits_fails_with_a_reason(
    new_dask, gate: Gate
) -> None:
    import dask as dask_settings

    cluster = new_dask()
    cluster.add_worker("a")
    cluster.wait_for_workers(1)
    cluster.client.close()
    cluster._client = None
    with dask_settings.config.set({"distributed.comm.timeouts.connect": "1s"}):
        with DaskAsyncPoolExecutor(cluster.file, 1) as pool:
            running = pool.submit(works.pass_gate, gate.path)
            busy(pool)
            waiting = pool.submit(works.add, 1, 1)
            cluster.scheduler.kill()
            wait_until(lambda: not any(w.state == "serving" for w in pool.stats().workers))
            gate.open()
            running.result(DEADLINE)  # Dask's worker waits for it, for a while
            error = waiting.exception(DEADLINE)
            assert isinstance(error, BrokenPoolError)
            assert "the Dask scheduler" in str(error)


def test_a_killed_caller_leaves_no_place_taken(dask: LocalDask, tmp_path: Path) -> None:
    program = tmp_path / "caller.py"
    program.write_text(
        textwrap.dedent(f"""
        import asyncio, os, signal
        from aplex import DaskAsyncPoolExecutor
        if __name__ == "__main__":
            pool = DaskAsyncPoolExecutor({str(dask.file)!r}, 2)
            pool.start(at_least=2)
            pool.submit(asyncio.sleep, 60)
            os.kill(os.getpid(), signal.SIGKILL)
        """)
    )
    ended = subprocess.run([sys.executable, str(program)], timeout=50, check=False)
    assert ended.returncode == -signal.SIGKILL
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
