"""The levels of all loggers: read in the parent, set in its workers."""

from __future__ import annotations

import logging
from typing import TypeAlias

Levels: TypeAlias = tuple[dict[str, int], int, bool]
"""Of each logger that has one its level; which one is disabled; whether warnings are logged."""


def levels_now() -> Levels:
    """Return the levels of this process."""
    levels = {name: logger.level for name, logger in loggers().items() if logger.level}
    capture = getattr(logging, "_warnings_showwarning", None) is not None
    return levels, logging.root.manager.disable, capture


def set_levels(new: Levels, before: Levels | None) -> None:
    """Have these levels in this process.

    Args:
        new: The levels.
        before: Those that the parent had before: other loggers, which only works have given a
            level, keep that. None: the process begins, and no logger keeps any.
    """
    levels, disabled, capture = new
    known = loggers()
    for name in known if before is None else before[0]:
        if name not in levels and name in known:
            known[name].level = logging.NOTSET
    for name, level in levels.items():
        logging.getLogger(name).level = level
    if before is None or before[2] != capture:
        logging.captureWarnings(capture)
    logging.disable(disabled)  # which has all loggers forget what they thought was enabled


def loggers() -> dict[str, logging.Logger]:
    """Return all loggers by their names; the root has none."""
    known = list(logging.root.manager.loggerDict.items())
    found = {name: logger for name, logger in known if isinstance(logger, logging.Logger)}
    return {"": logging.root, **found}
