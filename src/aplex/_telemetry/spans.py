"""Spans of works, made in the parent after the works have ended: no worker has a part in it."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import deque
from typing import Any, Final, Self

from aplex._calls.gateway import Gateway
from aplex._observe.attempts import Attempt, Attempts
from aplex._observe.crew import Crew, Member
from aplex._observe.feed import Feed
from aplex._observe.history import LOST
from aplex._observe.recorder import Recorder
from aplex._observe.source import Observable
from aplex._telemetry.callers import Callers

_log = logging.getLogger("aplex")
PAUSE: Final = 0.2
"""Seconds after the end of a work in which more are gathered, before their spans are made."""


class WorkSpans:
    """Makes a span of OpenTelemetry of each attempt of each work of a pool.

    Made by `aplex.telemetry.opentelemetry`. It goes on until `stop`, or the end of the pool, and
    may be a context manager, which stops at its end.
    """

    def __init__(self, gateway: Gateway, provider: Any) -> None:
        """Use `aplex.telemetry.opentelemetry`."""
        from opentelemetry import context

        from aplex._telemetry.tracer import Tracer

        self._gateway = weakref.ref(gateway)  # its end is the end of the pool
        self._manager: Observable = gateway.manager
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._draining = False
        self._stopped = False
        self._complained = False
        self._callers = Callers(context.get_current)
        self._watch = self._callers.watch
        self._attempts = Attempts(self._callers.may_go_on)
        self._members: dict[int, Member] = {}
        self._ready: deque[Attempt] = deque()
        # Attempts whose caller is not known yet, and the calls under way when that was noticed.
        self._early: list[tuple[Attempt, set[object]]] = []
        self._recorder, self._feed = self._manager.within(self._begin)
        self._manager.look()  # else a worker elsewhere may begin a work before it knows
        self._tracer = Tracer(self._manager.name, self._recorder.names.texts, provider)
        gateway.watch(self._watch)

    def __repr__(self) -> str:
        return f"<WorkSpans of {self._manager.name}{', stopped' if self._stopped else ''}>"

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop."""
        self.stop()

    def flush(self) -> None:
        """Make the spans of all that has ended; else that is done within a second.

        Call it before the ``force_flush`` of a provider while the pool goes on. Not needed after
        the end of the pool. What a sampler or a processor raises is logged, once.
        """
        if os.getpid() != self._pid:
            return  # a forked child: the parent makes them
        with self._lock:
            if self._draining:  # a signal handler, or a processor of spans, came in between
                return
            self._draining = True
            try:
                self._drain()
            finally:
                self._draining = False

    def stop(self) -> None:
        """Make the spans of all that has ended, and no more. Does nothing if it has stopped."""
        if not self._stopped:
            self._stopped = True
            gateway = self._gateway()
            if gateway is not None:
                gateway.watch(self._watch, no_more=True)
            self._manager.within(self._end)
        self.flush()

    def _begin(self) -> tuple[Recorder, Feed]:
        manager = self._manager
        recorder = manager.observer() or Recorder(manager.pool)
        feed = Feed(recorder.names, lambda: manager.call_later(PAUSE, self.flush))
        recorder.open(feed, self.stop)
        manager.observe(recorder, recorder.level)
        return recorder, feed

    def _end(self) -> None:
        self._recorder.shut(self._feed)
        self._manager.observe(self._recorder, self._recorder.level)

    def _drain(self) -> None:
        over = self._callers.over()
        block = self._manager.within(self._feed.take)
        crew = Crew(block.events, self._members)
        early, self._early = self._early, []
        self._ready += self._attempts.play(block)
        if self._stopped:
            self._ready += self._attempts.rest()
        for attempt, calls in early:
            self._make(attempt, calls & self._callers.coming)
        while self._ready:
            self._make(self._ready.popleft(), self._callers.coming.copy())
        for work_id in over:
            self._callers.forget(work_id)
            self._attempts.forget(work_id)
        for worker in crew.gone():
            self._members.pop(worker, None)
        if self._early and not self._stopped:
            self._manager.within(lambda: self._manager.call_later(PAUSE, self.flush))

    def _make(self, attempt: Attempt, calls: set[object]) -> None:
        caller = self._callers.get(attempt.id)
        if caller is None:
            # Its submit goes on; or it is older than this, or has failed before its end.
            if calls:
                self._early.append((attempt, calls))
            return
        if attempt.outcome != LOST and caller.judged is None:
            self._callers.forget(attempt.id)
        try:
            self._tracer.make(attempt, caller, self._members.get(attempt.worker))
        except Exception:  # noqa: BLE001 - of a sampler or a processor of the user's
            if not self._complained:
                self._complained = True
                _log.exception("the span of a work could not be made; this is said once")
