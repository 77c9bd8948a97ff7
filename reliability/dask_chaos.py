"""Chaos on Dask: mixed works on a cluster whose processes are killed. Nothing lost, nothing twice.

As `reliability.chaos`: functions and coroutines, with and without retries, some with big results,
some cancelled; and beside them streams, maps and works that raise. But the workers belong to a Dask
cluster, which is started for this. They get SIGKILL or SIGSEGV, or are stopped for up to a second;
and sometimes a Dask worker is killed, with all that it has. In the end no place of the cluster may
be taken, no process left, and the memory of this one must not have grown.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.at_port import wait_until_gone
from tests.support.dask_cluster import LocalDask

from aplex import DaskAsyncPoolExecutor
from reliability.load import journal
from reliability.load.beside import Beside
from reliability.load.killer import Killer
from reliability.load.submitter import Complaints, Load
from reliability.load.verdict import judge
from reliability.report import command
from reliability.report.figures import Report

EXPECTED: Final = "its token was used before"
"""What aplex says of a worker that Dask has started anew before the pool knows of its end."""
GROWTH: Final = 15.0
"""MB that this process may grow after the first phase."""
NODE: Final = 0.08
"""Of all blows, the part that hits a Dask worker."""


@dataclass(frozen=True)
class Form:
    """How large a run is."""

    works: int  # in all
    phases: int
    seconds: float  # for which works are submitted in a phase, at most
    workers: int
    window: int  # works under way at a time
    limit: float  # seconds
    life: float = 4.0  # mean, of a worker, in seconds


FORMS = {
    "long": Form(100_000, 4, float("inf"), workers=4, window=600, limit=880),
    "short": Form(100_000, 2, 3.0, workers=4, window=300, limit=50),
}


class _Phase(Load):
    """A load whose works have numbers of their own."""

    def __init__(self, pool: Any, rng: random.Random, window: int, first: int) -> None:
        super().__init__(pool, rng, window)
        self._first = first

    def _submit(self, work: int) -> None:
        super()._submit(self._first + work)


class _ClusterKiller(Killer):
    """Strikes workers of a pool on Dask, and Dask workers."""

    def __init__(self, pool: Any, cluster: LocalDask, life: float, rng: random.Random) -> None:
        super().__init__(life, rng)
        self._pool = pool
        self._cluster = cluster
        self._choices = random.Random(rng.random())

    def alive(self) -> list[int]:
        return [each.pid for each in self._pool.stats().workers if each.pid is not None]

    def hit(self, pid: int, number: int) -> bool:
        if number == signal.SIGKILL and self._choices.random() < NODE:
            with contextlib.suppress(Exception):  # of Dask, while one is being started anew
                pid = self._choices.choice(list(self._cluster.pids().values()))
                self.struck["of these, Dask workers"] += 1
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if (
                b"aplex.worker" not in words
                and b"distributed" not in words
                and b"spawn" not in words
            ):
                return False  # it has ended, and its number is another's
            signal.pidfd_send_signal(fd, number)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True


def chaos(form: Form, rng: random.Random) -> Report:
    """Run the works in phases; after each, all must be accounted for."""
    report = Report(f"Chaos on Dask: {form.workers} workers with a mean life of {form.life:g} s")
    complaints, counts, blows = Complaints(), Counter[str](), Counter[str]()
    sizes: list[float] = []
    with tempfile.TemporaryDirectory() as folder, complaints:
        cluster = _cluster(Path(folder), form.workers)
        try:
            path, began, done = Path(folder, "journal"), time.monotonic(), 0
            with _pool(cluster, form, path) as pool:
                for phase in range(form.phases):
                    killer = _ClusterKiller(pool, cluster, form.life, rng)
                    load = _Phase(pool, rng, form.window, done)
                    with killer, Beside(pool, rng) as beside:
                        load.submit(form.works // form.phases, form.seconds)
                        load.drain()
                    blows += killer.struck
                    counts += beside.counts
                    done += len(load.fates)
                    name = f"phase {phase + 1}"
                    judge(report, load.fates, _of_these(path, load), name)
                    report.none_of(f"wrong streams, maps and errors, {name}", beside.faults)
                    del load, killer, beside
                    sizes.append(_megabytes())
                port = pool._manager._backend._door.address[1]
            seconds = time.monotonic() - began
            report.none_of("places of the cluster that stay taken", _taken(cluster))
            report.none_of("processes left", _left(port))
        finally:
            cluster.close()
    wrong = [line for line in complaints.messages if EXPECTED not in line]
    report.none_of("complaints in the log", wrong)
    report.tell("beside", ", ".join(f"{n:,} {kind}" for kind, n in counts.items()))
    report.tell("blows", ", ".join(f"{n} {kind}" for kind, n in blows.items()))
    report.tell("works per second", (done + sum(counts.values())) / seconds)
    report.tell("MB after each phase", ", ".join(f"{size:.0f}" for size in sizes))
    report.at_most("growth after the first phase", sizes[-1] - sizes[0], GROWTH, " MB")
    return report


def _cluster(folder: Path, workers: int) -> LocalDask:
    """Start two Dask workers, with a place more than there are workers."""
    root = Path(__file__).parent.parent
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    cluster = LocalDask(folder, env={"PYTHONPATH": paths, "TMPDIR": str(folder)})
    for name in "ab":
        cluster.add_worker(name, threads=workers)
    cluster.wait_for_workers(2)
    return cluster


def _pool(cluster: LocalDask, form: Form, path: Path) -> DaskAsyncPoolExecutor[Any]:
    return DaskAsyncPoolExecutor(
        cluster.file,
        form.workers,
        initializer=journal.open_journal,
        initargs=(str(path),),
        max_restarts=1_000,  # being killed again and again before serving is no end here
        ship=None,
    )


def _of_these(path: Path, load: Load) -> dict[int, list[journal.Note]]:
    notes = journal.read(path)
    return {fate.work: notes[fate.work] for fate in load.fates if fate.work in notes}


def _taken(cluster: LocalDask) -> list[str]:
    try:
        cluster.wait_until_free()
    except AssertionError as error:
        return [str(error)]
    return []


def _left(port: int) -> list[str]:
    """Return the processes that were to dial that port, and have not ended in time."""
    try:
        wait_until_gone(port)
    except AssertionError as error:
        return [str(error)]
    return []


def _megabytes() -> float:
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    command.run(__doc__ or "", FORMS, {"chaos": chaos})
