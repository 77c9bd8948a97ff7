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
import sys
from collections.abc import Iterator, Mapping
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
    """Play the cases, print the tables; return 1 if aplex is not ok where it is to be."""
    arguments = parse()
    content = json.loads(arguments.saved.read_text()) if arguments.saved else {"cases": {}}
    if arguments.only or not arguments.saved:
        new = measure(arguments)
        content = {**new, "cases": {**content["cases"], **new["cases"]}}
    board = content["cases"]
    print("\n" + page.text_table(page.board_table(board)))
    if arguments.json:
        write(arguments.json, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if arguments.page:
        write(arguments.page, page.page(board, content["facts"], content["limits"]))
    return int(any(not_ok(board)))


def not_ok(board: page.Board) -> Iterator[tuple[str, str]]:
    """Yield the cases in which aplex is not ok, without those that are known."""
    for case, verdicts in board.items():
        for peer, verdict in verdicts.items():
            ours = PEERS[peer].environment == "aplex"
            if ours and verdict["words"] and (case, peer) not in page.KNOWN:
                yield case, peer


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
    add("--saved", type=Path, metavar="FILE", help="show what was saved; --only: play anew")
    add("--json", type=Path, metavar="FILE", help="save the verdicts")
    add("--page", type=Path, metavar="FILE", help="write the page of the documentation")
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play the cases that were asked for; return all that is to be known of them."""
    referee.hear_interrupts()
    python = arguments.python or environments.find_python()
    made = make_environments(arguments.peers, python)
    board: dict[str, dict[str, dict[str, Any]]] = {}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for case in arguments.only or (QUICK if arguments.quick else CASES):
            playing = functools.partial(play, case=case, made=made, method=arguments.method)
            verdicts = zip(arguments.peers, pool.map(playing, arguments.peers), strict=True)
            board[case] = {peer: verdict.as_json() for peer, verdict in verdicts}
    limits = {
        "method": arguments.method,
        "patience": scene.PATIENCE,
        "limit": referee.LIMIT,
        "prompt": referee.PROMPT,
    }
    return {"facts": describe(made, python), "limits": limits, "cases": board}


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


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
