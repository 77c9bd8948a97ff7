"""Refuses pools in processes that only import a program, where each would start the next."""

from __future__ import annotations

import sys
from multiprocessing import process
from types import CodeType
from typing import Final

from aplex._common.identity import this_worker
from aplex._wire.calls import CallDecoder
from aplex._wire.packed_setup import PackedSetup

_UNPICKLING: Final[set[CodeType]] = {CallDecoder.decode.__code__, PackedSetup.take.__code__}
"""What imports the modules of functions that have arrived in a worker."""


def check_process() -> None:
    """Check whether this process may start workers.

    Raises:
        RuntimeError: It may not; says why, and the cure.
    """
    if getattr(process.current_process(), "_inheriting", False):
        raise RuntimeError(
            "this is a worker process that still imports the main module, which must not use "
            "an executor while it is imported. Put the code that does so under "
            "`if __name__ == '__main__':`, or into a function that is called from there"
        )
    if getattr(sys, "frozen", False) and sys.argv[1:2] == ["--multiprocessing-fork"]:
        raise RuntimeError(
            "this is a worker process of a frozen program, which runs the program anew. Have the "
            "program call multiprocessing.freeze_support() before anything else"
        )
    if this_worker() is not None and _is_unpickling():
        raise RuntimeError(
            "this is a worker process that imports a module to find a function in it, and that "
            "module uses an executor while it is imported. Put the code that does so into a "
            "function, and call that from the main module"
        )


def _is_unpickling() -> bool:
    frame = sys._getframe()  # noqa: SLF001
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code in _UNPICKLING:
            return True
    return False
