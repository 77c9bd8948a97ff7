"""How executors look to ``help()``, notebooks, and libraries that know the standard ones."""

from __future__ import annotations

import concurrent.futures
import inspect
import pydoc
import re
from typing import Any, get_type_hints

import pytest

from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor
from aplex._calls.settings import PoolSettings
from aplex.typing import PoolOptions, ProcessOptions

EXECUTORS = (ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor)


@pytest.mark.parametrize(
    ("executor", "options"),
    [(ProcessAsyncPoolExecutor, ProcessOptions), (ThreadAsyncPoolExecutor, PoolOptions)],
)
def test_every_option_is_a_parameter_with_its_default(executor: Any, options: Any) -> None:
    parameters = inspect.signature(executor).parameters
    assert set(parameters) == {"pool_size", "awaitable", *options.__optional_keys__}
    assert all(parameter.default is not parameter.empty for parameter in parameters.values())
    kinds = {name for name, each in parameters.items() if each.kind is not each.KEYWORD_ONLY}
    assert kinds == {"pool_size"}
    hints = get_type_hints(executor.__init__)
    for name, hint in get_type_hints(options).items():
        assert hints[name] == hint, name


@pytest.mark.parametrize("executor", EXECUTORS)
def test_defaults_are_those_of_the_settings(executor: Any) -> None:
    defaults = {name: each.default for name, each in inspect.signature(executor).parameters.items()}
    for name in ("mp_context", "preload"):
        defaults.pop(name, None)
    defaults.pop("start_timeout", None)
    settings = inspect.signature(PoolSettings).parameters
    assert defaults == {name: settings[name].default for name in defaults}


def test_help_shows_the_options() -> None:
    page = pydoc.plain(pydoc.render_doc(ProcessAsyncPoolExecutor))
    assert re.search(r"max_pending: '?int \| None'? = None", page[: page.index("shutdown(")])


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_number_of_workers_is_given_and_read_as_in_the_standard_library(executor: Any) -> None:
    """Dask, tqdm.contrib and others read ``_max_workers``."""
    for pool in (executor(3), executor(pool_size=3), executor(max_workers=3)):
        with pool:
            assert (pool.max_workers, pool._max_workers) == (3, 3)
            with pytest.raises(AttributeError):
                pool.max_workers = 4
            pool.resize(4)
            assert pool.max_workers == 4
    with pytest.raises(TypeError, match="pool_size and max_workers are the same: give one"):
        executor(3, max_workers=3)


def test_a_pool_is_made_with_the_arguments_of_a_standard_one() -> None:
    def count(pool: concurrent.futures.Executor) -> int:
        with pool:
            return sum(pool.map(abs, range(4)))

    arguments: dict[str, Any] = {"max_workers": 1, "initializer": int, "initargs": ("1",)}
    for kind in (concurrent.futures.ThreadPoolExecutor, ThreadAsyncPoolExecutor):
        assert count(kind(**arguments)) == 6
