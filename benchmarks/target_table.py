"""The rows of the table of targets. How they are judged: `targets`.

Where both loops take part a target has a row for each. A row whose bound is our own reading of
a word ("flat", "without collapse") says so in what it is compared with.
"""

from targets import DIFFERENCE, INVERSE, VALUE, Target
from workloads import WORKLOADS, growth, recording

RATE, P50, SPEED = "works/s", "p50 µs", "GB/s"
IDEAL = "ideal"


def faster(
    what: str, workload: str, peer: str, against: str, least: float, good: float, metric: str = RATE
) -> Target:
    """So many times the other's rate."""
    return Target(what, workload, peer, metric, least, good, against, more=True)


def at_most(
    what: str, workload: str, peer: str, against: str, least: float, good: float, metric: str = P50
) -> Target:
    """No more than so many times the other's time, or cost."""
    return Target(what, workload, peer, metric, least, good, against)


def alone(
    what: str,
    workload: str,
    peer: str,
    metric: str,
    least: float,
    good: float | None = None,
    *,
    unit: str = "x",
    scale: float = 1.0,
    beside: str = IDEAL,
    more: bool = False,
) -> Target:
    """A figure of aplex by itself."""
    return Target(
        what,
        workload,
        peer,
        metric,
        least,
        good,
        kind=VALUE,
        unit=unit,
        scale=scale,
        beside=beside,
        more=more,
    )


def submitting() -> list[Target]:
    one, plain, blocking = "coroutines-awaited", "plain-awaited", "plain-blocking"
    coroutines, awaited = "coroutines one by one, awaited", "plain functions one by one, awaited"
    submits = "plain functions, blocking submit, then result"
    return [
        faster(coroutines, one, "aplex-awaited", "aiomultiprocess-uvloop", 6, 9),
        faster(coroutines, one, "aplex-awaited-uvloop", "aiomultiprocess-uvloop", 6, 9),
        faster(coroutines, one, "aplex-awaited", "distex", 3, 4.5),
        faster(coroutines, one, "aplex-awaited-uvloop", "distex-uvloop", 3, 4.5),
        faster(awaited, plain, "aplex-awaited", "futures-process-awaited", 20, 30),
        faster(awaited, plain, "aplex-awaited", "futures-thread-awaited", 4, 8),
        faster(submits, blocking, "aplex", "futures-process", 10, 30),
        faster(submits, blocking, "aplex", "futures-thread", 1, 2),
        faster(submits, blocking, "aplex", "multiprocessing-pool", 3, 8),
    ]


def latency() -> list[Target]:
    blocking, awaited = "latency-blocking", "latency-awaited"
    one, other = "one in flight, blocking, plain", "one in flight, awaited coroutine"
    return [
        at_most(one, blocking, "aplex", "futures-process", 1 / 4, 1 / 7),
        alone(one, blocking, "aplex", "p99 / p50", 4, beside="its own p50"),
        at_most(other, awaited, "aplex-awaited", "distex", 1 / 2, 1 / 4),
        at_most(other, awaited, "aplex-awaited-uvloop", "distex-uvloop", 1 / 2, 1 / 4),
        at_most(other, awaited, "aplex-awaited", "pipe-c", 8, 6),
        at_most(other, awaited, "aplex-awaited-uvloop", "pipe-c", 5, 3.5),
    ]


def mapping() -> list[Target]:
    plain, coroutines = "map of plain functions, chunksize=1", "map of coroutines, chunksize=1"
    auto = "map of plain functions, automatic chunks"
    auto_later = "map of coroutines, automatic chunks"
    best = "aplex"
    return [
        faster(plain, "map-plain", "aplex", "multiprocessing-pool", 4, 6),
        faster(auto, "map-plain-auto", "aplex-auto", "multiprocessing-pool", 0.9, 1.1),
        faster(f"{auto}, its own best size", "map-plain-auto", "aplex-auto", best, 0.8, 1),
        faster(coroutines, "map-coroutines", "aplex-awaited", "distex", 2.5, 3.5),
        faster(coroutines, "map-coroutines", "aplex-awaited-uvloop", "distex-uvloop", 2.5, 3.5),
        faster(
            auto_later,
            "map-coroutines-auto",
            "aplex-awaited-auto",
            "futures-process-awaited",
            1.2,
            1.6,
        ),
    ]


