"""Looks at what aplex has, as a module of aplex would see it."""

from __future__ import annotations

import sys
import types
from typing import Any

SOURCE = """
import os, select, selectors, signal, socket, sys

def look():
    found = {
        "platform": sys.platform,
        "memfd_create": hasattr(os, "memfd_create"),
        "pidfd_open": hasattr(os, "pidfd_open"),
        "eventfd": hasattr(os, "eventfd"),
        "epoll": hasattr(select, "epoll"),
        "real-time signals": hasattr(signal, "SIGRTMIN"),
        "fork": hasattr(os, "fork"),
        "readv": hasattr(os, "readv"),
        "SIGKILL": hasattr(signal, "SIGKILL"),
        "SCM_RIGHTS": hasattr(socket, "SCM_RIGHTS"),
        "fcntl": True,
        "proc": True,
        "pipes can be waited for": True,
    }
    try:
        import fcntl
    except ImportError:
        found["fcntl"] = False
    try:
        open("/proc/self/stat").close()
    except OSError:
        found["proc"] = False
    reading, writing = os.pipe()
    with selectors.DefaultSelector() as selector:
        try:
            selector.register(reading, selectors.EVENT_READ)
        except OSError:
            found["pipes can be waited for"] = False
    os.close(reading)
    os.close(writing)
    return found
"""


def what_aplex_has() -> dict[str, Any]:
    """Return it."""
    import aplex._version

    module = types.ModuleType("aplex.looks")
    vars(module)["__builtins__"] = vars(aplex._version)["__builtins__"]
    exec(compile(SOURCE, __file__, "exec"), vars(module))
    found: dict[str, Any] = module.look()
    assert sys.platform == "linux", "the rest of the process has what it had"
    return found
