"""Races: works are cancelled, and their time is over, at random moments.

    python3 dev.py reliability ladder [--works 100000] [--seed 1]

Each work writes down that it starts. At the end, every future must be done, with an outcome
that its work can have had; none that was cancelled before it left may have run; no work ran
twice; neighbours that nobody stops have their results; and the pool holds nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import CancelledError, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aplex import ProcessAsyncPoolExecutor

AHEAD = 64
"""Works under way at a time."""
SPAN = 0.004
"""Seconds that a work takes at most; cancels and timeouts come within twice that."""
LINE = 9
"""Bytes of a line of the journal."""
PATIENCE = 30.0
"""Seconds after which a future is taken for lost."""


@dataclass
class Seen:
    """What was seen in a run."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


def note(journal: str, number: int) -> None:
    """Write down that a work starts."""
    file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, b"%8d\n" % number)
    finally:
        os.close(file)


def burn(number: int, seconds: float, journal: str) -> int:
    """Compute."""
    note(journal, number)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return number


def sleep(number: int, seconds: float, journal: str) -> int:
    """Wait in a system call."""
    note(journal, number)
    time.sleep(seconds)
    return number


async def asleep(number: int, seconds: float, journal: str) -> int:
    """Wait on the event loop."""
    note(journal, number)
    await asyncio.sleep(seconds)
    return number


class Race:
    """Submits works, stops some of them, and looks at what becomes of them."""

    def __init__(self, pool: Any, journal: str, seed: int) -> None:
        self._pool = pool
        self._journal = journal
        self._chance = random.Random(seed)
        self._left: dict[Any, tuple[int, bool]] = {}  # number, and whether it is left alone
        # Of works seen to be cancelled: how long the journal was then. They start no later.
        self._ends: dict[int, int] = {}
        self._cancels: list[tuple[float, Any]] = []
        self.seen = Seen()

    def submit(self, number: int) -> None:
        """Submit one more work, whose fate is chance."""
        chance, options = self._chance, {}
        fate = chance.choice(["alone", "cancel", "time_limit", "deadline"])
        if fate in ("time_limit", "deadline"):
            options[fate] = chance.uniform(0, 2 * SPAN)
        work = chance.choice([burn, sleep, asleep])
        seconds = chance.uniform(0, SPAN)
        future = self._pool.options(**options).submit(work, number, seconds, self._journal)
        self._left[future] = number, fate == "alone"
        if fate == "cancel":
            self._cancels.append((time.monotonic() + chance.uniform(0, 2 * SPAN), future))

    def cancel(self) -> None:
        """Cancel those whose moment has come."""
        now = time.monotonic()
        for _, future in [item for item in self._cancels if item[0] <= now]:
            if future.cancel() and future.cancelled() and future in self._left:
                number, _ = self._left[future]
                self._ends[number] = Path(self._journal).stat().st_size
        self._cancels = [item for item in self._cancels if item[0] > now]

    def settle(self, *, all_of_them: bool = False) -> None:
        """Wait until there is room for more works; take outcomes."""
        began = time.monotonic()
        while len(self._left) >= (1 if all_of_them else AHEAD):
            done, _ = wait(self._left, SPAN / 4, return_when="FIRST_COMPLETED")
            for future in done:
                self._take(future, *self._left.pop(future))
            self.cancel()
            if time.monotonic() - began > PATIENCE:
                self.seen.wrong.append(f"not done: {sorted(self._left.values())}")
                return

    def _take(self, future: Any, number: int, alone: bool) -> None:
        try:
            outcome = "result" if future.result(0) == number else "wrong result"
        except (CancelledError, TimeoutError) as error:
            outcome = type(error).__name__
        except BaseException as error:
            outcome = repr(error)
        self.seen.outcomes[outcome] += 1
        allowed = ["result"] if alone else ["result", "CancelledError", "TimeoutError"]
        if outcome not in allowed:
            self.seen.wrong.append(f"work {number}: {outcome}")

    def judge(self) -> None:
        """Look at the journal, and at the pool."""
        starts = list(map(int, Path(self._journal).read_text(encoding="ascii").split()))
        runs = Counter(starts)
        self.seen.wrong += [f"work {n} ran {runs[n]} times" for n in runs if runs[n] > 1]
        for line, number in enumerate(starts):
            if line * LINE >= self._ends.get(number, len(starts) * LINE):
                self.seen.wrong.append(f"work {number} started after it was cancelled")
        self.seen.outcomes["cancelled at once"] = len(self._ends)
        end = time.monotonic() + PATIENCE
        while "0 works waiting, 0 in flight" not in repr(self._pool):
            if time.monotonic() > end:
                self.seen.wrong.append(f"a slot is lost: {self._pool!r}")
                return
            time.sleep(0.01)


def run(works: int, seed: int, engine: str = "spawn") -> Seen:
    """Run a race of so many works."""
    with tempfile.TemporaryDirectory() as folder:
        journal = str(Path(folder, "journal"))
        Path(journal).touch()
        with ProcessAsyncPoolExecutor(pool_size=2, mp_context=engine) as pool:
            pids = {pool.submit(os.getpid).result() for _ in range(50)}
            race = Race(pool, journal, seed)
            began = time.monotonic()
            for number in range(works):
                race.submit(number)
                race.settle()
            race.settle(all_of_them=True)
            race.judge()
            race.seen.seconds = time.monotonic() - began
            after = {worker.pid for worker in pool._manager.pool.workers}
            if not pids <= after:
                race.seen.wrong.append("a worker was replaced")
    return race.seen


def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--works", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    seen = run(options.works, options.seed)
    print(f"{options.works} works in {seen.seconds:.1f} s: {dict(seen.outcomes)}")
    print("\n".join(seen.wrong) or "nothing wrong")
    sys.exit(bool(seen.wrong))


if __name__ == "__main__":
    main()
