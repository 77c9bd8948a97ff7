"""Cuts an input into items: lines, NUL-separated, JSON lines, or CSV. Logic only.

All are generators over blocks of bytes: an item is made when it is asked for, and a block is asked
for when no item is left of those before it. So the input may be endless, or slow.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from aplex._journal.keys import Repeats, canonical, digest

BOM: Final = "\ufeff"
"""What some programs, Excel among them, write before the first row: it is no part of that."""
SHOWN: Final = 60
"""Characters of an item that a message shows."""


@dataclass(slots=True, eq=False)
class Item:
    """An item of the input.

    Attributes:
        seq: Its number in the input, from 1.
        raw: How it stood there.
        value: The argument of the function.
        text: What messages, tags and the journal show of it.
        problem: Why it cannot be run, if so.
        key: What it is known by in a journal; empty without one.
        attempts: How many times it was run.
        place: Its number among those that are run.
    """

    seq: int
    raw: bytes
    value: Any
    text: str
    problem: Exception | None = None
    key: str = ""
    attempts: int = 0
    place: int = 0

    @property
    def short(self) -> str:
        """What a message shows of it: one line, and not too long a one."""
        text = self.text if len(self.text) <= SHOWN else f"{self.text[: SHOWN - 1]}…"
        return text if text[:1] in {"{", "["} else json.dumps(text, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Format:
    """How items stand in the input.

    Attributes:
        kind: "lines", "json", or "csv".
        separator: What ends an item, but for CSV: a line feed, or NUL.
        spread: What an item must be: "args": an array; "kwargs": an object; None: anything.
        header: Of CSV: whether the first row has the names of the columns.
    """

    kind: str = "lines"
    separator: bytes = b"\n"
    spread: str | None = None
    header: bool = False

    def items(self, blocks: Iterable[bytes], *, keys: bool) -> Iterator[Item]:
        """Yield the items of an input; with the keys of a journal, if there is one."""
        made = self._rows(blocks) if self.kind == "csv" else self._pieces(blocks)
        repeats = Repeats()
        for seq, item in enumerate(made, 1):
            item.seq = seq
            if keys:
                item.key = repeats.key(self._digest(item))
            yield item

    def _digest(self, item: Item) -> str:
        if self.kind == "lines" or item.problem is not None:
            return digest(item.raw)
        return digest(canonical(item.value))

    def _pieces(self, blocks: Iterable[bytes]) -> Iterator[Item]:
        for raw in pieces(blocks, self.separator):
            text = raw.decode("utf-8", "surrogateescape")
            if self.kind == "lines":
                yield Item(0, raw, text, text)
            elif raw.strip():
                yield self._parsed(raw, text)

    def _parsed(self, raw: bytes, text: str) -> Item:
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError) as error:
            return Item(0, raw, None, text, ValueError(f"this is no JSON: {error}"))
        wanted = {"args": list, "kwargs": dict}.get(self.spread or "", object)
        if not isinstance(value, wanted):
            name = "array" if wanted is list else "object"
            return Item(0, raw, value, text, TypeError(f"this is no JSON {name}"))
        return Item(0, raw, value, text)

    def _rows(self, blocks: Iterable[bytes]) -> Iterator[Item]:
        csv.field_size_limit(2**31 - 1)
        lines = (f"{piece.decode('utf-8', 'surrogateescape')}\n" for piece in pieces(blocks, b"\n"))
        marked = itertools.chain([next(lines, "").removeprefix(BOM)], lines)
        rows = (row for row in csv.reader(marked) if row)
        names = next(rows, list[str]()) if self.header else None
        for row in rows:
            yield self._row(row, names)

    @staticmethod
    def _row(row: list[str], names: list[str] | None) -> Item:
        text = csv_line(row)
        raw = text.encode("utf-8", "surrogateescape")
        if names is None:
            return Item(0, raw, row, text)
        if len(row) != len(names):
            problem = ValueError(f"this row has {len(row)} columns, the header {len(names)}")
            known = {**dict.fromkeys(names, ""), **dict(zip(names, row, strict=False))}
            return Item(0, raw, known, text, problem)
        return Item(0, raw, dict(zip(names, row, strict=True)), text)


def pieces(blocks: Iterable[bytes], separator: bytes) -> Iterator[bytes]:
    """Yield what stands between separators; the last one may be missing."""
    rest: list[bytes] = []
    for block in blocks:
        first, *others = block.split(separator)
        rest.append(first)
        for piece in others:
            yield b"".join(rest)
            rest = [piece]
    if last := b"".join(rest):
        yield last


def csv_line(row: list[str]) -> str:
    """Return a row of CSV, without the end of the line."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()


class Again:
    """Returns what the file of failed items gets of an item: the file can be an input again."""

    def __init__(self, form: Format) -> None:
        self._form = form
        self._has_header = not form.header

    def __call__(self, item: Item) -> bytes:
        """Return the item as it stood in the input."""
        end = b"\n" if self._form.kind != "lines" else self._form.separator
        data = item.raw + end
        if not self._has_header and isinstance(item.value, dict):
            self._has_header = True
            columns: dict[str, Any] = item.value
            names = csv_line(list(columns))
            return names.encode("utf-8", "surrogateescape") + b"\n" + data
        return data
