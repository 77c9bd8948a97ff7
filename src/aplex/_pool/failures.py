"""Whether a start that has failed would fail again, and whether two failures are the same one.

Logic only. A failure is *the same* if the errors have the same types, the same messages, and were
raised at the same place. What the operating system says (no memory, no connection, no such file)
may be another thing a moment later, and so may a death without an error.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Hashable, Iterator
from typing import Final

from aplex._common.errors import RemoteTraceback, WorkerStartError
from aplex._common.locks import late_imports

_PASSING: Final = (OSError, MemoryError, EOFError)
"""Errors that may be over at the next start."""
_NO_THREADS: Final = "can't start new thread"  # a RuntimeError of ``threading``
_CHANGING: Final = re.compile(r"0x[0-9a-fA-F]+|process \d+")
"""What differs in messages of the same error: addresses, and ids of processes."""


def sign_of(reason: BaseException | None) -> Hashable:
    """Return what is equal for the same failures; None if the next start may succeed.

    Args:
        reason: Why a worker did not come to serve.
    """
    if reason is None:
        return None
    with late_imports.importing:
        from aplex.exceptions import WorkerLostError
    # These say how a worker ended, and have the reason as their cause, if one is known.
    frames = (WorkerStartError, WorkerLostError)
    errors = [error for error in _chain(reason) if type(error) not in frames]
    if not errors or any(map(_is_passing, errors)):
        return None
    return tuple((type(error), _message_of(error), _place_of(error)) for error in errors)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, RemoteTraceback):  # perhaps all that is known of an error
        name = error.text.rstrip().rpartition("\n")[2].partition(":")[0]
        kind = getattr(builtins, name, None)
        return isinstance(kind, type) and issubclass(kind, _PASSING)
    return isinstance(error, _PASSING) or _message_of(error) == _NO_THREADS


def _message_of(error: BaseException) -> str:
    try:
        message = error.text if isinstance(error, RemoteTraceback) else str(error)
    except BaseException:  # noqa: BLE001 - user code
        return ""
    return _CHANGING.sub("", message)


def _place_of(error: BaseException) -> Hashable:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place and (place.tb_frame.f_code.co_filename, place.tb_lineno)
