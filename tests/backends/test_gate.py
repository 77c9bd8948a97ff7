"""Logic: who reads the channels, the listener or a caller who waits. No process."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aplex._backends.linked.gate import Gate

DEADLINE = 10  # seconds


class Channel:
    """A pipe that is watched; what is read from it is kept."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.read: list[bytes] = []
        self.reader: list[int] = []  # the threads that read
        gate.watch(self.reading, self.readable)

    def readable(self) -> None:
        try:
            self.read.append(os.read(self.reading, 100))
        except BlockingIOError:
            return
        self.reader.append(threading.get_ident())

    def write(self, data: bytes = b"x") -> None:
        os.write(self.writing, data)

    def close(self) -> None:
        self.gate.unwatch(self.reading)
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.close()


@pytest.fixture
def channel(gate: Gate) -> Iterator[Channel]:
    made = Channel(gate)
    yield made
    made.close()


def wakes_the_listener(gate: Gate) -> bool:
    """Whether the listener, which waits for the gate, would wake now."""
    return bool(select.select([gate.fileno()], [], [], 0)[0])


def in_thread(call: Callable[..., Any], *args: Any) -> threading.Thread:
    thread = threading.Thread(target=call, args=args)
    thread.start()
    return thread


def never() -> bool:
    return False


def test_the_listener_reads_while_nobody_leads(gate: Gate, channel: Channel) -> None:
    assert not wakes_the_listener(gate)
    channel.write()
    assert wakes_the_listener(gate)
    gate.read()
    assert channel.read == [b"x"]
    assert not wakes_the_listener(gate)


@pytest.mark.smoke
def test_a_caller_reads_until_it_is_done(gate: Gate, channel: Channel) -> None:
    thread = in_thread(lambda: gate.read_until(lambda: len(channel.read) == 2, None, never))
    for count in 1, 2:
        channel.write()
        while len(channel.read) < count:
            os.sched_yield()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert channel.reader == [thread.ident] * 2


def test_while_a_caller_reads_the_listener_is_not_woken(gate: Gate, channel: Channel) -> None:
    woken: list[bool] = []

    def readable() -> None:
        woken.append(wakes_the_listener(gate))
        channel.readable()

    gate.watch(channel.reading, readable)
    channel.write()
    gate.read_until(lambda: bool(channel.read), None, never)
    assert woken == [False]


def test_what_comes_later_is_the_listeners_again(gate: Gate, channel: Channel) -> None:
    channel.write()
    gate.read_until(lambda: bool(channel.read), None, never)
    channel.write()
    assert wakes_the_listener(gate)


def test_at_rest_nobody_is_woken_until_somebody_arms(gate: Gate, channel: Channel) -> None:
    channel.write()
    gate.read_until(lambda: bool(channel.read), None, lambda: True)
    channel.write()
    assert not wakes_the_listener(gate)
    gate.arm()
    assert wakes_the_listener(gate)


def test_the_next_caller_reads_what_came_at_rest(gate: Gate, channel: Channel) -> None:
    for count in range(1, 4):
        channel.write()
        gate.read_until(lambda: len(channel.read) == count, None, lambda: True)  # noqa: B023
    assert not wakes_the_listener(gate)


def test_a_caller_gives_up_in_time(gate: Gate) -> None:
    before = time.monotonic()
    gate.read_until(never, before + 0.05, never)
    assert time.monotonic() - before >= 0.05
    gate.read_until(never, before, never)


def test_only_one_caller_reads_at_a_time(gate: Gate, channel: Channel) -> None:
    """The other waits for its future by other means; the first one settles it."""
    leading = threading.Event()

    def done() -> bool:
        leading.set()
        return bool(channel.read)

    thread = in_thread(gate.read_until, done, None, never)
    assert leading.wait(DEADLINE)
    gate.read_until(never, None, never)  # returns at once
    assert not gate.leads()
    channel.write()
    thread.join(DEADLINE)
    assert channel.reader == [thread.ident]


