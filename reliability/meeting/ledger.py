"""What the caller sees of its calls, line by line: it outlives the program of a case."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Final

from aplex import WorkerLostError, WorkQuarantinedError
from reliability.load.submitter import CANCELLED, LOST, QUARANTINED, RIGHT, WRONG
from reliability.load.works import payload
from reliability.meeting.jobs import Job

TIMEOUT: Final = "time over"
Line = dict[str, Any]


class Ledger:
    """Is written to by any thread; each line is one ``write``."""

    def __init__(self, folder: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(f"{folder}/ledger", flags)

    def write(self, kind: str, **fields: Any) -> None:
        """Write a line."""
        line = json.dumps({"kind": kind, "when": time.monotonic_ns(), **fields})
        os.write(self._fd, line.encode() + b"\n")

    def value(self, job: Job, value: Any) -> None:
        """Write what a work returned."""
        right = value == (job.number, payload(job.number, job.size))
        trouble = "" if right else f"returned {value!r:.100}"
        self.write("fate", work=job.number, outcome=RIGHT if right else WRONG, trouble=trouble)

    def error(self, job: Job, error: BaseException) -> None:
        """Write what a work ended with."""
        self.write("fate", work=job.number, **described(error))


def described(error: BaseException) -> Line:
    """Say what an exception means."""
    dead: list[int | None] = []
    outcome = WRONG
    if isinstance(error, WorkQuarantinedError):
        outcome, dead = QUARANTINED, [death.pid for death in error.deaths]
    elif isinstance(error, WorkerLostError):
        outcome, dead = LOST, [error.pid]
    elif isinstance(error, TimeoutError):
        outcome = TIMEOUT
    elif is_cancel(error):
        outcome = CANCELLED
    return {"outcome": outcome, "dead": dead, "trouble": repr(error)[:300]}


def is_cancel(error: BaseException) -> bool:
    """Whether it says that something was cancelled."""
    return isinstance(error, CancelledError) or type(error).__name__ == "CancelledError"


def read(path: Path) -> list[Line]:
    """Return all lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
