"""With which combinations of its parameters a test is run, if an engine is among them.

By default those of a covering array (see `tests.support.covering`), with ``--full-matrix`` all.
A test that is marked ``parent_only`` asks for what is decided before any worker has a part in
it: one kind of worker is enough, the cheapest. One that is marked ``few_engines`` asks for what
hardly depends on how processes start, nor on what else a pool is made with: by default it is
left out with `RARE`, and run until each value has occurred, not each two of them. Remote workers
run the same code as those of processes: by default the tests that share an executor are run on
them, and of the others one case of those that the transport has a part in, see `TOUCHED`.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterable

import pytest
from tests.support.covering import covering

ENGINE_NAMES = ("engine", "every_engine")
RARE = {"fork", "forkserver"}
"""Ways to start processes that are neither the default anywhere nor what the default stands on."""

TOUCHED = ("cancel", "deadlines", "deaths", "dump", "logs", "recycling", "retries", "start")
"""Files of the contract whose tests with executors of their own are run on remote workers."""


def thinned(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """Return the items to leave out."""
    groups: dict[str, list[tuple[pytest.Item, dict[str, Hashable]]]] = {}
    dialling: dict[str, list[pytest.Item]] = {}
    left_out: set[pytest.Item] = set()
    for item in items:
        factors = factors_of(item)
        dear = item.get_closest_marker("few_engines") and _engines(factors) & RARE
        alike = item.get_closest_marker("parent_only") and not _is_cheapest(factors)
        if alike or dear:
            left_out.add(item)
        elif "remote" in _engines(factors) and "shared" not in item.callspec.params:  # type: ignore[attr-defined]
            dialling.setdefault(item.nodeid.partition("[")[0], []).append(item)
        elif not factors.keys().isdisjoint(ENGINE_NAMES):
            groups.setdefault(item.nodeid.partition("[")[0], []).append((item, factors))
    for name, items_of_test in dialling.items():
        touched = any(f"test_contract_{part}.py" in name for part in TOUCHED)
        kept = items_of_test[zlib.crc32(name.encode()) % len(items_of_test)]
        left_out |= set(items_of_test) - ({kept} if touched else set())
    for name, group in groups.items():
        # Tests begin at different rows: together they meet more than the pairs.
        strength = 1 if group[0][0].get_closest_marker("few_engines") else 2
        rows = [row for _, row in group]
        chosen = covering(rows, zlib.crc32(name.encode()) % len(group), strength)
        left_out |= {item for item, _ in group} - {group[index][0] for index in chosen}
    return left_out


def factors_of(item: pytest.Item) -> dict[str, Hashable]:
    """Return the parameters of a test; those of the shared executor are three."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return {}
    # Values may be anything. Those of a decorator are the same objects in each combination.
    factors: dict[str, Hashable] = {
        name: value if isinstance(value, str) else id(value)
        for name, value in callspec.params.items()
    }
    if factors.pop("shared", None) is not None:
        factors["engine"], factors["loop"], factors["face"] = callspec.params["shared"]
    return factors


def _is_cheapest(factors: dict[str, Hashable]) -> bool:
    return _engines(factors) <= {"thread"} and factors.get("loop", "stock") == "stock"


def _engines(factors: dict[str, Hashable]) -> set[Hashable]:
    return {factors[name] for name in ENGINE_NAMES if name in factors}
