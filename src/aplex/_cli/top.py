"""`aplex top`: watches pools from outside, without their help."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from aplex._cli.history import History, Rates
from aplex._cli.pages import Pages, Refused, all_pages, open_pages
from aplex._cli.pools import SeenPool, pools_in
from aplex._cli.processes import TICKS

if TYPE_CHECKING:
    from aplex._cli.keys import Keys
    from aplex._cli.screen import Screen

INTERVAL: Final = 0.5
"""Seconds from one drawing to the next."""
SEARCH: Final = 4
"""Drawings after which other processes with pools are looked for."""
MISSING: Final = (
    "aplex: `aplex top` draws with rich, which is not installed: pip install 'aplex[top]'. "
    "`aplex top --once --json` and `aplex ps` need nothing."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("pid", nargs="?", type=int, metavar="PID", help="a process with pools")
    parser.add_argument("--once", action="store_true", help="print what there is now, and end")
    parser.add_argument(
        "--json", action="store_true", help="print JSON: once, or an array on a line each time"
    )
    parser.add_argument(
        "--interval", type=float, default=INTERVAL, metavar="S", help="seconds between looks"
    )


def run(options: argparse.Namespace) -> int:
    """Watch until a key, Ctrl-C, or the end of the process; return 1 if there is nothing."""
    if sys.platform != "linux":
        print("aplex: pools can be seen from outside on Linux only", file=sys.stderr)
        return 1
    try:
        watched = Watched(options.pid)
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
            return _show(watched, options)
    except Refused as refused:
        print(f"aplex: {refused}", file=sys.stderr)
        return 1
    return 0


class Watched:
    """The pools of one process, or of all of this user's."""

    def __init__(self, pid: int | None) -> None:
        """Find them.

        Raises:
            Refused: There are none, or they may not be seen.
        """
        self.pid = pid
        self._looks = 0
        self._histories: dict[tuple[int, str], History] = {}
        self._pages: list[Pages] = all_pages() if pid is None else [open_pages(pid)]
        if any(pages.foreign for pages in self._pages):
            raise Refused("there is a pool of another version of aplex: use the `aplex` of that")
        if not any(pages.pools for pages in self._pages):
            where = "processes of this user" if pid is None else f"process {pid}"
            raise Refused(
                f"no pools in {where}: there is one from its first work to its shutdown, unless "
                "APLEX_PAGE=0 is set there"
            )

    def look(self) -> list[tuple[SeenPool, Rates, History]]:
        """Return what the pools do now, and what they did since the last look."""
        self._looks += 1
        if self.pid is None and self._looks % SEARCH == 0:
            self._search()
        seen: list[tuple[SeenPool, Rates, History]] = []
        now = time.monotonic()
        for pages in self._pages:
            if not pages.is_there:
                continue
            with contextlib.suppress(Refused):
                pages.find()
            for pool in pools_in(pages):
                key = pool.pid, pool.name
                history = self._histories.setdefault(key, History(TICKS))
                seen.append((pool, history.take(now, pool), history))
        return seen

    def _search(self) -> None:
        for pages in self._pages:
            pages.close()
        self._pages = all_pages()

    @property
    def is_there(self) -> bool:
        """Whether the process that is watched is; with all of them, always."""
        return self.pid is None or self._pages[0].is_there

    def why_nothing(self) -> str:
        """Return why there is nothing to see any more."""
        if self.pid is None:
            return "no pools in processes of this user"
        if not self.is_there:
            return f"process {self.pid} has ended"
        return f"process {self.pid} has no pool any more"


def _show(watched: Watched, options: argparse.Namespace) -> int:
    if options.json:
        for seen in _looks(watched, options):
            print(json.dumps([pool.as_json() for pool, _, _ in seen]), flush=True)
        return 0
    try:
        from aplex._cli import screen
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "rich":
            raise
        print(MISSING, file=sys.stderr)
        return 1
    if options.once:
        screen.print_once(next(_looks(watched, options)))
        return 0
    from aplex._cli.keys import pressed_keys

    with pressed_keys() as keys, screen.live() as drawn:
        return _watch(watched, options.interval, keys, drawn)


def _looks(
    watched: Watched, options: argparse.Namespace
) -> Iterator[list[tuple[SeenPool, Rates, History]]]:
    watched.look()
    while True:
        time.sleep(min(options.interval, 0.2) if options.once else options.interval)
        seen = watched.look()
        yield seen
        if options.once or (not seen and watched.pid is not None):
            return


def _watch(watched: Watched, interval: float, keys: Keys, drawn: Screen) -> int:
    """Draw again and again, until a key ends it, or there is nothing any more."""
    order, frozen = 0, False
    seen = watched.look()
    due = time.monotonic()
    while True:
        if not frozen:
            seen = watched.look()
        drawn.draw(seen, order=order, frozen=frozen, said="" if seen else watched.why_nothing())
        if not seen and watched.pid is not None and not watched.is_there:
            return 0
        due = max(due + interval, time.monotonic())
        while (left := due - time.monotonic()) > 0:
            key = keys.wait(left)
            if key in ("q", "Q", "\x1b"):
                return 0
            if key == "s":
                order += 1
            elif key in ("f", " "):
                frozen = not frozen
            elif key == "d":
                _dump(seen, keys, drawn)
            if key:
                break


def _dump(seen: list[tuple[SeenPool, Rates, History]], keys: Keys, drawn: Screen) -> None:
    """Show every work with its stack, until a key is pressed."""
    from aplex._cli.dump import dumped

    with drawn.aside() as say:
        for pid in sorted({pool.pid for pool, _, _ in seen}):
            try:
                text, silent = dumped(pid)
            except Refused as refused:
                text, silent = f"aplex: {refused}", ""
            say("\n".join(part for part in (text, silent) if part))
        say("\na key goes on")
        while not keys.wait(1.0):
            pass
