"""Logic: the listener's thread, by itself. It is waited for with events, never by sleeping."""

from __future__ import annotations

import math
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from aplex._backends.listener import Listener
from aplex._wire.frames import PipeEnd, one_way

DEADLINE = 20.0  # seconds after which a test has failed


class Calls:
    """Writes down which calls were made, and lets a test wait for them."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self._changed = threading.Condition()

    def __call__(self, name: Any) -> Callable[[], None]:
        def call() -> None:
            with self._changed:
                self.made.append(name)
                self._changed.notify_all()

        return call

    def wait_for(self, count: int) -> list[Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.made) >= count, DEADLINE), self.made
            return list(self.made)


def unexpected(error: BaseException) -> None:
    """Stand for what is told of the end of a listener by an exception."""
    raise AssertionError("the listener has ended") from error


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener("test-listener", unexpected)
    made.start()
    yield made
    made.call_soon(made.stop)
    made.join()


def on_thread(listener: Listener, call: Callable[[], Any]) -> Any:
    """Make a call on the listener's thread and return what it returned."""
    returned: list[Any] = []
    done = threading.Event()

    def make() -> None:
        returned.append(call())
        done.set()

    listener.call_soon(make)
    assert done.wait(DEADLINE)
    return returned[0]


@pytest.fixture
def pair() -> Iterator[tuple[Any, Any]]:
    reading, writing = one_way()
    writing.set_blocking(False)
    yield reading, writing
    reading.close()
    writing.close()


# -- its thread -----------------------------------------------------------------------------


@pytest.mark.smoke
def test_it_has_one_daemon_thread_with_its_name(listener: Listener) -> None:
    thread = on_thread(listener, threading.current_thread)
    assert thread.name == "test-listener"
    assert thread.daemon
    assert on_thread(listener, listener.is_current) is True
    assert not listener.is_current()


def test_stop_ends_the_thread_and_frees_everything() -> None:
    listener = Listener("stopping", unexpected)
    listener.start()
    thread = on_thread(listener, threading.current_thread)
    assert listener._waker is not None
    listener.call_soon(listener.stop)
    listener.join()
    assert not thread.is_alive()
    assert listener._waker is None
    assert listener._wakee.fileno() == -1


def test_join_on_its_own_thread_returns_at_once(listener: Listener) -> None:
    assert on_thread(listener, listener.join) is None


def test_one_that_never_started_holds_nothing_and_can_be_joined_and_discarded() -> None:
    with socket.socket() as probe:
        lowest = probe.fileno()  # the lowest descriptor that is free
    listener = Listener("never", unexpected)
    listener.join()
    listener.call_soon(lambda: None)
    with socket.socket() as probe:
        assert probe.fileno() == lowest
    listener.discard()


def test_calls_before_the_start_are_made_after_it(calls: Calls) -> None:
    listener = Listener("late", unexpected)
    listener.call_soon(calls("early"))
    listener.start()
    assert calls.wait_for(1) == ["early"]
    listener.call_soon(listener.stop)
    listener.join()


def test_calls_to_one_that_has_stopped_are_ignored(calls: Calls) -> None:
    listener = Listener("stopped", unexpected)
    listener.start()
    listener.call_soon(listener.stop)
    listener.join()
    for _ in range(3):
        listener.call_soon(calls("too late"))
    assert calls.made == []


def test_sure_calls_to_one_that_has_stopped_are_made_here(calls: Calls) -> None:
    listener = Listener("stopped", unexpected)
    listener.start()
    listener.call_soon(listener.stop)
    listener.join()
    listener.call_surely(calls("late"))
    assert calls.made == ["late"]


def test_sure_calls_that_come_with_the_end_are_made_once(calls: Calls) -> None:
    for _ in range(50):
        listener = Listener("stopping", unexpected)
        listener.start()
        listener.call_soon(listener.stop)
        listener.call_surely(calls("made"))
        listener.join()
    assert calls.wait_for(50) == ["made"] * 50


