"""How much memory a process holds. A leaf."""

from __future__ import annotations

import os
import sys
from typing import Final

if sys.platform == "linux":
    _PAGE: Final = os.sysconf("SC_PAGE_SIZE")

    def resident(pid: int) -> int | None:
        """Return how many bytes of memory a process holds; None if the system does not say."""
        try:
            # Not by `open`: three calls of the system instead of seven, for each worker.
            file = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # it has ended; or there is no /proc
            return None
        try:
            return int(os.read(file, 256).split()[1]) * _PAGE
        except (OSError, IndexError):  # it has ended just now
            return None
        finally:
            os.close(file)

else:

    def resident(pid: int) -> int | None:  # noqa: ARG001
        """Return None: the standard library does not tell what another process holds."""
        return None
