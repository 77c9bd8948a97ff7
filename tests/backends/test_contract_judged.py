"""Contract: works that run again by their outcome, and bounds that follow what is borne."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from aplex import Journal, Outcome
from tests.support.callers import DEADLINE, Caller, everywhere

pytestmark = pytest.mark.few_engines


class Refused(Exception):
    """Says how long to wait, as exceptions of HTTP clients do."""

    def __init__(self, retry_after: float | None = None) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class Response:
    """What some clients raise has one."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


class HttpError(Exception):
    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__(headers)
        self.response = Response(headers)


class StandardError(Exception):
    """Has headers as those of ``urllib.error.HTTPError``: no `Mapping`."""

    def __init__(self, seconds: str) -> None:
        super().__init__(seconds)
        self.headers = Message()
        self.headers["Retry-After"] = seconds


def attempt(path: Path) -> int:
    """Note an attempt; return how many there were."""
    with path.open("a") as file:
        file.write("x")
    return len(path.read_text())


def good_at(path: Path, number: int, big: bytes = b"") -> int:
    made = attempt(path)
    if made < number:
        raise Refused
    return made + len(big)


async def agood_at(path: Path, number: int, big: bytes = b"") -> int:
    return good_at(path, number, big)


def refuse(path: Path, error: Exception) -> None:
    attempt(path)
    raise error


def times(path: Path) -> float:
    attempt(path)
    return time.monotonic()


WORKS = [good_at, agood_at]


@pytest.mark.smoke
@pytest.mark.parametrize("work", WORKS)
def test_a_work_runs_until_it_is_good(
    caller: Caller, tmp_path: Path, work: Callable[..., Any]
) -> None:
    view = caller.through(caller.pool.options(retry_on=Refused, backoff=0.001))
    future = view.submit(work, tmp_path / "made", 3)
    assert view.result(future) == 3
    assert caller.pool.stats().retried >= 2


@pytest.mark.parametrize("work", WORKS)
def test_it_runs_no_more_often_than_it_may(
    caller: Caller, tmp_path: Path, work: Callable[..., Any]
) -> None:
    view = caller.through(caller.pool.options(retry_on=Refused, backoff=0, max_attempts=2))
    assert isinstance(view.raised(work, tmp_path / "made", 9), Refused)
    assert len((tmp_path / "made").read_text()) == 2


def test_what_is_not_meant_is_raised_at_once(caller: Caller, tmp_path: Path) -> None:
    view = caller.through(caller.pool.options(retry_on=(Refused, OSError), backoff=0))
    assert isinstance(view.raised(refuse, tmp_path / "made", KeyError("k")), KeyError)
    assert len((tmp_path / "made").read_text()) == 1


def test_a_predicate_sees_the_outcome(caller: Caller, tmp_path: Path) -> None:
    def too_few(outcome: Outcome[int]) -> bool:
        return outcome.ok and outcome.result() < 3 and outcome.input[1] == 1

    view = caller.through(caller.pool.options(retry_on=too_few, backoff=0))
    assert view.call(good_at, tmp_path / "made", 1) == 3


def test_an_error_in_a_predicate_is_that_of_the_work(caller: Caller, tmp_path: Path) -> None:
    view = caller.through(caller.pool.options(retry_on=lambda outcome: 1 / 0))
    error = view.raised(good_at, tmp_path / "made", 1)
    assert isinstance(error, ZeroDivisionError)
    assert "retry_on" in error.__notes__[0]


def test_whatever_a_predicate_raises_the_future_is_done(caller: Caller, tmp_path: Path) -> None:
    class Leaving(BaseException):
        """No `Exception`, as what a work has raised may be: see `Outcome.result`."""

    def leave(_outcome: Outcome[Any]) -> bool:
        raise Leaving

    for option in ("retry_on", "slow_down"):
        view = caller.through(caller.pool.options(**{option: leave}))
        assert isinstance(view.raised(good_at, tmp_path / "made", 1), Leaving)


def test_big_arguments_are_there_again(caller: Caller, tmp_path: Path) -> None:
    view = caller.through(caller.pool.options(retry_on=Refused, backoff=0))
    assert view.call(good_at, tmp_path / "made", 3, bytes(300_000)) == 300_003


