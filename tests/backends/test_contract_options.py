"""Contract: options of single works, by views of the executor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from aplex import LoadBalancer, PoolView
from aplex.load_balancers import Worker
from tests.support import works
from tests.support.callers import Caller, make_pool

pytestmark = pytest.mark.few_engines

NAMES = ("work", "self", "options", "retries", "quarantine_after")


def noting(metas: list[Any]) -> type[LoadBalancer]:
    """Return a load balancer that notes the meta of each work."""

    class Noting(LoadBalancer):
        def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
            metas.append(load_balancing_meta)
            return self.get_available_workers()[0]

    return Noting


@pytest.mark.smoke
def test_a_view_submits_and_maps_as_the_executor_does(caller: Caller) -> None:
    view = caller.through(caller.pool.options(retries=1))
    assert view.call(works.aadd, 1, y=2) == 3
    assert view.call(works.add, 1, y=2) == 3
    assert list(view.map(works.aadd, [1, 2], [3, 4])) == [4, 6]
    assert list(view.map(works.add, range(5), chunksize=2)) == [0, 1, 2, 3, 4]


def test_all_keyword_arguments_are_the_works(caller: Caller) -> None:
    """Also those that are named like an option, or like a parameter of ``submit``."""
    view = caller.through(caller.pool.options(retries=1))
    keywords = dict.fromkeys(NAMES, "theirs")
    assert view.call(dict, **keywords) == keywords


def test_the_load_balancer_gets_the_meta(new_caller: Callable[..., Caller]) -> None:
    metas: list[Any] = []
    caller = new_caller(load_balancer=noting(metas))
    view = caller.through(caller.pool.options(load_balancing_meta="near"))
    view.call(works.add, 1)
    list(view.map(works.add, [1]))
    caller.call(works.add, 1)
    list(caller.map(works.add, [1], load_balancing_meta="far"))
    view.call(works.add, 1, load_balancing_meta="here")
    list(view.map(works.add, [1], load_balancing_meta="there"))
    assert metas == ["near", "near", None, "far", "here", "there"]


def test_views_are_refined_and_never_changed() -> None:
    with make_pool("thread") as pool:
        view = pool.options(retries=2)
        finer = view.options(load_balancing_meta="x")
        assert isinstance(finer, PoolView)
        assert repr(view).startswith("<options retries=2 of <Thread")
        assert repr(finer).startswith("<options load_balancing_meta='x', retries=2 of <Thread")
        assert repr(finer.options(retries=0)).startswith("<options load_balancing_meta='x' of ")
        with pytest.raises(AttributeError):
            view.retries = 3  # type: ignore[attr-defined]


def test_a_view_starts_nothing_and_ends_with_its_executor() -> None:
    before = threading.active_count()
    pool = make_pool("thread")
    view = pool.options(retries=1)
    assert threading.active_count() == before
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        view.submit(works.add, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        view.map(works.add, [1])


@pytest.mark.parent_only
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"retries": -1}, ValueError, "retries must be at least 0, got -1"),
        ({"retries": 1.5}, TypeError, "retries must be an int"),
        ({"quarantine_after": 0}, ValueError, "quarantine_after must be at least 1"),
        ({"label": "x"}, TypeError, "unexpected option 'label'"),
        ({"no_such_option": 1}, TypeError, "unexpected option 'no_such_option'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_nonsense_options_are_refused_at_once(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with make_pool("thread") as pool:
        with pytest.raises(error, match=message):
            pool.options(**options)
