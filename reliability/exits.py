"""Exits: short programs that end at a random moment, with pools in all sorts of states.

None may hang, or leave a process, or a file; each exits with the code it should; and nothing is
on stderr but what belongs there: the exception that ended the program, and aplex's one line
about coroutines that were cancelled.
"""

from __future__ import annotations

import itertools
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.programs import ENGINES, TRACEBACK, command

from reliability.exiting.program import ENDINGS, STATES
from reliability.report.command import run as run_program
from reliability.report.figures import Report

ROOT: Final = Path(__file__).parent.parent
DEADLINE: Final = 30.0
"""Seconds after which a program is hung."""
CODES: Final = {"come_to_the_end": (0,), "leave": (3,), "fail": (1,), "interrupt": (-2, 130)}
LAST_LINES: Final = {"fail": "LookupError: the end", "interrupt": "KeyboardInterrupt"}
OF_APLEX: Final = re.compile(r"aplex: cancelled \d+ coroutine works? still unfinished .*\n")


@dataclass(frozen=True)
class Form:
    """How large a run is."""

    programs: int
    limit: float  # seconds
    at_a_time: int = 3


FORMS = {"long": Form(1_000, limit=7_200), "short": Form(20, limit=90)}


@dataclass(frozen=True)
class Exit:
    """One program."""

    engine: str
    state: str
    ending: str
    seconds: float

    def fault(self) -> str:
        """Run it; return what was wrong, if anything."""
        arguments = (
            "-m",
            "reliability.exiting.program",
            self.state,
            self.ending,
            str(self.seconds),
        )
        try:
            with command(arguments, engine=self.engine, cwd=ROOT) as program:
                outcome = program.finish(DEADLINE)
        except AssertionError as error:  # it hung, or has left a process
            return f"{self}: {error}"
        if outcome.code not in CODES[self.ending]:
            return f"{self}: exit code {outcome.code}\n{outcome.err}"
        if outcome.temporary and outcome.code >= 0:
            return f"{self}: left {outcome.temporary}"
        if not self._may_say(outcome.err):
            return f"{self}: said\n{outcome.err}"
        return ""

    def _may_say(self, err: str) -> bool:
        err = OF_APLEX.sub("", err)
        if self.ending not in LAST_LINES:
            return err == ""
        chained = err.count("\nDuring handling of the above exception, another ")
        return (
            err.startswith(TRACEBACK)
            and err.count(TRACEBACK) == 1 + chained
            and err.endswith(f"\n{LAST_LINES[self.ending]}\n")
            and "Exception ignored" not in err
        )


def exits(form: Form, rng: random.Random) -> Report:
    """Run so many programs, some at a time; each state, ending and engine in turn."""
    report = Report(f"Exits: {form.programs:,} programs, {form.at_a_time} at a time")
    programs = list(itertools.islice(_programs(rng), form.programs))
    began = time.monotonic()
    with ThreadPoolExecutor(form.at_a_time) as runners:
        faults = list(filter(None, runners.map(Exit.fault, programs)))
    engines = Counter(program.engine for program in programs)
    report.tell("engines", ", ".join(f"{count} {name}" for name, count in engines.items()))
    report.tell("states of pools", len({program.state for program in programs}))
    report.tell("endings", len({program.ending for program in programs}))
    report.tell("programs per second", len(programs) / (time.monotonic() - began))
    report.none_of("hung, or wrong in any way", faults)
    return report


def _programs(rng: random.Random) -> Iterator[Exit]:
    while True:
        combinations = list(itertools.product(ENGINES, STATES, ENDINGS))
        rng.shuffle(combinations)
        for engine, state, ending in combinations:
            yield Exit(engine, state, ending, rng.uniform(0, 0.4))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or all programs would be deaf
    run_program(__doc__ or "", FORMS, {"exits": exits})
