#!/usr/bin/env python3
"""Compare aplex with its peers: install them, let them take turns, print tables.

It needs nothing but Python 3.11 or newer, on Linux; see README.md beside it.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gate
import machine
import tables
import targets
from environments import Environment, InstallationError, find_python, python_version
from peers import ENTRIES
from rounds import Plan, Result, as_json, load, run_workload
from target_table import GROWTH, TARGETS
from workloads import WORKLOADS
from workloads.base import Workload

Results = dict[str, list[Result]]
QUICK_ENVIRONMENTS = ("stdlib", "aiomultiprocess", "distex")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a first look in under 3 minutes")
    add("--only", nargs="+", choices=WORKLOADS, metavar="NAME", help="these workloads")
    add("--peers", nargs="+", choices=ENTRIES, metavar="NAME", help="these peers")
    add("--rounds", type=int, help="default: 5, with --quick 3")
    add("--workers", type=int, default=2, help="default: 2")
    add("--limit", type=float, help="seconds for one measurement; default: 120, --quick 20")
    add("--python", help="default: the newest found of Python 3.13, 3.12, 3.11")
    add("--json", type=Path, metavar="FILE", help="save every figure")
    add("--targets", type=Path, metavar="FILE", help="print the targets from saved figures, end")
    add(
        "--growth", action="store_true", help="what grows with works, keys, workers …; 1 if it does"
    )
    add("--gate", action="store_true", help="a few ratios against their bounds; 1 if one breaks")
    add("--list", action="store_true", help="print the workloads and their peers, then end")
    return parser.parse_args()


def choose(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The workloads to run, each with its peers in their order."""
    names = arguments.only or [
        name
        for name, workload in WORKLOADS.items()
        if not workload.apart and (workload.in_quick or not arguments.quick)
    ]
    chosen = {}
    for name in names:
        peers = WORKLOADS[name].peers
        if arguments.peers:
            peers = tuple(peer for peer in peers if peer in arguments.peers)
        elif arguments.quick:
            peers = quick_peers(peers)
        if peers:
            chosen[name] = list(peers)
    return chosen


def quick_peers(peers: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out the big installations, and a peer on the stock loop if it is there on uvloop."""

    def stays(peer: str) -> bool:
        environment = ENTRIES[peer].environment
        if environment == "aplex":
            return True
        return environment in QUICK_ENVIRONMENTS and f"{peer}-uvloop" not in peers

    return tuple(filter(stays, peers))


def make_environments(chosen: dict[str, list[str]], python: str) -> dict[str, Environment | str]:
    """An environment for each group of peers, or why there is none."""
    made: dict[str, Environment | str] = {}
    for name in dict.fromkeys(
        ENTRIES[peer].environment for peers in chosen.values() for peer in peers
    ):
        environment = Environment(name, python)
        note(f"environment {name}")
        try:
            environment.make()
        except InstallationError as error:
            made[name] = reason = f"not installed: {error}"
            note(reason)
        else:
            made[name] = environment
    return made


def note(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


def describe(environments: dict[str, Environment | str], plan: Plan, python: str) -> dict[str, str]:
    versions: dict[str, str] = {}
    for environment in environments.values():
        if isinstance(environment, Environment):
            versions |= environment.versions()
    return {
        **machine.describe(),
        "Python": python_version(python),
        "workers": str(plan.workers),
        "rounds": f"{plan.rounds}{' (quick)' if plan.quick else ''}",
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
    }


def run(
    chosen: dict[str, list[str]],
    environments: dict[str, Environment | str],
    plan: Plan,
    keep: Callable[[Results], None],
) -> Results:
    """Run the workloads; print the table of each as soon as it is there, and keep its figures."""
    results: Results = {}
    for name, peers in chosen.items():
        note(name, end=" ")
        before = time.monotonic()
        results[name] = run_workload(WORKLOADS[name], peers, environments, plan)
        note(f" {time.monotonic() - before:.0f} s")
        print(tables.render(WORKLOADS[name], results[name]), end="\n\n", flush=True)
        keep(results)
    return results


def save(path: Path, facts: dict[str, str], results: Results) -> None:
    content: dict[str, Any] = {
        "facts": facts,
        "workloads": {name: [as_json(one) for one in many] for name, many in results.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def print_list(workloads: dict[str, Workload]) -> None:
    for name, workload in workloads.items():
        print(f"{name}: {workload.title}\n    {' '.join(workload.peers)}")


def make_plan(arguments: argparse.Namespace) -> Plan:
    return Plan(
        rounds=arguments.rounds or (3 if arguments.quick else 5),
        quick=arguments.quick,
        workers=arguments.workers,
        seconds=arguments.limit or (20 if arguments.quick else 120),
    )


def measure(chosen: dict[str, list[str]], plan: Plan, arguments: argparse.Namespace) -> Results:
    """Make what is needed, say what it is, run it, save the figures if asked."""
    python = arguments.python or find_python()
    environments = make_environments(chosen, python)
    facts = describe(environments, plan, python)
    for name, value in facts.items():
        print(f"{name}: {value}")
    print()

    def keep(results: Results) -> None:
        if arguments.json:
            save(arguments.json, facts, results)

    return run(chosen, environments, plan, keep)


def run_gate(arguments: argparse.Namespace) -> int:
    bounds = gate.load(gate.FILE.read_text())
    plan = replace(gate.PLAN, rounds=arguments.rounds or gate.PLAN.rounds)
    results = measure(gate.chosen(bounds), plan, arguments)
    verdicts = gate.decide(bounds, results)
    print(gate.render(verdicts))
    return 0 if all(verdict.holds for verdict in verdicts) else 1


def run_growth(arguments: argparse.Namespace) -> int:
    names = arguments.only or [name for name in WORKLOADS if name.startswith("growth-")]
    rounds = arguments.rounds or 1  # each has turns of its own
    plan = replace(make_plan(arguments), rounds=rounds, seconds=arguments.limit or 600)
    results = measure({name: list(WORKLOADS[name].peers) for name in names}, plan, arguments)
    print(targets.render(GROWTH, results, all_rows=False))
    return 1 if any(targets.judge(row, results).met == targets.NO for row in GROWTH) else 0


def main() -> int:
    arguments = parse()
    if arguments.list:
        print_list(WORKLOADS)
    elif arguments.targets:
        print(targets.render(TARGETS, load(arguments.targets)))
    elif arguments.gate:
        return run_gate(arguments)
    elif arguments.growth:
        return run_growth(arguments)
    else:
        results = measure(choose(arguments), make_plan(arguments), arguments)
        if not arguments.only and not arguments.peers:
            print(targets.render(TARGETS, results, all_rows=not arguments.quick))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
