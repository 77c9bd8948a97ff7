"""Modules that subinterpreters refuse: which it was, and what to do, in one line.

An extension module has to say that it can be loaded more than once in a process, and each with a
GIL of its own (PEP 489, PEP 684). Most do not yet; each says so in words of its own.
"""

from __future__ import annotations

import re

from aplex._common.errors import SerializationError

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Final

CURE: Final = "use ProcessAsyncPoolExecutor for works that need it"
_CPYTHON: Final = re.compile(r"module (\S+) does not support loading in subinterpreters")
_OTHERS: Final = (
    "do not yet support subinterpreters",  # PyO3
    "cannot load module more than once per process",  # numpy
    "can only be loaded into one interpreter per process",  # Cython
)


def with_cure(error: BaseException) -> BaseException:
    """Return an exception that names the refused module and the cure, if one is behind it.

    An ``ImportError``, or a `SerializationError` that one has caused, is replaced by one that says
    so, with the original as its cause; another exception gets a note. What has nothing to do with
    it is returned as it is.
    """
    refusal = _refusal_in(error)
    if refusal is None:
        return error
    name = _name_of(refusal)
    text = f"module {name} cannot be imported in a subinterpreter; {CURE}"
    told: BaseException
    if isinstance(error, ImportError):
        told = ImportError(text, name=name)
    elif type(error) is SerializationError:  # of ours: what travels could not be unpickled
        told = SerializationError(text)
    else:
        error.add_note(text)
        return error
    told.__cause__ = error
    return told


def _refusal_in(error: BaseException) -> ImportError | None:
    """Return the innermost exception of a chain that is a refusal."""
    found: ImportError | None = None
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, ImportError) and _is_refusal(str(link)):
            found = link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return found


def _is_refusal(text: str) -> bool:
    return _CPYTHON.search(text) is not None or any(words in text for words in _OTHERS)


def _name_of(refusal: ImportError) -> str:
    """Return the module: as CPython says it, as the exception does, or whose code raised it."""
    match = _CPYTHON.search(str(refusal))
    if match is not None:
        return match[1]
    if refusal.name:
        return refusal.name
    name = "?"
    traceback = refusal.__traceback__
    while traceback is not None:
        here = str(traceback.tb_frame.f_globals.get("__name__", ""))
        if not here.startswith("importlib."):
            name = here
        traceback = traceback.tb_next
    return name
