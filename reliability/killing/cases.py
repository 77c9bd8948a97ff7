"""Cases: a point, an action, a start method, and what else may matter."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

from reliability.killing.faults import ACTIONS, STOP
from reliability.killing.scenes import LANES
from reliability.points import FORKING, POINTS, WORKS, Point

_STOPPED: Final = 25
"""The point at which the short form stops a worker."""
METHODS: Final = ("template", "spawn", "forkserver", "fork")


@dataclass(frozen=True)
class Case:
    """One run of a pool that is hit once."""

    point: int  # its number
    action: str
    method: str
    lane: str  # of most works
    awaitable: bool
    nth: int  # in which call the fault strikes
    retries: int
    seed: int

    @property
    def of(self) -> Point:
        """The point."""
        return POINTS[self.point - 1]

    def __str__(self) -> str:
        face = "awaitable" if self.awaitable else "blocking"
        return (
            f"point {self.point} ({self.of.side}: {self.of.title}), {self.action}, {self.method}, "
            f"{self.lane}, {face}, call {self.nth}, retries={self.retries}, seed {self.seed}"
        )


def long_form() -> list[Case]:
    """Every point x action x start method; the rest alternates.

    First every point x action once, then with the next start method. What only a template does
    is hit there only.
    """
    points = range(1, len(POINTS) + 1)
    rows = itertools.product(range(len(METHODS)), points, enumerate(ACTIONS))
    return [
        _case(point, action, METHODS[(point + place + turn) % len(METHODS)], number)
        for number, (turn, point, (place, action)) in enumerate(rows)
        if not turn or _methods_of(point) == METHODS
    ]


def short_form() -> list[Case]:
    """Every point once, forked, which is quick; some also with the other start methods.

    Without those that stop a worker, which take seconds: of them only one.
    """
    quick = [action for action in ACTIONS if action != STOP]
    cases = []
    for number in range(1, len(POINTS) + 1):
        cases.append(_case(number, quick[number % len(quick)], "fork", number))
        if number % 12 == 0:
            method = METHODS[number // 12 % 3]
            cases.append(_case(number, quick[(number + 1) % len(quick)], method, number + 1))
    return [_case(_STOPPED, STOP, "fork", _STOPPED), *cases]


def _methods_of(point: int) -> tuple[str, ...]:
    """Return the start methods that come to a point."""
    return METHODS if POINTS[point - 1] not in FORKING else ("template",)


def _case(point: int, action: str, method: str, turn: int) -> Case:
    """Let the rest alternate so that each pair of values is met."""
    method = method if method in _methods_of(point) else "template"
    return Case(
        point=point,
        action=action,
        method=method,
        lane=LANES[turn // 2 % len(LANES)],
        awaitable=bool((turn + turn // 6) % 2),
        nth=2 if POINTS[point - 1].often and turn // 5 % 4 == 3 else 1,
        retries=1 if turn // 7 % 3 == 2 and POINTS[point - 1].scene == WORKS else 0,
        seed=turn,
    )
