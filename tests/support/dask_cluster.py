"""A Dask cluster of this machine, for tests: a scheduler and some workers, on loopback."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

STARTS = 60.0
"""Seconds in which it must be there."""


def needs(module: str) -> None:
    """Skip if a module is not installed."""
    if importlib.util.find_spec(module) is None:
        reason = f"{module} is not installed: pip install --group clusters"
        if "APLEX_TEST_CLUSTERS" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)


WITH_ITS_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG: SIGTERM when the tests are killed
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class LocalDask:
    """A scheduler and Dask workers, each a program of its own, begun in an empty folder."""

    def __init__(
        self, folder: Path, *, python: str = sys.executable, env: dict[str, str] | None = None
    ) -> None:
        self.file = folder / "scheduler.json"
        self._folder = folder
        self._python = python
        self._env = {**os.environ, **(env or {})}
        self.nannies: dict[str, subprocess.Popen[bytes]] = {}
        self._programs: list[subprocess.Popen[bytes]] = []
        self._client: Any = None
        self.start_scheduler()

    def start_scheduler(self) -> None:
        """Start one; what there was of an older one is forgotten."""
        self.file.unlink(missing_ok=True)
        if self._client is not None:
            self._client.close(timeout=1)
            self._client = None
        self.scheduler = self._start(
            *("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
            *("--idle-timeout", "600"),
        )

    def add_worker(self, name: str, *, threads: int = 1, resources: str = "") -> None:
        """Start one more Dask worker; does not wait for it."""
        self.nannies[name] = self._start(
            *("worker", "--nthreads", str(threads), "--name", name, "--no-dashboard"),
            *("--local-directory", str(self._folder), "--death-timeout", "60"),
            *("--memory-limit", "0"),
            *(("--resources", resources) if resources else ()),
        )

    def _start(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        module = f"distributed.cli.dask_{what}"
        command = [self._python, "-c", WITH_ITS_PARENT, "-m", module, *arguments]
        log = self._folder / f"{what}-{len(self._programs)}.log"
        with log.open("wb") as output:
            program = subprocess.Popen(
                [*command, "--scheduler-file", str(self.file)],
                cwd=self._folder, env=self._env, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        self._programs.append(program)
        return program

    @property
    def client(self) -> Any:
        """A client, to see what the scheduler knows."""
        if self._client is None:
            from distributed import Client

            end = time.monotonic() + STARTS
            while not self.file.exists():
                assert time.monotonic() < end, self.logs()
                assert self.scheduler.poll() is None, self.logs()
                time.sleep(0.02)  # a file tells nobody that it is there
            self._client = Client(scheduler_file=str(self.file), set_as_default=False)
        return self._client

    def wait_for_workers(self, count: int) -> None:
        self.client.wait_for_workers(count, timeout=STARTS)

    def wait_for_names(self, *names: str) -> None:
        """Wait until there are Dask workers of these names. Dask takes others for hosts."""
        end = time.monotonic() + STARTS
        while not self.taken().keys() >= set(names):
            assert time.monotonic() < end, self.logs()
            time.sleep(0.02)  # what Dask tells, it tells those who ask

    def wait_until_seen(self, name: str, seconds: float) -> None:
        """Wait until the scheduler has heard of a Dask worker for so long."""

        def last_seen(dask_scheduler: Any) -> float:
            known = dask_scheduler.workers.values()
            return max((w.last_seen for w in known if str(w.name) == name), default=0.0)

        while not (first := self.client.run_on_scheduler(last_seen)):
            time.sleep(0.02)  # what Dask tells, it tells those who ask
        while self.client.run_on_scheduler(last_seen) < first + seconds:
            time.sleep(0.02)

    def taken(self) -> dict[str, int]:
        """How many tasks each Dask worker has, by name; -1: those that wait for a place."""

        def count(dask_scheduler: Any) -> dict[str, int]:
            waiting = dask_scheduler.unrunnable
            queued = dask_scheduler.queued
            taken = {str(w.name): len(w.processing) for w in dask_scheduler.workers.values()}
            return taken | {"-": len(waiting) + len(queued)}

        return self.client.run_on_scheduler(count)

    def wait_until_free(self, seconds: float = 10.0) -> None:
        """Wait until no place is taken, and nothing waits for one."""
        end = time.monotonic() + seconds
        while any((taken := self.taken()).values()):
            assert time.monotonic() < end, taken
            time.sleep(0.02)  # what Dask tells, it tells those who ask

    def pids(self) -> dict[str, int]:
        """The processes of the Dask workers, by name."""
        pids = self.client.run(os.getpid)
        known = self.client.scheduler_info()["workers"]
        return {str(known[address]["name"]): pid for address, pid in pids.items()}

    def logs(self) -> str:
        return "\n".join(log.read_text() for log in sorted(self._folder.glob("*.log")))

    def close(self) -> None:
        """End all of it."""
        if self._client is not None:
            self._client.close(timeout=2)
        for program in self._programs:
            program.terminate()
        for program in self._programs:
            try:
                program.wait(2)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait(5)
            with contextlib.suppress(ProcessLookupError):  # what a nanny may have left
                os.killpg(program.pid, signal.SIGKILL)