# -- call_soon ------------------------------------------------------------------------------


def test_calls_are_made_in_order(listener: Listener, calls: Calls) -> None:
    for number in range(100):
        listener.call_soon(calls(number))
    assert calls.wait_for(100) == list(range(100))


def test_calls_from_many_threads_are_all_made(listener: Listener, calls: Calls) -> None:
    """Also those that come just when it is about to sleep."""

    def call(caller: int) -> None:
        for number in range(300):
            listener.call_soon(calls((caller, number)))

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = calls.wait_for(1200)
    for wanted in range(4):
        assert [number for caller, number in made if caller == wanted] == list(range(300))


def test_one_call_wakes_a_sleeping_listener_every_time(listener: Listener) -> None:
    for _ in range(500):
        assert on_thread(listener, lambda: True)


def test_a_call_may_ask_for_more_calls(listener: Listener, calls: Calls) -> None:
    def first() -> None:
        calls("first")()
        listener.call_soon(calls("second"))

    listener.call_soon(first)
    assert calls.wait_for(2) == ["first", "second"]


def test_calls_made_while_it_is_busy_need_no_room_in_the_waking_channel(
    listener: Listener, calls: Calls
) -> None:
    entered, leave = threading.Event(), threading.Event()

    def busy() -> None:
        entered.set()
        leave.wait(DEADLINE)

    listener.call_soon(busy)
    assert entered.wait(DEADLINE)
    for number in range(50_000):
        listener.call_soon(calls(number))
    leave.set()
    assert calls.wait_for(50_000)[-1] == 49_999


def test_a_full_waking_channel_is_no_hindrance(listener: Listener, calls: Calls) -> None:
    """It is full only if the listener has not read it yet: then it is about to look anyway."""
    entered, leave = threading.Event(), threading.Event()

    def busy() -> None:
        entered.set()
        leave.wait(DEADLINE)

    listener.call_soon(busy)
    assert entered.wait(DEADLINE)
    assert listener._waker is not None
    try:
        while True:
            listener._waker.send(b"\0" * 4096)
    except BlockingIOError:
        listener.call_soon(calls("made"))
    leave.set()
    assert calls.wait_for(1) == ["made"]


def failing(fault: Callable[[Listener], None]) -> BaseException:
    """Let a fault happen to a listener; return what is told of its end."""
    told: list[BaseException] = []
    listener = Listener("failing", told.append)
    listener.start()
    fault(listener)
    listener.join()
    assert listener._waker is None, "it holds something"
    (error,) = told
    return error


def test_a_callback_that_raises_ends_it_and_is_told() -> None:
    """It is a bug: who waits for what should have followed must not wait for ever."""

    def bad() -> None:
        raise ValueError("a bug")

    assert str(failing(lambda listener: listener.call_soon(bad))) == "a bug"
    late = failing(lambda listener: listener.call_soon(partial(listener.call_at, 0.0, bad)))
    assert str(late) == "a bug"


def test_a_selector_that_raises_ends_it_and_is_told() -> None:
    def break_selector(listener: Listener) -> None:
        def select(timeout: float | None) -> Any:
            raise OSError("no memory")

        listener._selector.select = select  # type: ignore[method-assign]
        listener.call_soon(lambda: None)

    assert str(failing(break_selector)) == "no memory"


