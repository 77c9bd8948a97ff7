"""Subinterpreters beside spawned processes. Needs `--python python3.14`, so only by name."""

from workloads.base import CPU, RATE, Workload
from workloads.latency import P50, P99, TAIL, coroutine
from workloads.life import CLOSE, READY, start
from workloads.submitting import sleep, submit_coroutines

PEERS = ("aplex-interpreters-awaited", "aplex-spawn-awaited")

WORKLOADS = [
    Workload(
        name="interpreter-coroutines",
        title="Subinterpreters: coroutines submitted one by one, awaited",
        peers=PEERS,
        metrics=(RATE, CPU),
        measure=submit_coroutines,
        full=20_000,
        quick=3_000,
        apart=True,
    ),
    Workload(
        name="interpreter-latency",
        title="Subinterpreters: one in flight, awaited coroutine",
        peers=PEERS,
        metrics=(P50, P99, TAIL),
        measure=coroutine,
        full=5_000,
        quick=500,
        apart=True,
    ),
    Workload(
        name="interpreter-sleeps",
        title="Subinterpreters: sleeps of 50 ms, 500 in flight",
        peers=PEERS,
        metrics=(RATE, CPU),
        measure=sleep,
        full=10_000,
        quick=1_000,
        apart=True,
    ),
    Workload(
        name="interpreter-start",
        title="Subinterpreters: constructor to first result",
        peers=PEERS,
        metrics=(READY, CLOSE),
        measure=start,
        full=1,
        quick=1,
        apart=True,
    ),
]
