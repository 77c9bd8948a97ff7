"""Standing orders of the program that this process runs. A leaf, so that nobody pays to look."""

from __future__ import annotations

from typing import Any

recordings: list[Any] | None = None
"""Where every pool puts a recording of itself; None: nobody wants one. See ``aplex run``."""
