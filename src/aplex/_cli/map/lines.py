"""What is printed of an item that has ended: results, outcomes, failures, records. Logic only."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass
from typing import Any

from aplex._cli.map.items import Item
from aplex._journal.records import told

Fields = dict[str, Any]


@dataclass(slots=True)
class End:
    """The end of an item.

    Attributes:
        item: Which.
        value: What the function returned.
        error: Why it failed, if it did.
        worker: The number of the worker that ran it, if one could report it.
        submitted: When it was, in seconds since the epoch.
        wait: Seconds from there until it began.
        run: Seconds that it ran.
    """

    item: Item
    value: Any = None
    error: BaseException | None = None
    worker: int | None = None
    submitted: float | None = None
    wait: float | None = None
    run: float | None = None


@dataclass(frozen=True, slots=True)
class Style:
    """How results are printed.

    Attributes:
        as_json: Whether a result is a JSON value; else its text, and nothing for None.
        tagged: Whether the item stands before it, and a tab between them.
        outcomes: Whether an object tells of each item what became of it.
        verbose: Whether failures are told with their tracebacks.
    """

    as_json: bool = False
    tagged: bool = False
    outcomes: bool = False
    verbose: bool = False

    def render(self, end: End) -> bytes:
        """Return what is printed to standard output, with its line feed; empty: nothing.

        A result that cannot be printed becomes the error of the item.
        """
        if end.error is None:
            try:
                data = self._outcome(end) if self.outcomes else self._result(end)
            except Exception as error:  # noqa: BLE001 - of any ``__str__``
                end.error = error
            else:
                return data
        return self._outcome(end) if self.outcomes else b""

    def _result(self, end: End) -> bytes:
        if self.as_json:
            data = dumped(end.value)
        elif end.value is None:
            return b""
        elif isinstance(end.value, bytes | bytearray):
            data = bytes(end.value)
        else:
            data = encoded(str(end.value))
        tag = encoded(end.item.text) + b"\t" if self.tagged else b""
        return tag + data + b"\n"

    def _outcome(self, end: End) -> bytes:
        fields = record(end)
        fields.pop("key")
        if end.error is None:
            fields["value"] = end.value
        return dumped(fields) + b"\n"

    def failure(self, end: End) -> bytes:
        """Return the line for standard error."""
        assert end.error is not None
        said = f"aplex: item {end.item.seq} ({end.item.short}): {told(end.error)}\n"
        if self.verbose:
            said += "".join(traceback.format_exception(end.error))
        return said.encode("utf-8", "backslashreplace")


def record(end: End, *, with_item: bool = True) -> Fields:
    """Return what a journal keeps of an item."""
    fields: Fields = {"seq": end.item.seq, "key": end.item.key}
    if with_item:
        fields["item"] = end.item.text if end.item.value is None else end.item.value
    fields["ok"] = end.error is None
    fields["error"] = None if end.error is None else told(end.error)
    fields["worker"] = end.worker
    fields["submitted"] = None if end.submitted is None else round(end.submitted, 6)
    fields["wait"] = None if end.wait is None else round(end.wait, 6)
    fields["run"] = None if end.run is None else round(end.run, 6)
    fields["attempts"] = end.item.attempts
    return fields


def dumped(value: Any) -> bytes:
    """Return a value as JSON.

    Raises:
        TypeError: It is none that JSON knows.
        ValueError: The same, or it contains itself, or a number that JSON has not.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return json.dumps(value, allow_nan=False).encode()


def encoded(text: str) -> bytes:
    """Return the bytes of a text; what came in as bytes that are no UTF-8 goes out so."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")
