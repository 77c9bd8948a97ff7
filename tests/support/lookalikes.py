"""Exceptions of the shapes that those of popular libraries have, without these libraries.

What is said of each was seen in the library that is named; `reliability/exceptions.py` tries
the originals.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple, NoReturn, Self


class Owner:
    """Owns something, and lets go of it at its end, as a client's response does."""

    closed = 0

    def __del__(self) -> None:
        Owner.closed += 1


class RequestInfo(NamedTuple):
    url: str
    headers: Mapping[str, str]


class StatusError(Exception):
    """aiohttp: reads an argument in ``__str__`` that holds a proxy, deep inside."""

    def __init__(self, request_info: RequestInfo, history: tuple[Any, ...], *, status: int) -> None:
        self.request_info = request_info
        self.history = history
        self.status = status
        self.headers = request_info.headers
        super().__init__(request_info, history)

    def __str__(self) -> str:
        return f"{self.status}, url={self.request_info.url!r}"


class RetryError(Exception):
    """tenacity: its argument is a future, and its ``str()`` tells where in memory that is."""

    def __init__(self, last_attempt: Future[Any]) -> None:
        self.last_attempt = last_attempt
        super().__init__(last_attempt)

    def __str__(self) -> str:
        return f"RetryError[{self.last_attempt}]"


class CallState:
    def __init__(self, code: int) -> None:
        self.condition = threading.Condition()
        self.code = code


class RendezvousError(Exception):
    """gRPC: locks its state to read it, also at its end."""

    ended_badly = 0

    def __init__(self, state: CallState, call: Any, deadline: float) -> None:
        super().__init__()
        self._state = state
        self._call = call
        self._deadline = deadline

    def code(self) -> int:
        with self._state.condition:
            return self._state.code

    def __del__(self) -> None:
        try:
            self.code()
        except AttributeError:
            RendezvousError.ended_badly += 1

    def __str__(self) -> str:
        return f"status = {self.code()}"


class FinalError(ValueError):
    """pydantic: is made by a class method, refuses subclasses, and its copy has other ``args``."""

    def __new__(cls, title: str, lines: list[dict[str, Any]]) -> Self:
        made = super().__new__(cls, title, lines)
        made.title, made.lines = title, lines
        return made

    def __init__(self, *_args: Any) -> None:
        pass

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("not an acceptable base type")

    title: str
    lines: list[dict[str, Any]]

    @classmethod
    def made(cls, title: str, lines: list[dict[str, Any]]) -> Self:
        error = cls(title, lines)
        error.args = ()
        return error

    def __reduce__(self) -> Any:
        return type(self), (self.title, self.lines)

    def __str__(self) -> str:
        return f"{self.title}: " + ", ".join(
            f"[input_value={line['input']!r}, input_type={type(line['input']).__name__}]"
            for line in self.lines
        )


class MarkupError(SyntaxError):
    """lxml: a ``SyntaxError`` with four arguments, whose log is a sequence in C."""

    def __init__(self, message: str, code: int, line: int, column: int) -> None:
        super().__init__(message)
        self.code = code
        self.lineno, self.offset = line, column - 1
        with contextlib.closing(sqlite3.connect(":memory:")) as base:
            base.row_factory = sqlite3.Row
            self.error_log = base.execute("SELECT 'one', 'two'").fetchone()

    @property
    def position(self) -> tuple[int | None, int]:
        return self.lineno, (self.offset or 0) + 1


class MissingError(Exception):
    """cryptography: wants a second argument, an object of C, that it does not tell its base of."""

    def __init__(self, message: str, oid: re.Match[str]) -> None:
        super().__init__(message)
        self.oid = oid


class UsageError(Exception):
    """click: its message is made in the constructor, and its context holds callbacks."""

    def __init__(self, name: str, callback: Callable[[], Any]) -> None:
        self.message = f"No such option: {name}"
        self.callback = callback
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class SlotsError(Exception):
    """Has slots, which pickle does not look at, and keywords only."""

    __slots__ = ("code", "unset")
    code: int

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class StreamError(Exception):
    """Holds a stream, which it asks when it is shown."""

    def __init__(self, message: str, stream: Iterator[int]) -> None:
        super().__init__(message)
        self.stream = stream
        self.status = 503

    def __str__(self) -> str:
        frame = getattr(self.stream, "gi_frame")  # noqa: B009 - of a generator
        return f"{self.args[0]} at line {frame.f_lineno}"


class SealedStreamError(StreamError):
    """The same, and refuses subclasses."""

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("not an acceptable base type")


def numbers() -> Iterator[int]:
    yield 1


def proxy(**headers: str) -> Mapping[str, str]:
    return types.MappingProxyType(headers)
