"""What the pool asks of a worker besides running works: rows of a frame, see `_common.messages`."""

from __future__ import annotations

from typing import NamedTuple


class Cancel(NamedTuple):
    """Names a work to be cancelled, or recalled; as a plain tuple it is a row of those."""

    id: int
    seq: int


class Credit(NamedTuple):
    """How many items a stream may yield, counted from its first one."""

    id: int
    total: int
