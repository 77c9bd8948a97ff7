"""The LateResults: results of which the report has come and the parcel has not, or the other way.

Rule: what reads may be broken into, and sees a frame again then (`_wire.frames.Reader`). So a
frame is changed by being replaced, and what is noted twice does no harm.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from aplex._common.messages import Reports
from aplex._wire.frames import Bytes
from aplex._wire.parcels import Parcel


class LateResults:
    """Brings the two together. Under the lock of the pool."""

    def __init__(self) -> None:
        self._here: dict[int, list[Bytes]] = {}  # parcels, by their numbers
        self._reported: dict[int, int] = {}  # ids of works, by these

    def hold_back(self, frames: deque[Reports]) -> None:
        """Put results into the frames that name them; take those out that have not come."""
        for index, frame in enumerate(frames):
            if any(map(_is_place, frame[5])):
                frames[index] = self._held_back(frame)
                for data in frame[5]:
                    if _is_place(data):
                        self._here.pop(data[0], None)

    def _held_back(self, frame: Any) -> Reports:
        ids: list[int] = []
        pickles: list[Any] = []
        for work_id, data in zip(frame[4], frame[5], strict=True):
            if not _is_place(data):
                parts = data
            elif data[0] in self._here:
                parts = self._here[data[0]]
            else:
                self._reported[data[0]] = work_id
                continue
            ids.append(work_id)
            pickles.append(parts)
        seconds, others, plain_ids, values, _, _, *rest = frame
        some = ids or others or plain_ids
        changed: Any = (seconds if some else 0.0, others, plain_ids, values, ids, pickles, *rest)
        return changed  # type: ignore[no-any-return]

    def came(self, parcel: Parcel) -> deque[Reports]:
        """Take in a result; return the report of it, if that has come."""
        work_id = self._reported.pop(parcel.number, None)
        if work_id is None:
            self._here[parcel.number] = parcel.parts
            return deque()
        return deque([(0.0, [], [], [], [work_id], [parcel.parts])])


def _is_place(data: Any) -> bool:
    if not isinstance(data, list):
        return False
    parts: list[Any] = data
    return isinstance(parts[0], int)
