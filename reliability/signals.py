"""Signals: handlers and finalizers that use a pool in the middle of its own code.

storm      a signal about every 0.5 ms, and much garbage, while one thread submits and waits:
           handlers and finalizers submit, cancel, look, add callbacks, resize, close maps and
           streams of the pool they have broken into
shutdowns  a handler that shuts the pool down, in one of five ways, at a random moment
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from reliability.report import command
from reliability.report.figures import Report
from reliability.signalling import shutdown_handlers
from reliability.signalling.storm import storm as run_storm


@dataclass(frozen=True)
class Form:
    """How large a run is."""

    storm: float  # seconds, of each engine
    shutdowns: int  # pools, of each engine and face
    limit: float  # seconds


FORMS = {
    "long": Form(120, shutdowns=400, limit=3_600),
    "short": Form(2, shutdowns=2, limit=50),
}


def storm(form: Form, rng: random.Random) -> Report:
    return run_storm(form.storm, rng)


def shutdowns(form: Form, rng: random.Random) -> Report:
    return shutdown_handlers.shutdowns(form.shutdowns, rng)


PARTS = {"storm": storm, "shutdowns": shutdowns}

if __name__ == "__main__":
    command.run(__doc__ or "", FORMS, PARTS)
