"""The ends of a worker's channels that belong to the child. They travel to it as it is started."""

from __future__ import annotations

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from aplex._wire.frames import End, PipeEnd


class ChildEnds:
    """The ends of the channels that belong to the child."""

    # No dataclass: the module for those takes longer to import than all of ours.
    __slots__ = (
        "arena_in",
        "arena_out",
        "bulk",
        "common",
        "coroutines_in",
        "coroutines_out",
        "lifeline",
        "logs",
        "plain_in",
        "plain_out",
    )

    def __init__(
        self,
        coroutines_in: End,
        coroutines_out: End,
        plain_in: End,
        plain_out: End,
        lifeline: End,
        arena_in: PipeEnd | None,
        arena_out: PipeEnd | None,
        logs: End | None = None,
        bulk: PipeEnd | None = None,
        common: PipeEnd | None = None,
    ) -> None:
        self.coroutines_in = coroutines_in
        self.coroutines_out = coroutines_out
        self.plain_in = plain_in
        self.plain_out = plain_out
        self.lifeline = lifeline
        self.arena_in = arena_in
        self.arena_out = arena_out
        self.logs = logs
        self.bulk = bulk  # where there are no arenas
        self.common = common  # where shared objects are that came by it

    def close(self) -> None:
        """Close them all."""
        for name in self.__slots__:
            end = getattr(self, name)
            if end is not None:
                end.close()
