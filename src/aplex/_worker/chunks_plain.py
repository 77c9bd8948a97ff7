"""What runs in a worker for a chunk of plain functions. No ``asyncio``, unless it is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator
from contextvars import copy_context
from functools import partial
from typing import Any

from aplex._common.errors import WorkInterrupted
from aplex._common.locks import late_imports
from aplex._common.names import runs
from aplex._worker.chunks import Chunk, Columns
from aplex._worker.chunks_measured import MeasuredChunk, measured, measured_chunk
from aplex._worker.lane import is_coroutine


@runs(0)
def run_plain_chunk(
    work: Callable[..., Any], columns: Columns
) -> Chunk | Coroutine[Any, Any, Chunk]:
    """Run a function on each item, until one fails.

    If it turns out to return coroutines, they run on the loop, as those of single works do.
    """
    began = time.perf_counter()
    values: list[Any] = []
    error: BaseException | None = None
    try:
        _run_items(work, columns, values.append)
    except WorkInterrupted:  # meant for the chunk
        raise
    except BaseException as raised:  # noqa: BLE001 - raised again where its item is
        error = raised
    if _has_coroutines(values):
        with late_imports.importing:
            from aplex._worker.chunks_coroutine import run_returned

        return run_returned(values, error)
    return Chunk(values, error, time.perf_counter() - began)


def _run_items(work: Callable[..., Any], columns: Columns, put: Callable[[Any], None]) -> None:
    """Call a function with each item, such that what one sets is not seen by the next one.

    A context is taken anew after an item that has set a variable: it is empty before, mostly.
    """
    context = copy_context()
    run = context.run
    calls: Iterator[Any]  # by this name a copy of the worker finds it, see `_worker.lane`
    if len(columns) == 1:
        calls = iter(columns[0])
        for item in calls:
            put(run(work, item))
            if context:
                context = copy_context()
                run = context.run
        return
    calls = zip(*columns, strict=True)
    for args in calls:
        put(run(work, *args))
        if context:
            context = copy_context()
            run = context.run


def _has_coroutines(values: list[Any]) -> bool:
    kind: type | None = None  # mostly they are all of one type: it is looked at once
    for value in values:
        if type(value) is not kind:
            kind = type(value)
            if is_coroutine(value):
                return True
    return False


@runs(0)
def run_measured_plain(
    work: Callable[..., Any], columns: Columns, sent: float
) -> MeasuredChunk | Coroutine[Any, Any, MeasuredChunk]:
    """Run a function on each item."""
    made = run_plain_chunk(partial(_call, work, sent), columns)
    if isinstance(made, Chunk):
        return measured_chunk(made)
    with late_imports.importing:
        from aplex._worker.chunks_coroutine import measured_when_done

    return measured_when_done(made)


def _call(work: Callable[..., Any], sent: float, /, *args: Any) -> Any:
    """Call a function; return a `Measured`, or a coroutine of one if it returned one."""
    began = time.monotonic()
    try:
        value = work(*args)
    except WorkInterrupted:  # meant for the chunk
        raise
    except BaseException as error:  # noqa: BLE001 - it belongs to the item
        return measured(began, sent, None, error)
    if is_coroutine(value):
        with late_imports.importing:
            from aplex._worker.chunks_coroutine import measure

        return measure(value, began, sent)
    return measured(began, sent, value, None)
