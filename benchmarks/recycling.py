"""What recycling costs: works per second, and how long works wait, with and without it.

    python3 benchmarks/recycling.py --rounds 5

Functions that take 20 ms, in a program whose main module imports pandas; twice as many callers
as workers, each of which submits its next work when the last one is done. Each way takes its turn
in each round, in a process of its own; compared are medians. Run it with a Python that has aplex
and pandas installed; nothing else should run.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import json
import os
import sys
import threading
import time
from collections import Counter

import pandas

from aplex import ProcessAsyncPoolExecutor


def work(sent):
    began = time.monotonic()
    time.sleep(0.02)
    return os.getpid(), began - sent


def main(options, workers, count):
    seen = []
    with ProcessAsyncPoolExecutor(workers, **options) as pool:
        pool.start()
        began = time.monotonic()

        def call(share):
            for _ in range(share):
                seen.append(pool.submit(work, time.monotonic()).result())

        share = count // workers // 2
        callers = [threading.Thread(target=call, args=(share,)) for _ in range(2 * workers)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        seconds = time.monotonic() - began
    waited = sorted(seconds for _, seconds in seen)
    taken = Counter(pid for pid, _ in seen)
    print(json.dumps({
        "works/s": len(seen) / seconds,
        "p95 ms": waited[int(0.95 * len(waited))] * 1e3,
        "workers": len(taken),
        "most works of one": max(taken.values()),
    }))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
"""
WAYS = {
    "no recycling": {},
    "every 25 works": {"max_tasks_per_child": 25},
    "every work": {"max_tasks_per_child": 1},
}


def measure(program: Path, options: dict[str, int], arguments: list[str]) -> dict[str, float]:
    command = [sys.executable, str(program), json.dumps(options), *arguments]
    return json.loads(subprocess.check_output(command, timeout=120))  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--count", type=int, default=1000, help="works of each measurement")
    options = parser.parse_args()
    figures: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "recycled.py"
        program.write_text(PROGRAM)
        for _ in range(options.rounds):
            for way, kind in WAYS.items():
                count = options.count // 5 if way == "every work" else options.count
                arguments = [str(options.workers), str(count)]
                figures[way].append(measure(program, kind, arguments))
    base = figures["no recycling"]
    for way, rounds in figures.items():
        median = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
        rates = [
            each["works/s"] / first["works/s"] for each, first in zip(rounds, base, strict=True)
        ]
        waits = [each["p95 ms"] / first["p95 ms"] for each, first in zip(rounds, base, strict=True)]
        print(
            f"{way:15}  {median['works/s']:6.1f} works/s ({statistics.median(rates):.2f} of it)  "
            f"p95 of waiting {median['p95 ms']:6.1f} ms ({statistics.median(waits):.2f} times)  "
            f"{median['workers']:.0f} workers, {median['most works of one']:.0f} works at most"
        )


if __name__ == "__main__":
    main()
