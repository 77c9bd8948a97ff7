"""The Names: each text once, named by its place in a list that only grows, up to a bound."""

from __future__ import annotations

from typing import Final

from aplex._observe.tape import MOST_NAMES

OTHER: Final = "(others)"
"""Stands for all names beyond the bound."""
LONGEST: Final = 300
"""Characters of a name that are kept."""


class Names:
    """Texts and their places."""

    def __init__(self) -> None:
        """Have two: the empty one, and that of all others."""
        self.texts: list[str] = ["", OTHER]
        self._places: dict[str, int] = {"": 0}

    def place(self, text: str) -> int:
        """Return where a text is; put it there, if it is new."""
        known = text = str(text)[:LONGEST]
        place = self._places.get(known)
        if place is None:
            if len(self.texts) >= MOST_NAMES:
                return 1
            text = writable(text)
            # In this order: if a signal handler raises in between, it is there twice.
            self.texts.append(text)
            place = self._places[known] = len(self.texts) - 1
        return place


def writable(text: str) -> str:
    """Return a text that can be encoded: a name may have half of a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
