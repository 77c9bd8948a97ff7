"""What a journal says of each item: its last record holds. Logic only.

Only where a record stands is kept in memory, not what it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from aplex._journal.records import Fields, is_head, read_line


class Place(NamedTuple):
    """Where the record of an item stands in the file, and whether the item succeeded."""

    ok: bool
    offset: int
    length: int


class Index:
    """The records of a journal by the keys of their items.

    Attributes:
        head: The first line, if that is a head.
        foreign: Whether the first line is something else.
        is_cut: Whether the last line is not whole.
        end: Where the last whole line ends, in bytes: what follows was cut off.
    """

    def __init__(self) -> None:
        self.head: Fields | None = None
        self.foreign = False
        self.is_cut = False
        self.end = 0
        self._places: dict[str, Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    def find(self, key: str) -> Place | None:
        """Return where the record of an item stands; None: it has none."""
        return self._places.get(key)

    def read(self, blocks: Iterator[bytes]) -> None:
        """Read a file, in blocks of whatever size.

        The last line need not end with a line feed: it counts if it is whole.
        """
        rest: list[bytes] = []
        for block in blocks:
            first, *others = block.split(b"\n")
            rest.append(first)
            for line in others:
                self._add(b"".join(rest), ended=True)
                rest = [line]
        last = b"".join(rest)
        if last and read_line(last) is not None:
            self._add(last, ended=False)
        elif last:
            self.is_cut = True
            if self.end == 0:  # the head was cut off, or it is no journal
                self.foreign = not b'{"aplex":"journal"'.startswith(last[:18])

    def _add(self, line: bytes, *, ended: bool) -> None:
        offset = self.end
        self.end += len(line) + ended
        fields = read_line(line)
        if offset == 0:
            self.foreign = not is_head(fields)
            self.head = None if self.foreign else fields
        elif fields is not None and isinstance(fields.get("key"), str):
            self._places[fields["key"]] = Place(bool(fields.get("ok")), offset, len(line))
