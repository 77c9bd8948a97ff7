"""A head of Ray on loopback, with a token of its own, and its end."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.support.dask_cluster import WITH_ITS_PARENT
from tests.support.leaks import APART, descendants

STARTED = 120.0
"""Seconds in which a head must be there."""


class _Program:
    """A ``ray start`` that has begun something, and stays as long as that."""

    def __init__(self, variables: dict[str, str], folder: str, *arguments: str) -> None:
        self._folder = folder
        self.variables = variables
        environment = {**os.environ, **variables, "PYTHONUNBUFFERED": "1"}
        environment.pop("RAY_ADDRESS", None)
        command = [
            *(sys.executable, "-c", WITH_ITS_PARENT),
            *(str(Path(sys.executable).with_name("ray")), "start", "--block"),
            *("--node-ip-address=127.0.0.1", "--disable-usage-stats"),
            "--dashboard-agent-listen-port=0",
            *arguments,
        ]
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        APART.add(self._process.pid)
        self._said: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, name="head of Ray")
        self._reader.start()
        if not self._ready.wait(STARTED) or self._process.poll() is not None:
            self.stop()
            raise AssertionError("Ray has not started:\n" + "".join(self._said))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.append(line)
            if "--block" in line:  # the last thing it says
                self._ready.set()
        self._ready.set()

    @property
    def processes(self) -> frozenset[int]:
        """All that it consists of, with the actors."""
        return descendants(self._process.pid) | {self._process.pid}

    def stop(self) -> None:
        """End it, in order if it likes."""
        processes = self.processes
        APART.discard(self._process.pid)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in processes - {self._process.pid}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


class Head(_Program):
    """One that this object has started. `variables` are what a driver's environment must have."""

    def __init__(
        self,
        cpus: int = 4,
        again: Head | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Start one, with more variables; or another one in the place of one that is dead."""
        # Its sockets lie there, and their paths must not be long.
        folder = tempfile.mkdtemp(prefix="aplex-ray-", dir="/tmp")
        variables = {**_variables(), **(more or {})} if again is None else again.variables
        port = variables["RAY_ADDRESS"].rpartition(":")[2]
        super().__init__(
            variables,
            folder,
            *("--head", f"--port={port}", f"--num-cpus={cpus}", "--include-dashboard=false"),
            *(f"--object-store-memory={128 * 2**20}", f"--temp-dir={folder}"),
        )

    def kill(self) -> None:
        """Kill all of it at once, as if the machine had gone."""
        for pid in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Node(_Program):
    """A further node of a head's cluster, with one of a resource."""

    def __init__(self, head: Head, resource: str) -> None:
        """Start it."""
        super().__init__(
            head.variables,
            "",
            *(f"--address={head.variables['RAY_ADDRESS']}", "--num-cpus=1"),
            *(f"--resources={json.dumps({resource: 1})}", f"--object-store-memory={80 * 2**20}"),
        )

    def kill_raylet(self) -> None:
        """Kill what Ray has on the node, but for the processes of actors."""
        for pid in self.processes:
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
                if name.endswith(b"/raylet"):
                    os.kill(pid, signal.SIGKILL)


def _variables() -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ADDRESS": f"127.0.0.1:{port}",
    }
