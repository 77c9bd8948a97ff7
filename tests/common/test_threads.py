"""A thread that may be started again, as a signal handler may break into its start."""

from __future__ import annotations

import threading

import pytest

from aplex._common.threads import OnceThread


def test_the_target_runs_once_however_often_it_is_started() -> None:
    gate, ran = threading.Event(), []

    def target() -> None:
        ran.append(threading.get_ident())
        gate.wait()

    thread = OnceThread(target, "once")
    starts = [threading.Thread(target=thread.start) for _ in range(20)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert thread.is_alive()
    assert [thread.ident] == ran
    gate.set()
    thread.join()
    assert not thread.is_alive()
    assert len(ran) == 1


def test_a_start_that_was_broken_into_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the interrupt came before there was a thread, or after it had begun."""
    real = threading.Thread.start

    def before(_: threading.Thread) -> None:
        raise KeyboardInterrupt

    def after(thread: threading.Thread) -> None:
        real(thread)
        raise KeyboardInterrupt

    for interrupted in before, after:
        ran: list[int] = []
        thread = OnceThread(lambda ran=ran: ran.append(1), "once")  # type: ignore[misc]
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                thread.start()
        thread.start()
        while thread.ident is None:  # started, and not begun yet
            thread.start()
        thread.join()
        assert ran == [1]


def test_a_thread_that_was_given_up_never_runs() -> None:
    ran: list[int] = []
    thread = OnceThread(lambda: ran.append(1), "once")
    assert thread.give_up()
    assert not thread.give_up()
    thread.start()
    thread.join()
    assert thread.ident is None
    assert ran == []
