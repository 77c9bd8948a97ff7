"""Perfetto's native trace format, as far as we need it: a stream of protobuf messages.

Field numbers are those of ``perfetto/trace/trace_packet.proto`` and ``track_event/*.proto``. A file
is one ``Trace``: its field 1 comes again and again, a packet each, so it can be written packet by
packet. Names are *interned*: written once, and then named by number.

Source: https://perfetto.dev/docs/reference/synthetic-track-event
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, Final

BEGIN: Final = 1
END: Final = 2
INSTANT: Final = 3
COUNTER: Final = 4
EXPLICIT: Final = 3
"""Order of a track's children: by their ranks."""
_SEQUENCE: Final = 1  # of packets: there is one
_BUFFER: Final = 1 << 20  # bytes that are written at once
_double: Final = struct.Struct("<d").pack
_fixed64: Final = struct.Struct("<Q").pack


def varint(value: int) -> bytes:
    """Encode a number that is not negative."""
    if value < 1024:  # noqa: PLR2004 - as mostly
        return _SMALL[value]
    out = bytearray()
    while value > 127:  # noqa: PLR2004
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL: Final = [
    bytes((value,)) if value < 128 else bytes((value & 127 | 128, value >> 7))  # noqa: PLR2004
    for value in range(1 << 10)
]


def _two_groups(value: int) -> bytes:
    return bytes((value & 127 | 128, value >> 7 | 128))


class Times:
    """Encodes times quickly: numbers of some 45 bits, of which neighbours share the upper ones."""

    def __init__(self) -> None:
        """Make the table of the lower groups."""
        self._lower = [_two_groups(value) for value in range(1 << 14)]
        self._upper: dict[int, bytes] = {}

    def __call__(self, time: int) -> bytes:
        """Encode a time, as `varint` does."""
        above = time >> 28
        if not above:
            return varint(time)
        upper = self._upper.get(above)
        if upper is None:
            upper = self._upper[above] = varint(above)
        return self._lower[time & 16383] + self._lower[time >> 14 & 16383] + upper


def number(field: int, value: int) -> bytes:
    """Encode a field that is a number."""
    return varint(field << 3) + varint(value)


def data(field: int, value: bytes) -> bytes:
    """Encode a field that is a message, or bytes."""
    return varint(field << 3 | 2) + varint(len(value)) + value


def text(field: int, value: str) -> bytes:
    """Encode a field that is a text."""
    return data(field, value.encode("utf-8", "replace"))


def double(field: int, value: float) -> bytes:
    """Encode a field that is a double."""
    return varint(field << 3 | 1) + _double(value)


def flow(flow_id: int) -> bytes:
    """Encode one of the flows that a track event belongs to."""
    return _FLOW + _fixed64(flow_id)


_FLOW: Final = varint(47 << 3 | 1)
_END_OF_PACKET: Final = number(10, _SEQUENCE) + number(13, 2)  # needs what was interned before
_TIME: Final = varint(8 << 3)
_EVENT: Final = varint(11 << 3 | 2)
_PACKET: Final = varint(1 << 3 | 2)


class TraceFile:
    """Writes packets to a file."""

    def __init__(self, file: BinaryIO) -> None:
        """Begin the sequence of packets."""
        self._file = file
        self._parts: list[bytes] = []
        self._size = 0
        self._tracks = 0
        self._time = Times()
        # By the field of the interned data: names of events, categories, names of annotations.
        self._interned: dict[tuple[int, str], int] = {}
        self._put(number(10, _SEQUENCE) + number(13, 1))  # nothing is interned yet

    def _put(self, packet: bytes) -> None:
        part = _PACKET + varint(len(packet)) + packet
        self._parts.append(part)
        self._size += len(part)
        if self._size > _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write what is in the buffer."""
        self._file.write(b"".join(self._parts))
        self._parts.clear()
        self._size = 0

    def track(self, name: str, parent: int = 0, *, rank: int = 0, unit: str | None = None) -> int:
        """Describe a track; return its number.

        Args:
            name: What it is called. Those of one name and parent are shown as one.
            parent: The track it belongs to, if any.
            rank: Its place among those of its parent.
            unit: If it is a counter, of what.
        """
        self._tracks += 1
        track = number(1, self._tracks) + text(2, name)
        if parent:
            track += number(5, parent)
        if unit is not None:
            track += data(8, text(6, unit))
        track += number(11, EXPLICIT) + number(12, rank)
        self._put(data(60, track) + _END_OF_PACKET)
        return self._tracks

    def intern(self, field: int, name: str) -> int:
        """Return the number of a name, which is written before its first use."""
        key = field, name
        known = self._interned.get(key)
        if known is None:
            known = self._interned[key] = len(self._interned) + 1
            entry = data(field, number(1, known) + text(2, name))
            self._put(data(12, entry) + _END_OF_PACKET)
        return known

    def event(self, time: int, body: bytes) -> None:
        """Write a track event at that time, in nanoseconds."""
        packet = _TIME + self._time(time) + _EVENT + varint(len(body)) + body + _END_OF_PACKET
        part = _PACKET + varint(len(packet)) + packet
        self._parts.append(part)
        self._size += len(part)
        if self._size > _BUFFER:
            self.flush()

    def head(self, kind: int, track: int, name: str = "", category: str = "") -> bytes:
        """Return how a track event begins."""
        made = number(9, kind) + number(11, track)
        if name:
            made += number(10, self.intern(2, name))
        if category:
            made += number(3, self.intern(1, category))
        return made

    def note(self, name: str, value: object) -> bytes:
        """Return an argument of a track event."""
        made = number(1, self.intern(3, name))
        if isinstance(value, bool):
            made += number(2, value)
        elif isinstance(value, int) and value >= 0:
            made += number(3, value)
        elif isinstance(value, (int, float)):
            made += double(5, value)
        else:
            made += text(6, str(value))
        return data(4, made)

    def notes(self, notes: Mapping[str, Any]) -> bytes:
        """Return arguments, those that are something."""
        told = {name: value for name, value in notes.items() if value not in (None, "", [])}
        return b"".join(self.note(name, value) for name, value in told.items())

    def counter(self, track: int, points: Iterable[tuple[int, float]]) -> None:
        """Write the points of a counter."""
        head = number(9, COUNTER) + number(11, track)
        for time, value in points:
            self.event(time, head + double(44, value))
