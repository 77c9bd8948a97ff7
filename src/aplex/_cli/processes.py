"""What ``/proc`` tells of processes: those of other users too, but for what they have open."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
if sys.platform == "win32":
    TICKS: Final = 100
else:
    TICKS: Final = os.sysconf("SC_CLK_TCK")
STATES: Final = {"T": "stopped", "t": "traced", "Z": "ended", "X": "ended", "D": "in the kernel"}
"""What is worth to be said of the state of a process."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process at one moment.

    Attributes:
        pid: Its number, as this process sees it.
        uid: Whose it is.
        state: One letter, as ``ps`` shows it.
        began: When, in clock ticks since the boot: with the number, it names a process for good.
        ticks: Clock ticks of the processors that it has had.
    """

    pid: int
    uid: int
    state: str
    began: int
    ticks: int

    @property
    def condition(self) -> str:
        """What is worth to be said of its state; nothing mostly."""
        return STATES.get(self.state, "")

    @property
    def command(self) -> str:
        """How it was started, on one line."""
        try:
            words = (PROC / str(self.pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return ""
        line = " ".join(os.fsdecode(word) for word in words).strip()
        return "".join(letter if letter.isprintable() else " " for letter in line)


def look_at(pid: int) -> Process | None:
    """Return what is known of a process now; None if there is none."""
    folder = PROC / str(pid)
    try:
        text = (folder / "stat").read_bytes()
        uid = folder.stat().st_uid
    except (OSError, ValueError):
        return None
    # Behind the name, which may have blanks and brackets in it.
    fields = text[text.rindex(b")") + 2 :].split()
    ticks = int(fields[11]) + int(fields[12])
    return Process(pid, uid, fields[0].decode(), int(fields[19]), ticks)


def own_number(pid: int) -> int:
    """Return the number that a process has for itself: in a container it is another one."""
    try:
        status = (PROC / str(pid) / "status").read_text(errors="replace")
    except OSError:
        return pid
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return pid


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler of a signal; else the signal may end it.

    Raises:
        OSError: There is no such process, or it may not be looked at.
    """
    status = (PROC / str(pid) / "status").read_text(errors="replace")
    for line in status.splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def processes_of(uid: int) -> Iterator[int]:
    """Yield the numbers of a user's processes, the oldest numbers first."""
    numbers = sorted(int(entry) for entry in os.listdir(PROC) if entry.isdecimal())  # noqa: PTH208
    for pid in numbers:
        try:
            if (PROC / str(pid)).stat().st_uid == uid:
                yield pid
        except OSError:  # it has ended meanwhile
            continue
