"""`aplex.compat.dask`: the real Dask runs tasks in our pool."""

import os
from functools import partial

import dask
import dask.array
import dask.bag
import pytest

import aplex.compat.dask
from aplex import ProcessAsyncPoolExecutor, WorkerLostError
from aplex.compat._shared_pool import shared_pool
from tests.compat import functions

pytestmark = pytest.mark.measured


@pytest.fixture(autouse=True, scope="module")
def ended():
    """No worker is left."""
    yield
    aplex.compat.dask.shutdown()


@pytest.fixture(autouse=True)
def _configured():
    with dask.config.set(scheduler="aplex", num_workers=2):
        yield


def numbers(count=40):
    return dask.bag.from_sequence(range(count), npartitions=8)


def test_bags_arrays_and_delayed_calls():
    assert numbers().map(functions.square).sum().compute() == sum(n * n for n in range(40))
    assert dask.array.ones((400, 400), chunks=100).sum().compute() == 160_000
    total = dask.delayed(sum)([dask.delayed(functions.square)(n) for n in range(5)])
    assert total.compute() == 30


def test_tasks_run_in_our_workers():
    pids = set(numbers().map(lambda _: os.getpid()).compute())
    assert os.getpid() not in pids
    assert pids <= {worker.pid for worker in shared_pool(2).stats().workers}


def test_equal_texts_have_the_same_hash_in_all_workers():
    words = dask.bag.from_sequence(["a", "b", "a", "c"] * 20, npartitions=8)
    counts = dict(words.foldby(lambda word: word, lambda n, _: n + 1, 0, lambda n, m: n + m))
    assert counts == {"a": 40, "b": 20, "c": 20}
    assert sorted(dict(words.groupby(lambda word: word).compute())) == ["a", "b", "c"]


def test_an_exception():
    with pytest.raises(LookupError, match="no 7"):
        numbers().map(partial(functions.fail_at, 7)).compute()
    assert numbers(5).sum().compute() == 10


def test_a_worker_that_dies(tmp_path):
    flag = str(tmp_path / "flag")
    with pytest.raises(WorkerLostError):
        numbers().map(partial(functions.die_once, flag)).compute()
    os.unlink(flag)
    found = numbers().map(partial(functions.die_once, flag)).sum().compute(retries=1)
    assert found == sum(range(40))


def test_a_pool_of_ones_own():
    with ProcessAsyncPoolExecutor(1) as pool:
        with dask.config.set(scheduler=aplex.compat.dask.scheduler(pool)):
            pids = set(numbers().map(lambda _: os.getpid()).compute())
        assert pids == {worker.pid for worker in pool.stats().workers}
    assert numbers(5).sum().compute(scheduler=aplex.compat.dask.get) == 10
