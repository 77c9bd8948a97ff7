"""What is called in a case: known to the program that calls, and to the judge."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Final

from reliability.load.works import payload
from reliability.meeting.blocks import Block
from reliability.meeting.cases import OFF, Case

USUAL, LATE, DOOMED, HELD = "usual", "late", "doomed", "held"
LIMITS: Final = {"time_limit": 0.25, "deadline": 0.8}
"""Seconds that some works have."""
ITEMS: Final = 8
"""Of a stream."""
CHUNK: Final = 4
CLOSED_AFTER: Final = 3
"""Results or items of a map or a stream that is left late."""
BIG: Final = 100_000
"""Bytes: more than a pipe holds, so they travel in shared memory."""
RATE: Final = 60.0
BESIDE: Final = 900
"""The number of the first bystander."""
PRIORITIES: Final = {OFF: (0, 0), "mixed": (-1, 7)}
"""The usual one, and that of urgent calls."""
_FOR_EVER: Final = 20.0
_WORKS: Final = 28
_MAPPED: Final = 14
_BESIDE: Final = 8
_STREAMS: Final = 10


@dataclass
class Job:
    """What a work is to do."""

    number: int
    role: str = USUAL
    seconds: float = 0.0
    size: int = 0
    data: bytes | Block = b""

    @property
    def dies_after(self) -> int:
        """How many items a doomed stream yields before."""
        return 3 * (self.number % 2)


@dataclass
class Call:
    """One call of ``submit``, ``map`` or ``stream``."""

    number: int
    jobs: list[Job]
    way: str
    limited: bool = False  # by time
    urgent: bool = False
    cancel: str = OFF
    options: dict[str, Any] = field(default_factory=dict)  # of its works
    arguments: dict[str, Any] = field(default_factory=dict)  # of ``map``


def calls_of(case: Case) -> list[Call]:
    """Return all calls of a case, in their order."""
    rng = random.Random(case.seed)
    make = {"submit": _submits, "stream": _streams}.get(case.way, _maps)
    calls = make(case)
    for call in calls:
        call.options = _options(case, call)
        if call.way in ("map", "chunks", "auto"):
            call.arguments = {
                "chunksize": {"map": 1, "chunks": CHUNK, "auto": "auto"}[call.way],
                "return_outcomes": case.deadline != OFF or case.death != OFF,
            }
    calls += _bystanders(case)
    for call in calls:
        for job in call.jobs:
            _fill(case, job, rng)
    return calls


def concurrency(case: Case) -> int:
    """Return how many works run at once, at most, where that is limited."""
    return 1 if case.plain else 2


def _submits(case: Case) -> list[Call]:
    calls = [Call(number, [Job(number)], "submit", urgent=number >= 22) for number in range(_WORKS)]
    for call in calls:
        call.limited = call.number in (3, 4, 11, 12)
        call.cancel = case.cancel if call.number in (5, 13, 20) else OFF
    _cast([calls[number].jobs[0] for number in (3, 11)], LATE, when=case.deadline != OFF)
    _cast([calls[number].jobs[0] for number in (2, 9)], DOOMED, when=case.death == "own")
    _cast([calls[number].jobs[0] for number in (5, 13)], HELD, when=case.cancel == "late")
    return calls


def _maps(case: Case) -> list[Call]:
    count = 2 + (case.cancel != OFF)
    calls = [
        Call(number, [Job(100 * number + place) for place in range(_MAPPED)], case.way)
        for number in range(count)
    ]
    calls[0].limited = calls[1].urgent = True
    if case.cancel != OFF:
        calls[2].cancel = case.cancel
    _cast(calls[0].jobs[3:4], LATE, when=case.deadline != OFF)
    doomed = [calls[0].jobs[2], calls[1].jobs[5]]
    _cast(doomed, DOOMED, when=case.death == "own")
    return calls


def _streams(case: Case) -> list[Call]:
    calls = [Call(number, [Job(number)], "stream", urgent=number > 7) for number in range(_STREAMS)]
    for number in (1, 4):
        calls[number].cancel = case.cancel
    doomed = [calls[number].jobs[0] for number in (2, 3)]
    _cast(doomed, DOOMED, when=case.death == "own")
    return calls


def _bystanders(case: Case) -> list[Call]:
    """Return works without any option, whose results come between those of the others."""
    count = 0 if case.way == "submit" else _BESIDE
    return [Call(number, [Job(number)], "submit") for number in range(BESIDE, BESIDE + count)]


def _cast(jobs: list[Job], role: str, *, when: bool) -> None:
    for job in jobs if when else ():
        job.role = role


def _fill(case: Case, job: Job, rng: random.Random) -> None:
    """Say how long it takes, and how much it carries."""
    job.seconds = rng.uniform(0.002, 0.015)
    if job.role == LATE:
        job.seconds = LIMITS[case.deadline] + 0.3 if case.stubborn else _FOR_EVER
    elif job.role == HELD:
        job.seconds = 0.15 if case.stubborn else _FOR_EVER
    if case.big != OFF:
        job.size = BIG
        data = payload(job.number, BIG)
        job.data = data if case.big == "bytes" else Block(bytearray(data))


def _options(case: Case, call: Call) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if case.limits == "concurrency":
        options.update(max_concurrency=concurrency(case), limit_key="meeting")
    elif case.limits == "rate":
        options.update(rate=RATE, limit_key="meeting")
    if case.priority != OFF:
        options["priority"] = PRIORITIES[case.priority][call.urgent]
    if call.limited and case.deadline != OFF:
        options[case.deadline] = LIMITS[case.deadline]
    return options
