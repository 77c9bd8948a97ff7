"""When to stop before the end: the rule of ``--halt``, in the words of GNU parallel. Logic only."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from typing import Final

LEAST: Final = 3
"""Items that a percentage needs: of the first one, all have failed, or none."""
_RULE: Final = re.compile(r"(?P<when>now|soon),(?P<what>fail|success|done)=(?P<n>\d+)(?P<part>%?)")


@dataclass(frozen=True, slots=True)
class Halt:
    """A rule.

    Attributes:
        now: Whether to stop what runs, too.
        what: What is counted: "fail", "success", or "done".
        count: How many of them; of a percentage, how many of a hundred that are done.
        percent: Whether it is a percentage.
    """

    now: bool
    what: str
    count: int
    percent: bool

    def reached(self, done: int, failed: int) -> bool:
        """Whether to stop, when so many items are done and so many of them have failed."""
        found = {"fail": failed, "success": done - failed, "done": done}[self.what]
        if self.percent:
            return found >= LEAST and found * 100 >= self.count * done
        return found >= self.count


def halt_rule(text: str) -> Halt | None:
    """Read a rule; "never" is none.

    Raises:
        argparse.ArgumentTypeError: It is not one.
    """
    if text == "never":
        return None
    found = _RULE.fullmatch(text)
    count = int(found["n"]) if found else 0
    percent = bool(found and found["part"])
    if not found or count < 1 or (percent and count > 100):  # noqa: PLR2004
        raise argparse.ArgumentTypeError(
            f"{text!r} is not now|soon,fail|success|done=N or =N%, as in soon,fail=3"
        )
    return Halt(found["when"] == "now", found["what"], count, percent)
