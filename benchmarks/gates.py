"""A gate at which workers are held up: it opens for all of them at once."""

import contextlib
import fcntl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


class GateError(Exception):
    """Not as many workers came to the gate as were expected."""


class Gate:
    """A locked file. Workers stand at it by `works.stand`, waiting for the lock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gate"
        self._file = self.path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def standing(self) -> int:
        """How many workers have come."""
        return sum(1 for _ in self.path.parent.glob("*.here"))

    def wait_for(self, count: int, seconds: float = 60) -> None:
        """Return when that many workers stand here."""
        end = time.monotonic() + seconds
        while self.standing() < count:
            if time.monotonic() > end:
                raise GateError(f"{self.standing()} of {count} workers came in {seconds:.0f} s")
            time.sleep(0.001)

    def open(self) -> None:
        """Let them all go."""
        # A worker that was forked shares the lock: closing the file would not release it.
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()


@contextlib.contextmanager
def closed_gate() -> Iterator[Gate]:
    """A gate in a folder of its own, open at the latest at the end."""
    with tempfile.TemporaryDirectory() as name:
        gate = Gate(Path(name))
        try:
            yield gate
        finally:
            with contextlib.suppress(ValueError):  # it is open already
                gate.open()
