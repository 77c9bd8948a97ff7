"""The plugin for pytest: a test that leaves workers or works behind fails, and says what."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

GOOD = """
    from aplex import ThreadAsyncPoolExecutor

    def test_ends():
        with ThreadAsyncPoolExecutor(1) as pool:
            assert pool.submit(abs, -1).result() == 1

    def test_ends_soon():
        pool = ThreadAsyncPoolExecutor(1)
        pool.submit(abs, -1)
        pool.shutdown(wait=False)

    def test_is_garbage():
        assert ThreadAsyncPoolExecutor(1).submit(abs, -1).result() == 1

    def test_starts_nothing():
        globals()["unused"] = ThreadAsyncPoolExecutor(1)
"""
BAD = """
    import threading
    import pytest
    from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor

    kept = []
    release = threading.Event()

    @pytest.fixture(scope="module")
    def shared():
        with ThreadAsyncPoolExecutor(1) as pool:
            yield pool
            release.set()

    def test_forgets_a_pool(aplex_leaks):
        kept.append(ProcessAsyncPoolExecutor(1))
        kept[0].submit(abs, -1).result()

    def test_forgets_a_work(aplex_leaks, shared):
        shared.submit(release.wait)

    def test_leaves_a_pool_of_others_alone(aplex_leaks, shared):
        release.set()
"""


def test_who_cleans_up_passes(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\naplex_check_leaks = true\n")
    pytester.makepyfile(GOOD)
    result = pytester.runpytest_subprocess("-p", "no:xdist", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=4)


def test_who_does_not_is_told_what_is_left(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(BAD)
    result = pytester.runpytest_subprocess("-p", "no:xdist", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*ProcessAsyncPoolExecutor-* was not shut down: 1 worker, 0 unresolved works",
            "*ThreadAsyncPoolExecutor-*: 1 unresolved work",
        ]
    )
