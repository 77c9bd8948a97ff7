"""A machine that is lost: no packet comes from it any more, and nobody says that it is gone.

It is a network namespace of this machine whose link is cut, which takes root, and ``ip``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aplex import RemoteAsyncPoolExecutor, WorkerLostError
from tests.support import works
from tests.support.certificates import Authority
from tests.support.leaks import nothing_left_alive
from tests.support.remote_workers import COMMAND
from tests.support.signals import Gate, Signals

PATIENCE = 30.0
TOLD = 15.0
"""Seconds in which it must be known."""
GONE = 30.0
"""Seconds in which the lost worker must have given its pool up, and be gone."""


def ip(*words: str) -> None:
    """Run the program.

    Raises:
        OSError: It cannot do that here.
    """
    ran = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise OSError(f"ip {' '.join(words)}: {ran.stderr.strip()}")


class Machine:
    """A namespace with a link to this machine."""

    def __init__(self) -> None:
        self.name = f"aplex-{os.getpid()}"
        self._ours, self._theirs = f"ap{os.getpid()}a", f"ap{os.getpid()}b"
        third, fourth = os.getpid() // 60 % 250, os.getpid() % 60 * 4  # a network of our own
        self.our_address = f"10.213.{third}.{fourth + 1}"
        ip("netns", "add", self.name)
        try:
            ip("link", "add", self._ours, "type", "veth", "peer", "name", self._theirs)
            ip("link", "set", self._theirs, "netns", self.name)
            ip("address", "add", f"{self.our_address}/30", "dev", self._ours)
            ip("link", "set", self._ours, "up")
            there = ("-n", self.name)
            ip(*there, "address", "add", f"10.213.{third}.{fourth + 2}/30", "dev", self._theirs)
            ip(*there, "link", "set", "lo", "up")
            self.join()
        except BaseException:
            self.close()
            raise

    def join(self) -> None:
        ip("-n", self.name, "link", "set", self._theirs, "up")

    def cut(self) -> None:
        ip("-n", self.name, "link", "set", self._theirs, "down")

    def pids(self) -> list[int]:
        """Return the processes there."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True
        )
        return [int(pid) for pid in listed.stdout.split()]

    def close(self) -> None:
        subprocess.run(["ip", "link", "delete", self._ours], capture_output=True, check=False)
        ip("netns", "delete", self.name)


@pytest.fixture
def machine() -> Iterator[Machine]:
    if shutil.which("ip") is None:
        pytest.skip("there is no program 'ip' (Debian: iproute2)")
    try:
        machine = Machine()
    except OSError as error:
        pytest.skip(f"no network namespace can be made here: {error}")
    yield machine
    machine.close()


def test_a_lost_machine_is_told_and_both_sides_go_on(machine: Machine, tmp_path: Path) -> None:
    command = ["ip", "netns", "exec", machine.name, *COMMAND]
    signals, gate = Signals(tmp_path / "signals"), Gate(tmp_path / "gate")
    tls = Authority(tmp_path, "ours").tls("pool")
    with (
        nothing_left_alive(),
        RemoteAsyncPoolExecutor(command, 1, listen=machine.our_address) as pool,
        RemoteAsyncPoolExecutor(command, 1, listen=machine.our_address, tls=tls) as encrypted,
    ):
        with_tls = encrypted.submit(works.held, signals.path, gate.path, 8)
        signals.expect("started 8")
        pid = pool.submit(os.getpid).result(PATIENCE)
        before = machine.pids()
        running = pool.submit(works.held, signals.path, gate.path, 7)
        again = pool.options(retries=1).submit(os.getpid)  # is behind it: may have started
        signals.expect("started 7")
        machine.cut()
        cut = time.monotonic()
        error = running.exception(PATIENCE)
        took = time.monotonic() - cut
        assert isinstance(error, WorkerLostError)
        assert "its connection was lost" in str(error)
        assert took < TOLD
        assert isinstance(with_tls.exception(PATIENCE), WorkerLostError)
        assert time.monotonic() - cut < TOLD
        machine.join()
        gate.open()
        assert again.result(PATIENCE) != pid
        assert encrypted.submit(works.add, 1, 2).result(PATIENCE) == 3
        while set(before) & set(machine.pids()):
            assert time.monotonic() - cut < GONE
            time.sleep(0.05)  # of the end of somebody else's children nobody tells
    assert machine.pids() == []
    signals.close()
    gate.close()
