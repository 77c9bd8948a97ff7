"""Races: cancels, mutual kills, the parent's death, resizes, shutdowns and waits, all at random.

cancels   each work is cancelled from none to twice its duration after it was submitted
kills     works that kill the workers of other works
parents   programs that are killed, also while their workers start: no worker lives on
resizes   pools that are resized and shut down by some threads while others submit
nested    works of threads that submit to their own pool, and wait for it
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from reliability.exiting import parent_kills
from reliability.racing import cancel_race, mutual_kills, nested_works
from reliability.racing.resizes import resizes as run_resizes
from reliability.report import command
from reliability.report.figures import Report


@dataclass(frozen=True)
class Form:
    """How large a run is."""

    cancels: int
    sizes: tuple[int, ...]  # workers that kill each other
    kills: int  # rounds of each
    moments: int  # at which a parent is killed, of each start method
    resizes: int  # pools, of each engine
    nested: int  # pools
    limit: float  # seconds


FORMS = {
    "long": Form(
        100_000, (1, 2, 5, 13), kills=20, moments=20, resizes=30, nested=5_000, limit=3_600
    ),
    "short": Form(4_000, (1, 2, 5), kills=1, moments=1, resizes=2, nested=100, limit=60),
}


def cancels(form: Form, rng: random.Random) -> Report:
    return cancel_race.race(form.cancels, rng)


def kills(form: Form, rng: random.Random) -> Report:
    return mutual_kills.kills(form.sizes, form.kills, rng)


def parents(form: Form, rng: random.Random) -> Report:
    return parent_kills.kills(form.moments, rng)


def resizes(form: Form, rng: random.Random) -> Report:
    return run_resizes(form.resizes, rng)


def nested(form: Form, rng: random.Random) -> Report:
    return nested_works.programs(form.nested, rng)


PARTS = {
    "cancels": cancels,
    "kills": kills,
    "parents": parents,
    "resizes": resizes,
    "nested": nested,
}

if __name__ == "__main__":
    command.run(__doc__ or "", FORMS, PARTS)
