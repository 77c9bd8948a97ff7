"""A head of Ray on loopback, with a token of its own, and its end."""

from __future__ import annotations

import contextlib
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

from tests.support.leaks import APART, descendants

STARTED = 120.0
"""Seconds in which a head must be there."""


class Head:
    """One that this object has started. `variables` are what a driver's environment must have."""

    def __init__(self, cpus: int = 4, variables: Mapping[str, str] | None = None) -> None:
        # Its sockets lie there, and their paths must not be long.
        self._folder = tempfile.mkdtemp(prefix="aplex-ray-", dir="/tmp")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.variables = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ADDRESS": f"127.0.0.1:{port}",
            **(variables or {}),
        }
        environment = {**os.environ, **self.variables, "PYTHONUNBUFFERED": "1"}
        del environment["RAY_ADDRESS"]
        command = [
            *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"),
            *(f"--port={port}", f"--num-cpus={cpus}", "--node-ip-address=127.0.0.1"),
            *("--include-dashboard=false", "--disable-usage-stats"),
            "--dashboard-agent-listen-port=0",
            *(f"--object-store-memory={128 * 2**20}", f"--temp-dir={self._folder}"),
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
            raise AssertionError("no head of Ray:\n" + "".join(self._said))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.append(line)
            if "--block" in line:  # the last thing it says
                self._ready.set()
        self._ready.set()

    @property
    def processes(self) -> frozenset[int]:
        """All that the head consists of, with the actors."""
        return descendants(self._process.pid) | {self._process.pid}

    def kill(self) -> None:
        """Kill all of it at once, as if the machine had gone."""
        for pid in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

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
        shutil.rmtree(self._folder, ignore_errors=True)
