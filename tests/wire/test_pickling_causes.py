"""Logic: what travels with exceptions: tracebacks, notes, causes, and the members of groups."""

from __future__ import annotations

import itertools
import traceback
from typing import Any

import pytest

from aplex._wire.exceptions import decode_exception, encode_exception
from aplex.exceptions import RemoteError, RemoteTraceback
from tests.support import errors
from tests.wire.trips import innermost_cause, raised, there_and_back

# -- the traceback --------------------------------------------------------------------------


def test_the_traceback_of_the_worker_is_the_innermost_cause() -> None:
    again = there_and_back(raised(ValueError("here")))
    assert isinstance(again.__cause__, RemoteTraceback)
    assert "in raised" in again.__cause__.text
    assert "ValueError: here" in again.__cause__.text
    assert "in raised" in "".join(traceback.format_exception(again))


def test_a_frozen_exception_gets_its_traceback_too() -> None:
    again = there_and_back(raised(errors.FrozenError(1, "a")))
    assert isinstance(again.__cause__, RemoteTraceback)


def test_a_traceback_that_cannot_be_formatted_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise RecursionError

    monkeypatch.setattr(traceback, "format_exception", refuse)
    data = encode_exception(raised(ValueError("here")))
    monkeypatch.undo()
    again = decode_exception(data)
    assert type(again) is ValueError
    assert "cannot be shown" in str(again.__cause__)


def test_a_traceback_too_deep_to_format_is_survived() -> None:
    error = Exception("innermost")
    for _ in range(3000):
        error = ExceptionGroup("group", [error])
    again = there_and_back(error)
    assert isinstance(again, BaseException)
    assert isinstance(innermost_cause(again), RemoteTraceback)


def test_an_exception_that_travelled_before_may_travel_again() -> None:
    """A work that submits to a pool of its own re-raises what it got there."""
    again = there_and_back(there_and_back(raised(ValueError("deep"))))
    assert type(again) is ValueError
    assert "ValueError: deep" in "".join(traceback.format_exception(again))


# -- notes ----------------------------------------------------------------------------------


def noted(error: BaseException, *notes: str) -> BaseException:
    for note in notes:
        error.add_note(note)
    return error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        errors.MismatchError(1, "x"),
        errors.LockHoldingError("x"),
        errors.ExitingReduceError(),
        ExceptionGroup("g", [ValueError()]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_notes_are_kept(error: BaseException) -> None:
    again = there_and_back(noted(error, "one", "two", "one"))
    assert again.__notes__[:3] == ["one", "two", "one"]


def test_an_exception_that_refuses_to_tell_its_notes_is_survived() -> None:
    again = there_and_back(raised(errors.NotelessError("x")))
    assert type(again) in (errors.NotelessError, RemoteError)
    assert "x" in str(again)


class Unshowable:
    def __str__(self) -> str:
        raise ValueError("do not look at me")

    __repr__ = __str__


@pytest.mark.parametrize("notes", [42, None, "text", [Unshowable()], [1, "two"], object()])
def test_notes_that_are_no_notes_are_survived(notes: Any) -> None:
    error = ValueError("x")
    error.__notes__ = notes
    again = there_and_back(raised(error))
    assert type(again) is ValueError
    assert again.args == ("x",)


# -- causes ---------------------------------------------------------------------------------


def caused(*chain: BaseException) -> BaseException:
    for error, cause in itertools.pairwise(chain):
        error.__cause__ = cause
    return chain[0]


def test_causes_are_kept_each_with_what_it_is() -> None:
    error = caused(
        ValueError("outer"), errors.MismatchError(1, "middle"), noted(OSError(5, "inner"), "note")
    )
    again = there_and_back(error)
    middle, inner = again.__cause__, again.__cause__.__cause__
    assert type(middle) is errors.MismatchError
    assert middle.code == 1
    assert type(inner) is OSError
    assert inner.errno == 5
    assert inner.__notes__ == ["note"]
    assert isinstance(inner.__cause__, RemoteTraceback)


def test_a_cause_that_cannot_travel_harms_only_itself() -> None:
    again = there_and_back(caused(ValueError("outer"), errors.ExitingReduceError(), KeyError("k")))
    assert type(again) is ValueError
    assert isinstance(again.__cause__, RemoteError)
    assert type(again.__cause__.__cause__) is KeyError


@pytest.mark.parametrize("length", [1, 2, 3])
def test_causes_that_go_round_in_a_circle_are_survived(length: int) -> None:
    chain = [ValueError(number) for number in range(length)]
    caused(*chain, chain[0])
    again = there_and_back(chain[0])
    for number in range(length):
        assert again.args == (number,)
        again = again.__cause__
    assert isinstance(again, RemoteTraceback)


def test_a_long_chain_of_causes_is_survived() -> None:
    again = there_and_back(caused(*[ValueError(number) for number in range(2000)]))
    assert type(again) is ValueError


# -- groups ---------------------------------------------------------------------------------


def test_a_group_keeps_its_tree() -> None:
    group = ExceptionGroup(
        "outer",
        [ValueError(1), ExceptionGroup("inner", [KeyError(2), noted(OSError(3, "x"), "n")])],
    )
    again = there_and_back(raised(group))
    assert repr(again) == repr(group)
    assert again.exceptions[1].exceptions[1].__notes__ == ["n"]


def test_awkward_exceptions_in_a_group_keep_what_they_keep_alone() -> None:
    group = ExceptionGroup(
        "group",
        [errors.MismatchError(7, "x"), errors.LockHoldingError("y"), errors.FrozenError(1, "z")],
    )
    again = there_and_back(group)
    assert [type(error) for error in again.exceptions] == [
        errors.MismatchError,
        errors.LockHoldingError,
        errors.FrozenError,
    ]
    assert again.exceptions[0].code == 7
    assert again.exceptions[1].detail == "kept"


def test_a_group_of_base_exceptions_stays_one() -> None:
    group = BaseExceptionGroup("group", [KeyboardInterrupt(), SystemExit(3)])
    again = there_and_back(group)
    assert type(again) is BaseExceptionGroup
    assert again.exceptions[1].code == 3


def test_a_group_that_cannot_travel_has_a_stand_in_that_shows_it() -> None:
    again = there_and_back(errors.CodedGroup([ValueError("leaf")], 7))
    assert isinstance(again, RemoteError | errors.CodedGroup)
    assert "code 7" in str(again)
    assert "leaf" in "".join(traceback.format_exception(again))
