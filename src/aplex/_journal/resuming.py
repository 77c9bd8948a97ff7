"""A map with a journal: leaves out the items it has, yields their results, and records the others.

A record is written when the result is about to be handed over.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any, Final, NamedTuple

from aplex._common.errors import RemoteError, SerializationError
from aplex._journal.codecs import Codec
from aplex._journal.file import JournalFile
from aplex._journal.index import Place
from aplex._journal.keys import Repeats, canonical, digest
from aplex._journal.records import Fields, told
from aplex._journal.rows import Row, columns
from aplex.outcomes import Outcome

SYNC: Final = 1.0
"""Seconds for which a crash of the machine may lose records."""


class Waiting(NamedTuple):
    """An item that is run."""

    seq: int
    key: str


class Recorded(NamedTuple):
    """An item that the journal has."""

    item: Any
    place: Place


class Resuming:
    """One map with a journal.

    Args:
        file: The journal; this closes it.
        codec: How results stand in it; None: they do not.
        key: Returns of an item, or of those of a row, what it is known by.
        again: Whether what has failed is run again.
        ordered: Whether results come in the order of the items.
        outcomes: Whether to yield outcomes, and to go on at failures.
    """

    def __init__(
        self,
        file: JournalFile,
        codec: Codec | None,
        key: Callable[..., Any] | None,
        *,
        again: bool,
        ordered: bool,
        outcomes: bool,
    ) -> None:
        self._file, self._codec, self._key, self._again = file, codec, key, again
        self._ordered = ordered
        self._outcomes = outcomes
        self._has_several = False
        self._repeats = Repeats()
        self._seq = 0
        # In order: all items that were taken; else those of the journal only.
        self._line: deque[Waiting | Recorded] = deque()
        self._running: dict[Any, deque[Waiting]] = {}  # where not in order, by the row's identity
        self._synced = time.monotonic()

    def inputs(self, iterables: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the input without the items that are done."""
        self._has_several = len(iterables) > 1
        return columns(iterables, self._admit, len(self._file.index))

    def close(self) -> None:
        """Free the file."""
        self._file.sync()
        self._file.close()

    def _admit(self, row: Row) -> bool:
        """Whether an item is to be run."""
        self._seq += 1
        item = row[0] if len(row) == 1 else row
        key = self._repeats.key(digest(self._named(row, item)))
        place = self._file.index.find(key)
        if place is None or (self._again and not place.ok):
            waiting = Waiting(self._seq, key)
            if self._ordered:
                self._line.append(waiting)
            else:
                self._running.setdefault(_identity(row), deque()).append(waiting)
            return True
        if self._codec is not None or not place.ok:
            self._line.append(Recorded(item, place))
        return False

    def _named(self, row: Row, item: Any) -> bytes:
        try:
            return canonical(item if self._key is None else self._key(*row))
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{'the key of ' if self._key else ''}the item {self._seq} is no JSON ({error}): "
                "say what it is known by, Journal(…, key=function)"
            ) from error

    # -- results --------------------------------------------------------------

    def results(self, outcomes: Any) -> Iterator[Any]:
        """Yield the results, of the journal and of the map."""
        with ExitStack() as stack:
            stack.callback(self.close)
            stack.callback(outcomes.close)
            more = True
            while more:
                yield from self._recorded()
                outcome = next(outcomes, None)
                more = outcome is not None
                yield from self._recorded()
                if outcome is not None:
                    yield self._handed_over(self._record(outcome))
                    if self._is_due():
                        self._file.sync()

    async def awaited_results(self, outcomes: Any) -> AsyncIterator[Any]:
        """Yield the same, to ``async for``."""
        async with AsyncExitStack() as stack:
            stack.callback(self.close)
            stack.push_async_callback(outcomes.aclose)
            more = True
            while more:
                for result in self._recorded():
                    yield result
                outcome = await anext(outcomes, None)
                more = outcome is not None
                for result in self._recorded():
                    yield result
                if outcome is not None:
                    yield self._handed_over(self._record(outcome))
                    if self._is_due():
                        await asyncio.to_thread(self._file.sync)

    def _recorded(self) -> Iterator[Any]:
        """Yield what the journal has of the next items."""
        while self._line and isinstance(first := self._line[0], Recorded):
            self._line.popleft()
            yield self._handed_over(self._outcome_of(first.item, self._file.read(first.place)))

    def _handed_over(self, outcome: Outcome[Any]) -> Any:
        return outcome if self._outcomes else outcome.result()

    def _outcome_of(self, item: Any, fields: Fields) -> Outcome[Any]:
        ran = (fields.get("worker"), fields.get("wait"), fields.get("run"))
        if not fields.get("ok"):
            name, _, message = str(fields.get("error")).partition(": ")
            return Outcome(item, None, RemoteError(name, message), *ran)
        assert self._codec is not None
        return Outcome(item, self._codec.decode(fields.get("value")), None, *ran)

    def _record(self, outcome: Outcome[Any]) -> Outcome[Any]:
        """Write what became of an item; return it as a later run would tell it."""
        waiting = self._waiting(outcome.input)
        fields: Fields = {"seq": waiting.seq, "key": waiting.key}
        if outcome.ok and self._codec is not None:
            try:
                fields["value"] = self._codec.encode(outcome.value)
                outcome = dataclasses.replace(outcome, value=self._codec.decode(fields["value"]))
            except Exception as error:  # noqa: BLE001 - of any codec
                failure = SerializationError(
                    f"the result of item {waiting.seq} cannot be kept in the journal: "
                    f"{type(error).__name__}: {error}. Journal(…, codec=…) says how to"
                )
                failure.__cause__ = error
                outcome = dataclasses.replace(outcome, value=None, exception=failure)
                fields.pop("value", None)
        fields["ok"] = outcome.ok
        fields["error"] = None if outcome.exception is None else told(outcome.exception)
        fields["worker"] = outcome.worker
        fields["wait"] = _rounded(outcome.seconds_waiting)
        fields["run"] = _rounded(outcome.seconds_running)
        self._file.append(fields)
        return outcome

    def _waiting(self, item: Any) -> Waiting:
        if self._ordered:
            waiting = self._line.popleft()
            assert isinstance(waiting, Waiting)
            return waiting
        identity = _identity(item if self._has_several else (item,))
        same = self._running[identity]
        waiting = same.popleft()
        if not same:
            del self._running[identity]
        return waiting

    def _is_due(self) -> bool:
        """Whether the disk is to get what was written."""
        now = time.monotonic()
        if now - self._synced < SYNC:
            return False
        self._synced = now
        return True


def _identity(row: Row) -> tuple[int, ...]:
    """Return which objects a row has. The map holds them as long as they run."""
    return tuple(map(id, row))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
