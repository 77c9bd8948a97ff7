"""`aplex.compat.joblib`: the real joblib runs works in our pool."""

import multiprocessing
import os
import subprocess
import sys
import time
import warnings

import joblib
import numpy as np
import pytest

import aplex.compat.joblib
from aplex import ProcessAsyncPoolExecutor, WorkerLostError
from aplex.compat._shared_pool import shared_pool
from tests.compat import functions

pytestmark = pytest.mark.measured


@pytest.fixture(autouse=True, scope="module")
def ended():
    """No worker is left."""
    yield
    aplex.compat.joblib.shutdown()


@pytest.fixture
def parallel():
    """Calls a function for each item, by our back end."""

    def call(function, items, **options):
        jobs = (joblib.delayed(function)(item) for item in items)
        return joblib.Parallel(**{"n_jobs": 2, **options})(jobs)

    with joblib.parallel_config(backend="aplex"):
        yield call


@pytest.mark.parametrize("options", [{}, {"batch_size": 7}, {"n_jobs": 3}, {"pre_dispatch": 2}])
def test_results_come_in_order(parallel, options):
    assert parallel(functions.square, range(300), **options) == [n * n for n in range(300)]


def test_works_run_in_our_workers_which_are_kept(parallel):
    first = set(parallel(lambda _: os.getpid(), range(50), batch_size=1))
    assert os.getpid() not in first
    assert set(parallel(lambda _: os.getpid(), range(50), batch_size=1)) <= first
    assert first <= {worker.pid for worker in shared_pool(2).stats().workers}


def test_one_job_needs_no_pool(parallel):
    assert parallel(lambda _: os.getpid(), [1], n_jobs=1) == [os.getpid()]
    with pytest.raises(ValueError, match="n_jobs == 0"):
        parallel(functions.square, [1], n_jobs=0)


def test_as_many_as_cpus(parallel):
    assert joblib.effective_n_jobs(-1) == joblib.cpu_count()


def test_an_exception_is_raised_and_the_others_are_interrupted(parallel, tmp_path):
    def work(number):
        if number:
            return functions.note_and_nap(str(tmp_path), number)
        while not (tmp_path / "began 1").exists():
            time.sleep(0.01)
        raise LookupError("it")

    with pytest.raises(LookupError, match="it"):
        parallel(work, range(9), batch_size=1)
    deadline = time.monotonic() + 10
    while not (tmp_path / "interrupted 1").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert parallel(functions.square, range(3)) == [0, 1, 4]


def test_a_worker_that_dies_fails_its_batch_only(parallel, tmp_path):
    flag = str(tmp_path / "flag")
    with pytest.raises(WorkerLostError):
        parallel(lambda x: functions.die_once(flag, x), range(9))
    assert parallel(functions.square, range(3)) == [0, 1, 4]
    os.unlink(flag)
    with joblib.parallel_config(backend="aplex", retries=1):
        assert parallel(lambda x: functions.die_once(flag, x), range(9)) == list(range(9))


@pytest.mark.parametrize("kind", ["generator", "generator_unordered"])
def test_generators(parallel, kind):
    assert sorted(parallel(functions.square, range(5), return_as=kind)) == [0, 1, 4, 9, 16]


def test_a_generator_that_is_left(parallel):
    results = parallel(functions.square, range(1000), return_as="generator", batch_size=1)
    assert next(results) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joblib tells what was cancelled
        del results
    assert parallel(functions.square, range(3)) == [0, 1, 4]


def test_a_timeout(parallel):
    with pytest.raises(multiprocessing.TimeoutError):
        parallel(time.sleep, [20, 20], timeout=0.3)
    assert parallel(functions.square, range(3)) == [0, 1, 4]


def test_within_a_work_there_is_no_other_pool(parallel):
    assert parallel(functions.nested, range(5)) == [0, 0, 1, 5, 14]


def test_arrays(parallel):
    array = np.ones(1_000_000)
    assert parallel(functions.mean, [array] * 4) == [1.0] * 4


def test_threads_of_libraries_are_bounded(parallel):
    call = joblib.delayed(functions.threads)
    with joblib.parallel_config(backend="aplex", inner_max_num_threads=1):
        assert joblib.Parallel(n_jobs=2)([call(), call()]) == ["1", "1"]


def test_a_pool_of_ones_own():
    with ProcessAsyncPoolExecutor(2) as pool:
        with joblib.parallel_config(backend="aplex", n_jobs=-1, pool=pool):
            got = joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(9))
        assert set(got) <= {worker.pid for worker in pool.stats().workers}


def test_without_joblib_the_cure_is_named():
    for name in ("joblib", "dask"):
        code = f"import sys; sys.modules[{name!r}] = None; import aplex.compat.{name}"
        ran = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, check=False)
        assert f"needs {name}: pip install {name}".encode() in ran.stderr
