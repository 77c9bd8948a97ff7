"""The page with the text of a dump: of a pool that was made with a ``dump_signal``.

As the other pages it can be read by who may, and written by its pool only. See `_wire.page`.
"""

from __future__ import annotations

from typing import Final

NAME: Final = "aplex-dump"
DUMP: Final = int.from_bytes(b"aplex-d\n", "little")
"""The first word; the others at the front are those of every page."""
SIGNAL: Final = 3
"""Word: the number of the signal that asks for a dump."""
COUNT: Final = 4
"""Word: how many dumps were written; it grows when the text is complete."""
TEXT: Final = 4096
MOST: Final = 4 * 2**20 - TEXT
"""Bytes of the text. (What is not written takes no memory.)"""
SIZE: Final = TEXT + MOST
CUT: Final = "\n… and more than fits here: pool.dump() has all of it.\n"
