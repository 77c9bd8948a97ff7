"""Random use of real pools against a simple reference of what may become of works.

    python3 dev.py reliability model --count 1000

A history submits works of all kinds, opens the gates they wait at, cancels, kills workers,
resizes, shuts down, in any order. After each step futures must be as the reference allows; at
its end each future must be done, and nothing may be left alive.
"""

from __future__ import annotations

import argparse
import sys
import time

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from reliability.random_use.machine import RandomUse

PART = 50
"""Histories of one seed."""


def run_part(number: int, count: int = PART, steps: int = 30) -> None:
    """Run the histories that follow from a number; raise at the first that goes wrong."""
    run_state_machine_as_test(
        seed(number)(type("RandomUse", (RandomUse,), {})),
        settings=settings(
            max_examples=count,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            # Time is part of these histories: a shorter one would be another one.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def main() -> int:
    """Run histories; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000, help="histories; default: 2000")
    parser.add_argument("--seed", type=int, default=1, help="of the first part; default: 1")
    arguments = parser.parse_args()
    began = time.monotonic()
    for number in range(arguments.seed, arguments.seed + -(-arguments.count // PART)):
        run_part(number)
        done = (number - arguments.seed + 1) * PART
        print(f"{done} histories, {time.monotonic() - began:.0f} s, seed {number}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
