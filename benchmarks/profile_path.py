#!/usr/bin/env python3
"""Where do the microseconds of one work go? A table by the rooms of aplex's architecture.

    python3 benchmarks/profile_path.py [--works N] [--json FILE] [CASE …]

For each case no-op works are run twice, after a warm-up. The first time their CPU time is
measured, of the parent and of its workers, undisturbed; the second time they are sampled. A
room's microseconds are its share of the samples of the parent (or of all workers), times the
CPU time of one work there.

A sample counts for the innermost frame that is in aplex: what `pickle` costs counts for the
module that called it. (What an event loop costs that runs below counts for the loop.) The second
table counts what runs by itself, wherever it was called from. Each thread's microseconds are
shared out by its own samples. "Threads without a sample" are those that used little, and the
pool's listener if it only works beside a busy caller, where it cannot be sampled fairly.
How the samples are taken: `sampling`.
"""

import argparse
import gc
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter as clock
from typing import Any

import machine
import processes
import sampling
import works
from environments import Environment, InstallationError, find_python
from peers import ENTRIES
from peers.base import Call, Peer
from tables import format_rows

Samples = dict[int, Counter[tuple[str, str]]]  # of each thread: room and module
Spent = dict[int, float]  # of each thread: CPU microseconds of one work
BATCH = 10_000
MINOR = 0.005  # a smaller share of all is left out of the tables
SIDES = ("parent", "workers")
CASES: dict[str, tuple[str, Any]] = {
    "coroutines-awaited": ("aplex-awaited", works.same_later),
    "coroutines-awaited-uvloop": ("aplex-awaited-uvloop", works.same_later),
    "plain-awaited": ("aplex-awaited", works.same),
    "plain-blocking": ("aplex", works.same),
}
DEFAULT = ("coroutines-awaited", "plain-blocking")


@dataclass(frozen=True)
class Profile:
    """The microseconds of one work, of the parent and of its workers, by room and by module."""

    case: str
    works: int
    seconds: float  # undisturbed, for all works
    samples: dict[str, int]
    rooms: dict[str, dict[str, float]]
    modules: dict[str, dict[str, float]]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--works", type=int, default=300_000, help="default: 300,000")
    parser.add_argument("--workers", type=int, default=2, help="default: 2")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the figures")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return arguments


def profile(case: str, count: int, workers: int) -> Profile:
    name, work = CASES[case]
    calls: list[Call] = [(work, number) for number in range(BATCH)]
    with tempfile.TemporaryDirectory() as folder, sampled_pool(name, workers, folder) as pool:
        pool.submit_all(calls)
        pids = worker_pids(folder, workers)
        seconds, spent = undisturbed(pool, calls, count, pids)
        found = {"parent": sample(pool, calls, count, pids)}
        found["workers"] = merge(wait_for(Path(folder) / f"{pid}.json") for pid in pids)
    per_side = {side: [weigh(found[side], spent[side], kind) for kind in (0, 1)] for side in SIDES}
    return Profile(
        case,
        count,
        seconds,
        {side: sum(one.total() for one in found[side].values()) for side in SIDES},
        {side: per_side[side][0] for side in SIDES},
        {side: per_side[side][1] for side in SIDES},
    )


@contextmanager
def sampled_pool(name: str, workers: int, folder: str) -> Iterator[Peer]:
    settings = {"initializer": sampling.sample_on_demand, "initargs": (folder,)}
    pool = ENTRIES[name].make(workers, settings)
    pool.open()
    yield pool
    pool.close()


def worker_pids(folder: str, workers: int) -> list[int]:
    while len(found := list(Path(folder).glob("*.worker"))) < workers:
        time.sleep(0.01)
    return [int(path.stem) for path in found]


