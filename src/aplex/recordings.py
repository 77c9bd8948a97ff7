"""Recordings: what a pool did, work by work, and what can be made of that.

``with pool.record() as run:`` keeps when each work was submitted, sent, begun and ended, and
where; then `Recording` makes a table, a trace, a report or a file of it. `read` reads the file.
Arguments, results and values of context variables are never kept; messages of exceptions only if
that is asked for.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from aplex._observe.source import Source

if TYPE_CHECKING:
    from aplex._observe.choice import Choice
    from aplex._observe.crew import Crew
    from aplex._observe.history import History

__all__ = ["Recording", "read"]


class Recording:
    """What was recorded of a pool, or is being recorded.

    Made by ``pool.record(…)``, by the option ``record=`` of executors, and by `read`. Outputs can
    be made at any time, also while the pool works.
    """

    def __init__(self, source: Source, _choices: tuple[Choice, ...] = ()) -> None:
        """Use ``pool.record(…)``, or `read`."""
        self._source = source
        self._choices = _choices

    def __repr__(self) -> str:
        """Show whose it is, and whether it goes on."""
        state = "recording" if self.active else "recorded"
        return f"<Recording of {self._source.pool}, {state}>"

    def __enter__(self) -> Self:
        """Begin to record.

        Raises:
            RuntimeError: It has begun before.
        """
        self._source.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End. Works that are not done then are ``running`` or ``waiting``."""
        self.stop()

    def stop(self) -> None:
        """End the recording; the pool works on. Does nothing if it has ended."""
        self._source.end()

    @property
    def active(self) -> bool:
        """Whether it goes on."""
        return self._source.active

    @property
    def dropped(self) -> int:
        """Works that were dropped, the oldest ones, as there were more than ``limit``."""
        return self._source.dropped

    def mark(self, text: str) -> None:
        """Note that something happens now; traces and reports show it.

        Args:
            text: What, 300 characters at most.
        """
        self._source.mark(text)

    # -- what is made of it -----------------------------------------------------

    def works(self) -> dict[str, list[Any]]:
        """Return columns, which ``pandas.DataFrame`` and ``polars.DataFrame`` take.

        A row is an attempt of a work; a chunk of a ``map`` is one work.

        Returns:
            ``id`` (that of ``future.id``), ``name``, ``lane`` (``"function"`` or
            ``"coroutine"``), ``worker``, ``slot`` and ``pid`` of who ran it, ``attempt`` from 1;
            ``submitted``, ``sent``, ``began``, ``ended`` and ``received``: seconds since the
            recording began, which are negative before; ``waiting`` (from submit to begin) and
            ``running`` in seconds; ``outcome``: ``"done"``, ``"failed"``, ``"cancelled"``,
            ``"lost"`` (with its worker, and run again), ``"running"`` or ``"waiting"``; ``error``
            and ``message``: the type of the exception, and what it said. None: not known. Works
            are submitted in gatherings of up to 64, of which only the first is timed.
        """
        from aplex._observe.works import columns_of

        return columns_of(*self._played())

    def trace(self, path: str | os.PathLike[str]) -> None:
        """Write a trace that Perfetto shows (https://ui.perfetto.dev, which reads it locally).

        It has a row for each slot, with its workers, functions and coroutines; arrows from the
        submit of a work to where it ran, and from attempt to attempt; counters; deaths with what
        is known of them. It is in Perfetto's own format, and not compressed.

        Args:
            path: The file, by custom ``….pftrace``; one that is there is written over.

        Raises:
            OSError: The file cannot be written.
        """
        from aplex._observe.trace import write_trace

        with Path(path).open("wb") as file:
            write_trace(*self._played(), file)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write a report: one page of HTML that needs no other file, and no network.

        A verdict in words, a timeline, distributions of waiting and running, throughput, a table
        of functions, failures, deaths, and the slowest works. It may be mailed, and printed. A
        timeline of more than 100,000 works has those merged that are too short to be seen.

        Args:
            path: The file; one that is there is written over.

        Raises:
            OSError: The file cannot be written.
        """
        from aplex._observe.report import report

        page = report(*self._played())
        Path(path).write_text(page, encoding="utf-8", errors="backslashreplace")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, which `read` reads.

        Raises:
            OSError: The file cannot be written.
        """
        from aplex._observe.file import save

        tape = self._source.tape()
        with Path(path).open("wb") as file:
            save(tape, file)

    def summary(self) -> str:
        """Return the most important in a few lines of text."""
        from aplex._observe.summary import summary

        return summary(*self._played())

    def only(
        self,
        *,
        name: str | None = None,
        failed: bool = False,
        since: float | None = None,
        until: float | None = None,
    ) -> Recording:
        """Return a recording of some works only; all that is made of it shows these.

        Args:
            name: A pattern of names, as of ``fnmatch`` (``"*.resize*"``).
            failed: Whether to have only works that have failed, and attempts that were lost.
            since: Seconds since the recording began: works that ended, or run, after that.
            until: Likewise: works that were submitted, sent or begun before that.

        Raises:
            RuntimeError: It has not begun.
        """
        from aplex._observe.choice import Choice

        tape = self._source.tape()
        return Recording(
            Source.of(tape), (*self._choices, Choice(name, since, until, failed=failed))
        )

    def _played(self) -> tuple[History, Crew]:
        from aplex._observe.crew import Crew
        from aplex._observe.history import History

        tape = self._source.tape()
        history = History(tape)
        for choice in self._choices:
            choice.apply(history)
        return history, Crew(tape.events())


def read(path: str | os.PathLike[str]) -> Recording:
    """Read a recording from a file.

    Args:
        path: What `Recording.save`, ``record=`` or ``APLEX_RECORD`` has written. It may be cut
            off, as its program has died: what was written before is read.

    Raises:
        ValueError: The file is no recording.
        OSError: It cannot be read.
    """
    from aplex._observe.file import read as read_file

    return Recording(Source.of(read_file(Path(path))))