def waiting_for_others() -> list[Target]:
    sleeps, http, mixed = "sleeps of 50 ms, 500 in flight", "HTTP GETs, 500 in flight", "mixed"
    rows = [
        Target(sleeps, "sleeps", peer, RATE, 1.05, 1.03, kind=INVERSE, scale=10_000, beside=IDEAL)
        for peer in ("aplex-awaited", "aplex-awaited-uvloop")
    ]
    for loop in ("", "-uvloop"):
        ours, theirs = f"aplex-awaited{loop}", f"asyncio-alone{loop}"
        rows.append(at_most(sleeps, "sleeps", ours, theirs, 4, 3, "CPU µs/work"))
        rows.append(faster(http, "http", ours, theirs, 1.4, 1.65))
    computing = "functions that compute beside coroutines that sleep"
    for peer in ("aplex-awaited", "aplex-awaited-uvloop"):
        rows.append(alone(computing, mixed, peer, "s in all / ideal", 1.15, 1.06))
        rows.append(alone(computing, mixed, peer, "p99 ms late", 50, 20, unit=" ms", beside=""))
    return rows


def big() -> list[Target]:
    rows = []
    for size, limit in ((1, 0.4), (64, 0.15), (512, 0.15)):
        name, good = f"numpy-{size}mb", 0.7 if size == 1 else 0.5
        what = f"numpy of {size} MB there and back"
        rows.append(faster(what, name, "aplex", "memcpy", limit, good, SPEED))
        if size > 1:
            rows.append(faster(what, name, "aplex", "futures-process", 5, 15, SPEED))
    rows += [
        alone("peak memory", "numpy-512mb", "aplex", metric, 2.2, beside="the array")
        for metric in ("parent's peak / array", "worker's peak / array")
    ]
    one, many = "bytes of 1 MB there and back", "bytes of 64 MB there and back"
    rows.append(faster(one, "bytes-1mb", "aplex", "memcpy", 0.4, 0.7, SPEED))
    rows.append(faster(many, "bytes-64mb", "aplex", "futures-process", 3, 10, SPEED))
    return rows


def life() -> list[Target]:
    start, first = "constructor to first result", "ms to first result"
    rows = [
        at_most(start, f"start-{method}", "aplex", "futures-process", 1.3, 1.1, first)
        for method in ("spawn", "forkserver", "fork")
    ]
    rows += [
        Target("import", "import", peer, "ms", 40, 15, "python", DIFFERENCE, unit=" ms more")
        for peer in ("aplex", "aplex-loaded")
    ]
    used, slept, cpu = "idle, CPU in 20 s", "idle", "CPU ms/s"
    for peer in ("aplex", "aplex-awaited"):
        rows.append(alone(used, "idle", peer, cpu, 10, 1, unit=" ms", scale=20, beside=""))
        rows.append(alone(slept, "idle", peer, "wake-ups/s", 1, unit=" per s", beside=""))
    return rows


def threads() -> list[Target]:
    rows = []
    for loop in ("", "-uvloop"):
        ours, theirs = f"aplex-threads-awaited{loop}", f"asyncio-other-thread{loop}"
        rows.append(faster("thread engine, coroutines", "thread-coroutines", ours, theirs, 3, 6))
        rows.append(at_most("thread engine, one in flight", "thread-latency", ours, theirs, 1.2, 1))
    return rows


def balance() -> list[Target]:
    share = "s in all / ideal"
    return [
        alone("uneven plain functions", "uneven-plain", "aplex", share, 1.15),
        alone("uneven coroutines", "uneven-coroutines", "aplex-awaited", share, 1.15),
        alone("uneven works, mixed", "uneven-mixed", "aplex-awaited", share, 1.15),
    ]


