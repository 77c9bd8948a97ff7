"""The Crew: the workers of a recording, each with its slot and how it ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aplex._observe.tape import Event


@dataclass(slots=True)
class Member:
    """One worker. Times are nanoseconds of the monotonic clock.

    Attributes:
        worker: Its number.
        slot: The place that it and its successors hold.
        spawned: When its start was begun.
        ready: When it served; None: never, in the recording.
        retiring: When it got no more works.
        gone: When it had ended.
        pid: Its process; None of threads.
        certificate: How it ended, see ``_observe.certificates``.
    """

    worker: int
    slot: int
    spawned: int
    ready: int | None = None
    retiring: int | None = None
    gone: int | None = None
    pid: int | None = None
    certificate: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def died(self) -> bool:
        """Whether it ended otherwise than in order."""
        told = self.certificate
        in_order = told.get("asked") and told.get("exitcode") in (0, None)
        return self.gone is not None and not in_order


class Crew:
    """The workers, in the order of their starts."""

    def __init__(self, events: Iterable[Event], members: dict[int, Member] | None = None) -> None:
        """Read the events of a tape.

        Args:
            events: In their order.
            members: Those known before, to which the others are added.
        """
        self.members = {} if members is None else members
        for time, word, *more in events:
            if word == "spawned":
                self.members[more[0]] = Member(more[0], more[1], time)
            elif word in ("ready", "retiring", "gone") and more[0] in self.members:
                member = self.members[more[0]]
                setattr(member, word, time)
                if word == "ready":
                    member.pid = more[1]
                elif word == "gone":
                    member.certificate = more[1]

    def slots(self) -> dict[int, int]:
        """Return the slot of each worker."""
        return {member.worker: member.slot for member in self.members.values()}

    def pids(self) -> dict[int, int | None]:
        """Return the process of each worker."""
        return {member.worker: member.pid for member in self.members.values()}

    def gone(self) -> list[int]:
        """Return the numbers of those that have ended."""
        return [member.worker for member in self.members.values() if member.gone is not None]

    def deaths(self) -> list[Member]:
        """Return those that died, in the order of their deaths."""
        died = [member for member in self.members.values() if member.died]
        return sorted(died, key=lambda member: member.gone or 0)
