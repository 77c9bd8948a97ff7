"""What passes between a pool and its template process, see `_worker.template`."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Sequence

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final

READY: Final = "ready"
FAILED: Final = "failed"
FORKED: Final = "forked"
REFUSED: Final = "refused"
STATUS: Final = struct.Struct("<iq")
"""How a worker has ended: its exit code as ``multiprocessing`` gives it, its peak RSS in bytes."""
STREAMS: Final = (0, 1, 2)
"""The standard streams' descriptors."""


def state_of(streams: Sequence[int], *, tracker: bool) -> dict[str, Any]:
    """Return what a worker takes over from this process, besides descriptors."""
    return {
        "streams": list(streams),
        "environ": dict(os.environ),
        "path": list(sys.path),
        "argv": list(sys.argv),
        "tracker": tracker,
    }