def crowds() -> list[Target]:
    growth, memory = "µs/work, most / fewest waiting", "bytes/work, most waiting"
    flat, stands = "our reading of flat", "our reading of without collapse"
    share, serving = "works/s, share of that with 2 workers", "ms until all serve"
    one, other = "works waiting, cost flat", "works waiting, memory of each"
    many, start = "64 workers, throughput", "64 workers, until all serve"
    rows = []
    for peer in ("aplex", "aplex-awaited"):
        rows.append(alone(one, "waiting", peer, growth, 1.5, 1.1, beside=flat))
        rows.append(alone(other, "waiting", peer, memory, 1024, unit=" B", beside=""))
    return [
        *rows,
        alone(many, "many-workers", "aplex", share, 0.5, beside=stands, more=True),
        at_most(start, "many-workers", "aplex", "futures-process", 1.3, 1.1, serving),
    ]


def loops() -> list[Target]:
    """Compare uvloop with the stock loop: a row for each workload where aplex runs on both."""
    rows = []
    for workload in WORKLOADS.values():
        metric = workload.metrics[0]
        for peer in workload.peers:
            fast = f"{peer}-uvloop"
            if peer.startswith("aplex") and fast in workload.peers:
                rows.append(
                    Target(
                        "uvloop not slower than the stock loop",
                        workload.name,
                        fast,
                        metric.name,
                        1.0,
                        against=peer,
                        more=metric.more_is_better,
                    )
                )
    return rows


def recorded() -> list[Target]:
    what, made = "recorded: ", "recording of a million works: "
    whole = "a recording"
    rate, million = recording.RATIO.name, "recorded-million"
    return [
        *(
            alone(what + name, f"recorded-{name}", peer, rate, 0.97, 0.98, beside=beside, more=True)
            for name in ("submit", "coroutines", "map")
            for peer, beside in (("aplex", "not recorded"), ("aplex-awaited", "not recorded"))
        ),
        alone(made + "memory", million, "aplex", recording.MEMORY.name, 80, 40, unit="MB",
              beside=whole),
        alone(made + "trace", million, "aplex", recording.TRACE.name, 60, 20, unit="s",
              beside=whole),
        alone("report of 100,000 works", "recorded-page", "aplex", recording.PAGE.name, 4, 3,
              unit="MB", beside=whole),
    ]  # fmt: skip


def growing(
    name: str, sizes: tuple[int, ...], bounds: dict[int, float], peer: str = growth.AWAITED
) -> list[Target]:
    """The cost with more of something, by that with least."""
    few = sizes[0]
    what = WORKLOADS[f"growth-{name}"].title
    return [
        alone(
            what,
            f"growth-{name}",
            peer,
            growth.times(few, many).name,
            bound,
            beside=f"with {few:,}",
        )
        for many, bound in bounds.items()
    ]


def flat() -> list[Target]:
    crowd, workers = {growth.WAITING[-1]: 1.3}, {64: 1.5, 256: 2.0}
    return [
        *growing("waiting", growth.WAITING, crowd),
        *growing("waiting-blocking", growth.WAITING, crowd, growth.BLOCKING),
        *growing("keys", growth.OPTIONS, {growth.OPTIONS[-1]: 1.3}),
        *growing("deadlines", growth.OPTIONS, {growth.OPTIONS[-1]: 1.3}),
        *growing("streams", growth.STREAMS, {growth.STREAMS[-1]: 1.3}),
        *growing("arguments", growth.ARGUMENTS, {growth.ARGUMENTS[-1]: 1.3}),
        *growing("workers", growth.WORKERS, workers),
        *growing("workers-coroutines", growth.WORKERS, workers),
    ]


GROWTH: list[Target] = flat()
"""The rows of `run.py --growth`."""

TARGETS: list[Target] = [
    *submitting(),
    *latency(),
    *mapping(),
    *waiting_for_others(),
    *big(),
    *life(),
    *threads(),
    *balance(),
    *crowds(),
    *loops(),
    *recorded(),
]
