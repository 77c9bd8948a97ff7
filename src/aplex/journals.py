"""Journals of maps: a program that was stopped goes on where it was."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aplex._common.names import describe
from aplex._journal.codecs import codec_of
from aplex._journal.file import JournalFile
from aplex._journal.records import head_of
from aplex._journal.resuming import Resuming

__all__ = ["Journal"]


class Journal:
    """Where a map writes what became of its items: ``map(…, journal=Journal("run.jsonl"))``.

    What the journal has, no later run runs again. It may be given as a path, too.

    Attributes:
        path: Of the file, one JSON object a line. It is made if it is not there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        key: Callable[..., Any] | None = None,
        codec: str | tuple[Callable[[Any], Any], Callable[[Any], Any]] | None = "json",
        retry_failed: bool = True,
        force: bool = False,
    ) -> None:
        """Describe a journal. Nothing is opened before ``map`` is called.

        Args:
            path: Of the file.
            key: Called with an item (with several iterables: with the items); returns what it is
                known by, anything that JSON knows. None: the item itself, which then must be
                something that JSON knows, or a path.
            codec: How results are kept: ``"json"``, ``"pickle"``, or a pair of functions, which
                make a JSON value of a result, and a result of that. None: not at all; a map then
                yields the results of the items that it runs only.
            retry_failed: Whether items that have failed run again. If not, their failure is
                that of the former run, as a `RemoteError`.
            force: Whether the file may be that of another function, or codec.

        Raises:
            TypeError: An option is of the wrong kind.
            ValueError: There is no such codec.
        """
        if key is not None and not callable(key):
            raise TypeError(f"key must be callable or None, not {key!r}")
        self.path = os.fspath(path)
        self._key = key
        self._codec = codec_of(codec)
        self._retry_failed = retry_failed
        self._force = force

    def __repr__(self) -> str:
        """Show the path."""
        return f"Journal({self.path!r})"

    def _open(
        self, work: Callable[..., Any], parameters: int, *, ordered: bool, outcomes: bool
    ) -> Resuming:
        """Open the file for a map.

        Raises:
            JournalError: It is of another job, or no journal; or another run writes to it.
            OSError: It cannot be opened.
        """
        options = {"parameters": parameters, "results": self._codec and self._codec.name}
        file = JournalFile(self.path, head_of(_name_of(work), options), force=self._force)
        return Resuming(
            *(file, self._codec, self._key),
            again=self._retry_failed,
            ordered=ordered,
            outcomes=outcomes,
        )


def open_journal(
    journal: Journal | str | os.PathLike[str],
    work: Callable[..., Any],
    parameters: int,
    *,
    ordered: bool,
    outcomes: bool,
) -> Resuming:
    """Open the journal that a map is given.

    Raises:
        TypeError: It is none.
        JournalError: It is of another job, or no journal; or another run writes to it.
        OSError: It cannot be opened.
    """
    if not isinstance(journal, Journal):
        if not isinstance(journal, (str, os.PathLike)):
            raise TypeError(f"journal must be a Journal, a path or None, not {journal!r}")
        journal = Journal(journal)
    return journal._open(work, parameters, ordered=ordered, outcomes=outcomes)  # noqa: SLF001


def _name_of(work: Callable[..., Any]) -> str:
    """Name a function, whether its module was imported, or is the program that runs."""
    name = describe(work)
    module, dot, rest = name.partition(".")
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return f"{Path(file).stem}{dot}{rest}" if module == "__main__" and file else name
