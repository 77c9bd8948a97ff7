"""What pools do when something goes wrong: the same faults for aplex and its peers.

    python3 dev.py reliability scoreboard --quick
    python3 dev.py reliability scoreboard --json FILE --page FILE

The peers are installed in the environments of the benchmarks, which are made if need be.
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from reliability.board import page, referee, scene
from reliability.board.cases import CASES
from reliability.board.peers import PEERS
from reliability.board.verdict import Verdict

sys.path.append(str(referee.ROOT / "benchmarks"))
import environments
import machine

QUICK = ("killed-running", "killed-waiting", "bad-exception")


def main() -> int:
    """Play the cases, print the tables; return 1 if aplex is not ok in all of them."""
    arguments = parse()
    cases = arguments.only or (QUICK if arguments.quick else CASES)
    python = arguments.python or environments.find_python()
    made = make_environments(arguments.peers, python)
    facts = describe(made, python)
    board: dict[str, dict[str, dict[str, Any]]] = {}
    referee.hear_interrupts()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for case in cases:
            playing = functools.partial(play, case=case, made=made, method=arguments.method)
            verdicts = zip(arguments.peers, pool.map(playing, arguments.peers), strict=True)
            board[case] = {peer: verdict.as_json() for peer, verdict in verdicts}
    print("\n" + page.text_table(page.board_table(board)))
    save(arguments, board, facts)
    ours = [peer for peer in arguments.peers if PEERS[peer].environment == "aplex"]
    return int(any(verdicts[peer]["words"] for verdicts in board.values() for peer in ours))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="three cases, in a few minutes")
    add("--only", nargs="+", choices=CASES, metavar="CASE", help=" ".join(CASES))
    add(
        "--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER",
        help=" ".join(PEERS),
    )  # fmt: skip
    add("--method", default="spawn", help="how processes start; default: spawn")
    add("--python", help="default: the newest found of Python 3.13, 3.12, 3.11")
    add("--jobs", type=int, default=2, help="programs at a time; default: 2")
    add("--json", type=Path, metavar="FILE", help="save the verdicts")
    add("--page", type=Path, metavar="FILE", help="write the page of the documentation")
    return parser.parse_args()


def make_environments(peers: list[str], python: str) -> dict[str, environments.Environment]:
    """Make the environment of each peer; what cannot be installed ends the program."""
    made: dict[str, environments.Environment] = {}
    for name in dict.fromkeys(PEERS[peer].environment for peer in peers):
        print(f"environment {name}", flush=True)
        made[name] = environments.Environment(name, python)
        made[name].make()
    return made


def describe(made: Mapping[str, environments.Environment], python: str) -> dict[str, str]:
    """Return what the verdicts were made with."""
    versions: dict[str, str] = {}
    for name, environment in made.items():
        wanted = {peer.distribution for peer in PEERS.values() if peer.environment == name}
        found = environment.versions()
        versions |= {name: found[name] for name in sorted(filter(None, wanted))}
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Python": environments.python_version(python),
        **machine.describe(),
    }


def play(
    peer: str, case: str, made: Mapping[str, environments.Environment], method: str
) -> Verdict:
    """Play one case with one library, and print what came of it.

    Faults are races, and machines are busy: a library that is not ok gets a second chance. Only
    aplex gets none.
    """
    environment = made[PEERS[peer].environment]
    environ = referee.environment({**environment.environ(), "PYTHONPATH": ""})
    once = functools.partial(referee.play, peer, case, str(environment.python), environ, method)
    verdict = once()
    if not verdict.ok and environment.name != "aplex" and (again := once()).ok:
        verdict = again
    print(f"{case:16} {peer:16} {verdict!s:20} {verdict.seen}", flush=True)
    return verdict


def save(arguments: argparse.Namespace, board: page.Board, facts: Mapping[str, str]) -> None:
    """Write the files that were asked for."""
    limits = {
        "method": arguments.method,
        "patience": scene.PATIENCE,
        "limit": referee.LIMIT,
        "prompt": referee.PROMPT,
    }
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        content = {"facts": facts, "limits": limits, "cases": board}
        arguments.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + os.linesep)
    if arguments.page:
        arguments.page.parent.mkdir(parents=True, exist_ok=True)
        arguments.page.write_text(page.page(board, facts, limits))


if __name__ == "__main__":
    sys.exit(main())
