"""Leaks: what many pools, and many works through one pool, leave behind. It must be nothing.

pools    descriptors, threads, processes, shared memory and its names, after many pools
works    the same after many works through one pool, and by how much memory has grown
things   arguments, results and exceptions are collected within a second
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from reliability.leaking import pools_after_pools, works_after_works
from reliability.leaking.things import run as run_things
from reliability.report import command
from reliability.report.figures import Report


@dataclass(frozen=True)
class Form:
    """How large a run is."""

    pools: int  # of each engine
    works: int
    growth: float  # bytes of memory for each thousand works, at most
    things: int  # rounds
    limit: float  # seconds


FORMS = {
    # The allocator takes a MiB at once: in a million works one such step is a whole KiB for each
    # thousand. In four million it is a quarter of that, and a leak is as steep as it was.
    "long": Form(1_000, 4_000_000, growth=1_024, things=20, limit=3_600),
    # In so few works a MiB for each of both workers, in the middle, is a slope of 79 KiB. Leaks
    # of objects are seen all the same: these are counted.
    "short": Form(10, 40_000, growth=81_920, things=1, limit=60),
}


def pools(form: Form, _: random.Random) -> Report:
    return pools_after_pools.run(form.pools)


def works(form: Form, _: random.Random) -> Report:
    return works_after_works.run(form.works, form.growth)


def things(form: Form, _: random.Random) -> Report:
    return run_things(form.things)


PARTS = {"pools": pools, "works": works, "things": things}

if __name__ == "__main__":
    command.run(__doc__ or "", FORMS, PARTS)
