"""The codecs of worker threads: calls and outcomes travel as they are."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from contextvars import Context
from typing import Any

from aplex._common.messages import RAISED, Report, ReportBatch
from aplex._wire.page import COUNTER_COUNT, RUNS
from aplex._worker.lane import is_coroutine


class ThreadCodec:
    """Calls and outcomes travel as they are.

    Args:
        name: Returns what is to be noted of a call while it runs, see `_wire.page`.
        counters: Where that is noted.
    """

    def __init__(
        self,
        name: Callable[[int, Any, Any], int] | None = None,
        counters: MutableSequence[int] | memoryview | None = None,
    ) -> None:
        self._name = name
        self.counters = [0] * COUNTER_COUNT if counters is None else counters

    def note(self, function: Any, args: Any) -> None:
        """Note what is about to be called."""
        if self._name is not None:
            self.counters[RUNS] = self._name(0, function, args)

    def run(self, function: Any, call: Any) -> Any:
        self.note(function, call[0])
        return function(*call[0], **call[1])

    def put(self, batch: ReportBatch, work_id: int, value: Any) -> None:
        batch.ids.append(work_id)
        batch.values.append(value)

    def item(self, value: Any) -> tuple[bool, Any]:
        return self.value(value)

    def value(self, value: Any) -> tuple[bool, Any]:
        return False, value

    def error(self, work_id: int, error: BaseException) -> Report:
        return work_id, RAISED, error


class PlainCodec(ThreadCodec):
    """Calls functions in the context of their caller.

    Attributes:
        detached: That of a function that has returned a coroutine, until its task is made.
    """

    def __init__(
        self, name: Callable[[int, Any, Any], int], counters: MutableSequence[int] | memoryview
    ) -> None:
        super().__init__(name, counters)
        self.detached: Context | None = None

    def run(self, function: Any, call: Any) -> Any:
        args, kwargs, context = call
        self.note(function, args)
        made = context.run(function, *args, **kwargs)
        if is_coroutine(made):
            self.detached = context
        return made
