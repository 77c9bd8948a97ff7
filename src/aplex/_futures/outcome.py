"""What a report says of a work: its result, or its exception."""

from __future__ import annotations

from typing import Any

from aplex._common.messages import ERROR, PICKLED, VALUE
from aplex._wire.calls import decode_value
from aplex._wire.exceptions import decode_exception


def outcome(kind: int, data: Any) -> tuple[Any, BaseException | None]:
    """Return the result, or the exception, that a report carries."""
    if kind == VALUE:
        return data, None
    if kind == PICKLED:
        try:
            return decode_value(data), None
        except Exception as error:  # noqa: BLE001 - it belongs to the future
            return None, error
    if kind == ERROR:
        return None, decode_exception(data)
    return None, data
