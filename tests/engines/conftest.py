"""Clusters. Where one is not installed, its tests skip; in the gate they fail then."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.backends.conftest import gate, new_caller, new_gate, signals  # noqa: F401
from tests.support import works
from tests.support.callers import FACES, Caller, caller_of
from tests.support.dask_cluster import LocalDask, needs
from tests.support.engines import needs_ray
from tests.support.ray_head import Head

ON_RAY = {
    "test_a_retried_work_runs_again_on_another_worker",
    "test_only_started_works_fail_the_others_run_elsewhere",
    "test_entered_once_where_it_is_used_and_left_at_shutdown",
    "test_records_say_where_they_are_from",
    "test_the_initializer_sets_up_every_worker",
    "test_shutdown_without_wait_returns_at_once_and_finishes_the_works",
    "test_a_pool_keeps_its_promises_whoever_connects",
    "test_the_first_way_that_works_is_taken",
}
"""Of the contract, what runs on Ray though it makes executors of its own, which takes seconds."""
PLACES = 6
"""Of each of the two Dask workers."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out on Ray what it can influence no more than Dask can, and takes long."""
    left_out = [item for item in items if _is_dear(item)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def _is_dear(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    if callspec is None or callspec.params.get("engine") != "ray":
        return False
    return item.name.partition("[")[0] not in ON_RAY


@pytest.fixture(scope="session")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDask]:
    """The Dask cluster of all tests, with two Dask workers."""
    needs("distributed")
    cluster = LocalDask(tmp_path_factory.mktemp("dask"))
    for name in "ab":
        cluster.add_worker(name, threads=PLACES)
    os.environ["APLEX_TEST_DASK"] = str(cluster.file)
    try:
        cluster.wait_for_workers(2)
        yield cluster
    finally:
        os.environ.pop("APLEX_TEST_DASK", None)
        cluster.close()


@pytest.fixture
def new_dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Make clusters of the test's own."""
    needs("distributed")
    clusters: list[LocalDask] = []

    def make(**options: object) -> LocalDask:
        clusters.append(LocalDask(tmp_path_factory.mktemp("dask"), **options))  # type: ignore[arg-type]
        return clusters[-1]

    yield make
    for cluster in clusters:
        cluster.close()


@pytest.fixture(scope="session")
def ray(ray_head: Head) -> Head:
    """The head of Ray of all tests; drivers find it by the environment."""
    return ray_head


@pytest.fixture(params=["blocking"])
def face(request: pytest.FixtureRequest) -> str:
    """The face of executors of a test's own; those that are shared have both."""
    return request.param


@pytest.fixture(params=["dask", pytest.param("ray", marks=needs_ray)])
def engine(request: pytest.FixtureRequest) -> str:
    """An engine whose cluster is there."""
    request.getfixturevalue(request.param)
    return request.param


def _shared() -> list[object]:
    marks = {"dask": (), "ray": (needs_ray,)}
    return [
        pytest.param((name, "stock", one), id=f"{name}-stock-{one}", marks=marks[name])
        for name in marks
        for one in FACES
    ]


@pytest.fixture(scope="module", params=_shared())
def shared(request: pytest.FixtureRequest) -> Iterator[Caller]:
    """A caller with two warm workers, for all tests that ask for one."""
    chosen, _, its_face = request.param
    request.getfixturevalue(chosen)
    caller = caller_of(its_face, chosen, pool_size=2)
    for work in (works.where, works.awhere):
        met: set[object] = set()
        while len(met) < 2:
            met.add(caller.call(work)[:2])
    yield caller
    caller.close()


@pytest.fixture
def caller(shared: Caller) -> Iterator[Caller]:
    """The shared caller; no work is left in its executor."""
    yield shared
    shared.assert_idle()


@pytest.fixture
def processes() -> bool:
    return True


@pytest.fixture
def whole_matrix() -> None:
    """What ``everywhere`` asks for: here all that there is."""
