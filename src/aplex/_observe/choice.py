"""The Choice: which works of a recording are shown. Logic only."""

from __future__ import annotations

from fnmatch import fnmatchcase

from aplex._observe.history import FAILED, LOST, UNKNOWN, History
from aplex._observe.tape import Tape


class Choice:
    """Keeps rows of a history; see `Recording.only`."""

    def __init__(
        self, name: str | None, since: float | None, until: float | None, *, failed: bool
    ) -> None:
        """Choose by a pattern of names, by seconds, and by outcome; None: all."""
        self._name = name
        self._since = since
        self._until = until
        self._failed = failed

    def apply(self, history: History) -> None:
        """Keep what is chosen, and say in the head what that is."""
        texts, name = history.tape.names, self._name
        named = [name is None or fnmatchcase(text, name) for text in texts]
        start = history.tape.head["started"]
        since = None if self._since is None else start + int(self._since * 1e9)
        until = None if self._until is None else start + int(self._until * 1e9)
        kept = [
            at
            for at, place in enumerate(history.names)
            if named[place]
            and (not self._failed or history.outcomes[at] in (FAILED, LOST))
            and (since is None or _last(history, at) >= since)
            and (until is None or _first(history, at) <= until)
        ]
        head = dict(history.tape.head)
        left_out = len(history) - len(kept)
        if left_out:
            head["left_out"] = head.get("left_out", 0) + left_out
        history.keep(kept)
        history.tape = Tape(head, history.tape.names, history.tape.blocks)


def _last(history: History, at: int) -> int:
    time = history.received[at]
    return time if time != UNKNOWN else 1 << 62  # it has not ended


def _first(history: History, at: int) -> int:
    times = (history.began[at], history.sent[at], history.submitted[at], history.received[at])
    return next((time for time in times if time != UNKNOWN), 0)
