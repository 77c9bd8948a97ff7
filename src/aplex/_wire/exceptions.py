"""How exceptions travel: each with its causes, its notes and the traceback of the worker.

Each exception of a chain of causes travels alone (`_wire.exception_copies`): one that cannot harms
only itself.
"""

from __future__ import annotations

import pickle

from aplex._common.errors import RemoteError, RemoteTraceback
from aplex._wire.calls import dumps
from aplex._wire.exception_copies import copy_of, message_of, stand_in

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import TypeAlias

# The pickled exception (None if it cannot travel), its class, the name of that, message, notes.
_Link: TypeAlias = tuple[bytes | None, bytes | None, str, str, list[str]]

# By the descriptors of the base: a class may refuse assignments, as frozen dataclasses do.
_set_cause = BaseException.__dict__["__cause__"].__set__


def encode_exception(error: BaseException) -> bytes:
    """Pickle an exception, its causes and its traceback; never fails."""
    try:
        import traceback  # not before it is needed

        text = "".join(traceback.format_exception(error))
    except BaseException as reason:  # noqa: BLE001 - a __str__ may raise anything
        text = f"(the traceback cannot be shown: {type(reason).__name__})\n"
    chain: list[_Link] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        chain.append(_encoded(link))
        link = link.__cause__
    return pickle.dumps((chain, text), 5)


def decode_exception(data: bytes) -> BaseException:
    """Return the exception, with the worker's traceback as its innermost cause; never fails."""
    chain, text = pickle.loads(data)
    error: BaseException = RemoteTraceback(text)
    for link in reversed(chain):
        cause, error = error, _decoded(link, text)
        _set_cause(error, cause)
    return error


def _encoded(error: BaseException) -> _Link:
    kind = type(error)
    copy = copy_of(error)
    notes = _notes(error)
    lost = [] if copy is None else [name for name in copy.lost if not name.startswith("_")]
    if lost:
        notes.append(f"Not as it was in the worker, as it cannot be pickled: {', '.join(lost)}")
    name = f"{kind.__module__}.{kind.__qualname__}"
    return None if copy is None else copy.data, _pickled(kind), name, message_of(error), notes


def _pickled(kind: type) -> bytes | None:
    """Pickle a class, for the stand-in of its exception."""
    try:
        return dumps(kind)
    except BaseException:  # noqa: BLE001 - a metaclass may raise anything
        return None


def _decoded(link: _Link, text: str) -> BaseException:
    data, kind, name, message, notes = link
    error: BaseException | None = None
    if data is not None:
        try:
            error = pickle.loads(data)
        except BaseException as reason:  # noqa: BLE001 - user code; the stand-in serves
            told = f"{type(reason).__name__}: {message_of(reason)}"
            notes = [*notes, f"The original cannot be unpickled here: {told}"]
    if not isinstance(error, BaseException):
        error = _stand_in(kind, name, message)
    if isinstance(error, RemoteError) and not error.__dict__.get("traceback"):
        error.__dict__["traceback"] = text
    if notes:
        error.__dict__["__notes__"] = notes
    return error


def _stand_in(kind: bytes | None, name: str, message: str) -> BaseException:
    try:
        return stand_in(pickle.loads(kind or b""), message)
    except BaseException:  # noqa: BLE001 - user code
        return RemoteError(name, message)


def _notes(error: BaseException) -> list[str]:
    try:
        notes = getattr(error, "__notes__", None)
    except BaseException:  # noqa: BLE001 - user code
        return []
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []
