"""The contract of the executors on clusters, in a short form.

What is decided before a worker has a part in it, or is the same for all workers behind a link, the
engines of `tests/backends` prove. Here is one test of each promise that a connection, an agent or a
cluster could break.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tests.backends import (
    test_contract_cancel as cancel,
)
from tests.backends import (
    test_contract_deadlines as deadlines,
)
from tests.backends import (
    test_contract_deaths as deaths,
)
from tests.backends import (
    test_contract_errors as errors,
)
from tests.backends import (
    test_contract_lifespan as lifespan,
)
from tests.backends import (
    test_contract_logs as logs,
)
from tests.backends import (
    test_contract_map as maps,
)
from tests.backends import (
    test_contract_retries as retries,
)
from tests.backends import (
    test_contract_shutdown as shutdown,
)
from tests.backends import (
    test_contract_streams as streams,
)
from tests.backends import (
    test_contract_submit as submit,
)
from tests.backends.test_contract_deadlines import warm  # noqa: F401 - a fixture
from tests.backends.test_contract_logs import records  # noqa: F401 - the same
from tests.backends.test_contract_retries import count  # noqa: F401 - the same

CHOSEN = (
    submit.test_arguments_arrive,
    submit.test_thousands_of_works,
    submit.test_big_arguments_and_results,
    submit.test_the_initializer_sets_up_every_worker,
    cancel.test_a_running_coroutine_is_cancelled_and_cleans_up,
    cancel.test_a_running_function_of_a_process_is_interrupted,
    cancel.test_a_function_behind_another_one_is_cancelled_at_once,
    cancel.test_a_cancel_never_hits_another_work,
    deadlines.test_the_last_rung_replaces_the_worker,
    deadlines.test_a_timeout_of_a_coroutine,
    deaths.test_a_death_is_told_promptly_and_says_how,
    deaths.test_only_started_works_fail_the_others_run_elsewhere,
    deaths.test_a_death_in_the_middle_of_a_flood,
    deaths.test_an_idle_worker_that_dies_is_replaced,
    deaths.test_a_worker_that_dies_during_the_shutdown,
    errors.test_an_exception_carries_the_traceback_of_the_worker,
    errors.test_an_argument_that_the_worker_cannot_unpickle,
    errors.test_a_pool_whose_workers_cannot_start_is_broken_and_says_why,
    lifespan.test_entered_once_where_it_is_used_and_left_at_shutdown,
    lifespan.test_a_successor_has_the_place_of_the_one_before,
    logs.test_records_say_where_they_are_from,
    logs.test_what_was_logged_before_a_crash_comes,
    maps.test_results_come_in_the_order_of_the_items,
    maps.test_leaving_early_cancels_what_is_left,
    maps.test_map_keeps_no_results,
    retries.test_a_retried_work_runs_again_on_another_worker,
    shutdown.test_shutdown_without_wait_returns_at_once_and_finishes_the_works,
    shutdown.test_cancel_futures_cancels_what_waits_and_nothing_else,
    streams.test_items_come_in_order,
    streams.test_close_waits_until_the_cleanup_has_run,
    streams.test_a_death_comes_after_the_items_that_had_arrived,
)


def _on_any_engine(test: Callable[..., Any]) -> Callable[..., Any]:
    """Return a test that does not choose engines, nor event loops, itself."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        test(*args, **kwargs)

    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.args[:1] != ("engine",)]
    run.pytestmark = marks  # type: ignore[attr-defined]
    return run


for _test in CHOSEN:
    globals()[_test.__name__] = _on_any_engine(_test)
