"""The key of an item: what it is known by when a job is resumed. Logic only.

It is made of the item alone, not of its place in the input: so the input may be reordered, or grow.
Items that are equal are numbered, as each of them is to be run.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, Final

BYTES: Final = 8
"""Of a key. Of ten million items, two have the same one with a probability of 3 in a million."""


def digest(data: bytes) -> str:
    """Return the key of an item that these bytes stand for: their BLAKE2b (RFC 7693)."""
    return hashlib.blake2b(data, digest_size=BYTES).hexdigest()


def canonical(item: Any) -> bytes:
    """Return the JSON of an item, always the same for equal items.

    Raises:
        TypeError: It is nothing that JSON knows, nor a path.
    """
    return json.dumps(item, sort_keys=True, separators=(",", ":"), default=_path).encode()


def _path(item: Any) -> str:
    if not isinstance(item, os.PathLike):  # `os.fspath` would take bytes, which are no JSON
        raise TypeError(f"{type(item).__name__} is neither a JSON value nor a path")
    path: os.PathLike[str] | os.PathLike[bytes] = item
    return os.fsdecode(path)


class Repeats:
    """Numbers the items that have the same key, in their order."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def key(self, digest: str) -> str:
        """Return the key of the next item with this digest: with its number, from the second on."""
        count = self._seen[digest] = self._seen.get(digest, 0) + 1
        return digest if count == 1 else f"{digest}#{count}"
