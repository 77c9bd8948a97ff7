"""The tables of a scoreboard: for a terminal, and as a page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reliability.board.cases import CASES
from reliability.board.peers import PEERS

Board = Mapping[str, Mapping[str, Any]]  # case, peer: a verdict

HEAD = """\
# Scoreboard

What do pools of processes do when something goes wrong? Here the same faults happen to each of \
them. This page is written by a program; nothing in it was written by hand:

```sh
python3 dev.py reliability scoreboard --json docs/reliability/scoreboard.json \
--page docs/reliability/scoreboard.md
```

It installs the other libraries in environments of their own. `--only` and `--peers` choose \
cases and libraries.

## The rules

- Only public behaviour counts: signals that anybody can send, works that anybody can write.
- Each library is used as its own documentation shows, with two workers. Where the start method \
can be chosen, it is `{method}`, for all of them. loky's executor is asked for by \
`get_reusable_executor()` before each use: so a broken one is replaced. Works of libraries that \
await are coroutines.
- All have the same time: works that can end must have ended {patience:.0f} s after the fault \
(30 s for big results), the program {limit:.0f} s after its start, and {prompt:.0f} s after Ctrl-C.
- A library that is not ok gets a second chance, and is ok if it is then: faults are races. Only \
aplex gets none.
- The work that was hit may fail, with whatever error. Works that were not hit must return, and \
so must those that are submitted to the same pool later.

| word | meaning |
|---|---|
| ok | all of that |
| lost works | works that were not hit fail, with an error |
| broken | the pool takes no more works, and says so by an error: some libraries choose this \
instead of healing |
| refused | the pool does not do this, and says so by an error |
| hang | something never ends, and nothing tells the user |
| stalls | works that were handed to the worker before it was noticed to be stopped wait until it \
continues; nothing is lost |
| runs on | Ctrl-C does not end the program |
| orphans | processes that are left when their program is gone |
| fails | the program ends with an error at another place |

## Result
"""

KNOWN = {
    ("stopped", "aplex-awaited"): (
        "Coroutines are handed to workers at once, as they run side by side "
        "([decision 7](../decisions/0007-works-wait-in-the-pool.md)). Those that a worker has when "
        "it is stopped wait until it continues: nothing but the worker itself could say that it "
        "will not start them after all. A worker that dies is noticed at once."
    ),
}
"""Why aplex is not ok, where it is known not to be."""


def board_table(board: Board) -> list[list[str]]:
    """Return the rows of the big table: a case each."""
    peers = list(next(iter(board.values())))
    head = ["fault", *(PEERS[peer].title for peer in peers)]
    rows = [
        [CASES[case].title, *(_words(verdicts[peer]) for peer in peers)]
        for case, verdicts in board.items()
    ]
    ok = [sum(_words(verdicts[peer]) == "ok" for verdicts in board.values()) for peer in peers]
    return [head, *rows, ["**ok**", *(f"**{count} of {len(board)}**" for count in ok)]]


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines).replace("**", "")


def page(board: Board, facts: Mapping[str, str], limits: Mapping[str, Any]) -> str:
    """Return the page."""
    parts = [HEAD.format(**limits), _markdown(board_table(board))]
    parts += [
        f"*{PEERS[peer].title}, {CASES[case].title}:* {why}\n"
        for (case, peer), why in KNOWN.items()
        if board.get(case, {}).get(peer, {}).get("words")
    ]
    parts += ["## What the user sees\n"]
    for case, verdicts in board.items():
        rows = [["library", "verdict", "what the user sees"]]
        rows += [
            [PEERS[peer].title, _words(verdict), verdict["seen"] or "nothing: all is well"]
            for peer, verdict in verdicts.items()
        ]
        parts += [f"### {CASES[case].title}\n", _markdown(rows)]
    parts += ["## Made on\n", _markdown([["", ""], *map(list, facts.items())])]
    return "\n".join(parts)


def _words(verdict: Mapping[str, Any]) -> str:
    return ", ".join(verdict["words"]) or "ok"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in escaped]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    return "\n".join(lines) + "\n"
