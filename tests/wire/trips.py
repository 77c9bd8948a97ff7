"""Exceptions on their way to another process, and back."""

from __future__ import annotations

from typing import Any

from aplex._wire.exceptions import decode_exception, encode_exception


def there_and_back(error: BaseException) -> Any:
    return decode_exception(encode_exception(error))


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - whatever it is
        return caught


def innermost_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
