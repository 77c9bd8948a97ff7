"""How results stand in a journal: as JSON, pickled, or as the user says. Logic only."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple


class Codec(NamedTuple):
    """Makes a JSON value of a result, and a result of that.

    Attributes:
        name: What the head of the journal calls it.
        encode: Returns the JSON value.
        decode: Returns the result.
    """

    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def _checked(value: Any) -> Any:
    """Return what JSON makes of a value, so that a result is the same when it is read again."""
    return json.loads(json.dumps(value))


def _itself(value: Any) -> Any:
    return value


def _pickled(value: Any) -> str:
    return base64.b85encode(pickle.dumps(value)).decode()


def _unpickled(text: str) -> Any:
    return pickle.loads(base64.b85decode(text))


_CODECS = {
    "json": Codec("json", _checked, _itself),
    "pickle": Codec("pickle", _pickled, _unpickled),
}


def codec_of(wanted: Any) -> Codec | None:
    """Return the codec that an option names; None: results are not kept.

    Raises:
        ValueError: There is no such one.
        TypeError: It is none.
    """
    if wanted is None:
        return None
    if isinstance(wanted, str):
        if wanted not in _CODECS:
            raise ValueError(f"codec must be 'json', 'pickle', a pair or None, got {wanted!r}")
        return _CODECS[wanted]
    if isinstance(wanted, tuple):
        functions: tuple[Any, ...] = wanted
        if len(functions) == 2 and all(map(callable, functions)):  # noqa: PLR2004 - a pair
            return Codec("own", *functions)
    raise TypeError(f"codec must be 'json', 'pickle', a pair of functions or None, not {wanted!r}")
