"""How an exception of another library comes about, and what users read of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CLOSED = 9
"""A port on loopback where nobody listens (discard)."""


@dataclass(frozen=True)
class Case:
    """An exception of a library.

    Attributes:
        library: Name of its distribution.
        raises: Raises it; gets the URL of the server.
        reads: What users read of it, as expressions.
    """

    library: str
    raises: Callable[[str], Any]
    reads: tuple[str, ...]


CASES: dict[str, Case] = {}
"""Those whose module was imported, by name."""


def case(library: str, *reads: str) -> Callable[[Callable[[str], Any]], Callable[[str], Any]]:
    """Register a function that raises."""

    def register(raises: Callable[[str], Any]) -> Callable[[str], Any]:
        CASES[raises.__name__] = Case(library, raises, reads)
        return raises

    return register
