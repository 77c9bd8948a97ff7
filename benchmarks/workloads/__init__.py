"""The table of workloads, in the order of the report."""

from workloads import (
    arrays,
    crowds,
    growth,
    http,
    interpreters,
    latency,
    life,
    limits,
    mapping,
    mixed,
    recording,
    streams,
    submitting,
    uneven,
)
from workloads.base import Workload

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for group in (
        submitting,
        http,
        latency,
        mapping,
        streams,
        mixed,
        uneven,
        arrays,
        crowds,
        growth,
        life,
        limits,
        recording,
        interpreters,
    )
    for workload in group.WORKLOADS
}
