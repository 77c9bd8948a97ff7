"""What the process is like while a child starts: deaf, with an importable main module."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Generator, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from aplex._backends.process.top_level import is_guarded


@contextlib.contextmanager
def signals_blocked(numbers: Iterable[int]) -> Generator[None]:
    """Start children deaf to these signals until they have set their handlers.

    The mask is that of the current thread, and children inherit it.
    """
    if sys.platform == "win32":
        yield
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def path_of_main() -> str | None:
    """Return the file of ``__main__``, None if it has none that a child could run.

    A script on standard input says ``<stdin>``.
    """
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return path if path is not None and Path(path).is_file() else None


def is_importable(path: str | None) -> bool:
    """Whether a worker can import this process's ``__main__``, which is in that file.

    It cannot in a REPL, a notebook, ``python -c``, ``python -m package``, a zip file, and
    a script on standard input. What a frozen program starts runs the program, not a script.
    """
    if getattr(sys, "frozen", False):
        return False
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None:  # multiprocessing never imports a __main__.py anew
        return spec.name != "__main__" and not spec.name.endswith(".__main__")
    return path is not None


class MainModule:
    """What becomes of the main module in workers: they import it, or it travels by value.

    That is decided once, when it must be known: before the first call is pickled, and before
    the first worker starts. An executor may well be made at the top of a module, and used under
    the guard.
    """

    def __init__(self, *, forks: bool) -> None:
        """Look for its file: the interpreter deletes the name when the script has ended.

        Args:
            forks: Whether workers have all that the parent has, and import nothing.
        """
        path = path_of_main()
        self.by_value = not is_importable(path)
        self.path = None if self.by_value else path
        self._source = None if forks else self.path

    def looks_unguarded(self) -> bool:
        """Whether it would travel by value if that were decided now."""
        main = sys.modules.get("__main__")
        if main is None or self._source is None:
            return self.by_value
        return not is_guarded(main, self._source)

    def decide(self) -> bool:
        """Return whether it travels by value; from now on that is so. Any thread."""
        if self.looks_unguarded():
            self.path, self.by_value = None, True
        self._source = None
        return self.by_value


@contextlib.contextmanager
def importable_main(path: str | None) -> Generator[None]:
    """Let ``__main__`` name its file, or none, while ``multiprocessing`` looks.

    The interpreter deletes the name when the script has ended, at any moment, and works
    may still run then. And a name that is no file would be run by every child, in vain.
    A property of the class answers before the module's own dictionary does. Without a file it has
    no name either, by which ``python -m module`` would be imported.
    """
    main = sys.modules.get("__main__")
    if main is None:
        yield
        return

    def answer(_module: ModuleType) -> str:
        if path is None:
            raise AttributeError("__file__")
        return path

    kind = type(main)
    answers: dict[str, Any] = {"__file__": property(answer)}
    if path is None:
        answers["__spec__"] = property(lambda _module: None)
    main.__class__ = type("Main", (kind,), answers)
    try:
        yield
    finally:
        main.__class__ = kind