def run(pool: Peer, calls: list[Call], count: int, sampler: sampling.Sampler | None = None) -> None:
    """Submit a batch, wait for its last result, then take them all; again and again.

    While the main thread waits for the last result, the parent's listener is the only busy
    thread of a blocking pool: that is when it is sampled.
    """
    for _ in range(max(1, count // BATCH)):
        handles = pool.hand_in(calls)
        with sampler.fine() if sampler else nullcontext():
            pool.collect(handles[-1:])
        pool.collect(handles[:-1])


def undisturbed(
    pool: Peer, calls: list[Call], count: int, pids: Sequence[int]
) -> tuple[float, dict[str, Spent]]:
    """Return the seconds, and the CPU microseconds of one work of each thread."""
    run(pool, calls, BATCH)  # all workers are up by now
    gc.collect()
    sides = {"parent": [os.getpid()], "workers": list(pids)}
    before, start = {side: processes.thread_seconds(sides[side]) for side in sides}, clock()
    run(pool, calls, count)
    seconds, after = (
        clock() - start,
        {side: processes.thread_seconds(sides[side]) for side in sides},
    )
    return seconds, {
        side: {
            thread: (used - before[side].get(thread, 0)) / count * 1e6
            for thread, used in after[side].items()
        }
        for side in sides
    }


def sample(pool: Peer, calls: list[Call], count: int, pids: Sequence[int]) -> Samples:
    """Do the same again and return the samples of this process."""
    mine = sampling.Sampler()
    for pid in pids:
        os.kill(pid, signal.SIGUSR1)
    mine.start()
    run(pool, calls, count, mine)
    mine.stop()
    for pid in pids:
        os.kill(pid, signal.SIGUSR2)
    return mine.samples


def wait_for(path: Path) -> Samples:
    while not path.exists():
        time.sleep(0.01)
    return sampling.read(path)


def merge(many: Iterable[Samples]) -> Samples:
    return {thread: found for samples in many for thread, found in samples.items()}


def weigh(samples: Samples, spent: Spent, kind: int) -> dict[str, float]:
    """Share out the microseconds of each thread by its samples: by room (0) or module (1)."""
    shares: defaultdict[str, float] = defaultdict(float)
    for thread, microseconds in spent.items():
        found = samples.get(thread)
        if found:
            for where, number in found.items():
                shares[where[kind]] += number / found.total() * microseconds
        elif microseconds:
            shares["threads without a sample"] += microseconds
    return dict(shares)


def render(one: Profile) -> str:
    """Two tables of a profile: by room, and by module."""
    total = sum(sum(one.rooms[side].values()) for side in SIDES)
    rate = one.works / one.seconds if one.seconds else 0
    samples = ", ".join(f"{one.samples[side]:,} of the {side}" for side in SIDES)
    return "\n\n".join(
        [
            f"### {one.case}",
            f"{total:.1f} µs of CPU time for each work, {rate:,.0f} works/s; samples: {samples}.",
            format_rows(rows("room", one.rooms, total)),
            format_rows(rows("what runs by itself", one.modules, total)),
        ]
    )


def rows(head: str, parts: dict[str, dict[str, float]], total: float) -> list[list[str]]:
    table = [[head, "parent, µs", "workers, µs", "both, µs", "share"]]
    names = {**parts["parent"], **parts["workers"]}
    both = {name: sum(parts[side].get(name, 0) for side in SIDES) for name in names}
    table += [
        [name, *(f"{parts[side].get(name, 0):.2f}" for side in SIDES), *share(both[name], total)]
        for name in sorted(both, key=both.__getitem__, reverse=True)
        if both[name] > MINOR * total
    ]
    sums = [sum(parts[side].values()) for side in SIDES]
    table.append(["all", *(f"{value:.2f}" for value in sums), *share(total, total)])
    return table


def share(part: float, total: float) -> list[str]:
    return [f"{part:.2f}", f"{part / total:.0%}" if total else ""]


def save(path: Path, facts: dict[str, str], profiles: list[Profile]) -> None:
    content = {"facts": facts, "profiles": [vars(one) for one in profiles]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def load(path: Path) -> list[Profile]:
    """What `save` has saved."""
    return [Profile(**one) for one in json.loads(path.read_text())["profiles"]]


def enter_environment() -> None:
    """Run on in the environment of aplex, unless this is it."""
    environment = Environment("aplex", find_python())
    if Path(sys.prefix) == environment.folder:
        return
    environment.make()
    command = [str(environment.python), __file__, *sys.argv[1:]]
    os.execve(command[0], command, environment.environ())  # noqa: S606


def main() -> None:
    arguments = parse()
    try:
        enter_environment()
    except InstallationError as error:
        sys.exit(f"not installed: {error}")
    facts = {**machine.describe(), "Python": sys.version.split()[0]}
    for name, value in facts.items():
        print(f"{name}: {value}")
    profiles = []
    for case in arguments.cases or DEFAULT:
        profiles.append(profile(case, arguments.works, arguments.workers))
        print(f"\n{render(profiles[-1])}", flush=True)
    if arguments.json:
        save(arguments.json, facts, profiles)


if __name__ == "__main__":
    main()
