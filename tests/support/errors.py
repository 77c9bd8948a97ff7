"""Exception classes that are awkward to pickle, each for a reason of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self


class MismatchError(Exception):
    """Its constructor takes something else than its ``args``."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class TransformingError(Exception):
    """Its constructor would transform its ``args`` a second time."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} not found")


class KeywordError(Exception):
    """Its constructor takes keywords only."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class NoArgumentsError(Exception):
    """Its constructor forgets to tell its base of what it was called with."""

    def __init__(self, code: int) -> None:
        self.code = code


class LockHoldingError(Exception):
    """An attribute cannot be pickled."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()
        self.detail = "kept"


class LockArgumentError(Exception):
    """An argument cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("before", threading.Lock(), "after")


class UnreducibleError(Exception):
    """Its ``__reduce__`` raises."""

    def __reduce__(self) -> Any:
        raise RuntimeError("no")


class ImpostorError(Exception):
    """Unpickles to another type."""

    def __reduce__(self) -> Any:
        return ValueError, self.args


class NotelessError(Exception):
    """Nobody may ask for its notes."""

    @property
    def __notes__(self) -> list[str]:
        raise ValueError("no notes")


class ExitingReduceError(Exception):
    """Its ``__reduce__`` wants to end the program, in both picklers' way."""

    def __reduce__(self) -> Any:
        raise SystemExit(3)

    def __new__(cls, *args: Any) -> Self:
        if args == ("again",):
            raise SystemExit(4)
        return super().__new__(cls)

    def __init__(self) -> None:
        super().__init__("again")


class SilentError(Exception):
    """Its ``__str__`` raises."""

    def __str__(self) -> str:
        raise ValueError("do not look at me")


class ExitingStrError(Exception):
    """Its ``__str__`` wants to end the program."""

    def __str__(self) -> str:
        raise SystemExit(5)


@dataclass(frozen=True)
class FrozenError(Exception):
    """Refuses every assignment, that of ``__cause__`` and ``__notes__`` too."""

    code: int
    text: str


class MismatchOSError(OSError):
    """An ``OSError`` made from one argument; its fields live in C."""

    def __init__(self, path: str) -> None:
        super().__init__(2, "not there", path)


class MismatchExit(SystemExit):
    """A ``SystemExit`` made by a keyword; its code lives in C."""

    def __init__(self, *, status: int) -> None:
        super().__init__(status)


class MismatchStop(StopIteration):
    """A ``StopIteration`` made by a keyword; its value lives in C."""

    def __init__(self, *, value: Any) -> None:
        super().__init__(value)


class MismatchDecodeError(UnicodeDecodeError):
    """A ``UnicodeDecodeError`` made from one argument; its fields live in C."""

    def __init__(self, data: bytes) -> None:
        super().__init__("utf-8", data, 0, 1, "invalid")


class CodedGroup(ExceptionGroup[Exception]):
    """A group with a constructor of its own."""

    def __new__(cls, errors: list[Exception], code: int) -> Self:
        made = super().__new__(cls, f"code {code}", errors)
        made.code = code
        return made

    code: int


class FickleError(Exception):
    """Unpickles to itself in a worker, to something else in its parent."""

    elsewhere: Any = None

    def __reduce__(self) -> Any:
        return _fickle, ()


def _fickle() -> Any:
    if isinstance(FickleError.elsewhere, BaseException):
        raise FickleError.elsewhere
    return FickleError() if FickleError.elsewhere is None else FickleError.elsewhere


@contextmanager
def elsewhere(gives: Any) -> Iterator[None]:
    """Let a `FickleError` unpickle to something (or raise it, if that is an exception)."""
    FickleError.elsewhere = gives
    try:
        yield
    finally:
        FickleError.elsewhere = None