def test_calls_that_are_left_at_its_end_can_be_made(calls: Calls) -> None:
    def bad() -> None:
        raise ValueError("a bug")

    told: list[BaseException] = []

    def failed(error: BaseException) -> None:
        told.append(error)
        listener.make_what_is_left()

    listener = Listener("failing", failed)
    for call in (bad, calls("one"), bad, calls("two")):
        listener.call_soon(call)
    listener.start()
    listener.join()
    assert [str(error) for error in told] == ["a bug"]
    assert calls.made == ["one", "two"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_callback_that_exits_does_not_end_the_listener(
    listener: Listener, calls: Calls, error: BaseException
) -> None:
    """A user's done-callback may run here."""

    def bad() -> None:
        raise error

    listener.call_soon(bad)
    listener.call_soon(calls("after"))
    assert calls.wait_for(1) == ["after"]


# -- timers ---------------------------------------------------------------------------------


def test_timers_fire_in_the_order_of_their_times(listener: Listener, calls: Calls) -> None:
    now = time.monotonic()

    def plan() -> None:
        for delay in (0.06, 0.02, 0.04):
            listener.call_at(now + delay, calls(delay))

    listener.call_soon(plan)
    assert calls.wait_for(3) == [0.02, 0.04, 0.06]
    assert time.monotonic() >= now + 0.06


def test_timers_of_one_time_fire_in_the_order_they_were_set(
    listener: Listener, calls: Calls
) -> None:
    when = time.monotonic() + 0.02
    listener.call_soon(lambda: [listener.call_at(when, calls(n)) for n in range(10)])
    assert calls.wait_for(10) == list(range(10))


def test_a_time_that_has_passed_fires_now(listener: Listener, calls: Calls) -> None:
    listener.call_soon(lambda: listener.call_at(0.0, calls("past")))
    assert calls.wait_for(1) == ["past"]


@pytest.mark.parametrize("seconds", [1e7, 1e12, 1e300, math.inf])
def test_a_time_far_away_is_no_hindrance(listener: Listener, calls: Calls, seconds: float) -> None:
    """Longer than a selector can wait."""
    on_thread(listener, lambda: listener.call_at(time.monotonic() + seconds, calls("never")))
    on_thread(listener, lambda: listener.call_at(time.monotonic() + 0.01, calls("soon")))
    assert calls.wait_for(1) == ["soon"]
    assert on_thread(listener, lambda: True)


def test_a_cancelled_timer_does_not_fire(listener: Listener, calls: Calls) -> None:
    def plan() -> None:
        first = listener.call_at(time.monotonic() + 0.01, calls("cancelled first"))
        listener.call_at(time.monotonic() + 0.03, calls("fired"))
        last = listener.call_at(time.monotonic() + 0.02, calls("cancelled later"))
        past = listener.call_at(0.0, calls("cancelled in the past"))
        first.cancel()
        last.cancel()
        past.cancel()

    listener.call_soon(plan)
    assert calls.wait_for(1) == ["fired"]
    assert on_thread(listener, lambda: list(listener._timers)) == []


def test_a_timer_may_be_cancelled_by_the_one_before(listener: Listener, calls: Calls) -> None:
    def plan() -> None:
        when = time.monotonic() + 0.01

        def first() -> None:
            second.cancel()
            calls("first")()

        listener.call_at(when, first)
        second = listener.call_at(when, calls("second"))
        listener.call_at(when, calls("third"))

    listener.call_soon(plan)
    assert calls.wait_for(2) == ["first", "third"]


# -- watching -------------------------------------------------------------------------------


def test_it_tells_when_an_end_can_be_read(
    listener: Listener, calls: Calls, pair: tuple[Any, Any]
) -> None:
    reading, writing = pair

    def readable() -> None:
        view = memoryview(bytearray(100))
        calls(bytes(view[: reading.read_into(view)]))()

    on_thread(listener, lambda: listener.watch(reading, readable))
    for text in (b"one", b"two"):
        writing.write([text])
        assert calls.wait_for(1)[-1] == text
        calls.made.clear()
    on_thread(listener, lambda: listener.unwatch(reading))
    writing.write([b"three"])
    on_thread(listener, lambda: None)
    assert calls.made == []


def test_it_tells_when_an_end_can_be_written(
    listener: Listener, calls: Calls, pair: tuple[Any, Any]
) -> None:
    reading, writing = pair
    try:
        while True:
            writing.write([b"x" * 65536])
    except BlockingIOError:
        pass

    def writable() -> None:
        listener.unwatch_writing(writing)
        calls("writable")()

    on_thread(listener, lambda: listener.watch_writing(writing, writable))
    on_thread(listener, lambda: None)
    assert calls.made == []
    view = memoryview(bytearray(10**6))
    reading.read_into(view)
    assert calls.wait_for(1) == ["writable"]


def test_it_watches_one_end_for_both(listener: Listener, calls: Calls) -> None:
    here, there = socket.socketpair()
    with here, there:

        def readable() -> None:
            calls(here.recv(100))()

        def writable() -> None:
            listener.unwatch_writing(here)
            calls("writable")()

        def both() -> None:
            listener.watch(here, readable)
            listener.watch_writing(here, writable)

        on_thread(listener, both)
        assert calls.wait_for(1) == ["writable"]
        there.send(b"hello")
        assert calls.wait_for(2)[1] == b"hello"
        on_thread(listener, lambda: listener.unwatch(here))
        assert on_thread(listener, lambda: len(listener._selector.get_map())) == 1


def test_a_callback_may_unwatch_what_is_ready_in_the_same_round(
    listener: Listener, calls: Calls
) -> None:
    """A socket is readable and writable at once; who comes first ends the watching."""
    here, there = socket.socketpair()
    with here, there:
        there.send(b"x")

        def readable() -> None:
            listener.unwatch(here)
            listener.unwatch_writing(here)
            calls("readable")()

        def both() -> None:
            listener.watch(here, readable)
            listener.watch_writing(here, calls("writable"))

        on_thread(listener, both)
        calls.wait_for(1)
        assert on_thread(listener, lambda: len(listener._selector.get_map())) == 1
        assert calls.made == ["readable"]


def test_a_callback_may_unwatch_another_end_that_is_ready_in_the_same_round(
    listener: Listener, calls: Calls
) -> None:
    """What belongs to that end may be freed already."""
    pairs = [socket.socketpair() for _ in range(2)]
    for _, there in pairs:
        there.send(b"x")

    def ready(name: str) -> Callable[[], None]:
        def call() -> None:
            for here, _ in pairs:
                listener.unwatch(here)
            calls(name)()

        return call

    def watch() -> None:
        for number, (here, _) in enumerate(pairs):
            listener.watch(here, ready(f"end {number}"))

    on_thread(listener, watch)
    calls.wait_for(1)
    assert on_thread(listener, lambda: len(listener._selector.get_map())) == 1
    assert len(calls.made) == 1
    for pair in pairs:
        for end in pair:
            end.close()


def test_another_callback_takes_the_place_of_the_first(
    listener: Listener, calls: Calls, pair: tuple[Any, Any]
) -> None:
    reading, writing = pair

    def readable() -> None:
        reading.read_into(memoryview(bytearray(10)))
        calls("second")()

    def watch() -> None:
        listener.watch(reading, calls("first"))
        listener.watch(reading, readable)

    on_thread(listener, watch)
    writing.write([b"x"])
    assert calls.wait_for(1) == ["second"]
    on_thread(listener, lambda: listener.unwatch(reading))


def test_an_end_that_is_not_watched_or_closed_can_be_unwatched(listener: Listener) -> None:
    reading, writing = one_way()
    on_thread(listener, lambda: listener.unwatch(reading))
    on_thread(listener, lambda: listener.unwatch_writing(writing))
    reading.close()
    writing.close()
    on_thread(listener, lambda: listener.unwatch(reading))
    on_thread(listener, lambda: listener.watch(reading, lambda: None))


@pytest.mark.skipif(sys.platform == "win32", reason="pipes cannot be waited for there")
def test_the_end_of_a_pipe_can_be_read(listener: Listener, calls: Calls) -> None:
    reading, writing = one_way()
    assert isinstance(reading, PipeEnd)

    def readable() -> None:
        listener.unwatch(reading)
        calls(reading.read_into(memoryview(bytearray(10))))()

    on_thread(listener, lambda: listener.watch(reading, readable))
    writing.close()
    assert calls.wait_for(1) == [0]
    reading.close()
