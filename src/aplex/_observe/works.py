"""Works as columns of plain Python values, for pandas, polars and whoever reads CSV."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

from aplex._observe.crew import Crew
from aplex._observe.history import OUTCOMES, UNKNOWN, History

LANES: Final = ("coroutine", "function")


def columns_of(history: History, crew: Crew) -> dict[str, list[Any]]:
    """Return a list for each column; all are as long as there are rows.

    Times are seconds since the recording began; what is not known is None.
    """
    texts = history.tape.names
    start: int = history.tape.head["started"]
    slots = crew.slots()
    pids = crew.pids()
    columns: dict[str, list[Any]] = {
        "id": history.ids.tolist(),
        "name": [texts[place] for place in history.names],
        "lane": [LANES[lane] for lane in history.lanes],
        "worker": [worker or None for worker in history.workers],
        "slot": [slots.get(worker) for worker in history.workers],
        "pid": [pids.get(worker) for worker in history.workers],
        "attempt": history.attempts.tolist(),
    }
    for name in ("submitted", "sent", "began", "ended", "received"):
        columns[name] = _seconds(getattr(history, name), start)
    columns["waiting"] = _differences(history.submitted, history.began)
    columns["running"] = _differences(history.began, history.ended)
    columns["outcome"] = [OUTCOMES[outcome] for outcome in history.outcomes]
    columns["error"] = [texts[place] or None for place in history.errors]
    columns["message"] = [texts[place] or None for place in history.texts]
    return columns


def _seconds(times: Sequence[int], start: int) -> list[float | None]:
    return [None if time == UNKNOWN else (time - start) / 1e9 for time in times]


def _differences(first: array[int], second: array[int]) -> list[float | None]:
    return [
        None if one == UNKNOWN or other == UNKNOWN else (other - one) / 1e9  # noqa: PLR1714 - quick
        for one, other in zip(first, second, strict=True)
    ]
