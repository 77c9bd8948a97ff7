"""Runs the public tests of aiomultiprocess, as installed, against `aplex.compat.aiomultiprocess`.

A program: ``python their_tests.py``. It prints the number of tests, and of those that are left out.
In worker processes, the module of the tests is imported with the real library, which it does not
use there.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import sys
import types
import unittest
import warnings

import aplex.compat._aio_process
import aplex.compat._aio_queues
import aplex.compat.aiomultiprocess as ours

INTERNAL = "test_pool_worker_"  # of a class that aiomultiprocess does not export


def pretend() -> types.ModuleType:
    """Put our module in the place of theirs; return the package of their tests."""
    found = importlib.util.find_spec("aiomultiprocess")
    assert found is not None
    stand_in = types.ModuleType("aiomultiprocess")
    stand_in.__path__ = list(found.submodule_search_locations or ())
    parts = {"core": aplex.compat._aio_process, "scheduler": aplex.compat._aio_queues}
    pool = types.ModuleType("aiomultiprocess.pool")
    pool.ProxyException = ours.ProxyException  # type: ignore[attr-defined]
    pool.PoolWorker = None  # type: ignore[attr-defined]
    sys.modules["aiomultiprocess"] = stand_in
    for name, part in {**parts, "pool": pool}.items():
        sys.modules[f"aiomultiprocess.{name}"] = part
        setattr(stand_in, name, part)
    for name in ours.__all__:
        setattr(stand_in, name, getattr(ours, name))
    return stand_in


class Patient:
    """A context whose queues wait for what a worker's thread is about to send.

    Their test of ``exception_handler`` looks once, when the result is there. That the thread was
    quicker than the result is no promise of theirs: their pool only looks for results each 5 ms.
    """

    def Queue(self) -> object:  # noqa: N802 - its name in multiprocessing
        """Return a queue."""
        queue = ours.get_context().Queue()
        queue.get_nowait = functools.partial(queue.get, timeout=20)
        return queue


def tests_of(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    """Return the tests, flat."""
    found: list[unittest.TestCase] = []
    for each in suite:
        found += tests_of(each) if isinstance(each, unittest.TestSuite) else [each]
    return found


def main() -> int:
    """Run them."""
    pretend()
    from aiomultiprocess.tests import core, pool, scheduler

    assert core.amp.Pool is ours.Pool
    pool.get_context = Patient
    loader = unittest.TestLoader()
    found = [
        test
        for part in (core, pool, scheduler)
        for test in tests_of(loader.loadTestsFromModule(part))
    ]
    public = [test for test in found if INTERNAL not in test.id()]
    asyncio.set_event_loop(asyncio.new_event_loop())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        result = unittest.TextTestRunner(stream=sys.stderr, verbosity=2).run(
            unittest.TestSuite(public)
        )
    print(result.testsRun, len(result.skipped), len(found) - len(public))
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
