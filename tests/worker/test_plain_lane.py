"""Logic: the lane that runs plain functions, without a worker around it."""

from __future__ import annotations

import weakref
from typing import Any

from aplex._backends.thread.codec import ThreadCodec
from aplex._common.messages import COUNTERS, Reports
from aplex._worker.plain_lane import PlainLane
from aplex._worker.producers import Producers


class Owner:
    """Something with a method."""

    def method(self, argument: object) -> None:
        """Do nothing with it."""


def test_nothing_of_a_work_lives_on_while_the_next_one_of_its_frame_runs() -> None:
    sent: list[Reports] = []
    lane = PlainLane(ThreadCodec(), [0] * COUNTERS, sent.append, lambda *_: None, None, Producers())
    owner, argument = Owner(), Owner()
    kept = [weakref.ref(owner), weakref.ref(argument)]
    functions: list[Any] = [owner.method, lambda: [each() for each in kept]]
    calls: list[Any] = [((argument,), {}), ((), {})]
    del owner, argument
    lane.run([1, 2], functions, calls)
    assert [(ids, values) for _, _, ids, values, _, _ in sent] == [
        ([1], [None]),
        ([2], [[None] * 2]),
    ]
