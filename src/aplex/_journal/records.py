"""The lines of a journal: a head, then one record for each item that has ended. Logic only.

A line is a JSON object. Unknown members are ignored, so that later versions may add some.
"""

from __future__ import annotations

import json
from typing import Any, Final

from aplex._common.errors import JournalError

VERSION: Final = 1
Fields = dict[str, Any]


def line_of(fields: Fields) -> bytes:
    """Return a line. In ASCII: whatever tool reads it, no character can be wrong."""
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def head_of(function: str, options: Fields) -> Fields:
    """Return the head of a journal.

    Args:
        function: What runs the items.
        options: What else changes the meaning of an item.
    """
    return {"aplex": "journal", "version": VERSION, "function": function, "options": options}


def read_line(line: bytes) -> Fields | None:
    """Return what a line says; None if it is no JSON object: it was cut off, for example."""
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def is_head(fields: Fields | None) -> bool:
    """Whether a line is the head of a journal."""
    return fields is not None and fields.get("aplex") == "journal"


def check_head(path: str, found: Fields, wanted: Fields, *, force: bool) -> None:
    """Check that a journal is of the same job.

    Raises:
        JournalError: It is of another one; says what differs.
    """
    if found.get("version") != VERSION:
        raise JournalError(
            f"{path} has version {found.get('version')!r} of the format, and this aplex knows "
            f"{VERSION} only"
        )
    if force:
        return
    if found.get("function") != wanted["function"]:
        raise JournalError(
            f"{path} is the journal of {found.get('function')}, not of {wanted['function']}"
        )
    before, now = found.get("options", {}), wanted["options"]
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            raise JournalError(
                f"{path} was written with {name}={before.get(name)!r}, not {now.get(name)!r}: its "
                "items may mean something else"
            )


def told(error: BaseException) -> str:
    """Return the type and message of an exception, without what moves a terminal's cursor."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - of the user's class
        said = "(its message cannot be shown)"
    name = type(error).__qualname__
    said = " ".join(part.strip() for part in said.splitlines())
    said = "".join(c if c.isprintable() else repr(c)[1:-1] for c in said)
    return f"{name}: {said}" if said else name
