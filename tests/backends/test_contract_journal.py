"""Contract: ``map(…, journal=…)``: what the journal has is not run again, in every engine."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aplex import Journal, JournalError, Outcome, RemoteError, SerializationError
from tests.support import works
from tests.support.callers import Caller, everywhere

pytestmark = pytest.mark.few_engines


def records(path: Path) -> list[dict[str, Any]]:
    """What a journal says, without its head."""
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


@everywhere
@pytest.mark.parametrize("options", [{}, {"ordered": False}, {"chunksize": 4}, {"buffersize": 2}])
def test_a_second_run_yields_the_same_and_runs_only_what_is_new(
    caller: Caller, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "run.jsonl"
    for work in (works.add, works.aadd):
        path.unlink(missing_ok=True)
        items = [n % 15 for n in range(20)]
        first = caller.map(work, items, journal=path, **options)
        assert sorted(first) == sorted(items)
        assert len(records(path)) == 20
        more = [*items, 100, 3, 3]
        random.Random(1).shuffle(more)
        again = list(caller.map(work, iter(more), journal=path, **options))
        assert (again if options.get("ordered", True) else sorted(again)) == (
            more if options.get("ordered", True) else sorted(more)
        )
        assert len(records(path)) == 23


def test_several_iterables_and_outcomes(caller: Caller, tmp_path: Path) -> None:
    path = tmp_path / "j"
    for ordered in (True, False):
        path.unlink(missing_ok=True)
        for count in (3, 6):
            outcomes: list[Outcome[int]] = list(
                caller.map(
                    works.add, range(count), [10] * 9,
                    journal=path, ordered=ordered, return_outcomes=True,
                )
            )  # fmt: skip
            found = sorted((outcome.input, outcome.value) for outcome in outcomes)
            assert found == [((n, 10), n + 10) for n in range(count)]
            assert all(outcome.worker is not None for outcome in outcomes)
        assert len(records(path)) == 6


def test_what_was_done_before_the_loop_was_left_counts(caller: Caller, tmp_path: Path) -> None:
    path = tmp_path / "j"
    results: Any = caller.map(works.add, range(100), journal=path)
    taken = [next(results) for _ in range(7)]
    results.close()
    assert taken == list(range(7))
    assert [record["seq"] for record in records(path)] == [1, 2, 3, 4, 5, 6, 7]
    assert list(caller.map(works.add, range(100), journal=path)) == list(range(100))


@pytest.mark.parametrize("ordered", [True, False])
def test_what_has_failed_runs_again(caller: Caller, tmp_path: Path, ordered: bool) -> None:
    path = tmp_path / "j"
    options = {"journal": path, "ordered": ordered}
    with pytest.raises(LookupError):
        list(caller.map(works.fail_if, [3] * 5, range(5), **options))
    with pytest.raises(LookupError):
        list(caller.map(works.fail_if, [3] * 5, range(5), **options))
    outcomes = list(caller.map(works.fail_if, [3] * 5, range(5), return_outcomes=True, **options))
    assert sorted((outcome.input[1], outcome.ok) for outcome in outcomes) == [
        *((0, True), (1, True), (2, True), (3, False), (4, True))
    ]


def test_a_failure_may_be_kept(caller: Caller, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", retry_failed=False)
    given = ([2] * 3, range(3))
    list(caller.map(works.fail_if, *given, journal=journal, return_outcomes=True))
    outcomes = list(caller.map(works.fail_if, *given, journal=journal, return_outcomes=True))
    assert len(records(tmp_path / "j")) == 3
    assert isinstance(outcomes[2].exception, RemoteError)
    assert outcomes[2].exception.type_name == "LookupError"


def test_results_are_the_same_in_each_run(caller: Caller, tmp_path: Path) -> None:
    for codec, kept in (("json", [[1], {}]), ("pickle", ((1,), {}))):
        journal = Journal(tmp_path / codec, codec=codec)
        for _ in range(2):
            assert list(caller.map(works.echo, [1], journal=journal)) == [kept]


def test_a_codec_of_the_users(caller: Caller, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", codec=(hex, lambda text: int(text, 16)))
    for _ in range(2):
        assert list(caller.map(works.add, [255], journal=journal)) == [255]
    assert records(tmp_path / "j")[0]["value"] == "0xff"


def test_without_results_only_those_of_new_items_come(caller: Caller, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", codec=None)
    assert list(caller.map(works.add, [1, 2], journal=journal)) == [1, 2]
    assert "value" not in records(tmp_path / "j")[0]
    assert list(caller.map(works.add, [1, 3, 2, 4], journal=journal)) == [3, 4]


def test_what_the_codec_cannot_keep_is_a_failure(caller: Caller, tmp_path: Path) -> None:
    with pytest.raises(SerializationError, match=r"item 1 cannot be kept.*codec="):
        list(caller.map(works.add, [1j], [1], journal=Journal(tmp_path / "j", key=lambda *_: 1)))
    assert records(tmp_path / "j")[0]["ok"] is False


def test_items_that_are_no_json_need_a_key(caller: Caller, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"item 1 is no JSON .*key=function"):
        list(caller.map(works.echo, [object()], journal=tmp_path / "j"))
    journal = Journal(tmp_path / "k", key=lambda item: item.name, codec=None)
    assert len(list(caller.map(works.echo, [tmp_path], journal=journal))) == 1
    assert list(caller.map(works.add, [], journal=tmp_path / "empty")) == []


def test_paths_are_known_by_their_names(caller: Caller, tmp_path: Path) -> None:
    for _ in range(2):
        list(caller.map(str, [tmp_path], journal=tmp_path / "j"))
    assert len(records(tmp_path / "j")) == 1


def test_that_of_another_function_is_refused(caller: Caller, tmp_path: Path) -> None:
    list(caller.map(works.add, [1], journal=tmp_path / "j"))
    with pytest.raises(JournalError, match=r"is the journal of .*add, not of .*echo"):
        list(caller.map(works.echo, [1], journal=tmp_path / "j"))
    with pytest.raises(JournalError, match="results='json', not None"):
        list(caller.map(works.add, [1], journal=Journal(tmp_path / "j", codec=None)))
    with pytest.raises(TypeError, match="journal must be"):
        caller.map(works.add, [1], journal=5)
    with pytest.raises(TypeError):
        caller.map(5, [1], journal=tmp_path / "k")


def test_one_map_at_a_time_has_it(caller: Caller, tmp_path: Path) -> None:
    results: Any = caller.map(works.add, range(3), journal=tmp_path / "j")
    next(results)
    with pytest.raises(JournalError, match="another run"):
        caller.map(works.add, range(3), journal=tmp_path / "j")
    results.close()
    assert list(caller.map(works.add, range(3), journal=tmp_path / "j")) == [0, 1, 2]


def test_asynchronous_input(engine: str, tmp_path: Path, new_caller: Any, face: str) -> None:
    if face == "blocking":
        return
    closed = []

    async def numbers(count: int) -> AsyncIterator[int]:
        try:
            for n in range(count):
                yield n
        finally:
            closed.append(count)

    caller = new_caller()
    for count in (3, 5):
        results = caller.map(works.add, numbers(count), iter([1] * 9), journal=tmp_path / "j")
        assert list(results) == [n + 1 for n in range(count)]
    assert len(records(tmp_path / "j")) == 5
    assert closed == [3, 5]


def test_progress_counts_what_is_run(caller: Caller, tmp_path: Path) -> None:
    told: list[Any] = []
    list(caller.map(works.add, range(3), journal=tmp_path / "j"))
    list(caller.map(works.add, range(5), journal=tmp_path / "j", progress=told.append))
    assert max(progress.done for progress in told) == 2
    assert told[-1].total == 2


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="codec"):
        Journal("j", codec="yaml")
    with pytest.raises(TypeError, match="codec"):
        Journal("j", codec=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="key"):
        Journal("j", key=5)  # type: ignore[arg-type]
    assert repr(Journal("j")) == "Journal('j')"
