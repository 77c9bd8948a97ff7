"""Whether there are subinterpreters that can run workers."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

VERSION: tuple[int, ...] = sys.version_info[:2]
CURE = "use ProcessAsyncPoolExecutor, which has the same interface"


def check_available() -> None:
    """Check whether workers can be subinterpreters here.

    Raises:
        NotImplementedError: They cannot; says why, and the cure.
    """
    if sys.implementation.name != "cpython" or VERSION < (3, 14):
        version = ".".join(map(str, VERSION))
        raise NotImplementedError(
            "InterpreterAsyncPoolExecutor needs CPython 3.14 or newer (concurrent.interpreters), "
            f"this is {sys.implementation.name} {version}: {CURE}"
        )
    if sys.platform == "win32":
        raise NotImplementedError(
            f"InterpreterAsyncPoolExecutor does not run on Windows yet: {CURE}"
        )


def make_interpreter() -> Any:
    """Return a new subinterpreter, a ``concurrent.interpreters.Interpreter``.

    Raises:
        InterpreterError: There can be none.
    """
    return import_module("concurrent.interpreters").create()
