"""`aplex ps`: the pools of this user's processes."""

from __future__ import annotations

import argparse
import json
import sys
import time

from aplex._cli.pages import all_pages
from aplex._cli.pools import SeenPool, pools_in
from aplex._cli.shown import duration, table


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print a JSON array instead")


def run(options: argparse.Namespace) -> int:
    """Print the pools; return 0, also if there are none, and 1 where they cannot be seen."""
    if sys.platform != "linux":
        print("aplex: pools can be seen from outside on Linux only", file=sys.stderr)
        return 1
    found = [(pages, pool) for pages in all_pages() for pool in pools_in(pages)]
    if options.json:
        shown = [{**pool.as_json(), "command": pages.process.command} for pages, pool in found]
        print(json.dumps(shown))
        return 0
    if not found:
        print("aplex: no pools in processes of this user", file=sys.stderr)
        return 0
    rows = [_row(pool, pages.process.command) for pages, pool in found]
    head = ("PID", "POOL", "STATE", "WORKERS", "WAITING", "ABOARD", "DONE", "FAILED", "WORKS/S")
    print(table((*head, "STARTED", "COMMAND"), rows, right=range(3, 9)))
    return 0


def _row(pool: SeenPool, command: str) -> tuple[str, ...]:
    state = f"{pool.state}, {pool.process}" if pool.process else pool.state
    rate = pool.finished / pool.uptime if pool.uptime else 0.0
    began = time.strftime("%H:%M:%S", time.localtime(time.time() - pool.uptime))
    counts = (pool.waiting, pool.in_flight, pool.done, pool.failed)
    serving = sum(worker.state == "serving" for worker in pool.workers)
    workers = f"{serving}/{pool.size}"
    started = f"{began} ({duration(pool.uptime)})"
    return (
        *(str(pool.pid), pool.name, state, workers),
        *map(str, counts),
        *(f"{rate:,.1f}", started, command[:60]),
    )