def test_the_backoff_is_waited_for(caller: Caller, tmp_path: Path) -> None:
    asked: list[int] = []

    def backoff(attempts: int) -> float:
        asked.append(attempts)
        return 0.05

    view = caller.through(caller.pool.options(retry_on=Refused, backoff=backoff))
    began = time.monotonic()
    assert view.call(good_at, tmp_path / "made", 3) == 3
    assert time.monotonic() - began >= 0.1
    assert asked == [1, 2]


@pytest.mark.parametrize(
    "error",
    [
        Refused(0.15),
        HttpError({"Retry-After": "0.15"}),
        HttpError({"retry-after": "0.15"}),
        StandardError("0.15"),
    ],
    ids=["attribute", "header", "small", "urllib"],
)
def test_what_the_server_asks_for_is_waited_for(
    caller: Caller, tmp_path: Path, error: Exception
) -> None:
    view = caller.through(
        caller.pool.options(retry_on=type(error), backoff=0, max_attempts=2, limit_key="k")
    )
    began = time.monotonic()
    assert type(view.raised(refuse, tmp_path / "made", error)) is type(error)
    assert time.monotonic() - began >= 0.15


def test_a_server_cannot_ask_to_wait_for_ever(caller: Caller, tmp_path: Path) -> None:
    view = caller.through(
        caller.pool.options(retry_on=HttpError, backoff=0, max_attempts=2, limit_key="k")
    )
    error = HttpError({"Retry-After": "inf"})
    assert isinstance(view.raised(refuse, tmp_path / "made", error), HttpError)


def test_all_works_of_the_key_wait_when_one_is_told_to(caller: Caller, tmp_path: Path) -> None:
    options = {"slow_down": Refused, "limit_key": "server", "max_concurrency": 1}
    view = caller.through(caller.pool.options(**options))
    began = time.monotonic()
    refused = view.submit(refuse, tmp_path / "made", Refused(0.2))
    other = view.submit(times, tmp_path / "other")
    assert isinstance(view.error(refused), Refused)
    assert view.result(other) - began >= 0.2


def test_a_work_that_waits_for_its_next_attempt_can_be_cancelled(
    new_caller: Callable[..., Caller], tmp_path: Path
) -> None:
    caller = new_caller()
    view = caller.through(caller.pool.options(retry_on=Refused, backoff=lambda _: 600.0))
    future = view.submit(good_at, tmp_path / "made", 2)
    end = time.monotonic() + DEADLINE
    while caller.pool.stats().retried == 0:  # nothing else tells when the backoff begins
        assert time.monotonic() < end
        caller.call(abs, 1)
    assert view.cancel(future)
    with pytest.raises(caller.Cancelled):
        view.result(future)
    caller.assert_idle()


def test_a_deadline_is_for_all_attempts(caller: Caller, tmp_path: Path) -> None:
    view = caller.through(
        caller.pool.options(retry_on=Refused, backoff=lambda _: 600.0, deadline=0.3)
    )
    assert isinstance(view.raised(good_at, tmp_path / "made", 2), TimeoutError)


def test_the_number_of_a_work_is_that_of_all_its_attempts(
    new_caller: Callable[..., Caller], tmp_path: Path
) -> None:
    caller = new_caller()
    view = caller.through(caller.pool.options(retry_on=Refused, backoff=0))
    future = view.submit(good_at, tmp_path / "made", 3)
    number = future.id
    view.result(future)
    assert future.id == number
    stats = caller.pool.stats()
    assert (stats.failed, stats.pending) == (0, 0)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_map_gets_the_last_outcomes(caller: Caller, tmp_path: Path, *, ordered: bool) -> None:
    view = caller.through(caller.pool.options(retry_on=Refused, backoff=0))
    paths = [tmp_path / str(number) for number in range(20)]
    assert list(view.map(good_at, paths, [2] * 20, ordered=ordered)) == [2] * 20


def test_the_end_of_the_executor_waits_for_the_next_attempt(
    new_caller: Callable[..., Caller], tmp_path: Path
) -> None:
    caller = new_caller()
    view = caller.through(caller.pool.options(retry_on=Refused, backoff=lambda _: 0.1))
    future = view.submit(good_at, tmp_path / "made", 3)
    caller.pool.shutdown(wait=False)
    assert view.result(future) == 3


