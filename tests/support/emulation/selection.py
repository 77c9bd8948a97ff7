"""Which tests ask for what an emulated system does not have."""

from __future__ import annotations

import inspect
import re
from collections.abc import Hashable, Iterable
from typing import Final

import pytest
from tests.support.emulation.start import emulated
from tests.support.matrix import factors_of
from tests.support.only import only_engine

LACKING: Final = {
    "macos": {"fork"},  # it is there, and not safe
    "windows": {"fork", "forkserver", "uvloop"},
}
"""Values of parameters."""
MARK: Final = "needs"
"""A mark: ``needs("linux")`` or ``needs("posix")``; why is said beside it."""
DEADLY: Final = re.compile(
    r"die|kill_(?!after)|os\.kill|SIG[A-Z]+|crash|deadly|fill_memory|os\._exit|works\.stop\b|os\.fork"
)
"""What a test says that ends a worker, or its process; subinterpreters are in that of the tests."""
KINDS: Final = {"macos": {"linux"}, "windows": {"linux", "posix"}}
"""What a test may need, and these have not."""


def is_out_of_reach(item: pytest.Item) -> bool:
    """Whether a test asks for what the emulated system lacks."""
    if only_engine() is not None and _asks_for_others(item):
        return True
    if only_engine() is None and any("interpreter" in m.args for m in item.iter_markers(MARK)):
        return True
    system = emulated()
    if system is None:
        return False
    factors = {value for value in factors_of(item).values() if isinstance(value, str)}
    needs = {need for mark in item.iter_markers(MARK) for need in mark.args}
    return not (factors.isdisjoint(LACKING[system]) and needs.isdisjoint(KINDS[system]))


def _asks_for_others(item: pytest.Item) -> bool:
    """Whether a test is not for the one engine that is to be run."""
    if any("process" in mark.args for mark in item.iter_markers(MARK)):
        return True
    if DEADLY.search(inspect.getsource(item.function)):  # type: ignore[attr-defined]
        return True
    factors = factors_of(item)
    others = {"thread", "template", "spawn", "forkserver", "fork"}
    return any(isinstance(value, str) and value in others for value in factors.values())


def left_out_of_the_short_form(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """Return all but one item for each test and face, with worker processes if it knows any.

    Threads are the same on all systems; and the combinations are met on this one.
    """
    chosen: dict[tuple[str, Hashable], pytest.Item] = {}
    left_out: set[pytest.Item] = set()
    for item in items:
        factors = factors_of(item)
        if "engine" not in factors:
            continue
        key = item.nodeid.partition("[")[0], factors.get("face")
        other = chosen.get(key)
        if other is None or factors_of(other)["engine"] == "thread" != factors["engine"]:
            chosen[key] = item
            left_out |= {other} if other is not None else set()
        else:
            left_out.add(item)
    return left_out
