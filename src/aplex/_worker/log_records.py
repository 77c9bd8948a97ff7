"""What of a log record travels to the parent, packed in the thread that logs. Logic only.

The message is not formatted, so that handlers which group records by it still can. Numbers, text
and the like travel as they are; every other field is pickled by itself, as it is at that moment.
Of what cannot be pickled, or cannot be unpickled, the text arrives, and nothing else is harmed.
"""

from __future__ import annotations

import logging
import pickle
import traceback
from typing import Any, Final, TypeAlias

from aplex._common.messages import ATOMS
from aplex._common.names import shown
from aplex._wire.exceptions import decode_exception, encode_exception

Packed: TypeAlias = tuple[dict[str, Any], dict[str, bytes]]
"""Fields as they are, and fields that are pickled."""
_PLAIN: Final = ATOMS | {str, bytes}
_MESSAGE: Final = ""
"""Of the pickled fields the message and its arguments; without it the plain fields have both."""


def pack(record: logging.LogRecord, place: dict[str, Any]) -> Packed:
    """Return what travels of a record.

    Args:
        record: What was logged.
        place: Attributes to add, unless it has them: then another worker has logged it.
    """
    plain = place
    rich: dict[str, bytes] = {}
    for name, value in vars(record).items():
        if type(value) in _PLAIN:
            plain[name] = value
        elif name not in ("msg", "args", "exc_info"):
            _pack_field(name, value, plain, rich)
    _pack_message(record, plain, rich)
    _pack_error(record, plain, rich)
    return plain, rich


def unpack(packed: Packed) -> logging.LogRecord:
    """Return the record."""
    fields, rich = packed
    for name, data in rich.items():
        try:
            if name == "exc_info":
                error = decode_exception(data)
                fields[name] = (type(error), error, error.__traceback__)
            elif name == _MESSAGE:
                fields["msg"], fields["args"] = pickle.loads(data)
            else:
                fields[name] = pickle.loads(data)
        except Exception as error:  # noqa: BLE001 - user code
            if name != _MESSAGE:
                fields[name] = f"(it cannot be unpickled here: {type(error).__name__})"
    return logging.makeLogRecord(fields)


def _pack_field(name: str, value: Any, plain: dict[str, Any], rich: dict[str, bytes]) -> None:
    try:
        rich[name] = pickle.dumps(value, 5)
    except Exception:  # noqa: BLE001 - any __reduce__ may raise anything
        plain[name] = shown(value)


def _pack_message(record: logging.LogRecord, plain: dict[str, Any], rich: dict[str, bytes]) -> None:
    message, args = record.msg, record.args
    if type(message) in _PLAIN and (args is None or _are_plain(args)):
        plain["args"] = args
        return
    plain["msg"], plain["args"] = _text_of(record), None
    try:
        rich[_MESSAGE] = pickle.dumps((message, args), 5)
    except Exception:  # noqa: BLE001, S110 - as above; the text serves
        pass


def _are_plain(args: Any) -> bool:
    if type(args) is not tuple:
        return False
    values: tuple[Any, ...] = args
    return all(type(value) in _PLAIN for value in values)


def _text_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - of the user's arguments
        return f"{shown(record.msg)} (its arguments do not fit: {shown(error)})"


def _pack_error(record: logging.LogRecord, plain: dict[str, Any], rich: dict[str, bytes]) -> None:
    """Pack the exception of a record, and its traceback as text, which formatters show."""
    plain["exc_info"] = None
    info: Any = record.exc_info
    error = info[1] if type(info) is tuple else None
    if isinstance(error, BaseException):
        rich["exc_info"] = encode_exception(error)
        if not record.exc_text:
            plain["exc_text"] = "".join(traceback.format_exception(error)).rstrip("\n")
