"""Draws what `aplex top` has seen, by rich (the extra ``aplex[top]``)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from aplex._cli.history import History, Rates
from aplex._cli.pools import SeenFunction, SeenPool, SeenWorker
from aplex._cli.shown import duration, size, spark

Seen: TypeAlias = "Sequence[tuple[SeenPool, Rates, History]]"

NARROW: Final = 100
"""Columns of a terminal below which some columns of the tables are left out."""
MOST_FUNCTIONS: Final = 8
ORDERS: Final[tuple[tuple[str, Callable[[SeenWorker, Rates], Any]], ...]] = (
    ("slot", lambda worker, _: (worker.slot, worker.id)),
    ("time", lambda worker, _: -(worker.seconds or 0.0)),
    ("aboard", lambda worker, _: -worker.in_flight),
    ("works/s", lambda worker, rates: -rates.begun.get(worker.id, 0.0)),
    ("lag", lambda worker, _: -worker.loop_lag),
    ("memory", lambda worker, _: -(worker.rss or 0)),
)
KEYS: Final = "q ends · s sorts (%s) · f freezes · d dumps"


LEAST: Final = 1e-4
"""Seconds of lag that are worth a word."""
LAGS: Final = 0.01
"""Seconds of lag from which it is shown on narrow terminals, too."""


class Screen:
    """The whole terminal, while it is drawn on."""

    def __init__(self, console: Console, view: Live) -> None:
        """Have nothing drawn yet."""
        self._console = console
        self._view = view
        self.last: RenderableType | None = None

    def draw(self, seen: Seen, *, order: int, frozen: bool, said: str) -> None:
        """Draw what was seen."""
        console = self._console
        self.last = _all(console, seen, order, console.height, frozen=frozen, said=said)
        self._view.update(self.last, refresh=True)

    @contextmanager
    def aside(self) -> Generator[Callable[[str], None]]:
        """Leave the drawing for a while, for text that the terminal keeps: it can be scrolled."""
        self._view.stop()
        try:
            yield lambda text: self._console.print(Text(text), soft_wrap=True)
        finally:
            self._view.start()


@contextmanager
def live() -> Generator[Screen]:
    """Draw on the whole terminal; at the end it is as before, with the last drawing."""
    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as view:
        screen = Screen(console, view)
        yield screen
    if screen.last is not None:
        console.print(screen.last)


def print_once(seen: Seen) -> None:
    """Print what there is."""
    console = Console(soft_wrap=False)
    console.print(Group(*(_pool(console, *one, 0, None) for one in seen)))


def _all(
    console: Console, seen: Seen, order: int, height: int, *, frozen: bool, said: str
) -> RenderableType:
    # A line for the keys; of the rest each pool gets its share.
    share = max(6, (height - 1) // max(1, len(seen)))
    parts: list[RenderableType] = [_pool(console, *one, order, share) for one in seen]
    if said:
        parts.append(Text(said, style="bold"))
    keys = KEYS % ORDERS[order % len(ORDERS)][0]
    parts.append(Text(f"frozen · {keys}" if frozen else keys, style="dim", no_wrap=True))
    return Group(*parts)


def _pool(
    console: Console, pool: SeenPool, rates: Rates, history: History, order: int, height: int | None
) -> RenderableType:
    wide = console.width >= NARROW
    parts: list[RenderableType] = [_head(pool), _counts(pool, rates, history, console.width)]
    room = None if height is None else max(1, height - 5)
    functions = min(MOST_FUNCTIONS, len(pool.functions))
    if room is not None:
        functions = min(functions, max(0, room - len(pool.workers) - 3), MOST_FUNCTIONS)
        room = max(1, room - (functions + 2 if functions else 0))
    key = ORDERS[order % len(ORDERS)][1]
    workers = sorted(pool.workers, key=lambda worker: key(worker, rates))
    shown = workers if room is None or len(workers) <= room else workers[: room - 1]
    parts.append(_workers(shown, rates, wide=wide))
    if len(shown) < len(workers):
        parts.append(Text(f"  and {len(workers) - len(shown)} more workers", style="dim"))
    if functions:
        parts.append(_functions(pool.functions[:functions], wide=wide))
    return Group(*parts)


def _head(pool: SeenPool) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(pool.name, style="bold")
    text.append(f"  process {pool.pid}  ")
    text.append(pool.state, style="green" if pool.state == "open" else "yellow")
    if pool.process:
        text.append(f"  {pool.process}", style="bold red")
    text.append(f"  up {duration(pool.uptime)}")
    return text


def _counts(pool: SeenPool, rates: Rates, history: History, width: int) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{pool.waiting:,} waiting  {pool.in_flight:,} aboard  {pool.done:,} done  ")
    text.append(f"{pool.failed:,} failed", style="red" if pool.failed else "")
    text.append(f"  {pool.cancelled:,} cancelled  {pool.retried:,} retried  ")
    text.append(f"{pool.restarts:,} restarts", style="red" if pool.restarts else "")
    if rates.pool is not None:
        line = f"\n{rates.pool:,.0f} works/s "
        text.append(line)
        text.append(spark(list(history.rates)[-max(1, width - len(line) - 1) :]), style="cyan")
    return text


def _workers(workers: Sequence[SeenWorker], rates: Rates, *, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="reverse", expand=True)
    table.add_column("SLOT", justify="right")
    table.add_column("PID", justify="right")
    table.add_column("STATE")
    table.add_column("ABOARD", justify="right")
    table.add_column("RUNS", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("FOR", justify="right", no_wrap=True)
    table.add_column("W/S", justify="right")
    if wide:
        table.add_column("BEGUN", justify="right")
    lags = wide or any(worker.loop_lag >= LAGS for worker in workers)
    if lags:
        table.add_column("LAG", justify="right", no_wrap=True)
    table.add_column("CPU", justify="right")
    table.add_column("RSS", justify="right", no_wrap=True)
    for worker in workers:
        rate, cpu = rates.begun.get(worker.id), rates.cpu.get(worker.id)
        begun = [f"{worker.begun:,}"] if wide else []
        lag = [duration(worker.loop_lag) if worker.loop_lag >= LEAST else ""] if lags else []
        table.add_row(
            *(str(worker.slot), "" if worker.pid is None else str(worker.pid)),
            *(worker.state, f"{worker.in_flight:,}", Text(_runs(worker)), duration(worker.seconds)),
            *("" if rate is None else f"{rate:,.0f}", *begun, *lag),
            *("" if cpu is None or worker.pid is None else f"{cpu:.0%}", size(worker.rss)),
        )
    return table


def _runs(worker: SeenWorker) -> str:
    parts = [worker.running] if worker.running else []
    if worker.coroutines:
        parts.append(f"{worker.coroutines} coroutine{'s' if worker.coroutines > 1 else ''}")
    return " + ".join(parts)


def _functions(functions: Sequence[SeenFunction], *, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="reverse", expand=True)
    table.add_column("FUNCTION", ratio=1, no_wrap=True, overflow="ellipsis")
    for name in (
        "ENDED",
        "TOTAL",
        "P50",
        "P99",
        *(("MAX", "WAIT P50", "WAIT P99") if wide else ()),
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for one in functions:
        more = (duration(one.max), duration(one.wait_p50), duration(one.wait_p99)) if wide else ()
        times = (duration(one.total), duration(one.p50), duration(one.p99), *more)
        table.add_row(Text(one.name), f"{one.count:,}", *times)
    return table
