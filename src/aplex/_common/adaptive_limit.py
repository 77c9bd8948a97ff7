"""The AdaptiveLimit: the range of a bound that finds itself. A leaf, public as `aplex.limits`."""

from __future__ import annotations

from dataclasses import dataclass

from aplex._common.numbers import check_count


@dataclass(frozen=True, slots=True)
class AdaptiveLimit:
    """A bound on concurrency that follows what a server bears; see ``max_concurrency``.

    It grows while works of the key wait and none of them is told to slow down, and shrinks when
    one is: additive increase, multiplicative decrease, as TCP does it (Chiu and Jain 1989). It
    remembers the bound that was too much, and tries it again after a while.

    Attributes:
        least: The smallest bound, in works.
        most: The largest bound, in works.
        start: The first bound, in works.
    """

    least: int = 1
    most: int = 1000
    start: int = 8

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            TypeError: One is no int.
            ValueError: One is less than 1, or they are not in order.
        """
        for name in ("least", "most", "start"):
            check_count(name, getattr(self, name))
        if not self.least <= self.start <= self.most:
            raise ValueError(
                f"an AdaptiveLimit must have least <= start <= most, got {self.least}, "
                f"{self.start}, {self.most}"
            )


AdaptiveLimit.__module__ = "aplex.limits"  # where it is public; a dataclass needs its own first
