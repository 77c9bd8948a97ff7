"""Logic: how exceptions travel. ``encode_exception`` and ``decode_exception`` never fail.

What can be kept is kept: type, arguments, attributes, notes, causes. What cannot travel is
replaced by a stand-in that shows it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import copyreg
import gc
import json
import re
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Iterator
from typing import Any

import pytest

from aplex._wire.exceptions import decode_exception, encode_exception
from aplex.exceptions import RemoteError, RemoteTraceback, WorkerLostError
from tests.support import errors, lookalikes
from tests.wire.trips import innermost_cause, raised, there_and_back

# -- those that travel as they are ----------------------------------------------------------

WELL_BEHAVED = [
    ValueError("message", 42),
    KeyError("key"),
    Exception(),
    OSError(2, "No such file", "/path"),
    FileNotFoundError(2, "No such file", "/path", None, "/other"),
    BlockingIOError(11, "again", 7),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    ImportError("no", name="module", path="/path"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    StopIteration("value"),
    StopAsyncIteration(),
    asyncio.CancelledError("why"),
    asyncio.IncompleteReadError(b"half", 10),
    TimeoutError(),
    BaseException("base"),
    subprocess.CalledProcessError(2, ["false"], b"out", b"err"),
    json.JSONDecodeError("bad", "{x", 1),
    WorkerLostError(1, -9, 3),
    RuntimeError("x" * 10_000_000),
    ValueError("\ud800 lone surrogate", "\0"),
    errors.FrozenError(7, "text"),
    errors.KeywordError(code=7),
    errors.MismatchError(7, "text"),
    errors.TransformingError("it"),
    errors.NoArgumentsError(7),
    errors.MismatchOSError("/path"),
    errors.MismatchExit(status=7),
    errors.MismatchStop(value=7),
    errors.MismatchDecodeError(b"\xff"),
]


@pytest.mark.parametrize("error", WELL_BEHAVED, ids=lambda error: type(error).__name__)
def test_an_exception_keeps_type_arguments_and_attributes(error: BaseException) -> None:
    again = there_and_back(error)
    assert type(again) is type(error)
    assert again.args == error.args
    assert vars(again) == vars(error)
    assert str(again) == str(error)
    for name in ("errno", "strerror", "filename", "filename2", "code", "value", "start", "object"):
        assert getattr(again, name, None) == getattr(error, name, None)


@pytest.fixture
def tblib() -> Iterator[None]:
    """What whoever imports ``distributed`` has done to the pickling of all exceptions."""
    support = pytest.importorskip("tblib.pickling_support")
    before = dict(copyreg.dispatch_table)
    support.install()
    yield
    copyreg.dispatch_table.clear()
    copyreg.dispatch_table.update(before)


@pytest.mark.parametrize("error", WELL_BEHAVED, ids=lambda error: type(error).__name__)
@pytest.mark.usefixtures("tblib")
def test_so_it_does_where_tblib_pickles_exceptions(error: BaseException) -> None:
    test_an_exception_keeps_type_arguments_and_attributes(error)
    chained = there_and_back(raised(error))
    assert type(innermost_cause(chained)) is RemoteTraceback


def test_an_argument_that_cannot_be_compared_is_no_hindrance() -> None:
    again = there_and_back(ValueError(object()))
    assert type(again) is ValueError
    assert type(again.args[0]) is object


def test_a_class_that_only_this_program_knows_travels_by_value() -> None:
    class LocalError(Exception):
        pass

    again = there_and_back(LocalError("local"))
    assert type(again).__qualname__ == LocalError.__qualname__
    assert again.args == ("local",)


# -- those of which a part is left behind ---------------------------------------------------


def test_a_lock_is_made_new() -> None:
    again = there_and_back(errors.LockHoldingError("message"))
    assert type(again) is errors.LockHoldingError
    assert again.args == ("message",)
    assert again.detail == "kept"
    assert type(again.lock) is type(threading.Lock())
    assert again.lock.acquire(blocking=False)


def test_an_argument_that_cannot_travel_is_shown() -> None:
    error = errors.LockArgumentError()
    error.args = ("before", lookalikes.numbers(), "after")
    again = there_and_back(error)
    assert type(again) is errors.LockArgumentError
    assert (again.args[0], again.args[2]) == ("before", "after")
    assert repr(again.args[1]) == repr(error.args[1])
    assert str(again) == str(error)


def test_what_was_left_behind_is_told() -> None:
    error = errors.LockHoldingError("message")
    error.stream, error._hidden = lookalikes.numbers(), lookalikes.numbers()  # type: ignore[attr-defined]
    again = there_and_back(raised(error))
    assert again.__notes__ == ["Not as it was in the worker, as it cannot be pickled: stream"]
    assert type(again.stream).__name__ == "generator"
    assert repr(again.stream) == repr(error.stream)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"'send'.*generator was left behind in the worker"):
        again.stream.send(None)
    assert repr(there_and_back(again).stream) == repr(again.stream)


def test_what_holds_on_to_the_whole_program_is_left_behind() -> None:
    error: Any = ValueError("small")
    error.program = [re.compile("x"), threading.Lock(), *([object()] * 10), lookalikes.numbers()]
    error.program += [types.SimpleNamespace(number=number) for number in range(10_000)]
    again = there_and_back(error)
    assert again.args == ("small",)
    assert len(encode_exception(error)) < 100_000
    assert again.__notes__[0].endswith("program")


# -- those of popular libraries -------------------------------------------------------------


def test_a_proxy_is_made_from_a_copy_however_deep_it_lies() -> None:
    info = lookalikes.RequestInfo("http://here", lookalikes.proxy(host="here"))
    error = lookalikes.StatusError(info, (lookalikes.Owner(),), status=404)
    again = there_and_back(raised(error))
    assert type(again) is lookalikes.StatusError
    assert str(again) == str(error)
    assert again.request_info == again.args[0] == info
    assert type(again.headers) is type(info.headers)
    assert (again.status, again.headers["host"]) == (404, "here")
    assert type(again.history[0]).__name__ == "Owner"


def test_what_an_object_owns_is_not_closed_by_its_copy() -> None:
    error: Any = errors.LockHoldingError("message")
    error.owner = lookalikes.Owner()
    gc.collect()
    before = lookalikes.Owner.closed
    again = there_and_back(error)
    del again
    gc.collect()
    assert lookalikes.Owner.closed == before


def test_a_future_as_an_argument_keeps_its_exception() -> None:
    attempt: concurrent.futures.Future[Any] = concurrent.futures.Future()
    attempt.set_exception(errors.MismatchError(7, "inside"))
    again = there_and_back(raised(lookalikes.RetryError(attempt)))
    assert type(again) is lookalikes.RetryError
    assert again.last_attempt is again.args[0]
    inside = again.last_attempt.exception(timeout=0)
    assert type(inside) is errors.MismatchError
    assert (inside.code, str(inside)) == (7, "7: inside")


def test_one_that_locks_its_state_can_be_asked() -> None:
    error = lookalikes.RendezvousError(lookalikes.CallState(5), lookalikes.numbers(), 1.0)
    gc.collect()
    before = lookalikes.RendezvousError.ended_badly
    again = there_and_back(raised(error))
    assert type(again) is lookalikes.RendezvousError
    assert again.code() == 5
    assert str(again) == "status = 5"
    del again
    gc.collect()
    assert lookalikes.RendezvousError.ended_badly == before


@pytest.mark.parametrize("value", ["text", lookalikes.numbers()], ids=["plain", "unpicklable"])
def test_one_that_refuses_subclasses_is_made_as_its_class_wants_it(value: Any) -> None:
    error = lookalikes.FinalError.made("Model", [{"loc": ("number",), "input": value}])
    again = there_and_back(raised(error))
    assert type(again) is lookalikes.FinalError
    assert str(again) == str(error)
    assert again.args == ()
    assert again.lines[0]["loc"] == ("number",)


def test_a_syntax_error_with_a_constructor_of_its_own() -> None:
    error = lookalikes.MarkupError("tag mismatch", 76, 2, 8)
    again = there_and_back(raised(error))
    assert type(again) is lookalikes.MarkupError
    assert (str(again), again.args, again.code) == (str(error), error.args, 76)
    assert (again.position, again.msg) == ((2, 8), "tag mismatch")
    assert list(again.error_log) == ["one", "two"]
    assert (again.error_log[1], len(again.error_log)) == ("two", 2)


def test_an_object_of_c_shows_what_it_has() -> None:
    match = re.compile("b").search("abc")
    assert match is not None
    again = there_and_back(raised(lookalikes.MissingError("no extension", match)))
    assert type(again) is lookalikes.MissingError
    assert again.args == ("no extension",)
    assert repr(again.oid) == repr(match)
    assert (again.oid.string, again.oid.pos) == ("abc", 0)


def test_a_callback_travels_by_value() -> None:
    again = there_and_back(raised(lookalikes.UsageError("--coun", lambda: 3)))
    assert type(again) is lookalikes.UsageError
    assert str(again) == again.message == "No such option: --coun"
    assert again.args == (again.message,)
    assert again.callback() == 3


def test_slots_are_kept() -> None:
    again = there_and_back(raised(lookalikes.SlotsError(code=7)))
    assert type(again) is lookalikes.SlotsError
    assert (again.code, str(again)) == (7, "code 7")
    assert not hasattr(again, "unset")


def test_a_stand_in_is_an_instance_of_the_type_and_says_the_same() -> None:
    error = lookalikes.StreamError("lost", lookalikes.numbers())
    again = there_and_back(raised(error))
    for _ in range(2):
        assert isinstance(again, lookalikes.StreamError)
        assert isinstance(again, RemoteError)
        assert type(again).__name__ == "StreamError"
        assert str(again) == again.message == str(error)
        assert again.type_name == "tests.support.lookalikes.StreamError"
        assert (again.args, again.status) == (("lost",), 503)
        assert "in raised" in again.traceback
        again = there_and_back(again)


def test_where_no_stand_in_can_be_of_the_type_it_says_what_it_is_for() -> None:
    again = there_and_back(raised(lookalikes.SealedStreamError("lost", lookalikes.numbers())))
    assert type(again) is RemoteError
    assert again.type_name == "tests.support.lookalikes.SealedStreamError"
    assert again.message.startswith("lost at line")


def test_exceptions_that_hold_each_other_are_survived() -> None:
    one, other = errors.LockHoldingError("one"), errors.LockHoldingError("other")
    one.other, other.other = other, one  # type: ignore[attr-defined]
    one.itself = one  # type: ignore[attr-defined]
    again = there_and_back(one)
    assert type(again) is type(again.other) is errors.LockHoldingError
    assert str(again.other.other) == str(again) == "one"


# -- those that cannot travel ---------------------------------------------------------------


def test_where_reduce_raises_the_exception_is_rebuilt_without_it() -> None:
    again = there_and_back(errors.UnreducibleError("message"))
    assert type(again) is errors.UnreducibleError
    assert again.args == ("message",)


def test_an_exception_that_unpickles_to_another_type_is_rebuilt_as_itself() -> None:
    again = there_and_back(errors.ImpostorError("message"))
    assert type(again) is errors.ImpostorError
    assert again.args == ("message",)


def test_an_exception_that_cannot_be_rebuilt_has_a_stand_in() -> None:
    again = there_and_back(raised(errors.ExitingReduceError()))
    assert isinstance(again, errors.ExitingReduceError)
    assert isinstance(again, RemoteError)
    assert again.type_name == "tests.support.errors.ExitingReduceError"
    assert again.message == "again"
    assert "in raised" in again.traceback


@pytest.mark.parametrize(
    "gives", ["no exception", 42, ValueError("at unpickling"), SystemExit(6)], ids=repr
)
def test_one_that_is_something_else_in_the_parent_has_a_stand_in(gives: Any) -> None:
    data = encode_exception(errors.FickleError())
    with errors.elsewhere(gives):
        again = decode_exception(data)
    assert isinstance(again, errors.FickleError)
    assert isinstance(again, RemoteError)
    assert again.type_name.endswith("FickleError")


def test_a_stand_in_says_why() -> None:
    data = encode_exception(errors.FickleError())
    with errors.elsewhere(ValueError("at unpickling")):
        again = decode_exception(data)
    assert any("ValueError: at unpickling" in note for note in again.__notes__)


@pytest.mark.parametrize("kind", [errors.SilentError, errors.ExitingStrError])
def test_an_exception_that_cannot_be_shown_travels_all_the_same(kind: Any) -> None:
    again = there_and_back(raised(kind("args")))
    assert type(again) is kind
    assert again.args == ("args",)
    assert isinstance(innermost_cause(again), RemoteTraceback)


# -- the promise ----------------------------------------------------------------------------


@pytest.mark.smoke
def test_what_is_decoded_can_be_raised_and_shown() -> None:
    everything = [
        *WELL_BEHAVED,
        errors.LockHoldingError("x"),
        errors.LockArgumentError(),
        errors.UnreducibleError("x"),
        errors.ExitingReduceError(),
        errors.CodedGroup([ValueError()], 1),
    ]
    for error in everything:
        again = raised(there_and_back(raised(error)))
        assert type(error).__name__ in "".join(traceback.format_exception(again))
    assert sys.exc_info() == (None, None, None)