def test_a_callback_may_wait_for_another_result(gate: Gate, channel: Channel) -> None:
    """It runs in the thread that leads: nobody else would read for it."""
    inner: list[bool] = []

    def readable() -> None:
        channel.readable()
        if not inner:
            inner.append(gate.leads())
            channel.write()
            gate.read_until(lambda: len(channel.read) == 2, None, never)

    gate.watch(channel.reading, readable)
    channel.write()
    gate.read_until(lambda: bool(channel.read), None, never)
    assert channel.read == [b"x", b"x"]
    assert inner == [True]
    assert not gate.leads()


def test_who_settles_elsewhere_wakes_the_caller(gate: Gate) -> None:
    done = threading.Event()
    leading = threading.Event()

    def is_done() -> bool:
        leading.set()
        return done.is_set()

    thread = in_thread(gate.read_until, is_done, None, never)
    assert leading.wait(DEADLINE)
    done.set()
    gate.wake()
    thread.join(DEADLINE)
    assert not thread.is_alive()


@pytest.mark.parametrize("reads", [False, True])
def test_a_handler_that_breaks_into_the_poll_ends_it(
    gate: Gate, channel: Channel, reads: bool
) -> None:
    """CPython goes on with a system call when a handler has returned."""
    settled: list[bool] = []

    def handler(*_: object) -> None:
        if reads:  # what the outer call polls for
            channel.write()
            gate.read_until(lambda: bool(channel.read), None, never)
        settled.append(True)
        gate.wake()

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    began = time.monotonic()
    try:
        gate.read_until(lambda: bool(settled), began + DEADLINE, never)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < DEADLINE


def test_a_handler_in_the_middle_of_the_gate_does_not_lead(gate: Gate) -> None:
    with gate._lock:
        assert gate.is_broken_into()
        gate.read_until(never, None, never)  # returns at once
    assert not gate.is_broken_into()


def test_a_work_that_is_sent_while_one_looks_whether_any_is_wakes_the_listener(
    gate: Gate, channel: Channel
) -> None:
    """A finalizer may send it, in the middle of the look."""

    def quiet() -> bool:
        gate.arm()
        return True

    channel.write()
    gate.read_until(lambda: bool(channel.read), None, quiet)
    channel.write()
    assert wakes_the_listener(gate)


def test_a_wake_that_comes_too_late_harms_nobody(gate: Gate, channel: Channel) -> None:
    channel.write()
    gate.read_until(lambda: bool(channel.read), None, never)
    gate.wake()
    assert not wakes_the_listener(gate)


def test_the_listener_leaves_a_wake_to_the_caller_it_is_for(gate: Gate, channel: Channel) -> None:
    settled, leads, polls = threading.Event(), threading.Event(), threading.Event()

    def done() -> bool:
        before = settled.is_set()
        leads.set()
        polls.wait(DEADLINE)  # the listener settles between the look and the wait
        return before

    def readable() -> None:
        channel.readable()
        settled.set()
        gate.wake()

    gate.watch(channel.reading, readable)
    caller = in_thread(gate.read_until, done, None, never)
    leads.wait(DEADLINE)
    channel.write()
    gate.wake()  # for one before it: so the listener finds both
    gate.read()
    polls.set()
    caller.join(DEADLINE)
    assert not caller.is_alive()


def test_closing_sends_the_caller_away_first() -> None:
    gate = Gate()
    leading = threading.Event()

    def done() -> bool:
        leading.set()
        return False

    thread = in_thread(gate.read_until, done, None, never)
    assert leading.wait(DEADLINE)
    gate.close()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert gate._closed
    gate.read_until(never, None, never)  # returns at once
    gate.wake()
    gate.arm()


def test_an_interrupted_caller_leaves_the_gate_to_the_listener(
    gate: Gate, channel: Channel
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    gate.watch(channel.reading, interrupted)
    channel.write()
    with pytest.raises(KeyboardInterrupt):
        gate.read_until(never, None, never)
    gate.watch(channel.reading, channel.readable)
    assert wakes_the_listener(gate)


def test_a_channel_that_is_not_watched_any_more_is_not_read(gate: Gate, channel: Channel) -> None:
    gate.unwatch(channel.reading)
    gate.unwatch(channel.reading)
    channel.write()
    assert not wakes_the_listener(gate)
    gate.read()
    assert channel.read == []
