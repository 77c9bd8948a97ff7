"""An adaptive bound against every fixed one, on a server whose limit is hidden and changes.

    python3 benchmarks/adaptive.py --seconds 9

The server answers in 30 to 70 ms, as many requests at once as it bears, and refuses the others.
What it bears changes with each third of a run. The same requests are sent under each fixed bound
that is best for one of the thirds, and under `max_concurrency="auto"`; in all runs a refused
request is sent again. Printed: answers per second as a ratio to the best fixed bound, and the
share of requests that were refused after the first second. Run it with a Python that has aplex.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from aplex import ThreadAsyncPoolExecutor

COURSES = ([20], [100], [20, 60, 10], [40, 8, 40])
SOON = 0.05  # seconds before a refused request is sent again, at first
WARM = 1.0  # seconds that an adaptive bound has to find out


class RefusedError(Exception):
    """The server bears no more."""


@dataclass
class Server:
    """Bears so many requests at once as the course of its limits says."""

    limits: list[int]
    seconds: float
    began: float = field(default_factory=time.monotonic)
    busy: int = 0
    answered: int = 0
    refusals: list[float] = field(default_factory=list)

    @property
    def age(self) -> float:
        return time.monotonic() - self.began

    @property
    def limit(self) -> int:
        part = int(self.age / self.seconds * len(self.limits))
        return self.limits[min(part, len(self.limits) - 1)]

    async def answer(self, number: int) -> int:
        if self.busy >= self.limit:
            self.refusals.append(self.age)
            await asyncio.sleep(0.002)
            raise RefusedError
        self.busy += 1
        try:
            await asyncio.sleep(random.uniform(0.03, 0.07))
        finally:
            self.busy -= 1
        if self.age < self.seconds:
            self.answered += 1
        return number

    def requests(self) -> Iterator[int]:
        while self.age < self.seconds:
            yield 1


def run(limits: list[int], seconds: float, **options: object) -> Server:
    """Send requests for so long; return the server, which has counted."""
    server = Server(limits, seconds)
    with ThreadAsyncPoolExecutor(1) as pool:
        view = pool.options(
            retry_on=RefusedError, backoff=SOON, max_attempts=1000, limit_key="server", **options
        )
        for _ in view.map(server.answer, server.requests()):
            pass
    return server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=9.0, help="of each run")
    seconds = parser.parse_args().seconds
    print("what is borne     best fixed   auto/s   ratio   refused after 1 s")
    for limits in COURSES:
        fixed = {
            bound: run(limits, seconds, max_concurrency=bound).answered for bound in set(limits)
        }
        best = max(fixed, key=lambda bound: fixed[bound])
        auto = run(limits, seconds, max_concurrency="auto", slow_down=RefusedError)
        late = sum(age > WARM for age in auto.refusals)
        ratio, refused = auto.answered / fixed[best], late / (late + auto.answered)
        rates = f"{fixed[best] / seconds:5.0f}/s  {auto.answered / seconds:6.0f}"
        print(f"{limits!s:16} {best:4}: {rates}   {ratio:5.2f}   {refused:6.1%}")


if __name__ == "__main__":
    main()
