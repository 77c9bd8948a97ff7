"""Load balancers: which worker gets the next work.

The pool asks its load balancer once for each work, when the work's turn has
come and at least one worker has room for it. To make one of your own, derive
from `LoadBalancer` and define ``get_proper_worker``.
"""

from __future__ import annotations

from typing import Final

from aplex._balancers.affinity import Affinity
from aplex._balancers.base import LoadBalancer, Worker
from aplex._balancers.base import LoadBalancerFactory as LoadBalancerFactory  # noqa: PLC0414 - for typing
from aplex._balancers.lag import LeastLag
from aplex._balancers.simple import Average, PowerOfTwoChoices, Random, RoundRobin

__all__ = [
    "Affinity",
    "Average",
    "LeastLag",
    "LoadBalancer",
    "PowerOfTwoChoices",
    "Random",
    "RoundRobin",
    "Worker",
]

BUILT_IN: Final = (RoundRobin, Random, Average, LeastLag, PowerOfTwoChoices)
"""They choose a worker with room if there is one, and run no code of the user's."""
