"""The verdict: what stands out in a recording, in words, each with its evidence. Logic only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from aplex._observe.figures import Figures, percentile
from aplex._observe.history import LOST, UNKNOWN
from aplex._observe.summary import seconds

MUCH: Final = 0.1
"""A share that is worth a line."""
SHORT: Final = 100e-6
"""Seconds; below, what it costs to send a work is more than the work."""
MANY: Final = 100
"""Works, at least, of which shares say anything."""


class Line(NamedTuple):
    """One finding.

    Attributes:
        weight: ``"bad"``, ``"warn"`` or ``"good"``.
        text: What is so.
        advice: What may help; may be empty.
    """

    weight: str
    text: str
    advice: str = ""


def verdict(figures: Figures) -> list[Line]:
    """Return the lines, the worst first."""
    lines = [line for rule in RULES for line in rule(figures)]
    if not any(line.weight != "good" for line in lines):
        lines.append(Line("good", "Nothing stands out: no failures, no deaths, no idle workers."))
    order = ("bad", "warn", "good")
    return sorted(lines, key=lambda line: order.index(line.weight))


def _share(part: float) -> str:
    return f"{part:.0%}" if part >= MUCH else f"{part:.1%}"


def _failures(figures: Figures) -> Iterator[Line]:
    failed = sum(group.count for group in figures.failures)
    if failed:
        worst = figures.failures[0]
        yield Line(
            "bad",
            f"{failed:,} of {figures.works:,} works failed ({_share(failed / figures.works)}); "
            f"most often {worst.name} by {worst.error} ({worst.count:,} times).",
        )


def _deaths(figures: Figures) -> Iterator[Line]:
    deaths = figures.crew.deaths()
    if not deaths:
        return
    causes = Counter(str(member.certificate.get("cause") or "failed to start") for member in deaths)
    told = ", ".join(
        cause if count == 1 else f"{cause} ({count:,} times)"
        for cause, count in causes.most_common(3)
    )
    starved = any(member.certificate.get("out_of_memory") for member in deaths)
    advice = "The kernel was out of memory: fewer workers, or smaller works." if starved else ""
    were = "1 worker died" if len(deaths) == 1 else f"{len(deaths):,} workers died"
    yield Line("bad", f"{were}: {told}.", advice)


def _lost(figures: Figures) -> Iterator[Line]:
    history = figures.history
    wasted, count = 0, 0
    for at, outcome in enumerate(history.outcomes):
        if outcome == LOST:
            count += 1
            if history.began[at] != UNKNOWN:
                wasted += history.ended[at] - history.began[at]
    if count:
        were = "1 run was lost with its worker" if count == 1 else f"{count:,} runs were lost"
        yield Line(
            "warn",
            f"{were}, after at least {seconds(wasted / 1e9)} of running, and made again.",
        )


def _idle(figures: Figures) -> Iterator[Line]:
    """Workers that idle while works wait."""
    size = max(1, len(figures.slots))
    waited = idle = 0.0
    for at, waiting in enumerate(figures.counts.waiting):
        if waiting > 0:
            waited += 1
            idle += max(0.0, size - figures.busy[at]) / size
    if waited >= MUCH * len(figures.busy) and idle / waited > 2 * MUCH:
        most = figures.history.tape.head.get("max_works_per_worker", "?")
        yield Line(
            "warn",
            f"Workers idled {_share(idle / waited)} of the time in which works waited.",
            f"max_works_per_worker is {most}; limits (max_concurrency, rate) and starting workers "
            "hold works back, too.",
        )


def _crowded(figures: Figures) -> Iterator[Line]:
    """Most of the time is waiting, and the workers are busy."""
    waited, ran = sum(figures.waits), sum(figures.runs)
    if waited > 9 * ran and figures.share_busy > 1 - 2 * MUCH and figures.works >= MANY:
        yield Line(
            "warn",
            f"{_share(waited / (waited + ran))} of the time from submit to end was waiting, and "
            f"workers were busy {_share(figures.share_busy)} of the time.",
            "More workers would help, if there are CPUs for them.",
        )


def _unemployed(figures: Figures) -> Iterator[Line]:
    if figures.share_busy < 1 / 4 and figures.finished >= MANY:
        yield Line(
            "warn",
            f"Workers were busy only {_share(figures.share_busy)} of the time.",
            "There was not enough to do, or the caller could not submit faster.",
        )


def _short(figures: Figures) -> Iterator[Line]:
    middle = percentile(figures.runs, 0.5)
    if len(figures.runs) >= MANY and middle < SHORT:
        yield Line(
            "warn",
            f"Half of the works ran less than {seconds(middle)}: to send one costs as much.",
            "Let map() send several at a time: chunksize='auto'.",
        )


def _tail(figures: Figures) -> Iterator[Line]:
    """At the end all wait for a few."""
    size = len(figures.slots)
    last = len(figures.busy)
    while last and figures.busy[last - 1] < size / 4 and not figures.counts.waiting[last - 1]:
        last -= 1
    share = 1 - last / len(figures.busy)
    if size > 1 and last and share > MUCH and figures.slowest:
        name = figures.history.tape.names[figures.history.names[figures.slowest[0]]]
        yield Line(
            "warn",
            f"In the last {_share(share)} of the time most workers had nothing to do.",
            f"Submit the longest works first; the longest was one of {name}.",
        )


def _unbalanced(figures: Figures) -> Iterator[Line]:
    busy = sorted(figures.busy_of.values())
    if len(busy) > 1 and busy[-1] > MUCH * figures.wall and busy[0] < busy[-1] / 2:
        yield Line(
            "warn",
            f"The busiest slot ran {seconds(busy[-1])}, the least busy one {seconds(busy[0])}.",
            "Long works, or a load balancer that insists on its choice, do that.",
        )


def _slow_start(figures: Figures) -> Iterator[Line]:
    starts = [
        (member.ready - member.spawned) / 1e9
        for member in figures.crew.members.values()
        if member.ready is not None and member.spawned >= figures.start
    ]
    if starts and max(starts) > MUCH * figures.wall and max(starts) > MUCH:
        yield Line(
            "warn",
            f"A worker took up to {seconds(max(starts))} to start, of {seconds(figures.wall)}.",
            "start() before the first work, or fewer imports, make the first works faster.",
        )


def _hot(figures: Figures) -> Iterator[Line]:
    total = sum(figures.runs)
    if len(figures.functions) > 1 and total:
        first = figures.functions[0]
        if first.total > total * 3 / 4:
            yield Line("good", f"{_share(first.total / total)} of the running was {first.name}.")


RULES: Final[tuple[Callable[[Figures], Iterator[Line]], ...]] = (
    *(_failures, _deaths, _lost, _idle, _crowded, _unemployed),
    *(_short, _tail, _unbalanced, _slow_start, _hot),
)