def test_an_adaptive_bound_is_shown(new_caller: Callable[..., Caller], tmp_path: Path) -> None:
    caller = new_caller()
    view = caller.through(
        caller.pool.options(slow_down=Refused, max_concurrency="auto", limit_key="server")
    )
    assert isinstance(view.raised(refuse, tmp_path / "made", Refused()), Refused)
    (limit,) = caller.pool.stats().limits
    assert (limit.key, limit.limit, limit.refused, limit.running) == ("server", 4, 1, 0)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_concurrency": "auto"}, "slow_down"),
        ({"max_concurrency": "some"}, "'auto'"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"backoff": -1}, "backoff"),
    ],
)
@pytest.mark.parent_only
def test_wrong_values_are_refused(caller: Caller, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        caller.pool.options(**options)


@pytest.mark.parametrize("name", ["slow_down", "retry_on"])
@pytest.mark.parametrize("value", [7, (), (int,), "Refused", int])
@pytest.mark.parent_only
def test_signs_are_exceptions_or_predicates(caller: Caller, name: str, value: object) -> None:
    with pytest.raises(TypeError, match=name):
        caller.pool.options(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parent_only
def test_chunks_and_streams_are_not_judged(caller: Caller) -> None:
    view = caller.through(caller.pool.options(retry_on=Refused))
    with pytest.raises(ValueError, match="chunksize"):
        list(view.map(abs, range(4), chunksize=2))
    with pytest.raises(ValueError, match="chunksize"):
        list(view.map(abs, range(4), chunksize="auto", return_outcomes=True))
    with pytest.raises(ValueError, match="stream"):
        view.stream(iter, [1])


def refuse_odd(folder: Path, number: int) -> int:
    """Refuse odd numbers once, and 5 always."""
    made = attempt(folder / str(number))
    if number == 5 or (number % 2 and made < 2):
        raise Refused
    return number


async def arefuse_odd(folder: Path, number: int) -> int:
    return refuse_odd(folder, number)


@everywhere
@pytest.mark.parametrize("work", [refuse_odd, arefuse_odd])
def test_a_map_has_the_last_outcome_of_each_item(
    caller: Caller, tmp_path: Path, work: Callable[..., Any]
) -> None:
    options = {"retry_on": Refused, "backoff": 0.001, "max_attempts": 3, "slow_down": Refused}
    view = caller.through(caller.pool.options(max_concurrency="auto", **options))
    for ordered in (True, False):
        folder = tmp_path / str(ordered)
        folder.mkdir()
        outcomes = list(
            view.map(work, [folder] * 8, range(8), ordered=ordered, return_outcomes=True)
        )
        assert sorted(o.input for o in outcomes) == [(folder, n) for n in range(8)]
        assert not ordered or [o.input[1] for o in outcomes] == list(range(8))
        assert [o.input[1] for o in outcomes if not o.ok] == [5]
        assert all(o.value == o.input[1] for o in outcomes if o.ok)
        made = {n: len((folder / str(n)).read_text()) for n in range(8)}
        assert made == {n: 3 if n == 5 else 1 + n % 2 for n in range(8)}


@everywhere
@pytest.mark.parametrize("work", [refuse_odd, arefuse_odd])
def test_a_journal_has_the_last_outcome_of_each_item(
    caller: Caller, tmp_path: Path, work: Callable[..., Any]
) -> None:
    options = {"retry_on": Refused, "backoff": 0.001, "max_attempts": 3}
    view = caller.through(caller.pool.options(**options))
    for ordered in (True, False):
        folder = tmp_path / str(ordered)
        folder.mkdir()
        journal = Journal(folder / "run.jsonl", key=lambda _folder, number: number)
        ends = {"journal": journal, "ordered": ordered, "return_outcomes": True}
        first = list(view.map(work, [folder] * 8, range(8), **ends))
        assert sorted(o.input[1] for o in first) == list(range(8))
        assert [type(o.exception) for o in first if not o.ok] == [Refused]
        again = list(view.map(work, [folder] * 9, range(9), **ends))
        assert {o.input[1]: o.value for o in again if o.ok} == {n: n for n in range(9) if n != 5}
        made = {n: len((folder / str(n)).read_text()) for n in range(9)}
        assert made == {n: 6 if n == 5 else 1 + n % 2 for n in range(9)}  # 5 once more
