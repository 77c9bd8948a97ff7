"""Files of recordings: written to their ends, read as far as they are whole.

A file is a magic, then parts. A part is a length, a checksum (CRC-32), and so many bytes of
``zlib``: a line of JSON, then logs. The first part has the head; each has the names that are new,
and its blocks' events and logs. A program that dies leaves the parts that were written; what is
cut off is not read, and the recording says that it was cut. Numbers are little-endian.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from aplex._observe.tape import Block, Tape

MAGIC: Final = b"aplex recording 1\n"
_HEADER: Final = struct.Struct("<QI")
_LEVEL: Final = 1  # of zlib: half the size, at twice the speed of the usual one
_ERRORS: Final = (ValueError, KeyError, TypeError, IndexError, AttributeError)


def save(tape: Tape, file: BinaryIO) -> None:
    """Write a tape: a part for each block."""
    file.write(MAGIC)
    file.write(part({"head": tape.head, "names": tape.names}, ()))
    file.writelines(part({}, (block,)) for block in tape.blocks)


def part(line: dict[str, Any], blocks: Sequence[Block]) -> bytes:
    """Return a part: what the line says, and blocks."""
    told = [{"events": b.events, "words": len(b.log), "works": b.works} for b in blocks]
    text = json.dumps({**line, "blocks": told}, separators=(",", ":")).encode()
    packer = zlib.compressobj(_LEVEL)
    data = [packer.compress(text + b"\n")]
    data += [packer.compress(_little(block.log).tobytes()) for block in blocks]
    data.append(packer.flush())
    body = b"".join(data)
    return _HEADER.pack(len(body), zlib.crc32(body)) + body


def read(path: Path) -> Tape:
    """Read a recording.

    Raises:
        ValueError: It is none.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError(f"{path} is no recording of aplex, or one of another version")
        tape = Tape({}, [], [])
        try:
            for body in _bodies(file):
                _take(tape, body)
        except _Cut:
            tape.head["cut"] = True
        except _ERRORS as error:
            raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    if "ended" not in tape.head:
        tape.head["cut"] = True
    if "started" not in tape.head:
        raise ValueError(f"{path} is empty: nothing was written before the program ended")
    return tape


class _Cut(Exception):  # noqa: N818 - no error
    """The file ends in the middle of a part."""


def _bodies(file: BinaryIO) -> Iterator[bytes]:
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            raise _Cut
        length, checksum = _HEADER.unpack(header)
        body = file.read(length)
        if len(body) < length or zlib.crc32(body) != checksum:
            raise _Cut
        yield zlib.decompress(body)


def _take(tape: Tape, body: bytes) -> None:
    end = body.index(b"\n")
    line = json.loads(body[:end])
    tape.head.update(line.get("head", {}))
    tape.names.extend(line.get("names", ()))
    at = end + 1
    for told in line["blocks"]:
        log = array("q")
        log.frombytes(body[at : at + 8 * told["words"]])
        at += 8 * told["words"]
        events = [tuple(event) for event in told["events"]]
        tape.blocks.append(Block(_little(log), events, told["works"]))


def _little(log: array[int]) -> array[int]:
    """Return a log as it is in a file; or, of one from a file, as it is here."""
    if sys.byteorder == "big":
        log = log[:]
        log.byteswap()
    return log
